"""What a plain YAML word means: the core schema of YAML 1.2, nothing more.

`on`, `yes` and `no` are strings, `12:30:45` and `2024-01-15` too; octal is `0o17`.
"""

from __future__ import annotations

import json
import math
import re

NULLS = frozenset({"", "~", "null", "Null", "NULL"})
BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NO_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_PREFIX = "tag:yaml.org,2002:"
_BASES = {"0o": 8, "0x": 16}

SMALLEST_INTEGER = -(2**63)
LARGEST_INTEGER = 2**64 - 1
_MAYBE_TOO_LARGE = re.compile(r"[0-9]{19}")  # 64 bits need 19 or 20 digits

_TAGS: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,), "null": (type(None),)}

Scalar = str | int | float | bool | None


class _TooLarge(Exception):
    """An integer has more than 64 bits."""


def holds_large_integer(raw: bytes | str) -> bool:
    """Whether JSON that can be read holds an integer of more than 64 bits: the fast reader changes it to a float."""
    text = raw if isinstance(raw, str) else raw.decode()
    if not _MAYBE_TOO_LARGE.search(text):
        return False
    try:
        json.loads(text, parse_int=_fitting, parse_float=len)
    except _TooLarge:
        return True
    except RecursionError:  # too deep for any record: who keeps it refuses it for that
        return False
    return False


def _fitting(text: str) -> int:
    if len(text) > 21 or not SMALLEST_INTEGER <= int(text) <= LARGEST_INTEGER:
        raise _TooLarge
    return 0


class BadScalar(ValueError):
    """A scalar that cannot be what it claims to be. `rule`, the message and `hint` are for the user."""

    def __init__(self, rule: str, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.rule = rule
        self.hint = hint


def plain(text: str) -> Scalar:
    """The value of an unquoted scalar. A number that JSON cannot hold is a `BadScalar`."""
    if text in NULLS:
        return None
    if text in BOOLEANS:
        return BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        return _integer(text)
    if _FLOAT.fullmatch(text) or _NO_NUMBER.fullmatch(text):
        return _float(text)
    return text


def tagged(tag: str, text: str) -> Scalar:
    """The value of a scalar with an explicit tag such as `!!str`. Only the core schema's tags are known."""
    kind = tag.removeprefix(_PREFIX)
    if tag in ("!", _PREFIX + "str"):
        return text
    value = plain(text)
    expected = _TAGS.get(kind)
    if expected is None or not tag.startswith(_PREFIX):
        raise BadScalar("yaml-tag", f"the tag `{tag}` is not allowed", hint="write plain data; tags run code elsewhere")
    if not isinstance(value, expected) or (kind != "bool" and isinstance(value, bool)):
        raise BadScalar("yaml-tag", f"`{text[:40]}` is no {kind}", hint=f"remove the tag `!!{kind}` or mend the value")
    return float(value) if kind == "float" and value is not None else value


def known_collection(tag: str | None, kind: str) -> bool:
    """True when a list or map carries no tag, or just says what it is."""
    return tag in (None, "!", f"{_PREFIX}{kind}")


def _integer(text: str) -> int:
    digits = text.lstrip("+-")
    base = _BASES.get(digits[:2], 10)
    too_long = len(digits) > 80  # int() of millions of digits takes minutes; 64 bits need 20
    value = 0 if too_long else int(digits[2:] if base != 10 else digits, base)
    value = -value if text.startswith("-") else value
    if too_long or not SMALLEST_INTEGER <= value <= LARGEST_INTEGER:
        raise BadScalar(
            "number-too-large", "this integer has more than 64 bits", hint="put it in quotes to have it as text"
        )
    return value


def _float(text: str) -> float:
    if _NO_NUMBER.fullmatch(text):
        raise BadScalar(
            "number-not-finite", f"`{text}` is not a number that JSON knows", hint="use null, or put it in quotes"
        )
    value = float(text)
    if math.isinf(value):
        raise BadScalar(
            "number-too-large", f"`{text[:40]}` is too large for a number", hint="put it in quotes to have it as text"
        )
    return value
