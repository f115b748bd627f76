"""The worker's one producer: idempotent where the broker can, every record awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache, partial

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError, UnknownTopicOrPartitionError
from aiokafka.partitioner import murmur2
from aiokafka.producer.message_accumulator import MessageAccumulator, MessageBatch
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from stream_orchestrator.errors import HouseError
from stream_orchestrator.streaming.client import send_empty
from stream_orchestrator.streaming.core.model import APPLY_HINT, Published
from stream_orchestrator.streaming.ending import started
from stream_orchestrator.streaming.faults import translate, translated
from stream_orchestrator.streaming.settings import StreamSettings

Told = Callable[[Published | None, BaseException | None], None]
SHORT_KEY = 64  # bytes: such hashes are kept, as the records of a run have one key; they are counted in Python
FOREVER = 10 * 365 * 86400.0  # seconds; a batch waits for the broker to come back, however long that takes


_known_hash = lru_cache(maxsize=4096)(murmur2)


def home_of(key: bytes, partitions: int) -> int:
    """The partition that a key belongs to, as every client of Kafka counts it."""
    return ((_known_hash if len(key) <= SHORT_KEY else murmur2)(key) & 0x7FFFFFFF) % partitions


class Producer:
    """Appends records and says where they landed.

    Promises: records of one lane (see `outlet`) keep their order; a broker that is away delays and fails nothing; a
    topic that is not there, or a record that the broker refuses, raises.
    """

    def __init__(self, settings: StreamSettings) -> None:
        self._settings = settings
        self._client: AIOKafkaProducer | None = None
        self._sealed_in: tuple[str, ...] = ()
        self._lines: dict[MessageBatch, list[tuple[int, Told]]] = {}  # who is waiting for each batch, by record

    def seal_in(self, topics: Collection[str]) -> None:
        """From now on what goes to topics that begin so is sealed, with the key of the settings."""
        if self._settings.seal is None:
            raise HouseError("there is no key to seal with")
        self._settings.seal.check()
        self._sealed_in = tuple(topics)

    def _sealed(self, topic: str, value: bytes | None) -> bytes | None:
        if value is None or not self._sealed_in or self._settings.seal is None:
            return value
        return self._settings.seal.seal(value, topic) if topic.startswith(self._sealed_in) else value

    async def start(self) -> None:
        """Connect."""
        self._client = AIOKafkaProducer(**self._settings.producer())
        # aiokafka gives up on a batch after its request time-out; to us an unfinished slot is right and a crash is not.
        self._client._message_accumulator._batch_ttl = FOREVER
        with translated(self._settings.bootstrap):
            await started(self._client.start())

    async def stop(self, budget: float) -> None:
        """Close; what is not acknowledged within the budget is abandoned, unacked."""
        if self._client is None:
            return
        client, self._client = self._client, None
        try:
            await asyncio.wait_for(client.stop(), budget)
        except (TimeoutError, KafkaError):
            client._closed = True

    def append_now(
        self,
        topic: str,
        *,
        partition: int | None,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]],
        told: Told,
    ) -> bool:
        """Put one record in line without waiting; `told` is called when its batch is acknowledged.

        False: something has to be waited for, or is wrong; `append` does that. It is what `AIOKafkaProducer.send` does
        when the topic is known and its batch has room, without what cost more than the record itself: a coroutine, a
        copy of what is known of the topic, a future and its callback.
        """
        client = self._client
        if client is None or (key is None and value is None) or topic not in client.client._topics:
            return False  # a topic that is not followed would lose its leader at the next look at the cluster
        partitions = client._metadata._partitions.get(topic)
        if not partitions:
            return False
        headers, value = list(headers), self._sealed(topic, value)
        if DefaultRecordBatchBuilder.estimate_size_in_bytes(key, value, headers) > client._max_request_size:
            return False
        if partition is None:
            partition = home_of(key, len(partitions)) if key else client._partition(topic, None, key, value, key, value)
        if partition not in partitions:
            return False
        batch = self._open_batch(client._message_accumulator, TopicPartition(topic, partition))
        if batch is None:
            return False
        placed = batch._builder.append(timestamp=None, key=key, value=value, headers=headers)
        if placed is None:
            return False
        self._lines[batch].append((placed.offset, told))
        return True

    def _open_batch(self, accumulator: MessageAccumulator, tp: TopicPartition) -> MessageBatch | None:
        """The batch that takes the next record; None when the client takes none. `_lines` knows it from here on."""
        if accumulator._closed or accumulator._exception is not None:
            return None
        waiting = accumulator._batches.get(tp)
        batch = waiting[-1] if waiting else accumulator._append_batch(accumulator.create_builder(), tp)
        if batch not in self._lines:
            self._lines[batch] = []
            batch.future.add_done_callback(partial(self._acknowledged, batch))
        return batch

    def _acknowledged(self, batch: MessageBatch, done: asyncio.Future[object]) -> None:
        line = self._lines.pop(batch)
        if done.cancelled():
            return
        fault = done.exception()
        first = None if fault is not None else done.result()
        for offset, told in line:
            told(None if first is None else Published(first.partition, first.offset + offset), fault)  # type: ignore[attr-defined]

    async def append(
        self,
        topic: str,
        *,
        partition: int | None,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]],
    ) -> asyncio.Future[object]:
        """Put one record in line. Ends when it is in a batch; the future when it is acknowledged."""
        client = self._client
        if client is None:
            raise HouseError("the producer is not running")
        value = self._sealed(topic, value)
        while True:
            try:
                if key is None and value is None:
                    return await send_empty(client, topic, partition=partition, headers=headers)
                return await client.send(topic, value, key=key, partition=partition, headers=list(headers))
            except KafkaTimeoutError:
                continue  # no room in the batch for a whole request time-out: the broker is away, nothing was appended
            except UnknownTopicOrPartitionError as fault:
                if await client.client.force_metadata_update():
                    raise HouseError(f"topic {topic} does not exist", hint=APPLY_HINT) from fault
                await asyncio.sleep(1.0)
            except KafkaError as fault:
                raise self.ours(fault) from fault

    def ours(self, fault: BaseException) -> BaseException:
        """The client library's error in our words, with the original as its cause."""
        if not isinstance(fault, KafkaError):
            return fault
        ours = translate(fault, bootstrap=self._settings.bootstrap)
        ours.__cause__ = fault
        return ours

    async def flush(self) -> None:
        """Wait until all that is in batches is acknowledged."""
        if self._client is not None:
            await self._client.flush()
