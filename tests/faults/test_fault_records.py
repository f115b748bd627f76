"""Records in our own topics that nobody of ours wrote, or that an older or newer version did.

FAULTS=full pytest -s tests/faults/test_fault_records.py
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from scene import Fault, Report, Scene
from support.site import partitions

from stream_orchestrator.streaming.client import read_all

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(600)]

GARBAGE = (
    b"\x00\xff\xfe garbage",
    b"",
    b"[]",
    b"{}",
    b"null",
    b'{"format": 0, "token": {}}',
    b'{"format": 99, "token": {"run_id": "event-1"}}',
    b'{"format": 1, "token": null}',
    b'{"format": 1, "call": {"call_id": 7}}',
    b'{"format": 1, "answer": "none"}',
    b'{"format": 1, "reply": ' + b"[" * 5000,
)


async def garbage(scene: Scene) -> None:
    """Into every inbox and call topic, while the runs go through: each is put aside with its position, nobody stops."""
    serving = [worker.children[-1] for worker in scene.workers]
    inboxes = await internal_topics(scene)
    assert len(inboxes) >= 9, inboxes
    sent = 0
    async with AIOKafkaProducer(**scene.traffic.settings.connection()) as producer:
        for topic in inboxes:
            for number, value in enumerate(GARBAGE):
                await producer.send_and_wait(topic, value, key=b"event-1", partition=number % 8)
                sent += 1
    scene.hurt()
    letters: list[Any] = []
    for _ in range(600):
        letters = await read_all(scene.traffic.settings, f"{scene.broker.prefix}orchestrator.dlq")
        if len(letters) >= sent:
            break
        await asyncio.sleep(0.1)
    print(f"\n{sent} records that are none in {len(inboxes)} topics, {len(letters)} put aside")
    assert len({letter.header("dlq-position") for letter in letters}) == sent == len(letters)
    assert [worker.children[-1] for worker in scene.workers] == serving, "a worker died of it"


async def newer(scene: Scene) -> None:
    """Copies of live records as a newer version would write them, with fields that nobody here knows."""
    serving = [worker.children[-1] for worker in scene.workers]
    topics = await internal_topics(scene)
    parts = [part for topic in topics for part in await partitions(scene.traffic.settings, topic)]
    resent = 0
    async with (
        AIOKafkaConsumer(**scene.traffic.settings.connection(), enable_auto_commit=False) as consumer,
        AIOKafkaProducer(**scene.traffic.settings.connection()) as producer,
    ):
        consumer.assign(parts)
        await consumer.seek_to_end(*parts)
        while resent < 300:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records[:20]:
                    if b'"from_the_future"' not in (record.value or b""):
                        value = orjson.dumps(with_more(orjson.loads(record.value)))
                        headers = list(record.headers)
                        await producer.send_and_wait(
                            record.topic, value, key=record.key, partition=record.partition, headers=headers
                        )
                        resent += 1
            if scene.traffic.in_flight == 0:
                await asyncio.sleep(0.1)
    scene.hurt()
    letters = await read_all(scene.traffic.settings, f"{scene.broker.prefix}orchestrator.dlq")
    print(f"\n{resent} live records came again with unknown fields; {len(letters)} put aside")
    assert letters == []
    assert [worker.children[-1] for worker in scene.workers] == serving, "a worker died of it"


FAULTS = [
    Fault(name="garbage and old formats in our topics", strike=garbage, short=True),
    # A copy of a run's beginning is answered again. A copy of a token may find a step that is over and has kept no row:
    # its script runs again, and whoever waited for it has his answer already. No call is made again.
    Fault(name="unknown fields in our topics", strike=newer, moves=True, asked_again=True),
]


async def test_strange_records_in_our_topics_are_put_aside_and_change_nothing(
    stage: Callable[[], Awaitable[Report]],
) -> None:
    await stage()


def with_more(body: dict[str, Any]) -> dict[str, Any]:
    """One more field at the top, and in every event inside."""
    inner = {name: {**each, "from_the_future": 1} for name, each in body.items() if isinstance(each, dict)}
    return body | inner | {"from_the_future": {"deep": [1]}}


async def internal_topics(scene: Scene) -> list[str]:
    """Inboxes of the version and of calls: no tables, and not the topic where users' copies meet."""
    admin = AIOKafkaAdminClient(**scene.traffic.settings.connection())
    await admin.start()
    try:
        names = await admin.list_topics()
    finally:
        await admin.close()
    ours = (f"{scene.broker.prefix}fault-proof.1-0-0-", f"{scene.broker.prefix}orchestrator.calls.")
    return sorted(name for name in names if name.startswith(ours) and not name.endswith(".table"))
