"""The streaming core on a real Kafka: killed, stopped, crowded and drained; nothing is lost."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from support.broker import Broker
from support.kafka import KafkaCluster
from support.processes import Worker, until

from stream_orchestrator.streaming.core.changelog import Replay, put
from stream_orchestrator.streaming.settings import StreamSettings

pytestmark = pytest.mark.kafka
PARTITIONS = 4

Start = Callable[[str], Worker]


@pytest.fixture
async def topics(kafka: Broker) -> Broker:
    await make_topics(kafka)
    return kafka


async def make_topics(broker: Broker) -> None:
    admin = AIOKafkaAdminClient(**broker.settings.connection())
    await admin.start()
    compact = {} if broker.settings.embedded else {"cleanup.policy": "compact"}
    await admin.create_topics(
        [NewTopic(broker.topic(name), PARTITIONS, 1) for name in ("in", "mid", "out")]
        + [NewTopic(broker.topic("table"), PARTITIONS, 1, topic_configs=compact)]
    )
    await admin.close()


@pytest.fixture
def start(topics: Broker) -> Iterator[Start]:
    started: list[Worker] = []

    def start(name: str) -> Worker:
        worker = Worker(topics.settings, topics.prefix, partitions=PARTITIONS, name=name)
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.close()


class Load:
    """Sends numbered events at a steady rate."""

    def __init__(self, broker: Broker, count: int, rate: float) -> None:
        self._broker, self._count, self._rate = broker, count, rate
        self.sent: set[str] = set()

    async def run(self) -> None:
        producer = AIOKafkaProducer(**self._broker.settings.producer())
        await producer.start()
        begun = time.monotonic()
        for number in range(self._count):
            ahead = number / self._rate - (time.monotonic() - begun)
            if ahead > 0:
                await asyncio.sleep(ahead)
            name = f"e{number}"
            await producer.send_and_wait(self._broker.topic("in"), name.encode(), key=b"k%d" % (number % 40))
            self.sent.add(name)
        await producer.stop()


class Reader:
    """Reads `out` with a plain consumer, as a user would."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.answers: Counter[str] = Counter()
        self.workers: Counter[bytes] = Counter()

    async def run(self) -> None:
        consumer = AIOKafkaConsumer(self._broker.topic("out"), **self._broker.settings.consumer())
        await consumer.start()
        try:
            async for record in consumer:
                self.answers[record.value.decode()] += 1
                self.workers[dict(record.headers)["worker"]] += 1
        finally:
            await consumer.stop()

    async def __aenter__(self) -> Reader:
        self._reading = asyncio.create_task(self.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reading.cancel()
        await asyncio.wait([self._reading])

    async def has_all(self, sent: set[str], within: float) -> None:
        await until(lambda: sent <= self.answers.keys(), within, f"all of {len(sent)} answers")


async def rows_in(broker: Broker) -> dict[bytes, list[str]]:
    """What a new owner would find in the changelog, read by our fold and a plain consumer."""
    consumer = AIOKafkaConsumer(**broker.settings.consumer())
    await consumer.start()
    found: dict[bytes, list[str]] = {}
    for number in range(PARTITIONS):
        tp = TopicPartition(broker.topic("table"), number)
        consumer.assign([tp])
        end = (await consumer.end_offsets([tp]))[tp]
        await consumer.seek_to_beginning(tp)
        replay = Replay()
        while await consumer.position(tp) < end:
            for record in (await consumer.getmany(tp, timeout_ms=200)).get(tp, ()):
                replay.read(record.offset, record.key, record.value, record.headers)
        found |= {key: json.loads(data)["ids"] for key, data in replay.inheritance(end).rows.items()}
    await consumer.stop()
    return found


async def verdict(broker: Broker, load: Load, reader: Reader, *, within: float) -> None:
    """Nothing lost, nothing that nobody sent, and every row knows its ids."""
    await reader.has_all(load.sent, within)
    assert reader.answers.keys() == load.sent
    assert {name for ids in (await rows_in(broker)).values() for name in ids} == load.sent


@pytest.mark.slow
async def test_ten_kills_under_load_lose_nothing(topics: Broker, start: Start) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    workers = {name: start(name) for name in ("w0", "w1")}
    load, reader = Load(topics, 1800, 150), Reader(topics)
    async with reader:
        await until(lambda: all(w.assigned for w in workers.values()), 20, "both workers to serve")
        loading = asyncio.create_task(load.run())
        for _ in range(10):
            await asyncio.sleep(chance.uniform(0.6, 1.2))
            name = chance.choice(sorted(workers))
            workers[name].kill()
            workers[name] = start(name)
        await loading
        await verdict(topics, load, reader, within=40)
        print(f"copies {sum(reader.answers.values()) - len(load.sent)}")
        assert not [w.last("crashed") for w in workers.values() if w.last("crashed")]


async def test_a_third_worker_that_comes_and_goes_costs_nothing(topics: Broker, start: Start) -> None:
    first, second = start("w0"), start("w1")
    load, reader = Load(topics, 900, 150), Reader(topics)
    async with reader:
        await until(lambda: bool(first.assigned and second.assigned), 20, "both workers to serve")
        loading = asyncio.create_task(load.run())
        third = start("w2")
        await until(lambda: bool(third.assigned), 15, "the third worker to serve")
        third.send(signal.SIGTERM)
        assert await third.ended() == 0
        await loading
        await verdict(topics, load, reader, within=20)
        copies = sum(reader.answers.values()) - len(load.sent)
        print(f"copies {copies}")
        assert copies <= 60  # in flight on partitions that moved; what stayed was adopted


async def test_a_drained_worker_leaves_at_once_and_leaves_nothing_behind(topics: Broker, start: Start) -> None:
    first, second = start("w0"), start("w1")
    load, reader = Load(topics, 300, 200), Reader(topics)
    async with reader:
        await until(lambda: bool(first.assigned and second.assigned), 20, "both workers to serve")
        await load.run()
        begun = time.monotonic()
        first.send(signal.SIGTERM)
        await until(lambda: second.assigned == list(range(PARTITIONS)), 8, "the other to serve all partitions")
        assert time.monotonic() - begun < 3.0
        assert await first.ended() == 0
        drained = first.last("drained")
        assert drained is not None
        assert drained["whole"]
        await verdict(topics, load, reader, within=10)
        assert sum(reader.answers.values()) == len(load.sent), "a drain makes no copies"


async def test_a_killed_worker_that_comes_back_serves_again_without_a_rebalance(topics: Broker, start: Start) -> None:
    first, second = start("w0"), start("w1")
    await until(lambda: len(first.assigned) == len(second.assigned) == PARTITIONS // 2, 20, "both workers to serve")
    served = first.assigned
    begun = [words for words in second.heard if words["event"] == "serving"]
    first.kill()
    first = start("w0")
    await until(lambda: first.assigned == served, 8, "its partitions to be served by the new process")
    assert [words for words in second.heard if words["event"] == "serving"] == begun


@pytest.mark.slow
async def test_a_zombies_rows_are_ignored(topics: Broker, start: Start) -> None:
    zombie = start("w0")
    await until(lambda: zombie.assigned == list(range(PARTITIONS)), 20, "the first worker to serve all")
    load, reader = Load(topics, 1500, 90), Reader(topics)
    async with reader:
        loading = asyncio.create_task(load.run())
        await asyncio.sleep(1.0)
        zombie.send(signal.SIGSTOP)
        heir = start("w1")
        await until(
            lambda: heir.assigned == list(range(PARTITIONS)), 25, "its partitions to move when its session is over"
        )
        zombie.send(signal.SIGCONT)
        await until(lambda: bool(zombie.assigned) and zombie.assigned != list(range(PARTITIONS)), 20, "it to rejoin")
        await loading
        await verdict(topics, load, reader, within=20)
        assert zombie.last("crashed") is None


async def test_what_a_zombie_appends_late_does_not_come_back(topics: Broker, start: Start) -> None:
    first = start("w0")
    load = Load(topics, 40, 400)
    await until(lambda: first.assigned == list(range(PARTITIONS)), 20, "the worker to serve")
    await load.run()
    reader = Reader(topics)
    async with reader:
        await reader.has_all(load.sent, 10)
        before = await rows_in(topics)
        await append_as_zombie(topics.settings, topics.topic("table"), before)
        first.kill()
        first = start("w0")
        await until(lambda: first.assigned == list(range(PARTITIONS)), 20, "its next life to serve")
        assert await rows_in(topics) == before


async def append_as_zombie(settings: StreamSettings, topic: str, rows: dict[bytes, list[str]]) -> None:
    """What the owner of epoch -1, long replaced, still had in its hands."""
    producer = AIOKafkaProducer(**settings.producer())
    await producer.start()
    for number in range(PARTITIONS):
        for row in rows:
            entry = put(row, -1, b'{"ids": ["zombie"]}')
            await producer.send_and_wait(topic, entry.value, key=entry.key, partition=number)
    await producer.stop()


@pytest.mark.slow
async def test_a_broker_that_goes_away_kills_nobody(make_kafka: Callable[..., KafkaCluster]) -> None:
    cluster = make_kafka()
    await cluster.start()
    broker = Broker(cluster.settings, "away.", cluster)
    await make_topics(broker)
    workers = [Worker(broker.settings, broker.prefix, partitions=PARTITIONS, name=name) for name in ("w0", "w1")]
    try:
        load, reader = Load(broker, 900, 150), Reader(broker)
        async with reader:
            await until(lambda: all(w.assigned for w in workers), 20, "both workers to serve")
            loading = asyncio.create_task(load.run())
            await asyncio.sleep(1.5)
            await cluster.kill()
            await asyncio.sleep(13)  # longer than a session
            await cluster.restart()
            await loading
            await verdict(broker, load, reader, within=40)
            assert [w.last("crashed") for w in workers] == [None, None]
            assert all(w.running for w in workers)
    finally:
        for worker in workers:
            worker.close()
