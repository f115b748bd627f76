"""One producer for whoever sends record by record; `client.produce` opens its own for every batch."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer

from stream_orchestrator.streaming.client import Outgoing, partitions_of
from stream_orchestrator.streaming.ending import started
from stream_orchestrator.streaming.faults import translated
from stream_orchestrator.streaming.settings import StreamSettings


class Sender:
    """Sends to one topic; made by `sending`."""

    def __init__(self, settings: StreamSettings, producer: AIOKafkaProducer, topic: str) -> None:
        self._settings, self._producer, self._topic = settings, producer, topic

    async def send(self, one: Outgoing) -> None:
        """Returns when the record is acknowledged by all in-sync replicas."""
        with translated(self._settings.bootstrap):
            await self._producer.send_and_wait(
                self._topic, one.value, key=one.key, partition=one.partition, headers=list(one.headers)
            )


@asynccontextmanager
async def sending(settings: StreamSettings, topic: str) -> AsyncIterator[Sender]:
    """A sender while it is needed; MissingError when the topic or the broker is not there."""
    await partitions_of(settings, [topic])
    with translated(settings.bootstrap):
        producer = AIOKafkaProducer(**settings.producer())
        try:
            await started(producer.start())
            yield Sender(settings, producer, topic)
        finally:
            await producer.stop()
