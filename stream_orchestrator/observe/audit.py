"""Reading what happened to one run from `orchestrator.audit`.

Promise: every transition is told once, though its record may have been written twice, or what a crash had cut short was
done again and told with more or less around it; ordered by time, and within one instant as they were written.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable
from typing import Any, Protocol

import orjson

log = logging.getLogger(__name__)


class AuditRecord(Protocol):
    """What a record of the topic must have."""

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...


async def read_run(run_id: str, records: AsyncIterable[AuditRecord]) -> dict[str, Any]:
    """The story of a run: `{run_id, events: [{event_id, at, task, attempt, kind, details, trace_id}]}`."""
    slots: dict[str, dict[str, Any]] = {}
    async for record in records:
        if record.key != run_id.encode():
            continue
        slot = _slot(record.value)
        if slot is None or slot.get("run_id") != run_id:
            log.warning("a record of the audit for run %s cannot be read and is left out", run_id)
        else:
            slots.setdefault(slot["event_id"], slot)
    events: list[dict[str, Any]] = []
    told: set[bytes] = set()
    for slot in slots.values():
        found = _events(slot)
        marks = [_mark(slot, event) for event in found]
        events += [event for event, mark in zip(found, marks, strict=True) if mark not in told]
        told.update(marks)
    return {"run_id": run_id, "events": sorted(events, key=lambda event: str(event["at"]))}


def _mark(slot: dict[str, Any], event: dict[str, Any]) -> bytes:
    """What happened, whenever and in whichever record it is told. One event may be a run of several pipelines."""
    return orjson.dumps(
        [slot.get("pipeline"), event["task"], event["attempt"], event["kind"], event["details"]],
        option=orjson.OPT_SORT_KEYS,
    )


def _slot(value: bytes | None) -> dict[str, Any] | None:
    """One record, or None when it is not one of ours."""
    try:
        slot = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return None
    if not isinstance(slot, dict) or not isinstance(slot.get("event_id"), str):
        return None
    transitions = slot.get("transitions")
    fine = isinstance(transitions, list) and all(isinstance(transition, dict) for transition in transitions)
    return slot if fine else None


def _events(slot: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "event_id": f"{slot['event_id']}.{number}",
            "at": transition.get("at", ""),
            "task": transition.get("task", ""),
            "attempt": transition.get("attempt", 0),
            "kind": transition.get("kind", ""),
            "details": transition.get("details") or {},
            "trace_id": slot.get("trace_id", ""),
        }
        for number, transition in enumerate(slot["transitions"])
    ]
