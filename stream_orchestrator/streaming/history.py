"""Whether a version still has runs in flight, by its topics alone: no worker has to be asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stream_orchestrator.kernel import rows
from stream_orchestrator.kernel.events import Begin, Event, Undecodable, decode
from stream_orchestrator.kernel.rows import RunRow
from stream_orchestrator.plan import names
from stream_orchestrator.plan.model import START, Plan
from stream_orchestrator.streaming.acked import unacked
from stream_orchestrator.streaming.client import existing, reading
from stream_orchestrator.streaming.core.changelog import Replay
from stream_orchestrator.streaming.records import Record
from stream_orchestrator.streaming.settings import StreamSettings

NEWEST = 2**62  # an epoch above all: we read as one who comes after every owner


@dataclass(frozen=True, slots=True)
class Kept:
    """A row as a table has it: its partition, its key, its bytes."""

    partition: int
    key: bytes
    value: bytes


async def in_flight(settings: StreamSettings, prefix: str, plan: Plan) -> int:
    """Runs of a version that have begun and not ended, and those that wait in its start inbox."""
    waiting = {begin.run_id for _, begin in await beginning(settings, prefix, plan)}
    return len(waiting | {row.run_id for row in await running(settings, prefix, plan)})


async def running(settings: StreamSettings, prefix: str, plan: Plan) -> list[RunRow]:
    """The rows of runs that have not ended. A version without a table has none."""
    decoded = (rows.decode(kept.value) for kept in await table(settings, names.table_topic(prefix, plan)))
    return [row for row in decoded if isinstance(row, RunRow) and row.nest is None]


async def beginning(settings: StreamSettings, prefix: str, plan: Plan) -> list[tuple[int, Begin]]:
    """Runs in the start inbox that nobody has acked, with their partition."""
    return begins(await unacked(settings, names.app_id(prefix, plan), names.inbox(prefix, plan, START)))


async def table(settings: StreamSettings, topic: str) -> list[Kept]:
    """What a table holds now, read as its next owner would. One that is not there is empty."""
    if not await existing(settings, [topic]):
        return []
    replays: dict[int, Replay] = {}
    async with reading(settings, topic) as reader:
        async for batch in reader.batches():
            for record in batch:
                replay = replays.setdefault(record.partition, Replay())
                replay.read(record.offset, record.key, record.value, record.headers)
    return list(_inherited(replays))


def begins(records: Iterable[Record]) -> list[tuple[int, Begin]]:
    """The runs among the records of a start inbox; what else stands there (cancels, what is not ours) starts none."""
    return [(record.partition, event) for record in records if isinstance(event := event_of(record), Begin)]


def event_of(record: Record) -> Event | None:
    """The event of an inbox's record, or None: the worker will put it with the internal dead letters."""
    try:
        return decode(record.value)
    except Undecodable:
        return None


def _inherited(replays: dict[int, Replay]) -> Iterator[Kept]:
    for number, replay in replays.items():
        for key, value in replay.inheritance(NEWEST).rows.items():
            yield Kept(number, key, value)
