"""Expected beside found: a subset, with comparisons."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_orchestrator.testkit.comparing import comparison, differences

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": {"b": ">= 0.7"}}, {"a": {"b": 0.7, "c": 1}}),
        ("< 30 seconds", 29.9),
        ("< 1GB", 999_999_999),
        (">= -0.5", -0.2),
        ("== positive", "positive"),
        ("!= positive", "negative"),
        ("> abc", "> abc"),
        ("<b>", "<b>"),
        (0.1 + 0.2, 0.3),
        (3, 3.0),
        ([{"a": 1}, "> 1"], [{"a": 1, "b": 2}, 2]),
        (None, None),
        ({}, {"anything": 1}),
    ],
)
def test_what_is_as_expected_has_no_difference(expected: Any, found: Any) -> None:
    assert differences(expected, found) == []


@pytest.mark.parametrize(
    ("expected", "found", "said"),
    [
        ({"score": ">= 0.7"}, {"score": 0.31}, "output.score: expected >= 0.7, got 0.31"),
        ({"label": "positive"}, {"label": "negative"}, 'output.label: expected "positive", got "negative"'),
        ({"label": "x"}, {"other": 1}, "output.label: is not there (there is: other)"),
        ({"a": {"b": 1}}, {"a": 3}, "output.a: expected a map, got 3"),
        ([1, 2], [1], "output: expected 2 items, got 1: [1]"),
        ([1, 2], [1, 3], "output[1]: expected 2, got 3"),
        (True, 1, "output: expected true, got 1"),
        (1, True, "output: expected 1, got true"),
        ("1", 1, 'output: expected "1", got 1'),
        (">= 1", "2", 'output: expected >= 1, got "2"'),
        (">= 0", True, "output: expected >= 0, got true"),
        ("!= positive", "positive", 'output: expected != positive, got "positive"'),
        ("!= positive", 3, "output: expected != positive, got 3"),
        (None, 0, "output: expected null, got 0"),
    ],
)
def test_what_is_not_as_expected_is_told_with_its_place(expected: Any, found: Any, said: str) -> None:
    assert differences(expected, found) == [said]


def test_every_difference_is_told() -> None:
    assert len(differences({"a": 1, "b": 2, "c": [1]}, {"a": 2, "c": [2]})) == 3


@given(VALUES)
def test_whatever_came_is_as_expected_when_just_that_was_expected(value: Any) -> None:
    assert differences(value, value) == []


@given(st.dictionaries(st.text(max_size=4), VALUES, min_size=1), st.dictionaries(st.text(max_size=4), VALUES))
def test_more_keys_than_expected_are_no_difference(expected: dict[str, Any], more: dict[str, Any]) -> None:
    assert differences(expected, {**more, **expected}) == []


@given(VALUES, VALUES)
def test_a_difference_is_seen_from_either_side_or_a_comparison_was_meant(left: Any, right: Any) -> None:
    if json.dumps(left) != json.dumps(right) and not differences(left, right) and not differences(right, left):
        assert any(compares(each) for each in (left, right)) or left == right


def compares(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(compares, value.values()))
    return any(map(compares, value)) if isinstance(value, list) else isinstance(value, str) and bool(comparison(value))
