"""Delivery to one partition: timers before records, inboxes in turn, never more than there is room for."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from stream_orchestrator.errors import HouseError
from stream_orchestrator.kernel.inbox import ended_by
from stream_orchestrator.streaming.core.changelog import Inheritance
from stream_orchestrator.streaming.core.chunk import Chunk
from stream_orchestrator.streaming.core.desk import HIGH_RECORDS, Desk
from stream_orchestrator.streaming.core.fence import Fence
from stream_orchestrator.streaming.core.model import AppSpec, Work
from stream_orchestrator.streaming.core.outlet import Outlet
from stream_orchestrator.streaming.core.partition import Partition, State
from stream_orchestrator.streaming.core.room import Room
from stream_orchestrator.streaming.core.table import Table
from stream_orchestrator.streaming.records import Record


class Dues:
    """A row is the time at which it is due."""

    def encode(self, row: Any) -> bytes:
        return repr(row).encode()

    def decode(self, data: bytes) -> Any:
        return float(data)

    def due(self, row: Any) -> float | None:
        return float(row)


class Inbox:
    """An agent that notes what it gets; its work ends when the test says so."""

    def __init__(self, topic: str, world: World, *, contiguous: bool = True) -> None:
        self.topic, self.contiguous = topic, contiguous
        self._world = world

    def receive(self, record: Record, part: Partition) -> Work | None:
        self._world.seen.append(f"{self.topic}{record.offset}")
        if not self._world.holding:
            return None
        work: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._world.works[f"{self.topic}{record.offset}"] = work
        return ended_by(work)


class World:
    """One desk with two inboxes, a clock, and three places for work."""

    def __init__(self, *, contiguous: bool = True) -> None:
        self.now = 100.0
        self.seen: list[str] = []
        self.works: dict[str, asyncio.Future[None]] = {}
        self.holding = False
        self.faults: list[BaseException] = []
        self.paused: list[tuple[str, bool]] = []
        self.room = Room(3)
        outlet = Outlet(None, Fence(10.0), self.faults.append)  # type: ignore[arg-type]
        self.part = Partition(
            0,
            "app",
            outlet=outlet,
            changelog=None,
            fail=self.faults.append,
            room=self.room,
            clock=lambda: self.now,
        )
        self.part.table = Table(Dues(), 0, Inheritance())
        self.part.state = State.LIVE
        agents = (Inbox("a", self, contiguous=contiguous), Inbox("b", self, contiguous=contiguous))
        spec = AppSpec("app", agents, 1, on_due=self.on_due)
        pause = lambda topic, _number, paused: self.paused.append((topic, paused))  # noqa: E731
        self.desk = Desk(self.part, spec, room=self.room, pause=pause, span=1000)
        for topic in "ab":
            self.desk.place(topic, 0, None)
        self.task = asyncio.ensure_future(self.desk.run())

    def on_due(self, _part: Partition, key: bytes) -> None:
        self.seen.append(f"due:{key.decode()}")

    def fetch(self, topic: str, offsets: range, *, end: int | None = None) -> None:
        records = [
            SimpleNamespace(
                topic=topic,
                partition=0,
                offset=offset,
                timestamp=0,
                key=None,
                value=b"",
                headers=(),
                serialized_key_size=-1,
                serialized_value_size=0,
            )
            for offset in offsets
        ]
        end = offsets.stop if end is None else end
        self.desk.take(Chunk(TP(topic, 0), 1, start=offsets.start, end=end, records=records, highwater=end))

    def ackable(self, topic: str) -> int:
        tracker = self.desk.inboxes[topic].tracker
        assert tracker is not None
        return tracker.ackable


@pytest.fixture
async def world() -> Any:
    world = World()
    yield world
    world.task.cancel()
    for work in world.works.values():
        work.cancel()


async def turn(times: int = 12) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


async def test_inboxes_take_turns(world: World) -> None:
    world.fetch("a", range(200))
    world.fetch("b", range(200))
    await turn()
    assert 0 < max(world.seen.index("a0"), world.seen.index("b0")) < 100
    assert len(world.seen) == 400
    assert world.ackable("a") == world.ackable("b") == 200


async def test_a_due_row_goes_before_the_next_record(world: World) -> None:
    world.part.set(b"k", 100.0)
    world.fetch("a", range(1))
    await turn()
    assert world.seen == ["due:k", "a0"]


async def test_a_row_fires_when_its_time_has_come_and_not_before(world: World) -> None:
    world.part.set(b"k", 100.5)
    await turn()
    assert world.seen == []
    world.now = 100.5
    world.desk.wake()
    await turn()
    assert world.seen == ["due:k"]


async def test_no_more_work_starts_than_there_is_room_for_and_a_free_place_is_used_at_once(world: World) -> None:
    world.holding = True
    world.fetch("a", range(5))
    await turn()
    assert world.seen == ["a0", "a1", "a2"]
    world.works["a1"].set_result(None)
    await turn()
    assert world.seen == ["a0", "a1", "a2", "a3"]
    assert world.ackable("a") == 0
    world.works["a0"].set_result(None)
    await turn()
    assert world.ackable("a") == 2


async def test_a_long_inbox_leaves_scarce_room_to_the_others(world: World) -> None:
    world.holding = True
    world.fetch("a", range(200))
    world.fetch("b", range(10))
    await turn()
    for _ in range(20):
        world.works[world.seen[-1]].set_result(None)
        await turn()
    assert 8 <= sum(name.startswith("b") for name in world.seen) <= 10


async def test_a_full_inbox_is_not_fetched_until_it_has_drained(world: World) -> None:
    world.holding = True
    world.fetch("a", range(HIGH_RECORDS))
    assert world.paused == [("a", True)]
    await turn()
    world.holding = False
    for work in list(world.works.values()):
        work.set_result(None)
    await turn(40)
    assert world.paused == [("a", True), ("a", False)]
    assert len(world.seen) == HIGH_RECORDS


@pytest.mark.parametrize("state", [State.RECOVERING, State.FROZEN, State.HALTED])
async def test_nothing_is_delivered_and_no_timer_fires_unless_the_partition_is_live(world: World, state: State) -> None:
    world.part.state = state
    world.part.table.set(b"k", 1.0)  # type: ignore[union-attr]
    world.fetch("a", range(3))
    await turn()
    assert world.seen == []
    world.part.state = State.LIVE
    world.desk.wake()
    await turn()
    assert world.seen == ["due:k", "a0", "a1", "a2"]


async def test_what_comes_again_after_a_rebalance_is_not_run_again(world: World) -> None:
    world.holding = True
    world.fetch("a", range(2))
    await turn()
    world.works["a1"].set_result(None)
    world.desk.clear()
    assert not world.desk.place("a", 0, None)
    world.fetch("a", range(3))
    await turn()
    assert world.seen == ["a0", "a1", "a2"]
    assert world.desk.adopted == 2
    world.works["a0"].set_result(None)
    await turn()
    assert world.ackable("a") == 2


async def test_a_chunk_that_was_dropped_on_the_way_ends_the_process(world: World) -> None:
    world.fetch("a", range(2))
    world.fetch("a", range(5, 7))
    await turn()
    assert isinstance(world.task.exception(), HouseError)
    assert world.ackable("a") == 2


async def test_the_end_of_a_users_chunk_is_acked_past_its_holes() -> None:
    world = World(contiguous=False)
    world.fetch("a", range(2), end=9)
    world.fetch("a", range(9, 9), end=12)
    await turn()
    assert world.ackable("a") == 12
    world.task.cancel()
