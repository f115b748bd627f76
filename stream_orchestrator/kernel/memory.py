"""The world in memory: topics, tables and time without a broker. It drives the same engines as Kafka does.

Promises
  * A record is delivered in the order of its partition, again and again until its work has ended without a crash.
  * What is durable (records, written rows) survives `crash`; what is only in memory does not; work in flight is cut.
  * Time is the caller's: `VirtualClock` jumps to the next timer when nothing else can happen, `time.time` does not.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from stream_orchestrator.kernel.ports import Arrived, Headers, Work


class MemoryAgent(Protocol):
    """An agent as the world sees it: `kernel.engine.Inbox` is one."""

    @property
    def topic(self) -> str: ...
    def receive(self, record: Any, part: Any) -> Work | None: ...


@dataclass(frozen=True, slots=True)
class MemoryRecord:
    """A record of a topic in memory."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]

    @property
    def position(self) -> str:
        """`topic/partition/offset`."""
        return f"{self.topic}/{self.partition}/{self.offset}"

    def header(self, name: str) -> bytes | None:
        """The first header of that name, or None."""
        return next((value for header, value in self.headers if header == name), None)


@dataclass(slots=True)
class App:
    """Agents that share a table, and what wakes them."""

    agents: Mapping[str, MemoryAgent]
    codec: Any
    on_due: Callable[[Any, bytes], Work | None]
    on_recovered: Callable[[Any], Work | None]


class VirtualClock:
    """A clock that stands still until it is told to jump."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self.time = start

    def __call__(self) -> float:
        return self.time

    def jump(self, until: float) -> None:
        """Go on to an instant; never back."""
        self.time = max(self.time, until)


class MemoryPart:
    """The rows of one app in memory (one partition is enough: they never meet)."""

    leaving = False

    def __init__(self, world: World, app: App) -> None:
        self.world, self.app, self.number = world, app, 0
        self.rows: dict[bytes, Any] = {}
        self.durable: dict[bytes, bytes] = {}
        self.written: set[bytes] = set()  # on their way, or there
        self.timers: list[tuple[float, int, bytes]] = []

    def get(self, key: bytes) -> Any | None:
        """The row, or None."""
        return self.rows.get(key)

    def set(self, key: bytes, row: Any) -> None:
        """Change a row in memory."""
        self.rows[key] = row
        due = self.app.codec.due(row)
        if due is not None:
            heapq.heappush(self.timers, (due, next(self.world.counter), key))

    def write(self, key: bytes) -> asyncio.Future[Any]:
        """Make a row durable as it is now."""
        data = self.app.codec.encode(self.rows[key])
        self.written.add(key)
        return self.world.effect("write", lambda: self.durable.__setitem__(key, data))

    def delete(self, key: bytes) -> asyncio.Future[Any] | None:
        """Forget a row."""
        self.rows.pop(key, None)
        if key not in self.written:
            return None
        self.written.discard(key)
        return self.world.effect("delete", lambda: self.durable.pop(key, None))

    def keys(self) -> Iterator[bytes]:
        """The keys of all rows."""
        return iter(list(self.rows))

    def publish(
        self, topic: str, *, partition: int | None, key: bytes | None, value: bytes | None, headers: Headers = ()
    ) -> asyncio.Future[Any]:
        """Append a record to a topic."""
        return self.world.effect(f"publish {topic}", lambda: self.world.append(topic, key, value, headers))

    def spawn(self, work: Work) -> None:
        """Work that belongs to no record."""
        self.world.spawn(work)

    def now(self) -> float:
        """The world's time."""
        now: float = self.world.clock()
        return now

    def recover(self) -> None:
        """What a restarted process knows: the durable rows, and nothing else."""
        self.rows, self.timers, self.written = {}, [], set(self.durable)
        for key, data in self.durable.items():
            self.set(key, self.app.codec.decode(data))


class Crashed(BaseException):
    """The process died here. Nothing may catch it on the way."""


@dataclass(slots=True)
class World:
    """Topics, apps and time. `run` goes on until nothing is left to do, or `until` says so."""

    clock: Any = time.time
    topics: dict[str, list[MemoryRecord]] = field(default_factory=lambda: defaultdict(list))
    parts: list[MemoryPart] = field(default_factory=list)
    counter: Iterator[int] = field(default_factory=itertools.count)
    before_effect: Callable[[str], None] = lambda name: None
    _acked: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _done: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    _seen: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _works: dict[asyncio.Future[None], Callable[[], None]] = field(default_factory=dict)
    _failure: BaseException | None = None

    def add(self, app: App) -> MemoryPart:
        """Serve an app's agents from its own part."""
        part = MemoryPart(self, app)
        self.parts.append(part)
        return part

    def append(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers = ()) -> MemoryRecord:
        """Put a record on a topic."""
        records = self.topics[topic]
        stamp = int(self.clock() * 1000)
        record = MemoryRecord(topic, 0, len(records), stamp, key, value, tuple(headers))
        records.append(record)
        return record

    def delivered(self, topic: str) -> int:
        """How many records of a topic were handed over."""
        return self._seen[topic]

    def effect(self, name: str, act: Callable[[], Any]) -> asyncio.Future[Any]:
        """One durable effect: it happens whole, or (after a crash before it) not at all."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.before_effect(name)
        future.set_result(act())
        return future

    def spawn(self, work: Work, then: Callable[[], None] = lambda: None) -> None:
        """Let work go on beside the others; its failure is the world's. `then` is called when it ended well."""
        task = asyncio.ensure_future(work)  # itself, not a wrapper: one that is cut before it began must be closed too
        self._works[task] = then
        task.add_done_callback(self._settle)

    def _settle(self, task: asyncio.Future[None]) -> None:
        then = self._works.pop(task, None)
        if task.cancelled() or then is None:
            return
        if (error := task.exception()) is not None:
            self._failure = self._failure or error
        else:
            then()

    async def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Deliver records and fire timers until nothing is left, or `until()`; raises what ended the work."""
        while not until():
            moved = self._fire() or self._deliver()
            await asyncio.sleep(0)
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            if moved or until():
                continue
            if self._works:
                await asyncio.wait(self._works, return_when=asyncio.FIRST_COMPLETED, timeout=self._patience())
            elif not await self._wait_for_timer():
                return

    def _deliver(self) -> bool:
        for part in self.parts:
            for topic, agent in part.app.agents.items():
                if self._seen[topic] < len(self.topics[topic]):
                    record = self.topics[topic][self._seen[topic]]
                    self._seen[topic] += 1
                    self._hand(part, agent, record)
                    return True
        return False

    def _hand(self, part: MemoryPart, agent: MemoryAgent, record: Arrived) -> None:
        work = agent.receive(record, part)
        if work is None:
            self._ack(record.topic, record.offset)
        else:
            self.spawn(work, lambda: self._ack(record.topic, record.offset))

    def _ack(self, topic: str, offset: int) -> None:
        self._done[topic].add(offset)
        while self._acked[topic] in self._done[topic]:
            self._done[topic].discard(self._acked[topic])
            self._acked[topic] += 1

    def _fire(self) -> bool:
        for part in self.parts:
            if part.timers and part.timers[0][0] <= self.clock():
                due, _, key = heapq.heappop(part.timers)
                row = part.get(key)
                if row is not None and part.app.codec.due(row) == due:
                    work = part.app.on_due(part, key)
                    if work is not None:
                        self.spawn(work)
                return True
        return False

    def _next(self) -> float | None:
        return min((part.timers[0][0] for part in self.parts if part.timers), default=None)

    def _patience(self) -> float | None:
        due = self._next()
        return None if due is None or isinstance(self.clock, VirtualClock) else max(0.0, due - self.clock())

    async def _wait_for_timer(self) -> bool:
        due = self._next()
        if due is None:
            return False
        if isinstance(self.clock, VirtualClock):
            self.clock.jump(due)
        else:
            await asyncio.sleep(max(0.0, due - self.clock()))
        return True

    async def stop(self) -> None:
        """Cut all work in flight; nothing goes on by itself afterwards."""
        works, self._works = list(self._works), {}
        for work in works:
            work.remove_done_callback(self._settle)
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)
        self._failure = None

    async def crash(self) -> None:
        """Kill the process and start it again: rows come back from what was durable, records from the acks."""
        await self.stop()
        self._done.clear()
        self._seen = defaultdict(int, self._acked)
        for part in self.parts:
            part.recover()
            again = part.app.on_recovered(part)
            if again is not None:
                await again  # before the first record, as on a broker
