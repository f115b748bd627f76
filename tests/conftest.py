"""The brokers that tests run on. A missing one is a skip on a laptop and a failure in CI: a skip would be a lie."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from support.broker import Broker, fresh_prefix
from support.kafka import KafkaCluster, NoKafka

from stream_orchestrator.errors import MissingError
from stream_orchestrator.streaming.brokers import EmbeddedBroker

# no test fails for the time it takes
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def unavailable(reason: str) -> None:
    """Skip, or fail where the broker is promised to be there."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


def in_own_loop(work: Coroutine[Any, Any, None]) -> None:
    """Run to its end outside of the tests' loops, in this thread: the nodes' parent must outlive every test."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(work)
    finally:
        loop.close()


def running(cluster: KafkaCluster) -> Iterator[KafkaCluster]:
    """The cluster while it runs."""
    try:
        in_own_loop(cluster.start())
    except NoKafka as fault:
        unavailable(str(fault))
    yield cluster
    in_own_loop(cluster.stop())


@pytest.fixture(scope="session")
def kafka_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """One node for the whole session. A test that hurts it puts it right again, or starts its own (`make_kafka`)."""
    yield from running(KafkaCluster(tmp_path_factory.mktemp("kafka") / "cluster"))


@pytest.fixture(scope="session")
def kafka3_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """Three nodes: replication 3, two in sync."""
    yield from running(KafkaCluster(tmp_path_factory.mktemp("kafka3") / "cluster", nodes=3))


@pytest.fixture
def kafka(kafka_cluster: KafkaCluster) -> Broker:
    """Apache Kafka, one node, with names of the test's own."""
    return Broker(kafka_cluster.settings, fresh_prefix(), kafka_cluster)


@pytest.fixture
def kafka3(kafka3_cluster: KafkaCluster) -> Broker:
    """Apache Kafka, three nodes, with names of the test's own."""
    return Broker(kafka3_cluster.settings, fresh_prefix(), kafka3_cluster)


@pytest.fixture
def make_kafka(tmp_path: Path) -> Iterator[Callable[..., KafkaCluster]]:
    """Makes clusters of the test's own, for harm that others must not see. Started by the test, stopped here."""
    made: list[KafkaCluster] = []

    def make(**options: Any) -> KafkaCluster:
        made.append(KafkaCluster(tmp_path / f"kafka{len(made)}", **options))
        return made[-1]

    yield make
    for cluster in made:
        in_own_loop(cluster.stop())


@pytest.fixture
async def embedded() -> AsyncIterator[Broker]:
    """The embedded broker, the test's own: it is there in milliseconds."""
    broker = EmbeddedBroker()
    try:
        await broker.start()
    except MissingError as fault:
        unavailable(str(fault))
    yield Broker(broker.settings, fresh_prefix())
    await broker.stop()


@pytest.fixture(params=[pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("embedded", "kafka")])
def broker(request: pytest.FixtureRequest) -> Broker:
    """Each broker that we support, one after the other."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Broker)
    return found
