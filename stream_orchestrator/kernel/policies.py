"""What follows a fault, in one visible order: retry, fallback, fallback value, on_failure.

Each policy is a pure step over the row: it decides, and passes when it has nothing to say. `None` of them waits.
"""

from __future__ import annotations

from dataclasses import dataclass

from stream_orchestrator.kernel import ids
from stream_orchestrator.kernel.kinds import Fault
from stream_orchestrator.kernel.rows import StepRow
from stream_orchestrator.plan.model import TaskPlan, Variant

MAX_BACKOFF = 300.0  # seconds: a longer wait is a service that is down, and somebody should be told


@dataclass(frozen=True, slots=True)
class Park:
    """Try this variant again at an instant."""

    until: float


@dataclass(frozen=True, slots=True)
class Next:
    """Go on with the next fallback, at once."""


@dataclass(frozen=True, slots=True)
class Settle:
    """The task is over: with its `fallback_value`, or as `on_failure` says."""

    how: str  # "fallback_value" | "abort_pipeline" | "skip" | "continue"


Verdict = Park | Next | Settle


def retry(task: TaskPlan, row: StepRow, fault: Fault, *, now: float, deadline: float) -> Verdict | None:
    """Again after a fault that may pass: at most `retries` times, never past the variant's deadline or the run's.

    `Retry-After` is obeyed to the second; else the wait grows exponentially, with a jitter that no crash changes.
    """
    variant = task.variants[row.variant]
    if not fault.passing or row.attempt > variant.retries:
        return None
    due = now + (fault.retry_after if fault.retry_after is not None else backoff(variant, row))
    return None if due >= min(row.variant_started_at + variant.timeout, deadline) else Park(due)


def backoff(variant: Variant, row: StepRow) -> float:
    """Seconds before attempt `row.attempt + 1`: `delay * backoff^n`, of which the last half is jitter."""
    try:
        full = min(variant.retry_delay * variant.retry_backoff ** (row.attempt - 1), MAX_BACKOFF)
    except OverflowError:  # after a thousand doublings no float holds the factor
        full = MAX_BACKOFF if variant.retry_delay else 0.0
    return full * (0.5 + 0.5 * ids.unit("jitter", row.run_id, row.task, f"{row.variant}/{row.attempt}"))


def fallback(task: TaskPlan, row: StepRow) -> Verdict | None:
    """The next task of `fallback:`, in order, each with its own retries and time."""
    return Next() if row.variant + 1 < len(task.variants) else None


def fallback_value(task: TaskPlan) -> Verdict | None:
    """The value that stands in when nothing answered."""
    return Settle("fallback_value") if task.has_fallback_value else None


def after_fault(task: TaskPlan, row: StepRow, fault: Fault, *, now: float, deadline: float) -> Verdict:
    """What follows a fault of this row's attempt; `deadline` is the run's. `on_failure` has the last word."""
    return (
        retry(task, row, fault, now=now, deadline=deadline)
        or fallback(task, row)
        or fallback_value(task)
        or Settle(task.on_failure)
    )
