"""What of a topic a group has not acked yet: all that its workers still owe.

Promise: a record that was acked when `unacked` was called has had its effects by then, so whoever looks for those
afterwards finds them; every other record that was there is given. Work cannot slip through between two such looks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError

from stream_orchestrator.streaming.client import administering, existing, reading
from stream_orchestrator.streaming.records import Record
from stream_orchestrator.streaming.settings import StreamSettings

COORDINATOR_WITHIN = 10.0  # seconds
Offsets = dict[tuple[str, int], int]


async def acked(settings: StreamSettings, group: str, topics: Sequence[str]) -> Offsets:
    """For each partition of those topics that are there, the offset up to which the group has acked."""
    counts = await existing(settings, topics)
    # Named one by one: the embedded broker has no answer to "all of the group".
    parts = [TopicPartition(topic, number) for topic, count in counts.items() for number in range(count)]
    if not parts:
        return {}
    async with administering(settings) as admin:
        found = await _offsets(admin, group, parts)
    # -1 is nothing acked yet.
    return {(part.topic, part.partition): max(found[part].offset, 0) if part in found else 0 for part in parts}


async def _offsets(admin: AIOKafkaAdminClient, group: str, parts: list[TopicPartition]) -> dict[TopicPartition, Any]:
    """The group's offsets. A cluster where no group was ever asked for makes its coordinators only now."""
    give_up = asyncio.get_running_loop().time() + COORDINATOR_WITHIN
    while True:
        try:
            found: dict[TopicPartition, Any] = await admin.list_consumer_group_offsets(group, partitions=parts)
        except GroupCoordinatorNotAvailableError:
            if asyncio.get_running_loop().time() > give_up:
                raise
            await asyncio.sleep(0.2)
        else:
            return found


async def unacked(settings: StreamSettings, group: str, *topics: str) -> list[Record]:
    """The records that the group has not acked. A topic that is not there has none."""
    offsets = await acked(settings, group, topics)
    if not offsets:
        return []
    async with reading(settings, *dict.fromkeys(topic for topic, _ in offsets)) as reader:
        await reader.go_on_from(offsets)
        records = await reader.all()
    return [record for record in records if record.offset >= offsets[record.topic, record.partition]]
