"""Topics that somebody changes, deletes or resets.

FAULTS=full pytest -s tests/faults/test_fault_topics.py
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.structs import OffsetAndMetadata
from scene import Fault, Report, Scene
from support.site import partitions, until

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(600)]


async def more_partitions(scene: Scene) -> None:
    """The input of a running site gets four more: what is sent there is answered too."""
    async with administering(scene) as admin:
        await admin.create_partitions({scene.traffic.input: NewPartitions(12)})
    scene.hurt()
    async with AIOKafkaProducer(**scene.traffic.settings.connection()) as producer:
        names = [f"wide-{n}" for n in range(40)]
        for n, name in enumerate(names):
            body, headers = orjson.dumps({"n": 50_000 + n}), [("run-id", name.encode())]
            await producer.send_and_wait(scene.traffic.input, body, partition=8 + n % 4, headers=headers)
            scene.traffic.sent[name] = time.monotonic()
    await until(lambda: set(names) <= scene.traffic.answered.keys(), 150, "events in the new partitions to be answered")
    scene.hurt()


async def offset_past_the_end(scene: Scene) -> None:
    """All workers stop, and the group's offsets are set to where no record is yet."""
    await stop_all(scene)
    membership = {**scene.traffic.settings.connection(), "group_id": f"{scene.traffic.input}.app"}
    async with AIOKafkaConsumer(**membership, enable_auto_commit=False) as reader:
        parts = await partitions(scene.traffic.settings, scene.traffic.input)
        reader.assign(parts)
        ends = await reader.end_offsets(parts)
        await reader.commit({part: OffsetAndMetadata(end + 1000, "") for part, end in ends.items()})
    scene.hurt()
    await scene.add_worker("w8")


async def missing_at_start(scene: Scene) -> None:
    """All workers stop, two topics are deleted whose records nobody needs again, and a worker starts."""
    await stop_all(scene)
    ours = (f"{scene.broker.prefix}fault-proof.dlq", f"{scene.broker.prefix}orchestrator.audit")
    async with administering(scene) as admin:
        await admin.delete_topics(list(ours))
    scene.hurt()
    await scene.add_worker("w8")


async def deleted_under_way(scene: Scene) -> None:
    """A topic of ours goes while everybody writes to it: a clear exit, and the next child makes it again."""
    topic = f"{scene.broker.prefix}orchestrator.audit"
    lives = [len(worker.children) for worker in scene.workers]
    async with administering(scene) as admin:
        await admin.delete_topics([topic])
    scene.hurt()
    for worker, life in zip(scene.workers, lives, strict=True):
        await worker.ready(life + 1)
    scene.hurt()
    said = [str(event.get("message")) for worker in scene.workers for event in worker.events if "message" in event]
    assert any(f"topic {topic} does not exist" in line for line in said), said[-20:]


FAULTS = [
    Fault(name="the input gets more partitions", strike=more_partitions, kills=True),
    Fault(name="committed offsets past the end", strike=offset_past_the_end, kills=True),
    Fault(name="topics missing at the start", strike=missing_at_start, kills=True),
    Fault(name="a topic deleted under way", strike=deleted_under_way, kills=True),
]


async def test_topics_that_others_changed_cost_no_run(stage: Callable[[], Awaitable[Report]]) -> None:
    await stage()


async def stop_all(scene: Scene) -> None:
    """All at once: what one hands over nobody takes, so the last may have to cut, and says so by its exit code."""
    scene.hurt()
    for worker in scene.workers:
        worker.signal(signal.SIGTERM)
    await asyncio.gather(*(until(lambda w=worker: not w.alive, 60, "a worker to end") for worker in scene.workers))
    codes = [worker.popen.returncode for worker in scene.workers]
    assert set(codes) <= {0, 1}, codes


@asynccontextmanager
async def administering(scene: Scene) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**scene.traffic.settings.connection())
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()
