"""Claim checks: what stands in records for a value that is too large for them.

A claim check is a map with the one key `$claim`, which holds `{uri, sha256, bytes}`. The key is reserved: no script
may give it, so what looks like one is one. Only scripts are given the value that it stands for (`trust.claims`);
a template may hand a claim check on as it is, and whatever else it does with one is `TooLarge`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, TypeGuard

import orjson

from stream_orchestrator.errors import RunError

KEY = "$claim"
MARK = b'"$claim":'  # how the key stands in JSON as we write it; inside text its quotes are escaped
_TELLS = frozenset({"uri", "sha256", "bytes"})
_SMALL = (str, int, float, bool, type(None))
_LENIENT = orjson.OPT_NON_STR_KEYS


class TooLarge(RunError):
    """A template looks into a value that is kept outside records, and could only see its claim check."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"`{name}` is too large for a record: only scripts can read it, and a template can hand it on as it is; "
            "let a python_task make what is needed here of it"
        )


def is_claim(value: Any) -> TypeGuard[Mapping[str, Any]]:
    """Whether a value is a claim check."""
    return isinstance(value, Mapping) and len(value) == 1 and KEY in value


def is_whole(value: Mapping[str, Any]) -> bool:
    """Whether a claim check says all that one must say. One that came with an event may say anything."""
    told = value[KEY]
    return (
        isinstance(told, Mapping)
        and told.keys() == _TELLS
        and isinstance(told["uri"], str)
        and isinstance(told["sha256"], str)
        and type(told["bytes"]) is int
    )


def claims_in(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every claim check in a value, however deep."""
    if is_claim(value):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            if not isinstance(item, _SMALL):
                yield from claims_in(item)


def replaced(value: Any, by: Callable[[Mapping[str, Any]], Any]) -> Any:
    """The value with something else for each claim check; what holds none is the same object."""
    if isinstance(value, _SMALL):
        return value
    if is_claim(value):
        return by(value)
    if isinstance(value, Mapping):
        made = {key: replaced(item, by) for key, item in value.items()}
        return made if any(made[key] is not item for key, item in value.items()) else value
    if isinstance(value, list | tuple):
        items = [replaced(item, by) for item in value]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    return value


def seen_by_templates(value: Any, name: str) -> Any:
    """A value as a template may look at it: each claim check in it refuses to be anything but handed on."""
    if isinstance(value, _SMALL) or not _may_hold(value):
        return value
    return replaced(value, lambda claim: Unseen(claim, name))


def _may_hold(value: Any) -> bool:
    try:
        return MARK in orjson.dumps(value, default=str, option=_LENIENT)
    except TypeError:  # numbers of more than 64 bits, half characters, depth
        return next(claims_in(value), None) is not None


class Unseen:
    """A claim check in a template. It can be handed on, and it is something; nobody can look into it."""

    __slots__ = ("claim", "name")

    def __init__(self, claim: Mapping[str, Any], name: str) -> None:
        self.claim, self.name = claim, name

    def __bool__(self) -> bool:
        return True  # nothing that is empty is too large

    def refuse(self, *_: Any, **__: Any) -> NoReturn:
        """What every look into it comes to."""
        raise TooLarge(self.name)

    __getattr__ = refuse
    __len__ = __iter__ = __getitem__ = __contains__ = __str__ = __repr__ = __format__ = __hash__ = refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __mod__ = __rmod__ = refuse
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __pow__ = __rpow__ = __neg__ = __pos__ = refuse
    __int__ = __float__ = __index__ = __round__ = __abs__ = __call__ = __reversed__ = refuse
