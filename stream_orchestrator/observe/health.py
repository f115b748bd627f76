"""Is this worker alive, and is it ready? Decided here, shown by `observe.server`.

Alive: the event loop turns, and nothing of ours has crashed. A platform restarts what is not alive.
Ready: partitions are assigned and recovered, and what lags is being worked off. A platform waits for what is not ready.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Verdict = tuple[bool, dict[str, Any]]
Check = Callable[[], Verdict]
# Longer than a rebalance with its recovery, shorter than anybody would wait before looking.
STALLED_AFTER = 60.0


class Health:
    """Named checks; all must hold. A check that raises does not hold, and says why."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}

    def add(self, name: str, check: Check) -> None:
        """Add or replace a check."""
        self._checks[name] = check

    def __call__(self) -> Verdict:
        """Whether all checks hold, and what each says. Without any check nothing is known, so nothing is ready."""
        verdicts = {name: _asked(check) for name, check in self._checks.items()}
        ok = bool(verdicts) and all(held for held, _ in verdicts.values())
        return ok, {name: {"ok": held, **details} for name, (held, details) in verdicts.items()}


@dataclass(slots=True)
class Progress:
    """Ready while partitions are assigned and, if anything lags, something was acked within `stalled_after` seconds.

    "Assigned, lag, but no progress" is the state of a stuck consumer, which looks healthy to every other check.
    """

    stalled_after: float = STALLED_AFTER
    clock: Callable[[], float] = time.monotonic
    _assigned: int = 0
    _recovered: int = 0
    _lag: int = 0
    _acked: Mapping[Any, int] = field(default_factory=dict)
    _moved_at: float | None = None

    def saw(self, *, assigned: int, recovered: int, lag: int, acked: Mapping[Any, int]) -> None:
        """How things stand: partitions assigned and recovered, records not yet acked, and the acked offset of each."""
        if self._moved_at is None or lag == 0 or dict(acked) != self._acked or assigned != self._assigned:
            self._moved_at = self.clock()
        self._assigned, self._recovered, self._lag, self._acked = assigned, recovered, lag, dict(acked)

    def __call__(self) -> Verdict:
        """A check for `Health`."""
        still = self.clock() - self._moved_at if self._moved_at is not None else 0.0
        details = {"assigned": self._assigned, "recovered": self._recovered, "lag": self._lag}
        reason = self._reason(still)
        return (not reason, details | {"reason": reason}) if reason else (True, details)

    def _reason(self, still: float) -> str:
        if not self._assigned:
            return "no partition is assigned"
        if self._recovered < self._assigned:
            return f"{self._assigned - self._recovered} partitions are still being recovered"
        if self._lag and still >= self.stalled_after:
            return f"{self._lag} records wait and nothing was acked for {still:.0f} s"
        return ""


def _asked(check: Check) -> Verdict:
    try:
        return check()
    except Exception as error:  # border: a check that fails is a check that does not hold; the page says so
        return False, {"reason": f"{type(error).__name__}: {error}"}
