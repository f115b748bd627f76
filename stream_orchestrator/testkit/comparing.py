"""What was expected beside what came: a subset, with comparisons.

Promises
  * A map is expected in part (keys that are not named may be anything), a list whole, everything else as it is.
  * Text that is a comparison (`">= 0.7"`, `"< 30 seconds"`, `"!= error"`) is one; `"=="` in front of text is equality.
  * Nothing is coerced: `true` is not 1, `"1"` is not 1. Numbers are equal up to the last bits of a float.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from stream_orchestrator.spec.measures import COMPARISONS, Duration, Money, Number, Quantity, Share, Size
from stream_orchestrator.spec.quantities import BadQuantity, threshold

_SIGNED = re.compile(r"(<=|>=|==|!=|=|<|>)\s*(-?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)")
_TEXT = re.compile(r"(==|!=)\s*(\S.*)", re.DOTALL)
_SHOWN = 200


def differences(expected: Any, found: Any, where: str = "output") -> list[str]:
    """Everything that is not as expected, each with its place; empty when nothing is."""
    return list(_differences(expected, found, where))


def bound(limit: Any, measured: float, what: str, unit: type[Quantity] = Number) -> list[str]:
    """Whether a measured number keeps a bound of the document (`Threshold`); the unit is for the message."""
    if limit is None or limit.accepts(measured):
        return []
    return [f"{what}: expected {limit}, got {shown(measured, unit)}"]


def shown(measured: float, unit: type[Quantity] = Number) -> str:
    """A measured number as people read it."""
    if unit is Duration:
        return f"{measured:.3g} seconds"
    if unit is Share:
        return f"{measured * 100:.3g}%"
    if unit is Size:
        return f"{measured / 1e6:.4g}MB"
    return f"${measured:.6g}" if unit is Money else f"{measured:g}"


def comparison(expected: str) -> tuple[str, Any] | None:
    """The sign and the value of text that is a comparison, else None."""
    text = expected.strip()
    if found := _SIGNED.fullmatch(text):
        return found[1], float(found[2])
    try:
        limit = threshold(text)
    except BadQuantity:
        found = _TEXT.fullmatch(text)
        return (found[1], found[2]) if found else None
    return limit.op, limit.quantity.base


def _differences(expected: Any, found: Any, where: str) -> Iterator[str]:
    if isinstance(expected, Mapping):
        yield from _in_map(expected, found, where)
    elif isinstance(expected, list):
        yield from _in_list(expected, found, where)
    elif not _equal(expected, found):
        compared = comparison(expected) if isinstance(expected, str) else None
        if compared is None or not _holds(*compared, found):
            yield f"{where}: expected {_said(expected, compared)}, got {_shown(found)}"


def _in_map(expected: Mapping[Any, Any], found: Any, where: str) -> Iterator[str]:
    if not isinstance(found, Mapping):
        yield f"{where}: expected a map, got {_shown(found)}"
        return
    for key, value in expected.items():
        if key in found:
            yield from _differences(value, found[key], f"{where}.{key}")
        else:
            there = ", ".join(map(str, found)) or "nothing"
            yield f"{where}.{key}: is not there (there is: {there[:_SHOWN]})"


def _in_list(expected: list[Any], found: Any, where: str) -> Iterator[str]:
    if not isinstance(found, list):
        yield f"{where}: expected a list, got {_shown(found)}"
    elif len(found) != len(expected):
        yield f"{where}: expected {len(expected)} items, got {len(found)}: {_shown(found)}"
    else:
        for index, (want, have) in enumerate(zip(expected, found, strict=True)):
            yield from _differences(want, have, f"{where}[{index}]")


def _holds(op: str, value: Any, found: Any) -> bool:
    if isinstance(value, str):
        return isinstance(found, str) and COMPARISONS[op](found, value)
    number = isinstance(found, int | float) and not isinstance(found, bool)
    return number and COMPARISONS[op](found, value)


def _equal(expected: Any, found: Any) -> bool:
    if isinstance(expected, bool) or isinstance(found, bool):
        return expected is found
    if isinstance(expected, int | float) and isinstance(found, int | float):
        return expected == found or math.isclose(expected, found, rel_tol=1e-9)
    return type(expected) is type(found) and bool(expected == found)


def _said(expected: Any, compared: tuple[str, Any] | None) -> str:
    return str(expected).strip() if compared else _shown(expected)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"
