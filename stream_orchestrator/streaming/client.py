"""What commands and tests do with topics, beside workers: send, read, look up one record. No group, no commit.

Promises
  * A broker that does not answer is a `MissingError` within 10 s, a topic that is not there is one at once.
  * Nothing here creates a topic by asking for it.
  * `produce` returns when every record is acknowledged by all in-sync replicas.
  * `Reader.all` gives every record that was acknowledged before it was called, on the embedded broker too.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import OffsetOutOfRangeError

from stream_orchestrator.errors import MissingError
from stream_orchestrator.streaming.ending import started, stopped
from stream_orchestrator.streaming.faults import translated
from stream_orchestrator.streaming.records import Record
from stream_orchestrator.streaming.settings import MIB, StreamSettings
from stream_orchestrator.trust.sealing import opened

ANSWER_WITHIN = 10.0
# Topics that may hold bytes of anybody: what looks sealed there, and is not by us, is shown as it is.
ANYBODYS = (".input", ".ingest", ".dlq")
TICK = 0.5  # how long one poll may wait: it bounds how late a time-out is noticed


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to send. Without a partition the key decides, as with every Kafka client; without a key, chance."""

    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """Where the broker has put a record."""

    partition: int
    offset: int


async def produce(settings: StreamSettings, topic: str, records: Iterable[Outgoing]) -> list[Position]:
    """Send in order, and wait until all are acknowledged. Raises on the first that is not; earlier ones are sent."""
    await partitions_of(settings, [topic])
    with translated(settings.bootstrap):
        producer = AIOKafkaProducer(**settings.producer(), linger_ms=5)
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                await started(producer.start())
            sent = [await _send(producer, topic, one) for one in records]
            return [Position(done.partition, done.offset) for done in await asyncio.gather(*sent)]
        finally:
            await producer.stop()


async def read_all(settings: StreamSettings, *topics: str) -> list[Record]:
    """Every record that is in these topics now, in the order of each partition."""
    async with reading(settings, *topics) as reader:
        return await reader.all()


async def follow(
    settings: StreamSettings, *topics: str, count: int | None = None, timeout: float | None = None
) -> AsyncIterator[Record]:
    """From the beginning and on, as records come; ends after `count` records or `timeout` seconds in all.

    Left early it must be closed (`contextlib.aclosing`); with `reading` that happens by itself.
    """
    async with reading(settings, *topics) as reader:
        async for record in reader.follow(count=count, timeout=timeout):
            yield record


async def fetch_record(
    settings: StreamSettings, topic: str, partition: int, offset: int, *, timeout: float = ANSWER_WITHIN
) -> Record | None:
    """The record at that position; None when it is no longer there (retention, compaction) or not yet."""
    async with reading(settings, topic) as reader:
        return await reader.at(topic, partition, offset, timeout=timeout)


async def partitions_of(settings: StreamSettings, topics: Sequence[str]) -> dict[str, int]:
    """The partition count of each topic; a topic that is not there is a `MissingError`."""
    known = await existing(settings, topics)
    if missing := [topic for topic in topics if topic not in known]:
        names = ", ".join(f"`{topic}`" for topic in missing)
        raise MissingError(
            f"there is no topic {names} on {settings.bootstrap}",
            hint="`stream-orchestrator topics apply FILE` creates the topics of a pipeline; is the prefix right?",
        )
    return {topic: known[topic] for topic in topics}


async def existing(settings: StreamSettings, topics: Sequence[str]) -> dict[str, int]:
    """The partition count of those of these topics that are there."""
    async with administering(settings) as admin:
        # All topics are asked for: naming one would create it where brokers create topics by themselves.
        known = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}
    return {topic: known[topic] for topic in topics if topic in known}


@asynccontextmanager
async def administering(settings: StreamSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin client while it is needed; its errors are ours."""
    with translated(settings.bootstrap):
        admin = AIOKafkaAdminClient(**settings.connection(), request_timeout_ms=round(ANSWER_WITHIN * 1000))
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                await started(admin.start())
            yield admin
        finally:
            await admin.close()


@asynccontextmanager
async def reading(settings: StreamSettings, *topics: str, at_end: bool = False) -> AsyncIterator[Reader]:
    """A reader of all partitions of these topics, from their beginning or from what is their end now."""
    counts = await partitions_of(settings, topics)
    parts = [TopicPartition(topic, number) for topic, count in counts.items() for number in range(count)]
    reader = Reader(settings, parts)
    try:
        await reader.start(at_end=at_end)
        yield reader
    finally:
        await reader.stop()


class Reader:
    """One plain consumer over fixed partitions; made by `reading`. It remembers how far it has read.

    It fetches only what is asked for: a reader that is kept for `at` holds no other partition's records.
    """

    def __init__(self, settings: StreamSettings, parts: list[TopicPartition]) -> None:
        self._settings = settings
        self._parts = parts
        self._consumer = AIOKafkaConsumer(
            **settings.consumer(),
            max_partition_fetch_bytes=settings.max_message_bytes + MIB,
            fetch_max_wait_ms=100,
        )

    async def start(self, *, at_end: bool) -> None:
        """Connect, and stand at the beginning or at the end."""
        with translated(self._settings.bootstrap):
            async with asyncio.timeout(ANSWER_WITHIN):
                await started(self._consumer.start())
                self._consumer.assign(self._parts)
                self._consumer.pause(*self._parts)
                begins = await self._consumer.beginning_offsets(self._parts)
            for part, offset in begins.items():
                self._consumer.seek(part, offset)
            if at_end:
                await self._skip_to_end()

    async def stop(self) -> None:
        """Disconnect."""
        await stopped(self._consumer.stop(), self._consumer)

    async def all(self) -> list[Record]:
        """What is there now and was not read yet."""
        return [record async for batch in self.batches() for record in batch]

    async def batches(self) -> AsyncIterator[list[Record]]:
        """The same, a piece at a time: whoever keeps little of it needs little memory."""
        with translated(self._settings.bootstrap):
            ends = await self._ends()
        async for batch in self._read_to(ends):
            yield batch

    async def bounds(self) -> dict[tuple[str, int], tuple[int, int]]:
        """Of each partition the first offset that it still has, and the end."""
        with translated(self._settings.bootstrap):
            begins, ends = await self._bounds(self._parts)
        return {(part.topic, part.partition): (begins[part], ends[part]) for part in self._parts}

    async def first_since(self, stamp_ms: int) -> dict[tuple[str, int], int | None]:
        """Of each partition the first offset of that time or later; None: all of it is older."""
        asked = dict.fromkeys(self._parts, stamp_ms)
        with translated(self._settings.bootstrap):
            async with asyncio.timeout(ANSWER_WITHIN):
                found = await self._consumer.offsets_for_times(asked)
        return {(part.topic, part.partition): at.offset if at is not None else None for part, at in found.items()}

    async def go_on_from(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Read next what stands at these offsets (of a partition that is not named: its beginning).

        On the embedded broker records before them may come as well: its ends are too low to say where to begin.
        """
        with translated(self._settings.bootstrap):
            begins, ends = await self._bounds(self._parts)
        for part in self._parts:
            wanted = offsets.get((part.topic, part.partition), 0)
            if self._settings.embedded:
                wanted = min(wanted, ends[part] - 1)
            self._consumer.seek(part, max(wanted, begins[part]))

    async def follow(self, *, count: int | None = None, timeout: float | None = None) -> AsyncIterator[Record]:
        """Records as they come, until `count` of them or `timeout` seconds in all."""
        clock = asyncio.get_running_loop().time
        deadline = None if timeout is None else clock() + timeout
        left = count
        while left != 0 and (deadline is None or clock() < deadline):
            wait = TICK if deadline is None else min(TICK, deadline - clock())
            for record in await self.poll(wait, limit=left):
                left = None if left is None else left - 1
                yield record

    async def poll(self, wait: float, *, limit: int | None = None) -> list[Record]:
        """What comes within that time; as soon as anything does, at most `limit` records."""
        with translated(self._settings.bootstrap):
            self._consumer.resume(*self._consumer.paused())
            found = await self._consumer.getmany(timeout_ms=max(0, round(wait * 1000)), max_records=limit)
        return [self._record(raw) for raws in found.values() for raw in raws]

    async def at(self, topic: str, partition: int, offset: int, *, timeout: float = ANSWER_WITHIN) -> Record | None:
        """The one record at that position, or None. Where the reader stands otherwise is lost."""
        part = TopicPartition(topic, partition)
        with translated(self._settings.bootstrap):
            begins, ends = await self._bounds([part])
            # The embedded broker's ends are too low after a batch: there only waiting can tell.
            if offset < begins[part] or (offset >= ends[part] and not self._settings.embedded):
                return None
            self._consumer.pause(*self._parts)
            self._consumer.seek(part, offset)
            self._consumer.resume(part)
            try:
                async with asyncio.timeout(timeout):
                    raw = await self._consumer.getone(part)
            except (TimeoutError, OffsetOutOfRangeError):
                return None
            finally:
                self._consumer.pause(part)
        return self._record(raw) if raw.offset == offset else None

    def _record(self, raw: Any) -> Record:
        record = record_of(raw)
        try:
            value = opened(record.value, self._settings.seal, record.topic)
        except MissingError:
            if record.topic.endswith(ANYBODYS):
                return record
            raise
        return record if value is record.value else replace(record, value=value)

    async def end(self, topic: str, partition: int) -> int:
        """The offset that the next record of that partition will have (on the embedded broker it may be too low)."""
        part = TopicPartition(topic, partition)
        with translated(self._settings.bootstrap):
            return int((await self._bounds([part]))[1][part])

    async def _read_to(self, ends: dict[TopicPartition, int]) -> AsyncIterator[list[Record]]:
        behind = set(ends)
        while behind := {part for part in behind if await self._position(part) < ends[part]}:
            yield await self.poll(TICK)
        # The embedded broker's end is the first offset of its last batch, plus one. That record is read, so its whole
        # batch has been fetched: what is left of it needs no further request.
        while self._settings.embedded and (rest := await self.poll(0)):
            yield rest

    async def _position(self, part: TopicPartition) -> int:
        with translated(self._settings.bootstrap):
            return int(await self._consumer.position(part))

    async def _skip_to_end(self) -> None:
        begins, ends = await self._bounds(self._parts)
        for part in self._parts:
            self._consumer.seek(part, max(begins[part], ends[part] - 1) if self._settings.embedded else ends[part])
        async for _ in self._read_to(ends):
            pass

    async def _ends(self) -> dict[TopicPartition, int]:
        async with asyncio.timeout(ANSWER_WITHIN):
            return dict(await self._consumer.end_offsets(self._parts))

    async def _bounds(self, parts: list[TopicPartition]) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
        async with asyncio.timeout(ANSWER_WITHIN):
            return await self._consumer.beginning_offsets(parts), await self._consumer.end_offsets(parts)


async def _send(producer: AIOKafkaProducer, topic: str, one: Outgoing) -> asyncio.Future[Any]:
    if one.key is None and one.value is None:
        return await send_empty(producer, topic, partition=one.partition, headers=one.headers)
    return await producer.send(topic, one.value, key=one.key, partition=one.partition, headers=list(one.headers))


async def send_empty(
    producer: AIOKafkaProducer, topic: str, *, partition: int | None, headers: Sequence[tuple[str, bytes]]
) -> asyncio.Future[Any]:
    """Put a record with neither key nor value in line. The client's `send` refuses one; Kafka does not, and a dead
    letter may be one.
    """
    batch = producer.create_batch()
    batch.append(key=None, value=None, timestamp=None, headers=list(headers))
    if partition is None:
        partition = random.choice(sorted(await producer.partitions_for(topic)))  # noqa: S311  # no secret
    return await producer.send_batch(batch, topic, partition=partition)


def record_of(raw: Any) -> Record:
    """A record of the client library as ours."""
    return Record(
        topic=raw.topic,
        partition=raw.partition,
        offset=raw.offset,
        timestamp_ms=raw.timestamp,
        key=raw.key,
        value=raw.value,
        headers=tuple((name, value or b"") for name, value in raw.headers),  # Kafka has null headers; we have none
    )
