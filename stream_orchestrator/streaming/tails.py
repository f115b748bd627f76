"""The newest results of pipelines, for scripts that ask: how many of the last 5 minutes failed, what came out last.

Promises
  * A pipeline's results are followed from the first question on, from 5 minutes back; nobody pays who does not ask.
  * What is said is at most a second old, as long as the broker answers. Copies of a result count once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import orjson

from stream_orchestrator.errors import MissingError
from stream_orchestrator.plan import names
from stream_orchestrator.streaming.client import Reader, reading
from stream_orchestrator.streaming.records import Record
from stream_orchestrator.streaming.settings import StreamSettings

log = logging.getLogger(__name__)

WINDOW = 300.0  # seconds over which an error rate is taken
POLL = 0.5
GOOD = frozenset((b"succeeded", b"degraded"))


@dataclass(slots=True)
class Tail:
    """What is kept of one results topic. Rejected input is no run: it is in no rate."""

    ended: OrderedDict[bytes, tuple[float, bool]] = field(default_factory=OrderedDict)
    newest: Record | None = None

    def take(self, record: Record) -> None:
        """The next result."""
        status, run = record.header("status"), record.header("run-id")
        if status in GOOD and (self.newest is None or record.timestamp_ms >= self.newest.timestamp_ms):
            self.newest = record
        if run is not None and (status in GOOD or status == b"failed"):
            self.ended.setdefault(run, (record.timestamp_ms / 1000, status == b"failed"))
            self._forget(record.timestamp_ms / 1000)  # also where nobody ever asks for the rate

    def error_rate(self, now: float) -> float:
        """The share of failed runs among those that ended in the window; 0 when none did."""
        self._forget(now)
        recent = [failed for at, failed in self.ended.values() if at >= now - WINDOW]
        return sum(recent) / len(recent) if recent else 0.0

    def _forget(self, now: float) -> None:
        while self.ended and next(iter(self.ended.values()))[0] < now - WINDOW:
            self.ended.popitem(last=False)

    def last(self) -> tuple[bool, Any]:
        """Whether there is a good result, and its output."""
        if self.newest is None:
            return False, None
        return True, orjson.loads(self.newest.value or b"{}").get("output")


class Tails:
    """The tails of all pipelines that were asked about (`kernel.notebook.Results`)."""

    def __init__(self, settings: StreamSettings, prefix: str, *, clock: Callable[[], float] = time.time) -> None:
        self._settings, self._prefix, self._clock = settings, prefix, clock
        self._tails: dict[str, Tail] = {}
        self._opening = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._following: list[asyncio.Task[None]] = []

    async def error_rate(self, pipeline: str) -> float:
        """Of a pipeline, by its slug, in the last 5 minutes."""
        return (await self._tail(pipeline)).error_rate(self._clock())

    async def last(self, pipeline: str) -> tuple[bool, Any]:
        """The output of its newest run that did not fail. A pipeline that is not there has none."""
        try:
            return (await self._tail(pipeline)).last()
        except MissingError as error:
            log.warning("no output of %s: %s", pipeline, error)
            return False, None

    async def stop(self) -> None:
        """Follow no more."""
        for task in self._following:
            task.cancel()
        for task in self._following:
            with suppress(asyncio.CancelledError):
                await task
        await self._stack.aclose()

    async def _tail(self, pipeline: str) -> Tail:
        async with self._opening:
            if pipeline not in self._tails:
                self._tails[pipeline] = await self._open(names.results_topic(self._prefix, pipeline))
        return self._tails[pipeline]

    async def _open(self, topic: str) -> Tail:
        reader = await self._stack.enter_async_context(reading(self._settings, topic))
        bounds = await reader.bounds()
        since = await reader.first_since(int((self._clock() - WINDOW) * 1000))
        start = {part: end - 1 if since[part] is None else since[part] for part, (_, end) in bounds.items()}
        await reader.go_on_from({part: max(0, offset or 0) for part, offset in start.items()})
        tail = Tail()
        async for batch in reader.batches():
            for record in batch:
                tail.take(record)
        self._following.append(asyncio.create_task(self._follow(reader, tail, topic)))
        return tail

    async def _follow(self, reader: Reader, tail: Tail, topic: str) -> None:
        while True:
            try:
                for record in await reader.poll(POLL):
                    tail.take(record)
            except MissingError as error:  # a broker that is away kills nobody
                log.warning("cannot read %s: %s", topic, error)
                await asyncio.sleep(POLL)
