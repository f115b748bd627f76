"""A slot: what one record, or one timer, has set in motion, until all of it is acknowledged.

A token that has only one way to go need not travel: the next task takes it within the slot (docs/decisions/0006). What
a slot has done so far is then durable nowhere, so a crash does all of it again, and nothing of it may be seen outside
before it is durable: the rows that hold it go first.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from stream_orchestrator.kernel.decision import Decision
from stream_orchestrator.kernel.rows import Transition
from stream_orchestrator.plan.model import TaskPlan

REPEATABLE_SECONDS = 1.0  # of scripts: about what a crash may repeat because tokens did not travel
DUE = "due/"
QUIET_SECONDS = 1.0  # a script that takes longer lets the slot tell what has happened so far


@dataclass(frozen=True, slots=True)
class Passed:
    """A step that ended within the slot, and whose token was taken there."""

    task: TaskPlan
    key: bytes
    decision: Decision


@dataclass(slots=True, kw_only=True)
class Slot:
    """Where a slot stands. `at`: the position (or the timer) it began with; every row of it is found again under it.

    `opening`: the run's row is not durable yet. `seconds`: what its scripts have taken. `early`: what was told before
    the slot ended, and has to be acknowledged before it does; `orders` of it before any row is written.
    """

    at: str
    opening: bool = False
    told: list[Transition] = field(default_factory=list)
    passed: list[Passed] = field(default_factory=list)
    seconds: float = 0.0
    early: list[Future[Any]] = field(default_factory=list)
    orders: list[Future[Any]] = field(default_factory=list)

    @property
    def timed(self) -> bool:
        """Whether a timer began it."""
        return self.at.startswith(DUE)

    def take_told(self) -> list[Transition]:
        """What has not been told yet; it is told with this."""
        told, self.told = self.told, []
        return told

    def tell(self, task: str, transitions: Iterable[Transition], *, now: float) -> None:
        """What has happened; its audit record is written when the slot ends."""
        self.told.extend(replace(each, task=task, at=each.at or now) for each in transitions)

    def may_pass(self, decision: Decision) -> bool:
        """Whether the next task may take the one token here: nothing has to be durable before anybody sees it."""
        return bool(decision.tokens) and not decision.first and self.seconds < REPEATABLE_SECONDS
