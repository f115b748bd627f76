"""Faust's Kafka driver as we need it: whole fetches as events, commits from our trackers, no sleeping.

Overrides of faust-streaming 0.15.3 (pinned), each for a reason:
  * `_wait_next_records`: upstream sleeps a second when all partitions are under pressure, and nobody can wait for a
    running fetch to end (it never clears its event).
  * `_drain_messages`: a fetch reaches the agent as one event; seven times the throughput of an event per record.
  * `force_commit`: Faust's bookkeeping of acks can commit past an event in flight (its issue 606); ours is the tracker.
  * `on_partitions_revoked`: what is finished is committed before the partitions go, within a bound.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, cast

import aiokafka
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.events import Event
from faust.transport import drivers
from faust.transport.consumer import ensure_TPset
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from stream_orchestrator.streaming.core.chunk import Chunk
from stream_orchestrator.streaming.ending import stopped

SCHEME = "orchestrator"
FETCH_WAIT = 0.25  # seconds a fetch waits in the client; a paused partition that is wanted again waits no longer
FETCH_WAIT_PAUSED = 0.02  # ... while one is paused
LISTEN_INTERVAL = 0.5


class House(Protocol):
    """What the driver needs of the app it works for (`app.App`)."""

    def consumer_settings(self) -> dict[str, Any]:
        """What the aiokafka consumer is made with, but for its assignor."""
        ...

    def take(self, chunk: Chunk) -> None:
        """A chunk was fetched."""
        ...

    def committable(self) -> dict[TP, int]:
        """What may be committed, and is news."""
        ...

    def committed(self, offsets: Mapping[TP, int]) -> None:
        """The broker has it."""
        ...

    def heard(self, asked_at: float) -> None:
        """A good answer of the coordinator, to what was asked then. Called from the consumer's thread."""
        ...

    def refused(self, fault: Exception) -> None:
        """The coordinator will not have us as we are. Called from the consumer's thread."""
        ...

    async def revoking(self, *, lost: bool) -> None:
        """All partitions are being revoked; `lost`: the coordinator does not know us any more."""
        ...

    @property
    def ends_are_right(self) -> bool:
        """Whether the broker tells rightly where partitions end."""
        ...

    @property
    def leaving(self) -> bool:
        """Whether to leave the group for good."""
        ...


class ChunkEvent(Event):
    """An event whose value is one `Chunk`."""


class Thread(driver.AIOKafkaConsumerThread):
    """The consumer's own thread and loop: fetches, heartbeats and commits do not wait for agents."""

    house: House

    def __post_init__(self) -> None:
        super().__post_init__()
        self.house = cast(Any, self.app).house
        self._ends: dict[TP, int] = {}
        self._listener: asyncio.Task[None] | None = None

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        return aiokafka.AIOKafkaConsumer(
            partition_assignment_strategy=[self.app.assignor], **self.house.consumer_settings()
        )

    async def on_start(self) -> None:
        """Start, and listen to what the coordinator answers to heartbeats."""
        await super().on_start()
        coordinator = self._ensure_consumer()._coordinator
        beat = coordinator._do_heartbeat

        async def heartbeat() -> bool:
            asked_at = time.monotonic()
            good: bool = await beat()
            if good:
                self.house.heard(asked_at)
            return good

        coordinator._do_heartbeat = heartbeat
        self._listener = self.thread_loop.create_task(self._listen(coordinator))

    async def _listen(self, coordinator: Any) -> None:
        # aiokafka parks a failed coordination until somebody asks. Faust never does: the member would hang for ever.
        while True:
            await asyncio.sleep(LISTEN_INTERVAL)
            try:
                coordinator.check_errors()
            except KafkaError as fault:
                self.house.refused(fault)

    async def on_thread_stop(self) -> None:
        """Stop; leave the group only when it is meant to."""
        if self._listener is not None:
            self._listener.cancel()
        if self.house.leaving and self._consumer is not None:
            coordinator = self._consumer._coordinator
            coordinator._group_instance_id = None  # aiokafka lets no static member leave; the broker does
            if coordinator.member_id:
                # Nor one of generation 0, which is the embedded broker's first; LeaveGroup does not carry it.
                coordinator.generation = max(coordinator.generation, 1)
        await stopped(super().on_thread_stop(), self._consumer)

    def close(self) -> None:
        """Stopping closes the client in its own loop; upstream closes it here a second time, from another thread."""

    @property
    def member_id(self) -> str:
        """Who we are to the coordinator; empty when it does not know us."""
        return str(self._ensure_consumer()._coordinator.member_id)

    async def _fetch_records(  # type: ignore[override]  # chunks instead of records, for `_drain_messages` below
        self, consumer: Any, active_partitions: set[TP], timeout: float | None = None, max_records: int | None = None
    ) -> dict[TP, Chunk]:
        records = await super()._fetch_records(consumer, active_partitions, timeout, max_records)
        # From here to the end nothing is awaited, so assignment, generation and positions belong together.
        generation = consumer._coordinator.generation
        assignment = consumer._subscription.subscription.assignment
        chunks: dict[TP, Chunk] = {}
        for tp in active_partitions:
            state = assignment.state_value(tp) if assignment is not None else None
            end = state._position if state is not None else None
            start = self._ends.get(tp)
            if state is None or end is None or start is None or (end == start and tp not in records):
                continue
            self._ends[tp] = end
            chunks[tp] = Chunk(
                tp, generation, start=start, end=end, records=records.get(tp, ()), highwater=state.highwater or 0
            )
        return chunks

    async def place(self, tps: set[TP]) -> dict[TP, tuple[int, int | None, int]]:
        """Seek every partition to its committed offset, or to its beginning when there is none.

        An offset past the end says nothing of what is there now (the topic was made anew, or somebody set it): going
        on from it would pass over every record until the topic has grown that far.

        Gives (position, committed, earliest) by partition.
        """
        return cast("dict[TP, tuple[int, int | None, int]]", await self.call_thread(self._place, tps))

    async def _place(self, tps: set[TP]) -> dict[TP, tuple[int, int | None, int]]:
        consumer = self._ensure_consumer()
        ordered = sorted(tps)
        earliest = await consumer.beginning_offsets(ordered)
        ends = await consumer.end_offsets(ordered) if self.house.ends_are_right else {}
        committed = await asyncio.gather(*(consumer.committed(tp) for tp in ordered))
        places = {}
        for tp, offset in zip(ordered, committed, strict=True):
            first = earliest[tp]
            known = offset if offset is not None and 0 <= offset <= ends.get(tp, offset) else None
            position = first if known is None else known
            consumer.seek(tp, position)
            self._ends[tp] = position
            places[tp] = (position, known, first)
        return places

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        consumer = self._ensure_consumer()
        assigned = consumer.assignment()
        ours = {TopicPartition(*tp): OffsetAndMetadata(offset, "") for tp, offset in offsets.items() if tp in assigned}
        if not ours:
            return False
        try:
            await consumer.commit(ours)
        except (CommitFailedError, IllegalStateError):
            return False  # rebalanced in between: the next owner reads it again
        return True


class Consumer(driver.Consumer):
    """Faust's consumer, driven by an app of ours."""

    house: House
    _thread: Thread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.house = cast(Any, self.app).house
        self._dropped = asyncio.Event()

    def _new_consumer_thread(self) -> Thread:
        return Thread(self, loop=self.loop, beacon=self.beacon)

    # ------------------------------------------------------------------ fetching

    def pause(self, tp: TP, paused: bool) -> None:
        """Stop fetching a partition, or fetch it again."""
        if paused:
            self.on_buffer_full(tp)
        else:
            self.on_buffer_drop(tp)
            self._dropped.set()

    async def _wait_next_records(self, timeout: float) -> tuple[Any, set[TP]]:
        if not self.flow_active:
            await self.wait(self.can_resume_flow)  # type: ignore[arg-type]  # any event does
        active = self._get_active_partitions()
        if active:
            self.not_waiting_next_records.clear()
            try:
                wait = FETCH_WAIT_PAUSED if self._buffered_partitions else FETCH_WAIT
                return await self._getmany(active_partitions=set(active), timeout=wait), active
            finally:
                self.not_waiting_next_records.set()
        self._dropped.clear()
        try:
            await asyncio.wait_for(self._dropped.wait(), FETCH_WAIT)
        except TimeoutError:
            pass
        return {}, active

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                chunks, _ = await self._wait_next_records(1.0)
                await asyncio.sleep(0)
                for tp, chunk in (chunks or {}).items():
                    if self.flow_active and chunk.generation_id == self.app.consumer_generation_id:
                        self._hand_over(tp, chunk)
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        except asyncio.CancelledError:
            if not self.app.should_stop:
                raise

    def _hand_over(self, tp: TP, chunk: Chunk) -> None:
        # The agents' queues are never full: desks hold what was fetched, and pause what is too much.
        app = cast(Any, self.app)
        for channel in app.topics._tp_index.get(tp, ()):
            channel.queue.force_put_nowait(ChunkEvent(app, None, chunk, None, cast(Any, chunk)))

    # ------------------------------------------------------------------ turns of a generation

    async def place(self, tps: set[TP]) -> dict[TP, tuple[int, int | None, int]]:
        """Wait for a running fetch to end, then seek (see `Thread.place`)."""
        await self.wait_for_stopped_flow()
        return await self._thread.place(tps)

    @property
    def member_id(self) -> str:
        """Who we are to the coordinator; empty when it does not know us."""
        return self._thread.member_id

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Hand over what is finished, then let Faust stop the flow."""
        self.stop_flow()
        lost = not self.member_id
        await self.house.revoking(lost=lost)
        await super().on_partitions_revoked(ensure_TPset(revoked))

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commit what the trackers say."""
        return await self.commit_offsets(self.house.committable())

    async def commit_offsets(self, offsets: dict[TP, int]) -> bool:
        """Commit these; False when a rebalance came in between."""
        if not offsets or not await self._commit(offsets):
            return False
        self.house.committed(offsets)
        return True

    async def verify_all_partitions_active(self) -> None:
        """Ours to watch: `App.statistics`."""


class Transport(driver.Transport):
    """The driver under its own scheme."""

    Consumer: ClassVar[type[Any]] = Consumer


drivers.TRANSPORTS.aliases[SCHEME] = f"{__name__}:Transport"
