"""What a partition does with work in flight when a rebalance freezes it, gives it back, or takes it away."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka.errors import MessageSizeTooLargeError
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from stream_orchestrator.errors import HouseError, RunError
from stream_orchestrator.streaming.core.changelog import Inheritance
from stream_orchestrator.streaming.core.fence import Fence
from stream_orchestrator.streaming.core.model import PartitionLost, Published
from stream_orchestrator.streaming.core.outlet import Outlet
from stream_orchestrator.streaming.core.partition import Partition, State
from stream_orchestrator.streaming.core.producer import Producer, Told, home_of
from stream_orchestrator.streaming.core.room import Room
from stream_orchestrator.streaming.core.table import Table
from stream_orchestrator.streaming.settings import StreamSettings


class Codec:
    def encode(self, row: Any) -> bytes:
        return repr(row).encode()

    def decode(self, data: bytes) -> Any:
        return data

    def due(self, row: Any) -> float | None:
        return None


class Where:
    def __init__(self, partition: int, offset: int) -> None:
        self.partition, self.offset = partition, offset


class PatientProducer:
    """Takes records, and acknowledges when the test says so."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, bytes | None]] = []
        self.at_once = True  # else every record has to wait for room, as when the broker is away
        self._futures: list[asyncio.Future[Any]] = []

    def append_now(self, topic: str, *, value: bytes | None, told: Told, **_: Any) -> bool:
        if self.at_once:
            self._take(topic, value).add_done_callback(lambda done: tell(told, done))
        return self.at_once

    async def append(
        self,
        topic: str,
        *,
        partition: int | None,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]],
    ) -> asyncio.Future[Any]:
        return self._take(topic, value)

    def _take(self, topic: str, value: bytes | None) -> asyncio.Future[Any]:
        self.taken.append((topic, value))
        self._futures.append(asyncio.get_running_loop().create_future())
        return self._futures[-1]

    def ours(self, fault: BaseException) -> BaseException:
        return Producer(StreamSettings(bootstrap="broker:1")).ours(fault)

    def acknowledge(self) -> None:
        for offset, future in enumerate(self._futures):
            if not future.done():
                future.set_result(Where(0, offset))

    def refuse(self, fault: Exception) -> None:
        for future in self._futures:
            if not future.done():
                future.set_exception(fault)


def tell(told: Told, done: asyncio.Future[Any]) -> None:
    fault = done.exception()
    told(None if fault else Published(done.result().partition, done.result().offset), fault)


class World:
    """One partition, with all that is around it in the test's hands."""

    def __init__(self) -> None:
        self.now = 0.0
        self.faults: list[BaseException] = []
        self.producer = PatientProducer()
        self.fence = Fence(10.0, clock=lambda: self.now)
        self.fence.heard(0.0)
        self.outlet = Outlet(self.producer, self.fence, self.faults.append)  # type: ignore[arg-type]
        self.room = Room(10)
        self.part = Partition(
            0, "app", outlet=self.outlet, changelog="table", fail=self.faults.append, room=self.room, clock=lambda: 7.0
        )
        self.part.table = Table(Codec(), 5, Inheritance())
        self.part.state = State.LIVE

    def publish(self, value: bytes) -> asyncio.Future[Any]:
        return self.part.publish("out", partition=0, key=b"k", value=value)


@pytest.fixture(params=["at once", "after a wait"])
async def world(request: pytest.FixtureRequest) -> World:
    made = World()
    made.producer.at_once = request.param == "at once"
    return made


async def turn(times: int = 5) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


async def test_publishes_and_writes_are_sent_in_order_and_end_when_acknowledged(world: World) -> None:
    first, second = world.publish(b"1"), world.publish(b"2")
    world.part.set(b"a", 1)
    written = world.part.write(b"a")
    world.part.set(b"a", 2)  # a write takes the row as it is at that moment
    await turn()
    assert [value for topic, value in world.producer.taken if topic == "out"] == [b"1", b"2"]
    assert [value for topic, value in world.producer.taken if topic == "table"] == [b"1"]
    assert not first.done()
    world.producer.acknowledge()
    assert (await first).offset == 0
    await asyncio.gather(second, written)


async def test_a_frozen_partition_sends_nothing_and_learns_of_nothing_until_it_is_thawed(world: World) -> None:
    before = world.publish(b"before")
    await turn()
    world.part.freeze()
    during = world.publish(b"during")
    world.producer.acknowledge()
    await turn()
    assert world.producer.taken == [("out", b"before")]
    assert not before.done()
    world.part.thaw()
    await turn()
    assert before.done()
    assert world.producer.taken == [("out", b"before"), ("out", b"during")]
    world.producer.acknowledge()
    await during


async def test_a_lost_partition_ends_its_work_and_what_it_held_is_never_sent(world: World) -> None:
    finished: list[str] = []

    async def work() -> None:
        await world.publish(b"a")
        finished.append("published")

    world.part.run(work(), lambda: finished.append("slot"))
    await turn()
    world.part.freeze()
    late = world.publish(b"late")
    world.producer.acknowledge()
    world.part.lose()
    await turn()
    assert finished == []
    assert world.producer.taken == [("out", b"a")]
    with pytest.raises(PartitionLost):
        await late
    assert world.room.taken == 0
    assert world.faults == []


async def test_nothing_can_be_started_on_a_lost_partition(world: World) -> None:
    world.part.lose()
    assert not world.part.owned
    for attempt in (
        lambda: world.publish(b""),
        lambda: world.part.write(b"a"),
        lambda: world.part.delete(b"a"),
        lambda: world.part.get(b"a"),
    ):
        with pytest.raises(PartitionLost):
            attempt()


async def test_no_except_exception_keeps_lost_work_alive(world: World) -> None:
    survived = []

    async def stubborn() -> None:
        try:
            await world.publish(b"a")
        except Exception:
            survived.append(True)

    world.part.run(stubborn(), None)
    await turn()
    world.part.lose()
    await turn()
    assert survived == []


async def test_while_the_coordinator_is_silent_nothing_is_sent(world: World) -> None:
    world.now = 6.0
    sent = world.publish(b"a")
    await turn()
    assert world.producer.taken == []
    world.fence.heard(6.0)
    await turn()
    assert world.producer.taken == [("out", b"a")]
    world.producer.acknowledge()
    await sent


async def test_an_answer_that_opens_the_fence_and_takes_the_partition_lets_nothing_out(world: World) -> None:
    world.now = 6.0
    sent = world.publish(b"a")
    await turn()
    world.fence.heard(6.0)
    world.part.lose()
    await turn()
    assert world.producer.taken == []
    with pytest.raises(PartitionLost):
        await sent


async def test_a_record_the_broker_refuses_ends_the_process_with_its_slot_unfinished(world: World) -> None:
    finished: list[str] = []
    world.part.run(forward(world), lambda: finished.append("slot"))
    await turn()
    world.producer.refuse(OSError("disk"))
    await turn()
    assert finished == []
    assert isinstance(world.faults[0], OSError)


async def forward(world: World) -> None:
    await world.publish(b"a")


async def test_work_that_fails_ends_the_process_with_its_slot_unfinished(world: World) -> None:
    async def work() -> None:
        raise KeyError("bug")

    finished: list[str] = []
    world.part.run(work(), lambda: finished.append("slot"))
    await turn()
    assert isinstance(world.faults[0], KeyError)
    assert finished == []
    assert world.room.taken == 0


async def test_work_cancelled_by_others_than_us_is_not_taken_for_done(world: World) -> None:
    async def work() -> None:
        raise asyncio.CancelledError

    finished: list[str] = []
    world.part.run(work(), lambda: finished.append("slot"))
    await turn()
    assert isinstance(world.faults[0], HouseError)
    assert finished == []


async def test_a_delete_is_durable_only_when_its_last_tombstone_is(world: World) -> None:
    world.part.table = Table(Codec(), 9, Inheritance(rows={b"a": b"1"}, left={b"a": (2, 5)}))
    list(world.part.table.load())
    deleted = world.part.delete(b"a")
    assert deleted is not None
    assert world.part.get(b"a") is None
    await turn()
    assert world.producer.taken == [("table", None), ("table", None)]
    world.producer.acknowledge()
    assert (await deleted).offset == 1


async def test_a_row_that_was_never_written_is_deleted_without_a_trace(world: World) -> None:
    world.part.set(b"a", 1)
    assert world.part.delete(b"a") is None
    assert list(world.part.keys()) == []
    await turn()
    assert world.producer.taken == []


async def test_what_is_under_way_may_still_land_while_sending_is_held(world: World) -> None:
    sent = world.publish(b"a")
    await turn()
    world.part.hold()
    later = world.publish(b"b")
    world.producer.acknowledge()
    await world.outlet.landed()
    await sent
    assert not later.done()
    world.part.lose()
    await world.outlet.flushed()


async def test_an_app_without_a_table_says_so() -> None:
    world = World()
    world.part.table = None
    with pytest.raises(HouseError, match="app app has no table"):
        world.part.get(b"a")


async def test_the_clock_is_the_apps(world: World) -> None:
    assert world.part.now() == 7.0


async def test_a_record_that_is_too_large_is_its_works_own_problem(world: World) -> None:
    told: list[str] = []

    async def work() -> None:
        try:
            await world.publish(b"huge")
        except RunError:
            told.append("too large")
            await world.publish(b"dead letter")

    world.part.run(work(), lambda: told.append("finished"))
    await turn()
    world.producer.refuse(MessageSizeTooLargeError())
    await turn()
    world.producer.acknowledge()
    await turn()
    assert told == ["too large", "finished"]
    assert world.faults == []
    await world.outlet.flushed()


async def test_last_words_go_out_with_what_stands_before_them_though_sending_is_held(world: World) -> None:
    world.now = 60.0  # the fence is shut: everything queues
    world.publish(b"1")
    world.publish(b"2")
    world.part.last_words(lambda _: world.publish(b"last"))  # type: ignore[arg-type,return-value]
    world.part.hold()
    held = world.part.publish("other", partition=0, key=b"k", value=b"3")
    world.fence.heard(world.now)
    await turn()
    assert [value for _, value in world.producer.taken] == [b"1", b"2", b"last"]
    assert not held.done()


async def test_last_words_of_a_frozen_partition_are_not_sent(world: World) -> None:
    world.now = 60.0
    world.part.last_words(lambda _: world.publish(b"last"))  # type: ignore[arg-type,return-value]
    world.part.hold()
    world.part.freeze()
    world.fence.heard(world.now)
    await turn()
    assert world.producer.taken == []


@given(st.binary(max_size=80), st.integers(1, 200))
def test_a_key_belongs_where_other_clients_of_kafka_look_for_it(key: bytes, partitions: int) -> None:
    assert home_of(key, partitions) == DefaultPartitioner()(key, list(range(partitions)), [])
