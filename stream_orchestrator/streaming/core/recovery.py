"""Reading a table back: our own consumer, in chunks, until it meets what we wrote ourselves."""

from __future__ import annotations

from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from stream_orchestrator.errors import HouseError
from stream_orchestrator.streaming.core.changelog import Inheritance, Replay
from stream_orchestrator.streaming.core.model import APPLY_HINT
from stream_orchestrator.streaming.ending import started, stopped
from stream_orchestrator.streaming.settings import StreamSettings
from stream_orchestrator.trust.sealing import Seal, opened

CHUNK = 5000  # records folded before the loop gets a turn


async def read_changelog(settings: StreamSettings, topic: str, number: int, *, epoch: int) -> Inheritance:
    """Read one changelog partition from its beginning to its owner's own `begin`, which is at `epoch`.

    Promise: all that was acknowledged before is read. No end offset is asked for (the embedded broker answers that
    wrongly); a `begin` that was acknowledged is there.
    """
    tp = TopicPartition(topic, number)
    consumer = AIOKafkaConsumer(**settings.consumer())
    try:
        await started(consumer.start())
        consumer.assign([tp])
        await consumer.seek_to_beginning(tp)
        replay = Replay()
        while True:
            for records in (await consumer.getmany(tp, timeout_ms=500, max_records=CHUNK)).values():
                if _fold(replay, records, epoch, settings.seal):
                    return replay.inheritance(epoch)
    finally:
        await stopped(consumer.stop(), consumer)


def _fold(replay: Replay, records: list[Any], epoch: int, seal: Seal | None) -> bool:
    for record in records:
        if record.offset > epoch:
            raise HouseError(
                f"the begin at {epoch} of {record.topic}/{record.partition} is gone: somebody emptied the topic",
                hint=APPLY_HINT,
            )
        value = opened(record.value, seal, record.topic)
        replay.read(record.offset, record.key, value, record.headers)
        if record.offset == epoch:
            return True
    return False
