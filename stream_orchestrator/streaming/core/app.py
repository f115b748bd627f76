"""One app in this process: follows its group through generations, and owns the partitions in between."""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from aiokafka.errors import KafkaError
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
from stream_orchestrator.streaming.core.seat import Seat
from stream_orchestrator.streaming.settings import StreamSettings

REVOKE_BUDGET = 2.0  # seconds; the whole group waits for us
COMMIT_SHARE = 0.5  # of it: kept for the commit, which everything else must leave room for
LEAVE_BUDGET = 10.0
CLOSE_BUDGET = 3.0
UNKNOWN_WITHIN = 60.0  # seconds in which being forgotten twice means that another process uses our id
SPAN_PER_SLOT = 16  # one slot may be this many times slower than the others before they wait for it


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
        self._outlet = Outlet(producer, self._fence, fail)
        self._room = Room(spec.max_in_flight)
        self._seats: dict[int, Seat] = {}
        self._generation = -1
        self._turn = 0  # counts rebalances and assignments: what began before the last one is stale
        self._accepting = False
        self._draining = False
        self._forgotten_at = float("-inf")
        self._tasks: set[asyncio.Task[None]] = set()
        self._counted: Counter[str] = Counter()
        self._nonce = uuid.uuid4().hex
        self._loop = asyncio.get_running_loop()
        self._faust = make_app(self, spec, settings, member=self._member())

    # ------------------------------------------------------------------ life

    async def start(self) -> None:
        """Join the group; `ready` is set when the first assignment is served."""
        await self._faust.start()
        self._start(self._watch_faust())

    async def drain(self, budget: float) -> bool:
        """Pull nothing more, let slots finish, hand over, commit, leave the group. True: nothing was cut."""
        deadline = time.monotonic() + budget
        self._draining = True
        self._accepting = False
        self.ready.clear()
        self._faust.driver.stop_flow()
        for seat in self._seats.values():
            seat.dismiss()
        whole = await _within(self._room.empty(), deadline - time.monotonic())
        whole = await _within(self._outlet.flushed(), max(deadline - time.monotonic(), 1.0)) and whole
        await self._tell_revoking(REVOKE_BUDGET)
        await _within(self._outlet.landed(), REVOKE_BUDGET)
        await _within(self._faust.driver.commit_offsets(self.committable()), REVOKE_BUDGET)
        self._lose_all()
        self.leaving = True
        return await self._stop() and whole

    async def close(self) -> None:
        """Stop at once: nothing is handed over, and membership is kept for the next process of this id."""
        self._lose_all()
        await self._stop()

    async def _stop(self) -> bool:
        self._outlet.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=CLOSE_BUDGET)  # they close what they had opened
        return await stop_app(self._faust, LEAVE_BUDGET)

    async def _watch_faust(self) -> None:
        await self._faust._crashed.wait()
        fault = HouseError(f"the stream of {self.spec.id} crashed: {self._faust.crash_reason!r}")
        fault.__cause__ = self._faust.crash_reason
        self._fail(fault)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._fail(fault)

    # ------------------------------------------------------------------ membership (House, Landlord)

    def _member(self) -> str:
        topics = hashlib.sha256("\n".join(self.spec.topics).encode()).hexdigest()[:8]
        stem = self._settings.instance_id or self._nonce
        return f"{stem}-{topics}"

    def consumer_settings(self) -> dict[str, Any]:
        """What the aiokafka consumer is made with; a static member's id changes with its topics."""
        kwargs = self._settings.consumer() | self._settings.membership() | {"group_id": self.spec.id}
        if "group_instance_id" in kwargs:
            kwargs["group_instance_id"] = self._member()
        return kwargs | {
            "max_poll_records": 1000,
            "max_partition_fetch_bytes": 1024 * 1024,
            # The embedded broker answers a fetch when its time is over, whatever has come meanwhile.
            "fetch_max_wait_ms": 50 if self._settings.embedded else 500,
            # Slots are bounded by drains and deadlines, not by polls: a paused inbox is no reason to leave.
            "max_poll_interval_ms": 24 * 3600 * 1000,
            "rebalance_timeout_ms": 20_000,
            "metadata_max_age_ms": 30_000,
        }

    @property
    def ends_are_right(self) -> bool:
        """The embedded broker's are not."""
        return not self._settings.embedded

    def heard(self, asked_at: float) -> None:
        """A good answer of the coordinator; called from the consumer's thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._fence.heard, asked_at)

    def refused(self, fault: Exception) -> None:
        """The coordinator will not have us as we are; called from the consumer's thread."""
        ours = HouseError(f"{self.spec.id} is refused by its group's coordinator: {fault}", hint=self._whose_id())
        ours.__cause__ = fault
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._fail, ours)

    def _whose_id(self) -> str:
        # Kafka fences the older of two static members with an error that aiokafka has no name for.
        stem = self._settings.instance_id
        return f"if another process uses the instance id {stem}, give each its own" if stem else ""

    async def revoking(self, *, lost: bool) -> None:
        """A rebalance begins, and takes all partitions: hand over what is finished, freeze the rest."""
        deadline = time.monotonic() + REVOKE_BUDGET
        self._turn += 1
        self._counted["rebalances"] += 1
        self._watch.count("stream_rebalances", app=self.spec.id)
        self._accepting = False
        self.ready.clear()
        if lost and self._seats:  # on the first join nobody knows us, and that is no news
            self._note_forgotten()
        for seat in list(self._seats.values()):
            if lost or seat.part.state not in (State.LIVE, State.FROZEN):
                self._lose(seat)
            else:
                seat.dismiss()
        await self._tell_revoking(deadline - COMMIT_SHARE - time.monotonic())
        await _within(self._outlet.landed(), deadline - COMMIT_SHARE - time.monotonic())
        offsets = self.committable()
        for seat in self._seats.values():
            seat.part.freeze()
        await _within(self._faust.driver.commit_offsets(offsets), deadline - time.monotonic())

    async def _tell_revoking(self, budget: float) -> None:
        """What the agents post when they are told goes out, and nothing after it: what they say holds."""
        live = [seat.part for seat in self._seats.values() if seat.part.state is State.LIVE]
        works = [work for part in live if (work := part.last_words(self.spec.on_revoking)) is not None]
        for seat in self._seats.values():
            seat.part.hold()
        if works:
            await _within(asyncio.gather(*works), budget)

    def _note_forgotten(self) -> None:
        now = time.monotonic()
        if self._settings.instance_id and now - self._forgotten_at < UNKNOWN_WITHIN:
            said = f"{self.spec.id} was thrown out of its group twice within a minute"
            self._fail(HouseError(said, hint=self._whose_id()))
        self._forgotten_at = now

    def assigned(self, assigned: set[TP], generation: int) -> None:
        """A generation begins: keep what is still ours, lose what is not, make seats for what is new."""
        self._fence.heard(time.monotonic())
        self._turn += 1
        member = self._faust.driver.member_id
        following = self._generation in (generation - 1, generation)  # nobody else can have had them in between
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
        self._start(self._begin(assigned, self._turn))

    async def _begin(self, assigned: set[TP], turn: int) -> None:
        """Outside the join: seek, let it flow, then thaw and recover."""
        try:
            places = await self._faust.driver.place(assigned) if assigned else {}
        except KafkaError:
            if turn == self._turn:
                raise
            return
        if turn != self._turn:
            return  # another rebalance came in between; its assignment is told next
        if not self._draining:
            self._place(places)
            self._accepting = True
        for seat in self._seats.values():
            self._go_on(seat)
        self._look_ready()
        if not self._draining:
            await self._faust.resume()

    def _place(self, places: Mapping[TP, tuple[int, int | None, int]]) -> None:
        for tp, (position, committed, earliest) in places.items():
            seat = self._seats[tp.partition]
            if seat.desk.place(tp.topic, position, committed) and earliest > position:
                seat.part.halt(f"records {position} to {earliest - 1} of {tp.topic} were deleted before they were read")
                self._watch.count("stream_lost_to_retention", earliest - position, app=self.spec.id, topic=tp.topic)

    def _go_on(self, seat: Seat) -> None:
        if seat.part.state is State.FROZEN and self._draining:
            seat.part.thaw()
        elif seat.part.state is State.FROZEN:
            seat.thaw()
        elif seat.part.state is State.RECOVERING and not self._draining:
            begun = time.monotonic()
            seat.recover(self.spec, self._settings, served=lambda: self._served(begun))

    def _served(self, begun: float) -> None:
        self._watch.observe("stream_recovery_seconds", time.monotonic() - begun, app=self.spec.id)
        self._look_ready()

    def _new_seat(self, number: int, member: str) -> Seat:
        part = Partition(
            number,
            self.spec.id,
            outlet=self._outlet,
            changelog=self.spec.table,
            fail=self._fail,
            room=self._room,
            clock=self._clock,
        )
        span = SPAN_PER_SLOT * self.spec.max_in_flight
        desk = Desk(part, self.spec, room=self._room, pause=self._pause, span=span, seal=self._settings.seal)
        return Seat(part, desk, member=member, start=self._start)

    def _lose(self, seat: Seat) -> None:
        seat.lose()
        self._counted.update(lost=1, records=seat.desk.records, adopted=seat.desk.adopted)
        del self._seats[seat.part.number]

    def _lose_all(self) -> None:
        for seat in list(self._seats.values()):
            self._lose(seat)

    def _look_ready(self) -> None:
        if self._accepting and all(seat.part.state is State.LIVE for seat in self._seats.values()):
            self.ready.set()

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

    def standing(self) -> dict[tuple[str, int], int]:
        """The next offset never seen of every inbox partition that could take a record now."""
        if not self._accepting or not self._room.free:
            return {}
        live = [seat for seat in self._seats.values() if seat.part.state is State.LIVE]
        inboxes = [(topic, seat.part.number, inbox) for seat in live for topic, inbox in seat.desk.inboxes.items()]
        return {
            (topic, number): inbox.tracker.next
            for topic, number, inbox in inboxes
            if inbox.tracker is not None and not inbox.tracker.full and not inbox.paused
        }

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
            stuck_for=self._room.idle_for() if busy else 0.0,
            rows=sum(len(s.part.table) for s in seats if s.part.table is not None),
            commits=self._counted["commits"],
            records=self._counted["records"] + sum(s.desk.records for s in seats),
            adopted=self._counted["adopted"] + sum(s.desk.adopted for s in seats),
            rebalances=self._counted["rebalances"],
            partitions_lost=self._counted["lost"],
        )


async def _within(work: Awaitable[Any], budget: float) -> bool:
    try:
        await asyncio.wait_for(work, max(budget, 0.05))
    except TimeoutError:
        return False
    return True
