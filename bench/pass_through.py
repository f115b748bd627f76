"""Records a second that one worker process passes through agents: `python bench/pass_through.py HOST:PORT [hops]`."""

from __future__ import annotations

import asyncio
import itertools
import resource
import sys
import time
import uuid

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from stream_orchestrator.kernel.inbox import ended_by
from stream_orchestrator.streaming.core import AppSpec, Partition, Stream
from stream_orchestrator.streaming.core.model import Work
from stream_orchestrator.streaming.records import Record
from stream_orchestrator.streaming.settings import StreamSettings

PARTITIONS = 4
RECORDS = 40_000
VALUE = b"x" * 300


class Pass:
    """Publishes what it gets to the next topic, same partition."""

    contiguous = True
    passed = 0

    def __init__(self, topic: str, following: str) -> None:
        self.topic, self._following = topic, following

    def receive(self, record: Record, part: Partition) -> Work:
        """One publish is all of the slot's work."""
        self.passed += 1
        return ended_by(part.publish(self._following, partition=part.number, key=record.key, value=record.value))


async def main(bootstrap: str, hops: int) -> None:
    """Fill the first topic, then pass it all on."""
    settings = StreamSettings(bootstrap=bootstrap, instance_id="bench")
    prefix = f"bench-{uuid.uuid4().hex[:6]}."
    topics = [f"{prefix}t{hop}" for hop in range(hops + 1)]
    admin = AIOKafkaAdminClient(**settings.connection())
    await admin.start()
    await admin.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in topics])
    producer = AIOKafkaProducer(**settings.producer())
    await producer.start()
    acks = [await producer.send(topics[0], VALUE, partition=n % PARTITIONS) for n in range(RECORDS)]
    await asyncio.gather(*acks)
    await producer.stop()
    stream = Stream(settings)
    await stream.start()
    agents = tuple(Pass(a, b) for a, b in itertools.pairwise(topics))
    app = await stream.add(AppSpec(prefix + "app", agents, PARTITIONS))
    await app.ready.wait()
    begun, cpu = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_utime
    crashed = asyncio.ensure_future(stream.crashed())
    while agents[-1].passed < RECORDS or app.statistics().open_slots:
        if crashed.done():
            raise crashed.result()
        await asyncio.sleep(0.01)
    crashed.cancel()
    seconds = time.perf_counter() - begun
    used = resource.getrusage(resource.RUSAGE_SELF).ru_utime - cpu
    rate = RECORDS * hops / seconds
    print(f"{hops} hops: {rate:,.0f} records/s through agents, {used / RECORDS / hops * 1e6:.0f} us of CPU each")
    await stream.drain(10)
    await admin.delete_topics(topics)
    await admin.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1))
