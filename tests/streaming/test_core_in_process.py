"""The streaming core within one process, where a test can look at its agents; on the embedded broker and on Kafka."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from support.broker import Broker
from support.processes import until

from stream_orchestrator.errors import HouseError
from stream_orchestrator.kernel.inbox import ended_by
from stream_orchestrator.streaming.core import App, AppSpec, Partition, Stream
from stream_orchestrator.streaming.core.model import Work
from stream_orchestrator.streaming.records import Record

PARTITIONS = 2


class Codec:
    def encode(self, row: Any) -> bytes:
        return json.dumps(row).encode()

    def decode(self, data: bytes) -> Any:
        return json.loads(data)

    def due(self, row: Any) -> float | None:
        due = row.get("due")
        return None if due is None else float(due)


class Tally:
    """Counts values per key in rows, and asks to be woken once."""

    contiguous = True

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.seen: list[str] = []

    def receive(self, record: Record, part: Partition) -> Work | None:
        assert record.key is not None
        assert record.value is not None
        self.seen.append(record.value.decode())
        row = part.get(record.key) or {"values": [], "due": part.now()}
        row["values"].append(record.value.decode())
        part.set(record.key, row)
        return ended_by(part.write(record.key))


class Chunks:
    """An agent without rows whose work never ends by itself."""

    contiguous = True

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.started = 0

    def receive(self, _record: Record, _part: Partition) -> Work:
        self.started += 1
        return asyncio.sleep(3600)


_open: list[Stream] = []


async def connect(broker: Broker, instance_id: str = "one") -> Stream:
    """A stream that is closed when the test is over, however it ends."""
    stream = Stream(dataclasses.replace(broker.settings, instance_id=instance_id))
    await stream.start()
    _open.append(stream)
    return stream


@pytest.fixture(autouse=True)
async def closed(broker_first: None) -> AsyncIterator[None]:
    yield
    while _open:
        await _open.pop().close()


@pytest.fixture
def broker_first(request: pytest.FixtureRequest) -> None:
    """The broker must outlive the streams, so it has to be there before them."""
    request.getfixturevalue("broker" if "broker" in request.fixturenames else "embedded")


async def make(broker: Broker, *names: str, partitions: int = PARTITIONS) -> None:
    admin = AIOKafkaAdminClient(**broker.settings.connection())
    await admin.start()
    await admin.create_topics([NewTopic(broker.topic(name), partitions, 1) for name in names])
    await admin.close()


async def send(broker: Broker, topic: str, values: list[str]) -> None:
    producer = AIOKafkaProducer(**broker.settings.producer())
    await producer.start()
    acks = [await producer.send(broker.topic(topic), value.encode(), key=value[:1].encode()) for value in values]
    await asyncio.gather(*acks)
    await producer.stop()


async def served(stream: Stream, app: App) -> None:
    crash = asyncio.ensure_future(stream.crashed())
    ready = asyncio.ensure_future(app.ready.wait())
    await asyncio.wait((crash, ready), timeout=20, return_when=asyncio.FIRST_COMPLETED)
    crash.cancel()
    assert ready.done(), crash


async def test_rows_survive_their_process_and_due_rows_fire_after_recovery(broker: Broker) -> None:
    await make(broker, "in", "table")
    values = [f"{key}{number}" for number in range(100) for key in "abc"]
    first = await life(broker, values)
    assert sorted(first.seen) == sorted(values)
    second = await life(broker, [])
    assert second.seen == [], "what was acked is not read again"
    assert second.rows == first.rows
    assert second.fired == {b"a", b"b", b"c"}


class Life:
    def __init__(self) -> None:
        self.rows: dict[bytes, list[str]] = {}
        self.fired: set[bytes] = set()
        self.seen: list[str] = []


async def life(broker: Broker, values: list[str]) -> Life:
    """One process: serve until all is seen and every row has fired, then drain."""
    story, agent = Life(), Tally(broker.topic("in"))

    def on_due(_part: Partition, key: bytes) -> None:
        story.fired.add(key)

    stream = await connect(broker)
    app = await stream.add(
        AppSpec(broker.topic("app"), (agent,), PARTITIONS, broker.topic("table"), Codec(), on_due=on_due)
    )
    await served(stream, app)
    await send(broker, "in", values)
    await until(lambda: len(agent.seen) >= len(values) and len(story.fired) == 3, 20, "all to be seen and fired")
    await until(lambda: app.statistics().open_slots == 0, 10, "slots to finish")
    for seat in app._seats.values():
        story.rows |= {key: seat.part.get(key)["values"] for key in tuple(seat.part.keys())}  # type: ignore[index]
    story.seen = agent.seen
    assert await stream.drain(10)
    return story


@pytest.mark.embedded
async def test_a_drain_that_has_to_cut_says_so_and_what_it_cut_is_read_again(embedded: Broker) -> None:
    await make(embedded, "in")
    await send(embedded, "in", ["a1", "a2"])
    for _ in range(2):
        agent = Chunks(embedded.topic("in"))
        stream = await connect(embedded)
        app = await stream.add(AppSpec(embedded.topic("app"), (agent,), PARTITIONS))
        await served(stream, app)
        await until(lambda agent=agent: agent.started == 2, 10, "both records to be delivered")
        begun = time.monotonic()
        assert not await stream.drain(0.2)
        assert time.monotonic() - begun < 5


@pytest.mark.embedded
async def test_another_partition_count_is_refused_with_the_command_that_mends_it(embedded: Broker) -> None:
    await make(embedded, "in", partitions=3)
    stream = await connect(embedded)
    with pytest.raises(HouseError, match=r"needs 2 partitions: .*in has 3") as caught:
        await stream.add(
            AppSpec(embedded.topic("app"), (Tally(embedded.topic("in")),), PARTITIONS, embedded.topic("table"), Codec())
        )
    assert "stream-orchestrator topics apply" in caught.value.hint


@pytest.mark.embedded
async def test_what_an_agent_raises_ends_the_process_with_the_record_unacked(embedded: Broker) -> None:
    class Broken(Chunks):
        def receive(self, _record: Record, _part: Partition) -> Work:
            raise ZeroDivisionError("bug")

    await make(embedded, "in")
    await send(embedded, "in", ["a1"])
    stream = await connect(embedded)
    app = await stream.add(AppSpec(embedded.topic("app"), (Broken(embedded.topic("in")),), PARTITIONS))
    fault = await asyncio.wait_for(stream.crashed(), 20)
    assert isinstance(fault, ZeroDivisionError)
    assert app.statistics().open_slots == 1
    assert app.committable() == {}


@pytest.mark.embedded
async def test_a_row_that_cannot_be_read_halts_its_partition_and_nothing_of_it_is_served(embedded: Broker) -> None:
    class Strict(Codec):
        def decode(self, data: bytes) -> Any:
            raise ValueError("no row of ours")

    await make(embedded, "in", "table")
    await life_of_one(embedded, Codec(), ["a1"])
    agent = Tally(embedded.topic("in"))
    stream = await connect(embedded)
    app = await stream.add(AppSpec(embedded.topic("app"), (agent,), PARTITIONS, embedded.topic("table"), Strict()))
    await until(lambda: bool(app.statistics().halted), 20, "the partition to be halted")
    await until(lambda: not app.statistics().recovering, 20, "the other to be recovered")
    await send(embedded, "in", ["a2"])
    await until(lambda: app.statistics().lag == 1, 10, "the record to be seen waiting")
    assert not app.ready.is_set()
    assert agent.seen == []


async def life_of_one(broker: Broker, codec: Codec, values: list[str]) -> None:
    agent = Tally(broker.topic("in"))
    stream = await connect(broker)
    app = await stream.add(AppSpec(broker.topic("app"), (agent,), PARTITIONS, broker.topic("table"), codec))
    await served(stream, app)
    await send(broker, "in", values)
    await until(lambda: len(agent.seen) == len(values) and not app.statistics().open_slots, 20, "them to be seen")
    assert await stream.drain(10)


@pytest.mark.embedded
async def test_two_apps_of_one_process_do_not_wait_for_each_other(embedded: Broker) -> None:
    await make(embedded, "slow", "in", "table")
    await send(embedded, "slow", ["a1"])
    stream = await connect(embedded)
    slow, quick = Chunks(embedded.topic("slow")), Tally(embedded.topic("in"))
    await stream.add(AppSpec(embedded.topic("app1"), (slow,), PARTITIONS))
    app = await stream.add(AppSpec(embedded.topic("app2"), (quick,), PARTITIONS, embedded.topic("table"), Codec()))
    await served(stream, app)
    await until(lambda: slow.started == 1, 20, "the slow one to be busy")
    await send(embedded, "in", ["b1", "b2"])
    await until(lambda: quick.seen == ["b1", "b2"], 20, "the quick one to be done")


class Quiet:
    """An inbox that nothing is sent to."""

    contiguous = True

    def __init__(self, topic: str) -> None:
        self.topic = topic

    def receive(self, _record: Record, _part: Partition) -> None:
        return None


class Diary:
    """An app whose rows say who handed them over, and which notes the turns of its partitions' lives."""

    def __init__(self, broker: Broker, name: str) -> None:
        self.name = name
        self.found: dict[int, list[str]] = {}
        self.spec = AppSpec(
            broker.topic("app"),
            (Quiet(broker.topic("in")), Quiet(broker.topic("mid"))),
            PARTITIONS,
            broker.topic("table"),
            Codec(),
            on_recovered=self.recovered,
            on_revoking=self.revoking,
        )

    def recovered(self, part: Partition) -> None:
        self.found[part.number] = [part.get(key)["by"] for key in part.keys()]  # type: ignore[index]  # noqa: SIM118

    def revoking(self, part: Partition) -> Work:
        key = f"{self.name}-{part.number}".encode()
        part.set(key, {"by": self.name})
        return ended_by(part.write(key))


async def test_what_is_written_while_revoking_is_there_for_the_next_owner(broker: Broker) -> None:
    await make(broker, "in", "mid", "table")
    first, second = Diary(broker, "first"), Diary(broker, "second")
    alone = await (await connect(broker, "one")).add(first.spec)
    await until(lambda: alone.ready.is_set() and len(first.found) == PARTITIONS, 20, "the first to serve all")
    other = await (await connect(broker, "two")).add(second.spec)
    await until(lambda: other.ready.is_set() and alone.ready.is_set(), 30, "both to serve")
    moved, kept = other.statistics().assigned, alone.statistics().assigned
    assert len(moved) == len(kept) == 1
    assert second.found == {moved[0]: ["first"]}
    assert first.found[kept[0]] == [], "what came back was not recovered again"


@pytest.mark.embedded
async def test_the_first_record_waits_for_on_recovered(embedded: Broker) -> None:
    await make(embedded, "in", "table")
    await send(embedded, "in", ["a1"])
    agent = Tally(embedded.topic("in"))
    gate, asked = asyncio.Event(), []

    async def recovered(part: Partition) -> None:
        asked.append(part.number)
        await gate.wait()

    stream = await connect(embedded)
    app = await stream.add(
        AppSpec(
            embedded.topic("app"),
            (agent,),
            PARTITIONS,
            embedded.topic("table"),
            Codec(),
            on_recovered=recovered,
        )
    )
    await until(lambda: len(asked) == PARTITIONS and app.statistics().lag == 1, 20, "the record to be fetched")
    assert agent.seen == []
    gate.set()
    await until(lambda: agent.seen == ["a1"], 10, "it to be delivered")


@pytest.mark.kafka
async def test_records_that_retention_took_before_they_were_read_halt_their_partition(kafka: Broker) -> None:
    await make(kafka, "in", "table")
    await life_of_one(kafka, Codec(), ["a1"])
    await send(kafka, "in", ["a2", "a3"])
    admin = AIOKafkaAdminClient(**kafka.settings.connection())
    await admin.start()
    tps = [TopicPartition(kafka.topic("in"), number) for number in range(PARTITIONS)]
    await admin.delete_records({tp: RecordsToDelete(before_offset=-1) for tp in tps})
    await admin.close()
    agent = Tally(kafka.topic("in"))
    app = await (await connect(kafka)).add(
        AppSpec(kafka.topic("app"), (agent,), PARTITIONS, kafka.topic("table"), Codec())
    )
    await until(lambda: bool(app.statistics().halted), 20, "the partition to be halted")
    assert [reason for reason in app.statistics().halted.values() if "were deleted before they were read" in reason]
    assert not app.ready.is_set()


@pytest.mark.kafka
async def test_two_processes_with_one_instance_id_end_with_a_word_about_it(kafka: Broker) -> None:
    await make(kafka, "in", "table")
    streams = [await connect(kafka, "twin") for _ in range(2)]
    for stream in streams:
        await stream.add(
            AppSpec(kafka.topic("app"), (Tally(kafka.topic("in")),), PARTITIONS, kafka.topic("table"), Codec())
        )
    crashes = [asyncio.ensure_future(stream.crashed()) for stream in streams]
    done, pending = await asyncio.wait(crashes, timeout=40, return_when=asyncio.FIRST_COMPLETED)
    for crash in pending:
        crash.cancel()
    fault = done.pop().result()
    assert isinstance(fault, HouseError)
    assert "another process uses the instance id twin" in fault.hint
