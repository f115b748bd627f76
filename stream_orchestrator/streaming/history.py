"""Whether a version still has runs in flight, by its topics alone: no worker has to be asked."""

from __future__ import annotations

from aiokafka import TopicPartition

from stream_orchestrator.errors import MissingError
from stream_orchestrator.kernel import rows
from stream_orchestrator.kernel.rows import RunRow
from stream_orchestrator.plan import names
from stream_orchestrator.plan.model import START, Plan
from stream_orchestrator.streaming.client import administering, read_all
from stream_orchestrator.streaming.core.changelog import Replay
from stream_orchestrator.streaming.settings import StreamSettings

NEWEST = 2**62  # an epoch above all: we read as one who comes after every owner


async def in_flight(settings: StreamSettings, prefix: str, plan: Plan) -> int:
    """Runs of a version that have begun and not ended, and those that wait in its start inbox."""
    return len(await running(settings, prefix, plan)) + await waiting(settings, prefix, plan)


async def running(settings: StreamSettings, prefix: str, plan: Plan) -> list[RunRow]:
    """The rows of runs that have not ended. A version without a table has none."""
    try:
        records = await read_all(settings, names.table_topic(prefix, plan))
    except MissingError:
        return []
    replays: dict[int, Replay] = {}
    for record in records:
        replay = replays.setdefault(record.partition, Replay())
        replay.read(record.offset, record.key, record.value, record.headers)
    values = (value for replay in replays.values() for value in replay.inheritance(NEWEST).rows.values())
    return [row for value in values if isinstance(row := rows.decode(value), RunRow)]


async def waiting(settings: StreamSettings, prefix: str, plan: Plan) -> int:
    """Records of the start inbox that nobody has acked."""
    inbox = names.inbox(prefix, plan, START)
    try:
        records = await read_all(settings, inbox)
    except MissingError:
        return 0
    if not records:
        return 0
    # Named one by one: the embedded broker has no answer to "all of the group". -1 is nothing acked yet.
    parts = [TopicPartition(inbox, number) for number in {record.partition for record in records}]
    async with administering(settings) as admin:
        committed = await admin.list_consumer_group_offsets(names.app_id(prefix, plan), partitions=parts)
    acked = {part.partition: seen.offset for part, seen in committed.items()}
    return sum(1 for record in records if record.offset >= acked.get(record.partition, 0))
