"""Brokers that are away: one node for a moment and for longer than a session, one of three, a leader, too few replicas.

FAULTS=full pytest -s tests/faults/test_fault_brokers.py
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from scene import Fault, Report, Scene
from support.kafka import KafkaCluster

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(900)]


async def away(scene: Scene, seconds: float, *, number: int = 1) -> None:
    """A node dies, and is back after that long (and its start)."""
    cluster = cluster_of(scene)
    scene.hurt()
    await cluster.kill(number)
    await asyncio.sleep(seconds)
    await cluster.restart(number)
    scene.healed()


async def leader_killed(scene: Scene) -> None:
    """The leader of the first input partition dies; another leads."""
    admin = AIOKafkaAdminClient(**cluster_of(scene).settings.connection())
    await admin.start()
    try:
        (topic,) = await admin.describe_topics([scene.traffic.input])
    finally:
        await admin.close()
    await away(scene, 15, number=topic["partitions"][0]["leader"])


async def too_few_replicas(scene: Scene) -> None:
    """Every topic wants three replicas in sync and one is away: the brokers answer produce requests with errors."""
    try:
        await replicas_in_sync(scene, 3)
        await away(scene, 8, number=scene.chance.choice((1, 2, 3)))
    finally:
        await replicas_in_sync(scene, 2)
    scene.healed()


async def replicas_in_sync(scene: Scene, count: int) -> None:
    admin = AIOKafkaAdminClient(**cluster_of(scene).settings.connection())
    await admin.start()
    try:
        ours = [name for name in await admin.list_topics() if name.startswith(scene.broker.prefix)]
        wanted = {"min.insync.replicas": str(count)}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, wanted) for name in ours])
    finally:
        await admin.close()


def cluster_of(scene: Scene) -> KafkaCluster:
    assert scene.broker.cluster is not None
    return scene.broker.cluster


FAULTS = [
    Fault(name="broker away for 2 s", strike=lambda s: away(s, 2), named=True, own_cluster=True, short=True),
    Fault(name="broker away for 30 s", strike=lambda s: away(s, 30), named=True, own_cluster=True),
    Fault(name="three nodes, leader killed", strike=leader_killed, named=True, nodes=3, own_cluster=True, short=True),
    Fault(
        name="three nodes, one away for a minute",
        strike=lambda s: away(s, 60, number=s.chance.choice((1, 2, 3))),
        named=True,
        nodes=3,
        own_cluster=True,
    ),
    Fault(name="three nodes, produce errors", strike=too_few_replicas, named=True, nodes=3, own_cluster=True),
]


async def test_a_broker_that_is_away_delays_and_repeats_nothing(stage: Callable[[], Awaitable[Report]]) -> None:
    await stage()
