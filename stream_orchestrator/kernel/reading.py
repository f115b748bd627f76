"""Dataclasses as JSON, and plain data read back from JSON that somebody else may have written."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import MISSING, fields
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


def lean(record: Any, *, without: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The fields of a dataclass, without those that have their default, as most have. Values are not copied."""
    defaults = _defaults(cast("Hashable", type(record)), without)
    given = ((name, default, getattr(record, name)) for name, default in defaults)
    return {name: value for name, default, value in given if default is MISSING or value != default}


@lru_cache(maxsize=64)
def _defaults(kind: Any, without: frozenset[str]) -> tuple[tuple[str, Any], ...]:
    made = ((field, field.default_factory) for field in fields(kind) if field.name not in without)
    return tuple((field.name, field.default if factory is MISSING else factory()) for field, factory in made)


@lru_cache(maxsize=64)
def _checks(kind: Any) -> dict[str, tuple[type, ...]]:
    return {field.name: _SCALARS.get(str(field.type), ()) for field in fields(kind)}
