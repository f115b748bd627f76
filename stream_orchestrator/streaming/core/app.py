"""One app in this process: follows its group through generations, and owns the partitions in between."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from faust.types import TP

from stream_orchestrator.errors import HouseError
from stream_orchestrator.kernel.watch import Watch
from stream_orchestrator.streaming.core.assignor import common_partitions
from stream_orchestrator.streaming.core.chunk import Chunk
from stream_orchestrator.streaming.core.desk import Desk, open_slots
from stream_orchestrator.streaming.core.faustapp import make_app, stop_app
from stream_orchestrator.streaming.core.fence import Fence
from stream_orchestrator.streaming.core.model import AppSpec, AppStatistics
from stream_orchestrator.streaming.core.outlet import Outlet
from stream_orchestrator.streaming.core.partition import Partition, State
from stream_orchestrator.streaming.core.producer import Producer
from stream_orchestrator.streaming.core.room import Room
from stream_orchestrator.streaming.core.settle import settle, take_over
from stream_orchestrator.streaming.settings import StreamSettings

REVOKE_BUDGET = 2.0  # seconds; the whole group waits for us
LEAVE_BUDGET = 10.0


class Seat:
    """One partition number we serve: the partition, its desk, and the tasks that serve it."""

    def __init__(self, part: Partition, desk: Desk, member: str) -> None:
        self.part = part
        self.desk = desk
        self.member = member
        self.tasks: set[asyncio.Task[None]] = set()


class App:
    """A consumer group member: its inboxes, its rows, its timers.

    Promises
      * An offset is committed only when its slot and every earlier one of its inbox partition is finished.
      * A partition's records wait until its rows are there and `on_recovered` has ended; other partitions go on.
      * A rebalance that gives a partition back in the next generation interrupts nothing in flight and repeats nothing.
      * `ready` is set while every assigned partition is served, and cleared while one is not.
    """

    def __init__(
        self,
        spec: AppSpec,
        settings: StreamSettings,
        producer: Producer,
        *,
        fail: Callable[[BaseException], None],
        watch: Watch,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.spec = spec
        self.ready = asyncio.Event()
        self.leaving = False
        self._settings = settings
        self._fail = fail
        self._watch = watch
        self._clock = clock
        self._fence = Fence(settings.session_timeout)
        self._outlet = Outlet(producer, self._fence, self._failed)
        self._room = Room(spec.max_in_flight)
        self._seats: dict[int, Seat] = {}
        self._generation = -1
        self._accepting = False
        self._draining = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._counted = {"commits": 0, "rebalances": 0, "lost": 0, "records": 0, "adopted": 0}
        self._loop = asyncio.get_running_loop()
        self._faust = make_app(self, spec, settings, member=self._member())

    # ------------------------------------------------------------------ life

    async def start(self) -> None:
        """Join the group; `ready` is set when the first assignment is served."""
        await self._faust.start()
        self._task(self._watch_faust())

    async def drain(self, budget: float) -> bool:
        """Pull nothing more, let slots finish, hand over, commit, leave the group. True: nothing was cut."""
        deadline = time.monotonic() + budget
        self._draining = True
        self._accepting = False
        self._faust.driver.stop_flow()
        for seat in self._seats.values():
            seat.desk.clear()
            self._dismiss(seat)
        whole = await _within(self._room.empty(), deadline - time.monotonic())
        await self._hook(self.spec.on_revoking, REVOKE_BUDGET)
        whole = await _within(self._outlet.flushed(), max(deadline - time.monotonic(), 1.0)) and whole
        await _within(self._faust.driver.commit(), REVOKE_BUDGET)
        self._lose_all()
        self.leaving = True
        return await stop_app(self._faust, LEAVE_BUDGET) and whole

    async def close(self) -> None:
        """Stop at once: nothing is handed over, membership is kept for the next process of this id."""
        self._lose_all()
        self._outlet.close()
        for task in self._tasks:
            task.cancel()
        await stop_app(self._faust, LEAVE_BUDGET)

    def _failed(self, fault: BaseException) -> None:
        self._fail(fault)

    async def _watch_faust(self) -> None:
        await self._faust._crashed.wait()
        fault = HouseError(f"the stream of {self.spec.id} crashed")
        fault.__cause__ = self._faust.crash_reason
        self._fail(fault)

    def _task(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._fail(fault)

    # ------------------------------------------------------------------ membership (House, Landlord)

    def _member(self) -> str:
        topics = hashlib.sha256("\n".join(self.spec.topics).encode()).hexdigest()[:8]
        stem = self._settings.instance_id or hex(id(self))[2:]
        return f"{stem}-{topics}"

    def consumer_settings(self) -> dict[str, Any]:
        """What the aiokafka consumer is made with; a static member's id changes with its topics."""
        kwargs = self._settings.consumer() | self._settings.membership() | {"group_id": self.spec.id}
        if "group_instance_id" in kwargs:
            kwargs["group_instance_id"] = self._member()
        return kwargs | {
            "max_poll_records": 1000,
            "max_partition_fetch_bytes": 1024 * 1024,
            "fetch_max_wait_ms": 500,
            # Slots are bounded by drains and deadlines, not by polls: a paused inbox is no reason to leave.
            "max_poll_interval_ms": 24 * 3600 * 1000,
            "rebalance_timeout_ms": 20_000,
            "metadata_max_age_ms": 30_000,
        }

    def heard(self, asked_at: float) -> None:
        """A good answer of the coordinator; called from the consumer's thread."""
        self._loop.call_soon_threadsafe(self._fence.heard, asked_at)

    async def revoking(self, *, lost: bool) -> None:
        """A rebalance begins, and takes all partitions: hand over what is finished, freeze the rest."""
        self._counted["rebalances"] += 1
        deadline = time.monotonic() + REVOKE_BUDGET
        self._accepting = False
        self.ready.clear()
        live = [seat for seat in self._seats.values() if seat.part.state is State.LIVE and not lost]
        for seat in [seat for seat in self._seats.values() if seat not in live]:
            self._lose(seat)
        for seat in live:
            self._dismiss(seat)
            seat.desk.clear()
        if live:
            await self._hook(self.spec.on_revoking, deadline - time.monotonic() - 0.5)
            await _within(self._outlet.flushed(), deadline - time.monotonic() - 0.5)
        offsets = self.committable()
        for seat in live:
            seat.part.freeze()
        await _within(self._faust.driver.commit_offsets(offsets), max(deadline - time.monotonic(), 0.1))

    def assigned(self, assigned: set[TP], generation: int) -> None:
        """A generation begins: thaw what is still ours, lose what is not, recover what is new."""
        self._fence.heard(time.monotonic())
        member = self._faust.driver.member_id
        following = self._generation in (generation - 1, generation)
        self._generation = generation
        try:
            numbers = common_partitions(assigned, self.spec.topics)
        except HouseError as fault:
            self._fail(fault)
            return
        for seat in list(self._seats.values()):
            if not (following and seat.member == member and seat.part.number in numbers):
                self._lose(seat)
        for number in sorted(numbers - self._seats.keys()):
            self._seats[number] = self._new_seat(number, member)
        self._task(self._begin(generation, assigned))

    async def _begin(self, generation: int, assigned: set[TP]) -> None:
        """Outside the join: seek, thaw, let it flow, then recover."""
        places = await self._faust.driver.place(assigned) if assigned else {}
        if generation != self._generation or self._draining or generation != self._faust.consumer_generation_id:
            return  # another rebalance came in between; its assignment is told next
        for tp, (position, committed, earliest) in places.items():
            seat = self._seats[tp.partition]
            seat.desk.place(tp.topic, position, committed)
            if earliest > position:
                seat.part.halt(f"records {position} to {earliest - 1} of {tp.topic} were deleted before they were read")
        self._accepting = True
        await self._faust.resume()
        for seat in self._seats.values():
            if seat.part.state is State.FROZEN:
                seat.part.thaw()
                self._serve(seat)
            elif seat.part.state is State.RECOVERING:
                self._seat_task(seat, self._recover(seat))
        self._look_ready()

    def _new_seat(self, number: int, member: str) -> Seat:
        part = Partition(
            number,
            self.spec.id,
            outlet=self._outlet,
            changelog=self.spec.table,
            fail=self._failed,
            room=self._room,
            clock=self._clock,
        )
        desk = Desk(part, self.spec, room=self._room, pause=self._pause, span=16 * self.spec.max_in_flight)
        return Seat(part, desk, member)

    async def _recover(self, seat: Seat) -> None:
        part = seat.part
        begun = time.monotonic()
        if self.spec.table is not None and self.spec.codec is not None:
            await settle(part, self._settings, self.spec.table, self.spec.codec)
        if part.state is not State.RECOVERING:
            self._look_ready()
            return
        work = self.spec.on_recovered(part)
        if work is not None:
            await work
        part.state = State.LIVE
        self._watch.observe("stream_recovery_seconds", time.monotonic() - begun, app=self.spec.id)
        self._serve(seat)
        self._look_ready()
        await take_over(part)

    def _serve(self, seat: Seat) -> None:
        self._seat_task(seat, seat.desk.run())

    def _seat_task(self, seat: Seat, work: Any) -> None:
        task = self._task(work)
        seat.tasks.add(task)
        task.add_done_callback(seat.tasks.discard)

    def _dismiss(self, seat: Seat) -> None:
        for task in seat.tasks:
            task.cancel()

    def _lose(self, seat: Seat) -> None:
        self._dismiss(seat)
        seat.part.lose()
        self._counted["lost"] += 1
        self._counted["records"] += seat.desk.records
        self._counted["adopted"] += seat.desk.adopted
        self._seats.pop(seat.part.number, None)

    def _lose_all(self) -> None:
        for seat in list(self._seats.values()):
            self._lose(seat)

    def _look_ready(self) -> None:
        if self._accepting and all(seat.part.state is State.LIVE for seat in self._seats.values()):
            self.ready.set()

    async def _hook(self, hook: Callable[[Partition], Awaitable[None] | None], budget: float) -> None:
        works = [work for seat in self._seats.values() if (work := hook(seat.part)) is not None]
        if works:
            await _within(asyncio.gather(*works), budget)

    # ------------------------------------------------------------------ records and commits

    def take(self, chunk: Chunk) -> None:
        """A chunk was fetched."""
        if self._accepting and chunk.generation_id == self._generation:
            self._seats[chunk.partition].desk.take(chunk)

    def _pause(self, topic: str, number: int, paused: bool) -> None:
        self._faust.driver.pause(TP(topic, number), paused)

    def committable(self) -> dict[TP, int]:
        """What may be committed, and is news. Nothing of a frozen partition: its acknowledgements are not told yet."""
        offsets = {}
        for seat in self._seats.values():
            for topic, inbox in seat.desk.inboxes.items() if seat.part.state is State.LIVE else ():
                if inbox.tracker is not None and inbox.tracker.ackable > (inbox.committed or 0):
                    offsets[TP(topic, seat.part.number)] = inbox.tracker.ackable
        return offsets

    def committed(self, offsets: Mapping[TP, int]) -> None:
        """The broker has it."""
        self._counted["commits"] += 1
        for tp, offset in offsets.items():
            seat = self._seats.get(tp.partition)
            if seat is not None:
                inbox = seat.desk.inboxes[tp.topic]
                inbox.committed = max(inbox.committed or 0, offset)

    def statistics(self) -> AppStatistics:
        """One look at the app."""
        seats = self._seats.values()
        inboxes = [inbox for seat in seats for inbox in seat.desk.inboxes.values()]
        lag = sum(max(i.end - i.tracker.ackable, 0) for i in inboxes if i.tracker is not None)
        busy = lag or self._room.taken
        return AppStatistics(
            id=self.spec.id,
            generation=self._generation,
            assigned=tuple(sorted(self._seats)),
            recovering=tuple(s.part.number for s in seats if s.part.state is State.RECOVERING),
            halted={s.part.number: s.part.reason for s in seats if s.part.state is State.HALTED},
            open_slots=open_slots(inboxes),
            lag=lag,
            stuck_for=time.monotonic() - self._room.progress_at if busy else 0.0,
            rows=sum(len(s.part.table) for s in seats if s.part.table is not None),
            commits=self._counted["commits"],
            records=self._counted["records"] + sum(s.desk.records for s in seats),
            adopted=self._counted["adopted"] + sum(s.desk.adopted for s in seats),
            rebalances=self._counted["rebalances"],
            partitions_lost=self._counted["lost"],
        )


async def _within(work: Any, budget: float) -> bool:
    try:
        await asyncio.wait_for(work, max(budget, 0.0))
    except TimeoutError:
        return False
    return True
