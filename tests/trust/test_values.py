"""What is JSON, and what a script is told when it is not."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import uuid
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_orchestrator.trust.child.values import NotJson, encode, plain

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@given(JSON)
def test_json_stays_what_it_is(value: Any) -> None:
    assert orjson.loads(encode(value)) == value


@given(JSON)
def test_the_plain_form_of_a_plain_form_is_itself(value: Any) -> None:
    assert plain(plain(value)) == plain(value)


@given(st.sets(st.integers() | st.text()))
def test_equal_sets_have_one_form(members: set[Any]) -> None:
    small = {member for member in members if isinstance(member, str) or abs(member) < 2**63}
    assert plain(small) == plain({*sorted(small, key=repr, reverse=True)})


class Colour(str, enum.Enum):  # noqa: UP042  people write it
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int


CONVERTED = {
    "tuple": ((1, (2,)), [1, [2]]),
    "set": ({3, 1, 2}, [1, 2, 3]),
    "mixed set": ({"a", 1}, ["a", 1]),
    "datetime": (datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), "2026-01-02T00:00:00+00:00"),
    "date": (datetime.date(2026, 1, 2), "2026-01-02"),
    "time": (datetime.time(3, 4), "03:04:00"),
    "uuid": (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    "text enum": (Colour.RED, "red"),
    "int enum": (enum.IntEnum("Size", "S M").M, 2),
}


@pytest.mark.parametrize(("value", "form"), CONVERTED.values(), ids=CONVERTED.keys())
def test_what_has_one_obvious_form_gets_it(value: Any, form: Any) -> None:
    assert orjson.loads(encode({"v": value})) == {"v": form}


REFUSED = {
    "bytes": (b"x", "`output['a'][1]` is bytes, which is not JSON; decode it"),
    "nan": (float("nan"), "`output['a'][1]` is nan"),
    "infinity": (float("-inf"), "`output['a'][1]` is -inf"),
    "decimal": (decimal.Decimal(1), "is decimal.Decimal"),
    "object": (object(), "is object"),
    "function": (len, "is builtin_function_or_method"),
    "generator": ((n for n in ()), "is generator"),
    "dataclass": (Point(1), "return `dataclasses.asdict(...)`"),
    "integer key": ({1: 2}, "`output['a'][1]` has the key 1 (int); keys must be text"),
    "null key": ({None: 2}, "has the key None"),
    "large integer": (2**64, "more than 64 bits"),
    "half a character": ("\ud800", "lone surrogate"),
    "half a character in a key": ({"\ud800": 1}, "lone surrogate"),
    "enum": (enum.Enum("E", "A").A, "is "),
    "complex": (1j, "is complex"),
}


@pytest.mark.parametrize(("value", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_the_rest_is_refused_with_its_place(value: Any, message: str) -> None:
    with pytest.raises(NotJson) as caught:
        encode({"a": [0, value]})
    assert message in str(caught.value)
