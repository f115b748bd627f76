"""The audit record: what happened in one slot, told once, with ids that a copy repeats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stream_orchestrator.kernel import ids
from stream_orchestrator.kernel.results import dumps, instant
from stream_orchestrator.kernel.rows import RunRow, Transition
from stream_orchestrator.plan.model import Plan

FORMAT = 1
MAX_DETAILS = 8 * 1024 * 1024  # of one record, in bytes


def record(plan: Plan, run: RunRow, at: str, *, now: float, transitions: Sequence[Transition]) -> bytes:
    """One slot's record. `at` is the position (or the timer) that the slot began with: part of the record's id."""
    inside = f"{run.nest.label}/" if run.nest else ""
    told = _bounded([_told(transition, now, inside) for transition in transitions])
    marks = [f"{each.task}/{each.kind}/{each.attempt}" for each in transitions]
    return dumps(
        {
            "format": FORMAT,
            "event_id": ids.event_id(run.run_id, [plan.slug, at, *marks]),
            "run_id": run.root,
            "pipeline": plan.slug,
            "version": plan.version,
            "trace_id": run.trace_id,
            "transitions": told,
        }
    )


def _bounded(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Scripts add entries of their own: beyond what a record takes, only the place of an entry is kept."""
    room = MAX_DETAILS
    for each in told if any(each["kind"] == "noted" for each in told) else ():
        size = len(dumps(each["details"]))
        room -= size
        if room < 0 and each["kind"] == "noted":
            each["details"] = {"omitted_bytes": size}
    return told


def _told(transition: Transition, now: float, inside: str) -> dict[str, Any]:
    return {
        "task": inside + transition.task.strip(":"),
        "attempt": transition.attempt,
        "kind": transition.kind,
        "at": instant(transition.at or now),
        "details": transition.details or {},
    }
