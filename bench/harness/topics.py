"""The topics between a benchmark and what it measures: made, filled, and watched by their ends alone."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bench.harness.sides import Side
from stream_orchestrator.streaming.settings import StreamSettings

PARTITIONS = 4
LOOK = 0.02  # seconds between two looks at the ends: a look is one request, and the figures are of seconds


def fresh_prefix() -> str:
    """A prefix that no topic has yet."""
    return f"b{uuid.uuid4().hex[:6]}."


class Topics:
    """One connection of the benchmark's own."""

    def __init__(self, settings: StreamSettings) -> None:
        self.settings = settings
        self.quick = AIOKafkaProducer(**settings.producer(), linger_ms=0)
        self._admin = AIOKafkaAdminClient(**settings.connection())
        self._eye = AIOKafkaConsumer(**settings.consumer())

    async def make(self, names: Iterable[str]) -> None:
        """Topics with as many partitions as all others here."""
        await self._admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names])

    async def fill(self, topic: str, values: Iterable[tuple[bytes, bytes]], *, by_id: bool = False) -> None:
        """Records `(key, value)`, round the partitions, until all are acknowledged; `by_id`: the key is a run's id."""
        acks = [
            await self.quick.send(
                topic, value, key=key, headers=[("run-id", key)] if by_id else [], partition=number % PARTITIONS
            )
            for number, (key, value) in enumerate(values)
        ]
        await asyncio.gather(*acks)

    async def count(self, topic: str) -> int:
        """Records that were ever in the topic."""
        parts = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        return sum((await self._eye.end_offsets(parts)).values())

    async def reach(self, topic: str, wanted: int, *, within: float, alive: Side) -> float:
        """Wait until the topic has had so many records; the instant at which it had (`time.perf_counter`)."""
        deadline = time.perf_counter() + within
        while (have := await self.count(topic)) < wanted:
            if time.perf_counter() > deadline:
                raise TimeoutError(f"{topic} has {have} of {wanted} records after {within:g} s")
            alive.check()
            await asyncio.sleep(LOOK)
        return time.perf_counter()

    async def start(self) -> None:
        await self._admin.start()
        await self.quick.start()
        await self._eye.start()

    async def stop(self) -> None:
        await self._eye.stop()
        await self.quick.stop()
        await self._admin.close()


@asynccontextmanager
async def topics(bootstrap: str) -> AsyncIterator[Topics]:
    """The connection, while it is needed."""
    found = Topics(StreamSettings(bootstrap=bootstrap))
    await found.start()
    try:
        yield found
    finally:
        await found.stop()
