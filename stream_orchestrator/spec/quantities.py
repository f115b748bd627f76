"""Durations, sizes, rates, money, shares, thresholds, conditions: the one parser of everything with a unit.

Promises
  * `parse(str(quantity)) == quantity`, for every kind.
  * A closed table of units: what is not in it is a `BadQuantity` with what is. Nothing is guessed from a prefix.
  * Never negative, never infinite. Sizes are whole bytes: `MB` is decimal, `MiB` binary.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, TypeVar

from stream_orchestrator.spec.measures import (
    BYTES,
    COMPARISONS,
    PERIODS,
    SECONDS,
    Comparison,
    Condition,
    Cpu,
    Duration,
    Money,
    Number,
    Quantity,
    Rate,
    Share,
    Size,
    Threshold,
    TrafficStep,
)

__all__ = [
    "BadQuantity",
    "Comparison",
    "Condition",
    "Cpu",
    "Duration",
    "Money",
    "Number",
    "Quantity",
    "Rate",
    "Share",
    "Size",
    "Threshold",
    "TrafficStep",
    "condition",
    "cpu",
    "duration",
    "money",
    "quantity",
    "rate",
    "share",
    "size",
    "threshold",
    "traffic_step",
]

Numeric = int | float
T = TypeVar("T")

_NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d{1,30})(?:\.\d{1,30})?|\.\d{1,30}"
_MAX_TEXT = 500  # longer text is not a quantity
_MAX_CONDITION = 4000  # a hundred clauses

_MAX_PARENTHESES = 20
_CONDITION_WORDS = re.compile(r"([()]|\b(?<![.-])(?:and|or)\b(?![.-]))", re.IGNORECASE)
_CONDITION_HINT = (
    'write "metric > quantity", joined by `and`, `or` and parentheses: "error_rate > 5% and latency > 2 seconds"'
)

_TIME_UNITS = {
    **{name: name for name in SECONDS},
    **{f"{name}s": name for name in SECONDS},
    "w": "week",
    "d": "day",
    "h": "hour",
    "hr": "hour",
    "hrs": "hour",
    "m": "minute",
    "min": "minute",
    "mins": "minute",
    "s": "second",
    "sec": "second",
    "secs": "second",
    "ms": "millisecond",
    "us": "microsecond",
}
_LONGEST = 36_525 * 86_400  # a hundred years; beyond that a clock overflows
_SIZE_UNITS = {
    **{name.lower(): size for name, size in BYTES.items()},
    "byte": 1,
    "bytes": 1,
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
    "ti": 2**40,
}
_LARGEST_SIZE = 2**63 - 1
_PERIOD_UNITS = {**{name: name for name in PERIODS}, "s": "second", "sec": "second", "min": "minute", "h": "hour"}
_NOUNS = ("request", "call", "event", "record", "message", "token", "run", "user")
_NOUN_UNITS = {**{noun: noun for noun in _NOUNS}, **{f"{noun}s": noun for noun in _NOUNS}, "": ""}


class BadQuantity(ValueError):
    """Text that is not the quantity asked for. The message and `hint` are for the user."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def duration(value: str | Numeric) -> Duration:
    """`3600`, `"1 hour"`, `"90 days"`, `"500ms"`, `"1h30m"`; a bare number is seconds."""
    kind, hint = "a duration", 'write seconds (`30`) or "30 seconds", "5 minutes", "1h30m", "2 days"'
    if not isinstance(value, str):
        return _duration(_decimal(value, kind, hint), str(value))
    text = _text(value, kind, hint).lower()
    if re.fullmatch(_NUMBER, text):
        return _duration(_read(text), value)
    total, smallest = Decimal(0), Decimal("Infinity")
    for number, unit in _pieces(text, kind, hint):
        name = _unit(unit, _TIME_UNITS, f"`{value}` is not {kind}", _no_fixed_length(unit) or hint)
        if SECONDS[name] >= smallest:
            raise BadQuantity(f"`{value}` is not {kind}: units go from large to small, each once", hint=hint)
        smallest = SECONDS[name]
        total += number * smallest
    return _duration(total, value)


def size(value: str | int) -> Size:
    """`"10MB"` (decimal), `"1 GiB"` (binary); a bare number is bytes."""
    kind, hint = "a size", 'write bytes (`1000`) or "500kB", "10MB", "1GB"; binary: "512KiB", "64MiB", "1GiB"'
    if not isinstance(value, str):
        return _size(_decimal(value, kind, hint), str(value))
    text = _text(value, kind, hint)
    if re.fullmatch(_NUMBER, text):
        return _size(_read(text), value)
    number, unit = _one_piece(text, kind, hint)
    return _size(number * _unit(unit.lower(), _SIZE_UNITS, f"`{value}` is not {kind}", hint), value)


def share(value: str | Numeric) -> Share:
    """`0.05` or `"5%"`: a part of a whole, at most 1."""
    kind, hint = "a share", 'write a fraction (`0.05`) or a percentage ("5%"), at most 1 or "100%"'
    if isinstance(value, str) and value.strip().endswith("%"):
        found = _percent(value, kind, hint)
    else:
        found = float(_decimal(value, kind, hint) if not isinstance(value, str) else _bare(value, kind, hint))
    if found > 1:
        raise BadQuantity(f"`{value}` is more than the whole", hint=hint)
    return Share(found)


def rate(value: str) -> Rate:
    """`"1 request/second"`, `"100/minute"`, `"5 calls per hour"`."""
    kind, hint = "a rate", 'write "1 request/second", "100/minute" or "5 calls per hour"'
    text = _text(value, kind, hint).lower()
    found = re.fullmatch(rf"({_NUMBER})\s*([a-z]*)\s*(?:/|\bper\b)\s*([a-z]+)", text)
    if not found:
        raise BadQuantity(f"`{value}` is not {kind}", hint=hint)
    noun = _unit(found[2], _NOUN_UNITS, f"`{value}` is not {kind}", hint)
    return Rate(float(_read(found[1])), noun, _unit(found[3], _PERIOD_UNITS, f"`{value}` is not {kind}", hint))


def money(value: str | Numeric) -> Money:
    """`"$1000/month"`, `"$0.50"`, `"1000 USD per day"`; a bare number is dollars."""
    kind, hint = "an amount of money", 'write "$1000/month", "$5/day" or "$0.50"; only US dollars are known'
    if not isinstance(value, str):
        return Money(float(_decimal(value, kind, hint)))
    text = _text(value, kind, hint)
    found = re.fullmatch(rf"(\$?)\s*({_NUMBER})\s*(USD|usd)?\s*(?:(?:/|\bper\b)\s*([a-z]+))?", text)
    if not found or (found[1] and found[3]):
        raise BadQuantity(f"`{value}` is not {kind}", hint=hint)
    period = _unit(found[4], _PERIOD_UNITS, f"`{value}` is not {kind}", hint) if found[4] else None
    return Money(float(_read(found[2])), period)


def cpu(value: str | Numeric) -> Cpu:
    """`2`, `"1 core"`, `"500m"` (thousandths of a core)."""
    kind, hint = "an amount of CPU", 'write cores (`2`, `0.5`), "1 core" or "500m"'
    if not isinstance(value, str):
        return Cpu(float(_decimal(value, kind, hint)))
    text = _text(value, kind, hint).lower()
    if re.fullmatch(_NUMBER, text):
        return Cpu(float(_read(text)))
    number, unit = _one_piece(text, kind, hint)
    units = {"core": Decimal(1), "cores": Decimal(1), "cpu": Decimal(1), "cpus": Decimal(1), "m": Decimal("0.001")}
    return Cpu(float(number * _unit(unit, units, f"`{value}` is not {kind}", hint)))


def quantity(value: str | Numeric) -> Quantity:
    """Any of them, told apart by its unit; a bare number is a `Number`."""
    hint = 'write a number, or one with a unit: "5%", "30 seconds", "1GB", "$100", "1 request/second"'
    if not isinstance(value, str):
        return Number(float(_decimal(value, "a quantity", hint)))
    text = _text(value, "a quantity", hint)
    if re.fullmatch(_NUMBER, text):
        return Number(float(_read(text)))
    if text.endswith("%"):
        return Share(_percent(text, "a percentage", hint))
    if "$" in text or re.search(r"\busd\b", text, re.IGNORECASE):
        return money(text)
    if "/" in text or re.search(r"\bper\b", text):
        return rate(text)
    unit = re.sub(r"[\d.,\s]", "", text).lower()
    if unit in _SIZE_UNITS:
        return size(text)
    return cpu(text) if unit in ("core", "cores", "cpu", "cpus") else duration(text)


def threshold(value: str) -> Threshold:
    """`"< 30 seconds"`, `">= 0.7"`, `"< 5%"`."""
    hint = 'write a comparison and a quantity: "< 30 seconds", ">= 0.7", "< 5%", "== 3"'
    text = _text(value, "a threshold", hint)
    for op in COMPARISONS:
        if text.startswith(op):
            return Threshold("==" if op == "=" else op, quantity(text[len(op) :]))
    raise BadQuantity(f"`{value}` is not a threshold: no comparison in front", hint=hint)


def condition(value: str) -> Condition:
    """`"error_rate > 5% and (latency > 2 seconds or hourly_cost > $100)"`; `and` binds tighter than `or`."""
    text = _text(value, "a condition", _CONDITION_HINT, most=_MAX_CONDITION)
    words = [word for word in _CONDITION_WORDS.split(text) if word.strip()]
    found, rest = _any_of(words, value, depth=0)
    if rest:
        raise _no_condition(value, f"`{rest[0].strip()}` has nothing to join")
    return found


def traffic_step(value: str) -> TrafficStep:
    """`"10%_for_5_minutes"`, `"100%_if_healthy"`."""
    hint = 'write "10%_for_5_minutes" or "100%_if_healthy"'
    text = _text(value, "a traffic step", hint)
    found = re.fullmatch(rf"((?:{_NUMBER})%)[_ ](?:(if_healthy|if healthy)|for[_ ](.+))", text)
    if not found:
        raise BadQuantity(f"`{value}` is not a traffic step", hint=hint)
    return TrafficStep(share(found[1]), None if found[2] else duration(found[3].replace("_", " ")))


def _any_of(words: list[str], whole: str, *, depth: int) -> tuple[Condition, list[str]]:
    """A condition at the beginning of these words, and the words behind it."""
    groups: list[tuple[Comparison | Condition, ...]] = [()]
    while True:
        part, words = _operand(words, whole, depth=depth)
        groups[-1] += (part,)
        joint = words[0].strip().lower() if words else ""
        if joint not in ("and", "or"):
            return Condition.of(groups), words
        groups += [()] if joint == "or" else []
        words = words[1:]


def _operand(words: list[str], whole: str, *, depth: int) -> tuple[Comparison | Condition, list[str]]:
    if not words:
        raise _no_condition(whole, "something is missing at its end")
    first, rest = words[0].strip(), words[1:]
    if first != "(":
        return _comparison(first, whole), rest
    if depth >= _MAX_PARENTHESES:
        raise _no_condition(whole, f"more than {_MAX_PARENTHESES} parentheses inside each other")
    found, rest = _any_of(rest, whole, depth=depth + 1)
    if not rest or rest[0].strip() != ")":
        raise _no_condition(whole, "a `(` is not closed")
    return found, rest[1:]


def _comparison(clause: str, whole: str) -> Comparison:
    found = re.fullmatch(r"([A-Za-z_][\w.-]*)\s*([<>=!].*)", clause)
    if not found or found[1].lower() in ("and", "or"):
        raise _no_condition(whole, f"`{clause}` compares nothing")
    return Comparison(found[1], threshold(found[2]))


def _no_condition(whole: str, why: str) -> BadQuantity:
    return BadQuantity(f"`{whole}` is not a condition: {why}", hint=_CONDITION_HINT)


def _text(value: str, kind: str, hint: str, *, most: int = _MAX_TEXT) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if not text or len(text) > most or not text.isascii():
        raise BadQuantity(f"`{str(value)[:40]}` is not {kind}", hint=hint)
    return text


def _read(number: str) -> Decimal:
    return Decimal(number.replace(",", ""))


def _bare(value: str, kind: str, hint: str) -> Decimal:
    text = _text(value, kind, hint)
    if not re.fullmatch(_NUMBER, text):
        raise BadQuantity(f"`{value}` is not {kind}", hint=hint)
    return _read(text)


def _decimal(value: Any, kind: str, hint: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadQuantity(f"{_shown(value)} is not {kind}", hint=hint)
    exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    if not exact.is_finite() or exact < 0:
        raise BadQuantity(f"`{value}` is not {kind}: it must not be negative or infinite", hint=hint)
    return exact


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return "nothing" if value is None else "a list" if isinstance(value, list) else "a map"


def _percent(value: str, kind: str, hint: str) -> float:
    return float(_bare(value.strip()[:-1], kind, hint) / 100)


def _pieces(text: str, kind: str, hint: str) -> list[tuple[Decimal, str]]:
    piece = rf"({_NUMBER})\s*([a-z]+)"
    if not re.fullmatch(rf"{piece}(?:\s*(?:,|\band\b)?\s*{piece})*", text):
        raise BadQuantity(f"`{text}` is not {kind}", hint=hint)
    return [(_read(number), unit) for number, unit in re.findall(piece, text)]


def _one_piece(text: str, kind: str, hint: str) -> tuple[Decimal, str]:
    found = re.fullmatch(rf"({_NUMBER})\s*([A-Za-z]+)", text)
    if not found:
        raise BadQuantity(f"`{text}` is not {kind}", hint=hint)
    return _read(found[1]), found[2]


def _unit(unit: str, known: Mapping[str, T], message: str, hint: str) -> T:
    if unit in known:
        return known[unit]
    nearest = get_close_matches(unit, list(known), 1)
    guess = f"did you mean `{nearest[0]}`? " if nearest else ""
    raise BadQuantity(f"{message}: there is no unit `{unit}`", hint=guess + hint)


def _no_fixed_length(unit: str) -> str:
    return "a month or a year has no fixed length: write days" if unit in ("month", "months", "year", "years") else ""


def _duration(seconds: Decimal, text: str) -> Duration:
    if seconds > _LONGEST:
        raise BadQuantity(f"`{text}` is longer than a hundred years", hint="write a shorter duration")
    return Duration(float(seconds))


def _size(number: Decimal, text: str) -> Size:
    if number != number.to_integral_value() or number > _LARGEST_SIZE:
        raise BadQuantity(f"`{text}` is not a whole number of bytes below 8 EiB", hint='write "1500B" or "2kB"')
    return Size(int(number))
