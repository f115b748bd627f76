"""What one partition has to do, in order: due timers first, then its inboxes in turn, while slots are free."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from stream_orchestrator.errors import MissingError
from stream_orchestrator.streaming.core.chunk import Chunk, record_of
from stream_orchestrator.streaming.core.model import Agent, AppSpec
from stream_orchestrator.streaming.core.partition import Partition, State
from stream_orchestrator.streaming.core.room import Room
from stream_orchestrator.streaming.core.tracker import OffsetTracker
from stream_orchestrator.streaming.records import Record
from stream_orchestrator.trust.sealing import Seal, opened

BURST = 128  # records decided before the loop gets a turn: heartbeats and the producer's lanes live there
HIGH_RECORDS, LOW_RECORDS = 1000, 250  # of one inbox partition, fetched and not yet delivered
HIGH_BYTES = 8 * 1024 * 1024
LONGEST_NAP = 60.0  # wall time can be set back; look again after this


@dataclass(slots=True)
class Inbox:
    """One inbox partition: what was fetched of it, and which offsets are finished."""

    agent: Agent
    tracker: OffsetTracker | None = None
    committed: int | None = None
    end: int = 0  # the broker's high watermark, as last seen
    chunks: deque[Chunk] = field(default_factory=deque)
    at: int = 0  # index into the first chunk
    records: int = 0
    bytes: int = 0
    paused: bool = False

    def clear(self) -> None:
        """Forget what was fetched; it is fetched again."""
        self.chunks.clear()
        self.at = self.records = self.bytes = 0
        self.paused = False


class Desk:
    """Delivers to one partition.

    Promises
      * Nothing is delivered unless the partition is live; timers and inboxes wait while it is recovered or frozen.
      * A due timer goes before the next record.
      * Inboxes take turns; a full one stops being fetched and nothing else.
    """

    def __init__(
        self,
        part: Partition,
        spec: AppSpec,
        *,
        room: Room,
        pause: Callable[[str, int, bool], None],
        span: int,
        seal: Seal | None = None,
    ) -> None:
        self.part = part
        self.inboxes = {agent.topic: Inbox(agent) for agent in spec.agents}
        self.records = self.adopted = 0
        self._spec = spec
        self._seal = seal
        self._room = room
        self._pause = pause
        self._span = span
        self._wake = asyncio.Event()
        self._turns: deque[Inbox] = deque(self.inboxes.values())
        part.on_rearmed = self._wake.set

    def wake(self) -> None:
        """Something changed: look again."""
        self._wake.set()

    def place(self, topic: str, start: int, committed: int | None) -> bool:
        """The fetcher starts at `start`; False: a tracker was kept over a rebalance, and knows what it has seen."""
        inbox = self.inboxes[topic]
        inbox.clear()
        inbox.committed = committed
        if inbox.tracker is not None:
            return False
        where = f"{topic}/{self.part.number}"
        inbox.tracker = OffsetTracker(start, contiguous=inbox.agent.contiguous, span=self._span, where=where)
        return True

    def take(self, chunk: Chunk) -> None:
        """A chunk was fetched."""
        inbox = self.inboxes[chunk.topic]
        inbox.chunks.append(chunk)
        inbox.records += len(chunk.records)
        inbox.bytes += chunk.size
        inbox.end = max(inbox.end, chunk.highwater)
        if not self._room.taken and not any(other.records for other in self._turns if other is not inbox):
            self._room.progress()  # idle until now: nothing was stuck
        self._regulate(inbox)
        self._wake.set()

    def clear(self) -> None:
        """Forget what was fetched and not delivered."""
        for inbox in self.inboxes.values():
            inbox.clear()

    async def run(self) -> None:
        """Deliver until cancelled. What an agent raises ends this, and the process."""
        while True:
            if self.part.state is State.LIVE and (self._fire() + self._deliver()):
                await asyncio.sleep(0)
            else:
                await self._nap()

    def _fire(self) -> int:
        table = self.part.table
        fired = 0
        while table is not None and fired < BURST and self._room.free:
            key = table.timers.pop(self.part.now())
            if key is None:
                break
            fired += 1
            work = self._spec.on_due(self.part, key)
            if work is not None:
                self.part.run(work, None)
        return fired

    def _deliver(self) -> int:
        delivered = 0
        for _ in range(len(self._turns)):
            inbox = self._turns[0]
            self._turns.rotate(-1)
            delivered += self._deliver_from(inbox, BURST // len(self._turns) + 1)
        self._turns.rotate(-1)  # where room is scarce the first takes it all: another time it is another
        return delivered

    def _deliver_from(self, inbox: Inbox, limit: int) -> int:
        tracker = inbox.tracker
        delivered = 0
        while inbox.chunks and tracker is not None and delivered < limit:
            chunk = inbox.chunks[0]
            if inbox.at == 0:
                tracker.arrive(chunk.start)
            while inbox.at < len(chunk.records) and delivered < limit:
                if not self._room.free or tracker.full:
                    return delivered
                raw = chunk.records[inbox.at]
                self._open(inbox, tracker, raw)
                inbox.at += 1
                delivered += 1
            if inbox.at == len(chunk.records):
                tracker.pass_to(chunk.end)
                inbox.chunks.popleft()
                inbox.at = 0
                inbox.records -= len(chunk.records)
                inbox.bytes -= chunk.size
                self._regulate(inbox)
                delivered += 1  # an empty chunk is progress too
        if delivered:
            self._room.progress()
        return delivered

    def _open(self, inbox: Inbox, tracker: OffsetTracker, raw: object) -> None:
        record = self._record_of(raw)
        if not tracker.enter(record.offset):
            self.adopted += 1
            return
        self.records += 1
        work = inbox.agent.receive(record, self.part)
        if work is None:
            tracker.finish(record.offset)
        else:
            self.part.run(work, lambda: tracker.finish(record.offset))

    def _record_of(self, raw: object) -> Record:
        record = record_of(raw)
        try:
            value = opened(record.value, self._seal, record.topic)
        except MissingError:
            if record.topic in self._spec.foreign:
                return record
            raise
        return record if value is record.value else replace(record, value=value)

    def _regulate(self, inbox: Inbox) -> None:
        heavy = inbox.records >= HIGH_RECORDS or inbox.bytes >= HIGH_BYTES
        light = inbox.records <= LOW_RECORDS and inbox.bytes <= HIGH_BYTES // 4
        if heavy != inbox.paused and (heavy or light):
            inbox.paused = heavy
            self._pause(inbox.agent.topic, self.part.number, heavy)

    async def _nap(self) -> None:
        self._wake.clear()
        if not self._room.free or any(i.tracker is not None and i.tracker.full for i in self._turns):
            self._room.tell(self._wake)
        due = self.part.table.timers.next_due() if self.part.table is not None else None
        live = self.part.state is State.LIVE and self._room.free
        wait = LONGEST_NAP if due is None or not live else min(max(due - self.part.now(), 0.001), LONGEST_NAP)
        try:
            await asyncio.wait_for(self._wake.wait(), wait)
        except TimeoutError:
            pass


def open_slots(inboxes: Iterable[Inbox]) -> int:
    """Slots open in them."""
    return sum(inbox.tracker.open for inbox in inboxes if inbox.tracker is not None)
