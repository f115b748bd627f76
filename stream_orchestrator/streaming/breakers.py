"""The circuit breakers of a pipeline, seen and moved from outside: by the state table and its events alone."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from stream_orchestrator.kernel import state
from stream_orchestrator.kernel.breaker import BreakerRow, Limits, Signal
from stream_orchestrator.kernel.state import ValueRow
from stream_orchestrator.plan import names
from stream_orchestrator.plan.model import Plan, every
from stream_orchestrator.streaming.client import Outgoing, partitions_of, produce
from stream_orchestrator.streaming.history import table
from stream_orchestrator.streaming.settings import StreamSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """One breaker as it is now."""

    name: str
    row: BreakerRow

    def as_json(self, now: float) -> dict[str, Any]:
        """The public form."""
        row = self.row
        return {
            "name": self.name,
            "state": row.state(now),
            "failures": row.failures,
            "by_hand": row.held,
            "open_seconds": round(now - row.opened_at, 3) if row.opened_at else None,
            "probes": len(row.under_way(now)),
            "failure_threshold": row.limits.threshold,
            "recovery_timeout": row.limits.recovery,
            "half_open_max_calls": row.limits.probes,
        }


async def breakers(settings: StreamSettings, prefix: str, pipeline: str, plans: Iterable[Plan]) -> list[Breaker]:
    """Every breaker that these versions have, or that has something to remember, by name."""
    known = {name: BreakerRow(pipeline=pipeline, name=name, limits=limits) for name, limits in _declared(plans)}
    for kept in await table(settings, names.state_table(prefix)):
        row = state.decode(kept.value) if kept.key[:1] == b"b" else None
        if isinstance(row, BreakerRow) and row.pipeline == pipeline:
            known[row.name] = row
    return [Breaker(name=name, row=row) for name, row in sorted(known.items())]


async def move(
    settings: StreamSettings, prefix: str, chosen: Iterable[Breaker], what: Literal["open", "close"]
) -> None:
    """Ask their owner to open or close them; returns when the broker has the request."""
    topic = names.state_topic(prefix)
    shards = (await partitions_of(settings, [topic]))[topic]
    orders = []
    for each in chosen:
        row = each.row
        order = Signal(id=uuid.uuid4().hex, pipeline=row.pipeline, name=row.name, what=what, limits=row.limits)
        partition, key = state.where(order, shards)
        orders.append(Outgoing(state.encode_event(order), key=key, partition=partition))
    await produce(settings, topic, orders)


async def progress(settings: StreamSettings, prefix: str, pipeline: str) -> dict[str, dict[str, Any]]:
    """How far the scripts of runs say they are, by `<run id>/<task>`."""
    found = {}
    for kept in await table(settings, names.state_table(prefix)):
        row = state.decode(kept.value) if kept.key[:1] == b"v" else None
        if isinstance(row, ValueRow) and (row.kind, row.namespace) == ("progress", pipeline):
            found[row.key] = orjson.loads(bytes(row.value))
    return found


def _declared(plans: Iterable[Plan]) -> Iterable[tuple[str, Limits]]:
    for plan in plans:
        for task in every(plan.tasks):
            for variant in task.variants:
                for name, limits in (variant.options.get("breakers") or {}).items():
                    yield name, Limits(**limits)
