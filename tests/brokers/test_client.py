"""The client of commands and tests: what was acknowledged is read, once and in order; what is not there is said."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import aclosing

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete
from support.broker import Broker

from stream_orchestrator.errors import MissingError, RunError
from stream_orchestrator.streaming.brokers.embedded import free_port
from stream_orchestrator.streaming.client import (
    Outgoing,
    Position,
    administering,
    fetch_record,
    follow,
    partitions_of,
    produce,
    read_all,
    reading,
)
from stream_orchestrator.streaming.provisioning import apply
from stream_orchestrator.streaming.settings import StreamSettings
from stream_orchestrator.streaming.topic_kinds import topic_spec


async def make(broker: Broker, name: str = "a", *, partitions: int = 2) -> str:
    topic = broker.topic(name)
    await apply(broker.settings, [topic_spec("input", topic, partitions=partitions)])
    return topic


async def send_batches(settings: StreamSettings, topic: str, sizes: list[int]) -> list[bytes]:
    """Records in batches of exactly these sizes, as a busy producer makes them."""
    values: list[bytes] = []
    async with AIOKafkaProducer(**settings.producer()) as producer:
        for size in sizes:
            batch = producer.create_batch()
            for _ in range(size):
                values.append(str(len(values)).encode())
                batch.append(key=None, value=values[-1], timestamp=None)
            await (await producer.send_batch(batch, topic, partition=0))
    return values


async def test_what_is_sent_is_read_with_its_key_headers_and_position(broker: Broker) -> None:
    topic = await make(broker)
    headers = (("run-id", b"r"), ("run-id", b"s"))
    sent = [Outgoing(b"1", key=b"k", headers=headers, partition=1), Outgoing(None, key=b"k", partition=1)]
    assert await produce(broker.settings, topic, sent) == [Position(1, 0), Position(1, 1)]
    first, second = await read_all(broker.settings, topic)
    assert (first.key, first.value, first.headers) == (b"k", b"1", headers)
    assert first.position == f"{topic}/1/0"
    assert second.value is None
    assert abs(first.timestamp_ms / 1000 - time.time()) < 60


async def test_a_record_with_neither_key_nor_value_is_sent_as_it_is(broker: Broker) -> None:
    topic = await make(broker)
    await produce(broker.settings, topic, [Outgoing(None, headers=(("run-id", b"r"),))])
    [record] = await read_all(broker.settings, topic)
    assert (record.key, record.value, record.headers) == (None, None, (("run-id", b"r"),))


@pytest.mark.parametrize("sizes", [[1], [50], [1, 1, 50], [50, 1], [100, 100, 3], [2000]], ids=str)
async def test_everything_acknowledged_is_read_however_it_was_batched(broker: Broker, sizes: list[int]) -> None:
    topic = await make(broker, partitions=1)
    values = await send_batches(broker.settings, topic, sizes)
    assert [record.value for record in await read_all(broker.settings, topic)] == values


async def test_reading_on_gives_only_what_is_new(broker: Broker) -> None:
    topic = await make(broker, partitions=1)
    values = await send_batches(broker.settings, topic, [7])
    async with reading(broker.settings, topic) as reader:
        assert [record.value for record in await reader.all()] == values
        assert await reader.all() == []
        await produce(broker.settings, topic, [Outgoing(b"new", partition=0)])
        assert [record.value for record in await reader.all()] == [b"new"]


async def test_a_reader_at_the_end_sees_nothing_of_a_batch_that_was_there_before(broker: Broker) -> None:
    topic = await make(broker, partitions=1)
    await send_batches(broker.settings, topic, [3, 50])
    async with reading(broker.settings, topic, at_end=True) as reader:
        await produce(broker.settings, topic, [Outgoing(b"new", partition=0)])
        assert [record.value async for record in reader.follow(count=1)] == [b"new"]


async def test_an_empty_topic_is_read_at_once_and_has_nothing(broker: Broker) -> None:
    topic = await make(broker)
    async with asyncio.timeout(5):
        assert await read_all(broker.settings, topic) == []


async def test_two_topics_are_read_together(broker: Broker) -> None:
    one, two = await make(broker, "one"), await make(broker, "two")
    for topic in (one, two):
        await produce(broker.settings, topic, [Outgoing(topic.encode())])
    assert {record.topic for record in await read_all(broker.settings, one, two)} == {one, two}


async def test_following_waits_for_what_comes_and_ends_at_its_count(broker: Broker) -> None:
    topic = await make(broker, partitions=1)
    await produce(broker.settings, topic, [Outgoing(b"0", partition=0)])
    found: list[bytes | None] = []
    async with aclosing(follow(broker.settings, topic, count=3, timeout=20)) as records:
        async for record in records:
            found.append(record.value)
            if len(found) < 3:
                await produce(broker.settings, topic, [Outgoing(str(len(found)).encode(), partition=0)])
    assert found == [b"0", b"1", b"2"]


async def test_following_ends_at_its_time_out(broker: Broker) -> None:
    topic = await make(broker)
    started = time.monotonic()
    async with aclosing(follow(broker.settings, topic, count=1, timeout=0.2)) as records:
        assert [record async for record in records] == []
    assert time.monotonic() - started < 5


async def test_a_record_is_found_by_its_position_within_a_batch_too(broker: Broker) -> None:
    topic = await make(broker, partitions=1)
    values = await send_batches(broker.settings, topic, [10, 10])
    async with reading(broker.settings, topic) as reader:
        for offset in (19, 0, 13):
            record = await reader.at(topic, 0, offset)
            assert record is not None
            assert (record.offset, record.value) == (offset, values[offset])


async def test_looking_up_one_record_fetches_nothing_else_and_reading_goes_on_after_it(broker: Broker) -> None:
    topic = await make(broker, partitions=2)
    await produce(broker.settings, topic, [Outgoing(b"x", partition=number) for number in (0, 1)])
    async with reading(broker.settings, topic) as reader:
        assert await reader.at(topic, 1, 0) is not None
        assert reader._consumer.paused() == set(reader._parts)
        assert {record.partition for record in await reader.all()} == {0}  # that of partition 1 is read already


async def test_a_position_without_a_record_is_none(broker: Broker) -> None:
    topic = await make(broker, partitions=1)
    await send_batches(broker.settings, topic, [2])
    assert await fetch_record(broker.settings, topic, 0, 99, timeout=0.5) is None


async def test_asking_for_a_missing_topic_says_so_and_does_not_create_it(broker: Broker) -> None:
    topic = broker.topic("nowhere")
    for attempt in (read_all(broker.settings, topic), produce(broker.settings, topic, [Outgoing(b"1")])):
        with pytest.raises(MissingError, match="there is no topic") as caught:
            await attempt
        assert "topics apply" in caught.value.hint
        assert topic in str(caught.value)


async def test_fifteen_megabytes_pass_in_one_record_and_more_than_allowed_is_the_runs_fault(broker: Broker) -> None:
    topic = await make(broker, partitions=1)
    large = b"x" * (15 * 1024 * 1024)
    await produce(broker.settings, topic, [Outgoing(large, partition=0)])
    [record] = await read_all(broker.settings, topic)
    assert record.value == large
    with pytest.raises(RunError):
        await produce(broker.settings, topic, [Outgoing(large + large, partition=0)])


async def test_a_broker_that_is_not_there_is_missing_within_seconds() -> None:
    settings = StreamSettings(bootstrap=f"127.0.0.1:{free_port()}")
    async with asyncio.timeout(10):
        with pytest.raises(MissingError) as caught:
            await partitions_of(settings, ["a"])
    assert settings.bootstrap in str(caught.value)
    assert caught.value.exit_code == 3
    assert "--broker" in caught.value.hint


async def test_a_port_that_never_answers_is_missing_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_orchestrator.streaming.client.ANSWER_WITHIN", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connections are made, and nobody takes them
        port = silent.getsockname()[1]
        with pytest.raises(MissingError, match="answers"):
            await partitions_of(StreamSettings(bootstrap=f"127.0.0.1:{port}"), ["a"])


@pytest.mark.kafka
async def test_compaction_and_old_positions_are_told_apart_from_what_is_there(kafka: Broker) -> None:
    topic = await make(kafka, partitions=1)
    await send_batches(kafka.settings, topic, [5])
    assert await fetch_record(kafka.settings, topic, 0, 5) is None  # not yet: known at once on Kafka
    async with administering(kafka.settings) as admin:
        await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=3)})
    assert await fetch_record(kafka.settings, topic, 0, 2) is None
    kept = await fetch_record(kafka.settings, topic, 0, 3)
    assert kept is not None
    assert kept.value == b"3"
    assert [record.offset for record in await read_all(kafka.settings, topic)] == [3, 4]
