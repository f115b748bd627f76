"""A worker's copy of the state table, which others own: read whole at the start, followed from then on.

Promises
  * `start` returns when all that was acknowledged before is in the copy. From then on it follows within a second of
    the owner, as long as the broker answers; `behind` says since when it did not.
  * What a zombie owner writes is ignored, as its successor ignores it (`core.changelog.Replay`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AsyncExitStack
from typing import Any

from stream_orchestrator.errors import HouseError, MissingError
from stream_orchestrator.kernel import state
from stream_orchestrator.kernel.state import ValueRow
from stream_orchestrator.kernel.state_owner import Ledger
from stream_orchestrator.streaming.client import Reader, reading
from stream_orchestrator.streaming.core.changelog import BEGIN, Replay, row_of
from stream_orchestrator.streaming.records import Record
from stream_orchestrator.streaming.settings import StreamSettings
from stream_orchestrator.trust.sealing import StaysClosed

log = logging.getLogger(__name__)

POLL = 0.5
CHUNK = 2000  # records folded before the loop gets a turn


class Replica:
    """The rows of a table, by key (`kernel.notebook.View`)."""

    def __init__(self, settings: StreamSettings, topic: str) -> None:
        self._settings, self._topic = settings, topic
        self._replays: dict[int, Replay] = {}
        self._rows: dict[bytes, Any] = {}
        self._ledger = Ledger()
        self._stack = AsyncExitStack()
        self._heard = time.monotonic()
        self.followed = False

    async def start(self) -> None:
        """Read all there is."""
        self._reader: Reader = await self._stack.enter_async_context(reading(self._settings, self._topic))
        async for batch in self._reader.batches():
            for record in batch:
                self.take(record)
            await asyncio.sleep(0)
        self._heard, self.followed = time.monotonic(), True

    async def follow(self) -> None:
        """Follow what comes, until cancelled. A broker that is away kills nobody: the copy grows old, and says so."""
        while True:
            try:
                for record in await self._reader.poll(POLL, limit=CHUNK):
                    self.take(record)
                self._heard = time.monotonic()
            except StaysClosed:
                raise  # passed over, its row would be missing, and nobody would know
            except MissingError as error:
                log.warning("the copy of %s is %.0f s old: %s", self._topic, self.behind, error)
                await asyncio.sleep(POLL)

    async def stop(self) -> None:
        """Disconnect."""
        await self._stack.aclose()

    @property
    def behind(self) -> float:
        """Seconds since the broker last said that this is all."""
        return time.monotonic() - self._heard

    def row(self, key: bytes) -> Any | None:
        """A row, or None."""
        return self._rows.get(key)

    def used(self, kind: str, namespace: str) -> int:
        """Bytes of a namespace."""
        return self._ledger.used((kind, namespace))

    def take(self, record: Record) -> None:
        """The next record of the table."""
        replay = self._replays.setdefault(record.partition, Replay())
        replay.read(record.offset, record.key, record.value, record.headers)
        if record.key is None or record.key[:1] == BEGIN:
            return
        key = row_of(record.key)
        data = replay.current(key)
        known = self._rows.pop(key, None)
        if isinstance(known, ValueRow):
            self._ledger.drop(known, key)
        if data is None:
            return
        try:
            row = self._rows[key] = state.decode(data)
        except HouseError as error:  # its owner halts on it and says so; here one value is missing
            log.error("%s: %s", record.position, error)
            return
        if isinstance(row, ValueRow):
            self._ledger.set(row, key)
