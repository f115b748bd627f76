"""What a circuit breaker means for an attempt: it begins, it asks to be a probe, or it does not begin. Pure.

Promises
  * An attempt that an open breaker holds back is not begun and does not count as one.
  * Half-open, an attempt begins only after the breaker's owner has granted it.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

from msgspec import Struct

from stream_orchestrator.kernel import ids, state
from stream_orchestrator.kernel.breaker import BreakerRow, Limits, Signal, What
from stream_orchestrator.kernel.kinds import Fault
from stream_orchestrator.kernel.policies import Park, Settle, Verdict, fallback, fallback_value
from stream_orchestrator.kernel.rows import StepRow
from stream_orchestrator.plan.model import TaskPlan, Variant

ASK_SECONDS = 1.0  # how long an answer takes: the owner's turn, and the copy that is at most 1 s old
LOOK_SECONDS = 2.0  # how soon one that waits looks again, when it cannot know the time
SPREAD = 2.0  # seconds over which those that waited come back


class Breakers(Protocol):
    """What is known of breakers."""

    def breaker(self, pipeline: str, name: str) -> BreakerRow | None:
        """A breaker, or None when it is closed and healthy."""

    def noted(self, pipeline: str, name: str, *, failure: bool) -> bool:
        """Whether an outcome is worth telling."""


class Gate(Struct, frozen=True):
    """The breaker of one variant."""

    name: str
    limits: Limits


class Shut(Struct, frozen=True):
    """The attempt may not begin before an instant."""

    until: float


Passage = Shut | Literal["free", "ask"]


def gate_of(variant: Variant) -> Gate | None:
    """The breaker that watches a variant by itself; None when it has none, or its script records."""
    found: dict[str, Any] | None = variant.options.get("breaker")
    return None if found is None else Gate(str(found["name"]), Limits(**found["limits"]))


def passage(row: BreakerRow | None, probe: str, now: float) -> Passage:
    """Whether an attempt may begin, `probe` being what it has asked as."""
    if row is None or row.state(now) == "closed" or (probe and row.lets(probe, now)):
        return "free"
    if row.state(now) == "open":
        return Shut(now + LOOK_SECONDS if row.held else row.opened_at + row.limits.recovery)
    under_way = row.under_way(now)
    if probe or len(under_way) >= row.limits.probes:
        return Shut(min(now + LOOK_SECONDS, *under_way.values()) if under_way else now + LOOK_SECONDS)
    return "ask"


def after_open(task: TaskPlan, row: StepRow, until: float, *, deadline: float) -> Verdict:
    """What an open breaker means: whoever can answer instead does; else the attempt waits, if it has the time."""
    variant = task.variants[row.variant]
    instead = fallback(task, row) or fallback_value(task)
    if instead is None and task.on_failure != "abort_pipeline":
        instead = Settle(task.on_failure)
    if instead is not None:
        return instead
    due = until + SPREAD * ids.unit("breaker", row.run_id, row.task, f"{until:.3f}")
    in_time = due < min(row.variant_started_at + variant.timeout, deadline)
    return Park(due) if in_time else Settle("abort_pipeline")


def signal(gate: Gate, pipeline: str, row: StepRow, what: What, *, number: str, until: float = 0.0) -> Signal:
    """What a step tells its breaker."""
    identity = state.write_id(pipeline, row.run_id, row.task, attempt=row.attempts, number=number)
    return Signal(
        id=identity, pipeline=pipeline, name=gate.name, what=what, probe=row.probe, until=until, limits=gate.limits
    )


def open_fault(gate: Gate, row: BreakerRow, now: float) -> Fault:
    """Why an attempt did not begin."""
    since = max(0.0, now - row.opened_at)
    message = f"the breaker {gate.name!r} is {row.state(now).replace('_', '-')}, for {since:.0f} s now"
    return Fault(type="CircuitOpen", message=message, passing=True)


def probe_of(pipeline: str, row: StepRow, now: float) -> str:
    """The name of the probe that an attempt asks to be."""
    return state.write_id(pipeline, row.run_id, row.task, attempt=row.attempts, number=f"{row.variant} {now:.3f}")


def outcome_of(fault: Fault) -> Literal["success", "failure"]:
    """What a fault says of the service: one that answered in a form nobody asked for did answer."""
    return "success" if fault.type == "InvalidOutput" else "failure"
