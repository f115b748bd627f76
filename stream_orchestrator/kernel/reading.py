"""Plain data read back from JSON that somebody else may have written."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import fields
from functools import lru_cache
from typing import Any, TypeVar, cast

T = TypeVar("T")

_NUMBER = (int, float)
_SCALARS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": _NUMBER,
    "bool": (bool,),
    "str | None": (str, type(None)),
    "float | None": (*_NUMBER, type(None)),
    "dict[str, Any]": (dict,),
    "dict[str, Any] | None": (dict, type(None)),
}


def read(kind: type[T], data: Mapping[str, Any], **more: Any) -> T:
    """An instance of a dataclass: fields of a newer writer are passed over, a wrong type raises TypeError.

    `more` are fields that the caller has read itself.
    """
    given: dict[str, Any] = {}
    for name, types in _checks(cast("Hashable", kind)).items():
        if name in more or name not in data:
            continue
        value = data[name]
        if types and not isinstance(value, types):
            raise TypeError(f"`{name}` of {kind.__name__} is {type(value).__name__}")
        given[name] = value
    return kind(**given, **more)


@lru_cache(maxsize=64)
def _checks(kind: Any) -> dict[str, tuple[type, ...]]:
    return {field.name: _SCALARS.get(str(field.type), ()) for field in fields(kind)}
