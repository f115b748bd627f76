"""Where a scene plays, and which scenes the short form leaves out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from scene import FULL, Fault, Report, play
from support.broker import Broker, fresh_prefix
from support.kafka import KafkaCluster
from support.proxy import Proxy


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The short form is for every change; `FAULTS=full` (`make faults`) is everything."""
    here = Path(__file__).parent
    out = [item for item in items if here in item.path.parents and not FULL and item.get_closest_marker("full")]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]


@pytest.fixture
def cluster_of(
    request: pytest.FixtureRequest, make_kafka: Callable[..., KafkaCluster]
) -> Callable[[Fault], KafkaCluster]:
    """The cluster that a fault plays on: shared by those that do not hurt it."""

    def of(fault: Fault) -> KafkaCluster:
        if fault.own_cluster or fault.proxied:
            return make_kafka(nodes=fault.nodes, proxied=fault.proxied)
        name = "kafka_cluster" if fault.nodes == 1 else "kafka3_cluster"
        found = request.getfixturevalue(name)
        assert isinstance(found, KafkaCluster)
        return found

    return of


@pytest.fixture
async def stage(fault: Fault, cluster: KafkaCluster, tmp_path: Path) -> AsyncIterator[Callable[[], object]]:
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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A module's list `FAULTS` is the parameter `fault` of its tests."""
    if "fault" in metafunc.fixturenames and "stage" in metafunc.fixturenames:
        params = [
            pytest.param(each, id=each.name, marks=() if each.short else pytest.mark.full)
            for each in metafunc.module.FAULTS
        ]
        metafunc.parametrize("fault", params)
