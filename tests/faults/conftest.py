"""Where a scene plays, and which scenes the short form leaves out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from scene import FULL, Fault, Report, play
from support.broker import Broker, fresh_prefix
from support.kafka import KafkaCluster
from support.proxy import Proxy


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A module's list `FAULTS` is the parameter `fault` of its tests."""
    if {"fault", "stage"} <= set(metafunc.fixturenames):
        marks = {False: pytest.mark.full, True: ()}
        metafunc.parametrize(
            "fault", [pytest.param(each, id=each.name, marks=marks[each.short]) for each in metafunc.module.FAULTS]
        )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The short form is for every change; `FAULTS=full` (`make faults`) is everything."""
    out = [item for item in items if not FULL and item.get_closest_marker("full")]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]


@pytest.fixture
def cluster(fault: Fault, request: pytest.FixtureRequest, make_kafka: Callable[..., KafkaCluster]) -> KafkaCluster:
    """The cluster that a fault plays on, shared by those that do not hurt it: it is started outside of tests' loops."""
    if fault.own_cluster or fault.proxied:
        return make_kafka(nodes=fault.nodes, proxied=fault.proxied)
    found = request.getfixturevalue("kafka_cluster" if fault.nodes == 1 else "kafka3_cluster")
    assert isinstance(found, KafkaCluster)
    return found


@pytest.fixture
async def stage(fault: Fault, cluster: KafkaCluster, tmp_path: Path) -> AsyncIterator[Callable[[], Awaitable[Report]]]:
    """Plays the fault."""
    if not cluster.pids:
        await cluster.start()
    proxies = [Proxy(node.front_port, node.behind_port) for node in cluster.nodes.values()] if cluster.proxied else []
    for proxy in proxies:
        await proxy.start()

    async def perform() -> Report:
        return await play(fault, Broker(cluster.settings, fresh_prefix(), cluster), tmp_path, proxies=proxies)

    yield perform
    for proxy in proxies:
        await proxy.stop()
