"""Looks things up in topics while the worker runs: results that were published before, and where a partition ends."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from stream_orchestrator.streaming.client import Reader, reading
from stream_orchestrator.streaming.settings import StreamSettings


class Lookup:
    """Records by position, one at a time over one consumer a topic, which is made when it is first needed."""

    def __init__(self, settings: StreamSettings) -> None:
        self._settings = settings
        self._stack = AsyncExitStack()
        self._readers: dict[str, Reader] = {}
        self._one_at_a_time = asyncio.Lock()

    async def fetch(self, topic: str, partition: int, offset: int) -> bytes | None:
        """The value at a position; None when retention has taken it."""
        async with self._one_at_a_time:
            record = await (await self._reader(topic)).at(topic, partition, offset)
        return record.value if record is not None else None

    async def end(self, topic: str, partition: int) -> int:
        """The offset that the next record of a partition will have."""
        async with self._one_at_a_time:
            return await (await self._reader(topic)).end(topic, partition)

    async def _reader(self, topic: str) -> Reader:
        if topic not in self._readers:
            self._readers[topic] = await self._stack.enter_async_context(reading(self._settings, topic))
        return self._readers[topic]

    async def close(self) -> None:
        """Disconnect."""
        await self._stack.aclose()
