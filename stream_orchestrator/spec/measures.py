"""What quantities are: plain values that compare, measure and print. Their text is read by `spec.quantities`."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

Period = str

SECONDS = {
    "day": Decimal(86_400),
    "hour": Decimal(3_600),
    "minute": Decimal(60),
    "second": Decimal(1),
    "millisecond": Decimal("0.001"),
    "microsecond": Decimal("0.000001"),
    "week": Decimal(604_800),
}
BYTES = {
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
PERIODS = ("second", "minute", "hour", "day", "week", "month", "year")
_PERIOD_SECONDS = {**{name: float(size) for name, size in SECONDS.items()}, "month": 2_629_746.0, "year": 31_556_952.0}

COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {  # two characters first: readers try them in this order
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}


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
            if exact and exact % SECONDS[name] == 0:
                return _counted(exact / SECONDS[name], name)
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
        for name, size in BYTES.items():
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
        return COMPARISONS[self.op](measured, self.quantity.base)

    def __str__(self) -> str:
        return f"{self.op} {self.quantity}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A metric and its bound."""

    metric: str
    threshold: Threshold

    @property
    def metrics(self) -> tuple[str, ...]:
        """The one metric that it reads."""
        return (self.metric,)

    def holds(self, measured: Callable[[str], float]) -> bool:
        """True when what `measured` says of the metric keeps the bound."""
        return self.threshold.accepts(measured(self.metric))

    def __str__(self) -> str:
        return f"{self.metric} {self.threshold}"


@dataclass(frozen=True, slots=True)
class Condition:
    """Comparisons joined by `and` and `or`; `and` binds tighter: any group of which all hold.

    What stands in parentheses is a condition inside a group. `Condition.of` leaves out those that change nothing, so
    that what means the same by its parentheses alone is equal.
    """

    any_of: tuple[tuple[Comparison | Condition, ...], ...]

    @classmethod
    def of(cls, any_of: Iterable[tuple[Comparison | Condition, ...]]) -> Condition:
        """The condition without needless parentheses."""
        groups: list[tuple[Comparison | Condition, ...]] = []
        for group in any_of:
            flat = tuple(part for each in group for part in _alternatives(each))
            only = flat[0] if len(flat) == 1 else None
            groups += only.any_of if isinstance(only, Condition) else (flat,)
        return cls(tuple(groups))

    def holds(self, measured: Callable[[str], float]) -> bool:
        """True when it holds for what `measured` says of each metric."""
        return any(all(each.holds(measured) for each in group) for group in self.any_of)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics it reads, each once, in order."""
        return tuple(dict.fromkeys(name for group in self.any_of for each in group for name in each.metrics))

    def __str__(self) -> str:
        return " or ".join(
            " and ".join(f"({each})" if isinstance(each, Condition) else str(each) for each in group)
            for group in self.any_of
        )


def _alternatives(part: Comparison | Condition) -> tuple[Comparison | Condition, ...]:
    """A condition without `or` is its comparisons."""
    return part.any_of[0] if isinstance(part, Condition) and len(part.any_of) == 1 else (part,)


@dataclass(frozen=True, slots=True)
class TrafficStep:
    """One step of a traffic shift: a share for a while, or as soon as all is healthy."""

    share: Share
    hold: Duration | None = None

    def __str__(self) -> str:
        return f"{self.share}_for_{str(self.hold).replace(' ', '_')}" if self.hold else f"{self.share}_if_healthy"


def _plain(value: float) -> str:
    return _plain_decimal(Decimal(repr(value)))


def _plain_decimal(value: Decimal) -> str:
    text = format(value, "f")
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text


def _counted(number: Decimal, noun: str) -> str:
    return f"{_plain_decimal(number)} {noun}" + ("" if number == 1 else "s")
