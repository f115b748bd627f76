"""Durations, sizes, rates, money, shares, thresholds, conditions: the one parser of everything with a unit.

Promises
  * `parse(str(quantity)) == quantity`, for every kind.
  * A closed table of units: what is not in it is a `BadQuantity` with what is. Nothing is guessed from a prefix.
  * Never negative, never infinite. Sizes are whole bytes: `MB` is decimal, `MiB` binary.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, TypeVar

Numeric = int | float
Period = str
T = TypeVar("T")

_NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d{1,30})(?:\.\d{1,30})?|\.\d{1,30}"
_MAX_TEXT = 500  # a condition of twenty clauses; longer text is not a quantity

_SECONDS = {
    "day": Decimal(86_400),
    "hour": Decimal(3_600),
    "minute": Decimal(60),
    "second": Decimal(1),
    "millisecond": Decimal("0.001"),
    "microsecond": Decimal("0.000001"),
    "week": Decimal(604_800),
}
_TIME_UNITS = {
    **{name: name for name in _SECONDS},
    **{f"{name}s": name for name in _SECONDS},
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
_BYTES = {
    "TB": 10**12,
    "GB": 10**9,
    "MB": 10**6,
    "kB": 10**3,
    "TiB": 2**40,
    "GiB": 2**30,
    "MiB": 2**20,
    "KiB": 2**10,
    "B": 1,
}
_SIZE_UNITS = {
    **{name.lower(): size for name, size in _BYTES.items()},
    "byte": 1,
    "bytes": 1,
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
    "ti": 2**40,
}
_LARGEST_SIZE = 2**63 - 1
_PERIODS = ("second", "minute", "hour", "day", "week", "month", "year")
_PERIOD_UNITS = {**{name: name for name in _PERIODS}, "s": "second", "sec": "second", "min": "minute", "h": "hour"}
_PERIOD_SECONDS = {**{name: float(size) for name, size in _SECONDS.items()}, "month": 2_629_746.0, "year": 31_556_952.0}
_NOUNS = ("request", "call", "event", "record", "message", "token", "run", "user")
_NOUN_UNITS = {**{noun: noun for noun in _NOUNS}, **{f"{noun}s": noun for noun in _NOUNS}, "": ""}

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}


class BadQuantity(ValueError):
    """Text that is not the quantity asked for. The message and `hint` are for the user."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Number:
    """A number without a unit."""

    value: float

    @property
    def base(self) -> float:
        """What a measured value is compared with."""
        return self.value

    def __str__(self) -> str:
        return _plain(self.value)


@dataclass(frozen=True, slots=True)
class Duration:
    """A length of time in seconds."""

    seconds: float

    @property
    def base(self) -> float:
        """Seconds."""
        return self.seconds

    def __str__(self) -> str:
        exact = Decimal(repr(self.seconds))
        for name in ("day", "hour", "minute", "second", "millisecond"):
            if exact and exact % _SECONDS[name] == 0:
                return _counted(exact / _SECONDS[name], name)
        return _counted(exact, "second")


@dataclass(frozen=True, slots=True)
class Size:
    """A number of bytes."""

    bytes: int

    @property
    def base(self) -> float:
        """Bytes."""
        return self.bytes

    def __str__(self) -> str:
        for name, size in _BYTES.items():
            if self.bytes and self.bytes % size == 0:
                return f"{self.bytes // size}{name}"
        return f"{self.bytes}B"


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a whole, 0.05 being 5%. May exceed 1 (a CPU's use)."""

    value: float

    @property
    def base(self) -> float:
        """The fraction."""
        return self.value

    def __str__(self) -> str:
        return f"{_plain_decimal(Decimal(repr(self.value)) * 100)}%"


@dataclass(frozen=True, slots=True)
class Rate:
    """So many of something in a period."""

    amount: float
    noun: str
    period: Period

    @property
    def base(self) -> float:
        """How many in a second."""
        return self.amount / _PERIOD_SECONDS[self.period]

    def __str__(self) -> str:
        noun = f" {self.noun}" + ("" if self.amount == 1 else "s") if self.noun else ""
        return f"{_plain(self.amount)}{noun}/{self.period}"


@dataclass(frozen=True, slots=True)
class Money:
    """US dollars, in a period or outright."""

    usd: float
    period: Period | None = None

    @property
    def base(self) -> float:
        """Dollars."""
        return self.usd

    def __str__(self) -> str:
        return f"${_plain(self.usd)}" + (f"/{self.period}" if self.period else "")


@dataclass(frozen=True, slots=True)
class Cpu:
    """A number of processor cores."""

    cores: float

    @property
    def base(self) -> float:
        """Cores."""
        return self.cores

    def __str__(self) -> str:
        return _counted(Decimal(repr(self.cores)), "core")


Quantity = Number | Duration | Size | Share | Rate | Money | Cpu


@dataclass(frozen=True, slots=True)
class Threshold:
    """A bound that a measured value keeps or not: `< 30 seconds`."""

    op: str
    quantity: Quantity

    def accepts(self, measured: float) -> bool:
        """True when the measured value (in seconds, bytes, dollars, a fraction ...) keeps the bound."""
        return _COMPARE[self.op](measured, self.quantity.base)

    def __str__(self) -> str:
        return f"{self.op} {self.quantity}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A metric and its bound."""

    metric: str
    threshold: Threshold

    def __str__(self) -> str:
        return f"{self.metric} {self.threshold}"


@dataclass(frozen=True, slots=True)
class Condition:
    """Comparisons joined by `and` and `or`; `and` binds tighter: any group of which all hold."""

    any_of: tuple[tuple[Comparison, ...], ...]

    def holds(self, measured: Callable[[str], float]) -> bool:
        """True when it holds for what `measured` says of each metric."""
        return any(all(each.threshold.accepts(measured(each.metric)) for each in group) for group in self.any_of)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics it reads, each once, in order."""
        return tuple(dict.fromkeys(each.metric for group in self.any_of for each in group))

    def __str__(self) -> str:
        return " or ".join(" and ".join(str(each) for each in group) for group in self.any_of)


@dataclass(frozen=True, slots=True)
class TrafficStep:
    """One step of a traffic shift: a share for a while, or as soon as all is healthy."""

    share: Share
    hold: Duration | None = None

    def __str__(self) -> str:
        return f"{self.share}_for_{str(self.hold).replace(' ', '_')}" if self.hold else f"{self.share}_if_healthy"


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
        if _SECONDS[name] >= smallest:
            raise BadQuantity(f"`{value}` is not {kind}: units go from large to small, each once", hint=hint)
        smallest = _SECONDS[name]
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
    for op in _COMPARE:  # two-character operators first
        if text.startswith(op):
            return Threshold("==" if op == "=" else op, quantity(text[len(op) :]))
    raise BadQuantity(f"`{value}` is not a threshold: no comparison in front", hint=hint)


def condition(value: str) -> Condition:
    """`"error_rate > 5% and latency > 2 seconds or hourly_cost > $100"`."""
    hint = 'write "metric > quantity", joined by `and` and `or`: "error_rate > 5% and latency > 2 seconds"'
    text = _text(value, "a condition", hint)
    groups = re.split(r"\s+or\s+", text, flags=re.IGNORECASE)
    clauses = [re.split(r"\s+and\s+", group, flags=re.IGNORECASE) for group in groups]
    return Condition(tuple(tuple(_comparison(clause, value, hint) for clause in group) for group in clauses))


def traffic_step(value: str) -> TrafficStep:
    """`"10%_for_5_minutes"`, `"100%_if_healthy"`."""
    hint = 'write "10%_for_5_minutes" or "100%_if_healthy"'
    text = _text(value, "a traffic step", hint)
    found = re.fullmatch(rf"((?:{_NUMBER})%)[_ ](?:(if_healthy|if healthy)|for[_ ](.+))", text)
    if not found:
        raise BadQuantity(f"`{value}` is not a traffic step", hint=hint)
    return TrafficStep(share(found[1]), None if found[2] else duration(found[3].replace("_", " ")))


def _comparison(clause: str, whole: str, hint: str) -> Comparison:
    found = re.fullmatch(r"\s*([A-Za-z_][\w.-]*)\s*([<>=!].*)", clause)
    if not found or found[1].lower() in ("and", "or"):
        raise BadQuantity(f"`{whole}` is not a condition: `{clause.strip()}` compares nothing", hint=hint)
    return Comparison(found[1], threshold(found[2]))


def _text(value: str, kind: str, hint: str) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if not text or len(text) > _MAX_TEXT or not text.isascii():
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


def _plain(value: float) -> str:
    return _plain_decimal(Decimal(repr(value)))


def _plain_decimal(value: Decimal) -> str:
    text = format(value, "f")
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text


def _counted(number: Decimal, noun: str) -> str:
    return f"{_plain_decimal(number)} {noun}" + ("" if number == 1 else "s")
