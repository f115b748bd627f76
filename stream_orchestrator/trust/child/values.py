"""What a script may return: JSON, or what has one obvious JSON form. Everything else is refused with its path."""

from __future__ import annotations

import datetime
import json
import math
import uuid
from collections.abc import Mapping, Set
from typing import Any

import orjson

MAX_DEPTH = 200  # orjson stops at 254
MAX_OUTPUT = 16 * 1024 * 1024  # the largest message our topics take; the worker may allow more
_ADVICE = " that fits into a record; with the setting `blobs.url` larger outputs of scripts are kept outside records"
_LONG = 1_000_000  # characters
_INTEGERS = range(-(2**63), 2**64)

_Path = tuple[Any, Any]  # (the path of what holds it, its key there): text is made of it for an error only


class NotJson(TypeError):
    """A value has no JSON form. The message names the place in it."""


class _Long(str):
    """A long text. orjson sets eight times its size aside for it, which a script's memory limit may not have."""

    __slots__ = ()


class TooLarge(NotJson):
    """A value has more bytes than can be kept."""


def plain(value: Any, name: str = "output") -> Any:
    """The JSON form of a value: a new structure that shares nothing mutable with it.

    Tuples and sets become lists (sets sorted, where their members compare), dates, times and UUIDs become ISO text.
    Keys must be text. NaN, infinity, bytes, Decimal, objects and anything else raise `NotJson` with the path.
    """
    return _plain(value, (None, name), 0)


def _plain(value: Any, path: _Path, depth: int) -> Any:
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        text = _text(value, path)
        return _Long(text) if len(text) > _LONG else text
    if isinstance(value, int):
        return _integer(int(value), path)
    if isinstance(value, float):
        return _number(float(value), path)
    if depth >= MAX_DEPTH:
        raise NotJson(f"`{_told(path)[:60]}...` is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, dict) or isinstance(value, Mapping):  # noqa: SIM101  the common case without the slow check
        return {_key(key, path): _plain(item, (path, key), depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, (path, place), depth + 1) for place, item in enumerate(value)]
    if isinstance(value, Set):
        return [_plain(item, (path, ...), depth + 1) for item in _in_order(value)]
    return _rare(value, path)


def _rare(value: Any, path: _Path) -> str:
    if isinstance(value, datetime.date | datetime.time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    raise NotJson(f"`{_told(path)}` is {_named(value)}, which is not JSON{_advice(value)}")


def encode(value: Any, most: int = MAX_OUTPUT) -> bytes:
    """The bytes of a script's output; `NotJson` when it has none or is too large."""
    body = orjson.dumps(plain(value), default=_written, option=orjson.OPT_PASSTHROUGH_SUBCLASS)
    if len(body) > most:
        advice = _ADVICE if most <= MAX_OUTPUT else ""
        raise TooLarge(f"the output has {len(body):,} bytes; {most:,} is the most{advice}")
    return body


def _written(text: Any) -> orjson.Fragment:
    return orjson.Fragment(json.dumps(str(text), ensure_ascii=False).encode())


def _text(value: str, path: _Path) -> str:
    text = str.__str__(value)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise NotJson(f"`{_told(path)}` holds half a character (a lone surrogate) at {error.start}") from error
    return text


def _integer(value: int, path: _Path) -> int:
    if value not in _INTEGERS:
        raise NotJson(f"`{_told(path)}` is an integer of more than 64 bits; return it as text")
    return value


def _number(value: float, path: _Path) -> float:
    if not math.isfinite(value):
        raise NotJson(f"`{_told(path)}` is {value}, which is not JSON; return None or text instead")
    return value


def _key(key: Any, path: _Path) -> str:
    if not isinstance(key, str):
        raise NotJson(f"`{_told(path)}` has the key {key!r:.60} ({_named(key)}); keys must be text")
    return _text(key, path)


def _in_order(value: Set[Any]) -> list[Any]:
    try:
        return sorted(value)
    except TypeError:
        return sorted(value, key=repr)


def _told(path: _Path) -> str:
    keys = []
    while path[0] is not None:
        keys.append("[...]" if path[1] is ... else f"[{path[1]!r}]")
        path = path[0]
    return str(path[1]) + "".join(reversed(keys))


def _named(value: Any) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def _advice(value: Any) -> str:
    if isinstance(value, bytes | bytearray):
        return "; decode it or use base64"
    if hasattr(value, "__dataclass_fields__"):
        return "; return `dataclasses.asdict(...)`"
    if hasattr(value, "tolist"):
        return "; return its `.tolist()`"
    return ""
