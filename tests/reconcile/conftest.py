"""A pipeline in which anything can become of an event, workers in this process, and commands as a person calls them."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from support.broker import Broker

from stream_orchestrator.cli.main import main
from stream_orchestrator.plan import names
from stream_orchestrator.plan.loading import load_plan
from stream_orchestrator.plan.model import Plan
from stream_orchestrator.streaming.client import Outgoing, Position, produce, reading
from stream_orchestrator.streaming.serving import WorkerSettings
from stream_orchestrator.streaming.worker import Worker

PIPELINE = """
name: Books
version: {version}
input_variables:
  n: {{type: integer}}
tasks:
  - name: look
    type: python_task
    timeout: 100 hours
    error_handling: {{retry_count: 1, retry_delay: "{delay} seconds"}}
    script: |
      if n < 0:
          raise ValueError("not today")
      return n
  - name: say
    type: python_task
    script: |
      return look * 2
"""


@dataclass(frozen=True)
class Said:
    """What a command line gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        (line,) = self.out.splitlines()
        return json.loads(line)


@dataclass
class Site:
    """One pipeline on one broker."""

    broker: Broker
    make: Callable[..., Plan]
    plan: Plan
    capfd: pytest.CaptureFixture[str]

    @property
    def settings(self) -> WorkerSettings:
        return WorkerSettings(stream=self.broker.settings, prefix=self.broker.prefix, partitions=2, offline=True)

    def topic(self, kind: str) -> str:
        return f"{self.broker.prefix}{self.plan.slug}.{kind}"

    async def send(self, *values: Any, run_id: str = "", key: bytes | None = None) -> list[Position]:
        """Events: numbers are good ones, bytes go as they are."""
        headers = (("run-id", run_id.encode()),) if run_id else ()
        bodies = [value if isinstance(value, bytes) else orjson.dumps({"n": value}) for value in values]
        records = [Outgoing(body, key=key, headers=headers) for body in bodies]
        return await produce(self.broker.settings, self.topic("input"), records)

    async def results(self, count: int, *, within: float = 60) -> list[Any]:
        """Wait for so many results, copies included."""
        async with reading(self.broker.settings, self.topic("results")) as reader:
            found = [orjson.loads(record.value or b"") async for record in reader.follow(count=count, timeout=within)]
        assert len(found) == count
        return found

    async def call(self, *arguments: object) -> Said:
        """A command of ours."""
        flags = ["--broker", address(self.broker), "--prefix", self.broker.prefix]
        self.capfd.readouterr()
        code = await asyncio.to_thread(main, [*map(str, arguments), *flags])
        return Said(code, *self.capfd.readouterr())

    async def ack(self, group: str, topic: str) -> None:
        """Commit all that is there, as a worker that lost it would."""
        async with reading(self.broker.settings, topic) as reader:
            ends = Counter(TopicPartition(topic, record.partition) for record in await reader.all())
        async with AIOKafkaConsumer(**self.broker.settings.consumer(), group_id=self.broker.prefix + group) as consumer:
            consumer.assign(list(ends))
            await consumer.commit(dict(ends))

    def version_topic(self, slug: str) -> str:
        return names.inbox(self.broker.prefix, self.plan, slug)


def address(broker: Broker) -> str:
    scheme = "embedded" if broker.settings.embedded else "kafka"
    return f"{scheme}://{broker.settings.bootstrap}"


@pytest.fixture
def site(broker: Broker, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Site:
    """The pipeline on each broker, one after the other."""
    return site_on(broker, tmp_path, capfd, monkeypatch)


@pytest.fixture
def kafka_site(
    kafka: Broker, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Site:
    """The pipeline on a real Kafka."""
    return site_on(kafka, tmp_path, capfd, monkeypatch)


def site_on(broker: Broker, folder: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)

    def make(version: str = "1.0.0", delay: float = 0.01) -> Plan:
        file = folder / f"books-{version}-{delay}.yaml"
        file.write_text(PIPELINE.format(version=version, delay=delay))
        return load_plan(file)

    return Site(broker, make, make(), capfd)


Serve = Callable[..., Awaitable[Worker]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts workers; those that a test leaves behind are closed."""
    started: list[Worker] = []

    async def start(settings: WorkerSettings, *plans: Plan) -> Worker:
        worker = Worker(settings, plans)
        started.append(worker)
        await worker.start()
        return worker

    yield start
    for worker in started:
        await worker.close()


async def until(state: Callable[[], Awaitable[Any]], within: float, what: str) -> Any:
    """Wait for a state; what it was."""
    async with asyncio.timeout(within):
        while not (found := await state()):
            await asyncio.sleep(0.1)
    return found
