"""A circuit breaker: a row, and what each signal makes of it. Pure; one owner folds the signals in the log's order.

    closed ──`threshold` failures in a row──> open ──`recovery` seconds──> half-open: at most `probes` at a time
       ^                                       ^ └──────────────────────────────┘  │           │
       └────────────── a probe succeeds ───────┼───────────────────────────────────┘           │
                                               └───────────── a probe fails ───────────────────┘

Promises
  * While it is open nobody is let through; half-open, at most `probes` are under way at once, over all workers.
  * A probe that never says how it ended makes room for another at its deadline.
  * What was begun before it opened closes nothing and opens nothing, whenever it ends.
  * By hand: `open` holds until `close`.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from stream_orchestrator.kernel.effects import NOTHING

State = Literal["closed", "open", "half_open"]
What = Literal["success", "failure", "probe", "open", "close"]
THRESHOLD, RECOVERY, PROBES = 5, 60.0, 1
PROBE_SECONDS = 300.0  # how long a probe may take when nobody says


class Limits(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a breaker is set: by the task, or the defaults."""

    threshold: int = THRESHOLD
    recovery: float = RECOVERY
    probes: int = PROBES


class Signal(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What somebody says to a breaker. `probe`: the probe it comes from, or asks for; `until`: that probe's deadline.

    `manual`: a script records by itself; it is believed half-open without a probe.
    """

    id: str
    pipeline: str
    name: str
    what: What
    probe: str = ""
    until: float = NOTHING
    manual: bool = False
    limits: Limits | None = None


class BreakerRow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A breaker. `opened_at` 0: closed. `held`: opened by hand. `granted`: probes and until when.
    `last`: the signal that made it so; a crash may bring that one again."""

    pipeline: str
    name: str
    failures: int = 0
    opened_at: float = NOTHING
    held: bool = False
    granted: dict[str, float] = {}
    limits: Limits = Limits()
    last: str = ""

    def state(self, now: float) -> State:
        """What it is now."""
        if not self.opened_at:
            return "closed"
        return "half_open" if not self.held and now >= self.opened_at + self.limits.recovery else "open"

    def under_way(self, now: float) -> dict[str, float]:
        """The probes that may still say how they ended."""
        return {probe: until for probe, until in self.granted.items() if until > now}

    @property
    def healthy(self) -> bool:
        """Whether there is nothing to remember."""
        return not self.opened_at and not self.failures

    def lets(self, probe: str, now: float) -> bool:
        """Whether this probe was granted, and has time."""
        return self.state(now) == "half_open" and self.granted.get(probe, 0.0) > now


def take(row: BreakerRow, signal: Signal, *, now: float) -> BreakerRow:
    """The breaker after a signal."""
    row = row if signal.limits is None else replace(row, limits=signal.limits)
    match signal.what:
        case "open":
            return replace(row, opened_at=now, held=True, granted={})
        case "close":
            return _closed(row)
        case "probe":
            return _asked(row, signal, now)
        case "success":
            return _succeeded(row, signal, now)
        case "failure":
            return _failed(row, signal, now)


def _closed(row: BreakerRow) -> BreakerRow:
    return replace(row, failures=0, opened_at=0.0, held=False, granted={})


def _opened(row: BreakerRow, now: float) -> BreakerRow:
    return replace(row, failures=0, opened_at=now, granted={})


def _asked(row: BreakerRow, signal: Signal, now: float) -> BreakerRow:
    under_way = row.under_way(now)
    if signal.probe in under_way:
        return row
    row = replace(row, granted=under_way)
    if row.state(now) != "half_open" or len(under_way) >= row.limits.probes:
        return row
    return replace(row, granted={**under_way, signal.probe: signal.until or now + PROBE_SECONDS})


def _succeeded(row: BreakerRow, signal: Signal, now: float) -> BreakerRow:
    if row.state(now) == "closed":
        return replace(row, failures=0)
    return _closed(row) if _counts(row, signal, now) else row


def _failed(row: BreakerRow, signal: Signal, now: float) -> BreakerRow:
    if row.state(now) == "closed":
        failures = row.failures + 1
        return _opened(row, now) if failures >= row.limits.threshold else replace(row, failures=failures)
    return _opened(row, now) if _counts(row, signal, now) else row


def _counts(row: BreakerRow, signal: Signal, now: float) -> bool:
    """Whether an outcome is that of a probe; any other was begun before the breaker opened."""
    return row.lets(signal.probe, now) or (signal.manual and row.state(now) == "half_open")
