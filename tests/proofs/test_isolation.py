"""Pipelines, prefixes and versions beside each other: none sees the other's events; a version never changes unseen.

pytest -s tests/proofs/test_isolation.py
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.broker import Broker

from stream_orchestrator.errors import SpecError
from stream_orchestrator.plan import names
from stream_orchestrator.plan.loading import load_plan
from stream_orchestrator.plan.model import Plan
from stream_orchestrator.spec.config import Configuration, from_environ
from stream_orchestrator.streaming.client import Outgoing, produce, read_all, reading
from stream_orchestrator.streaming.serving import WorkerSettings
from stream_orchestrator.streaming.worker import Worker

EVENTS = 40
TWO_PROCESSES = from_environ({"STREAM_ORCHESTRATOR__SCRIPTS__WORKERS": "2"})
SCRIPT = """
name: "{name}"
version: "{version}"
tasks:
  - name: "mark"
    type: "python_task"
    script: |
      import time
      time.sleep({pause})
      return "{mark} " + str({{{{ n }}}})
"""


@pytest.fixture
def plans(tmp_path: Path) -> Any:
    """Makes a plan whose results say which file made them."""

    def make(name: str, version: str, mark: str, pause: float = 0.0) -> Plan:
        file = tmp_path / f"{mark}.yaml"
        file.write_text(SCRIPT.format(name=name, version=version, mark=mark, pause=pause))
        return load_plan(file)

    return make


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[Worker]]]:
    """Starts workers, and closes what a failing test leaves behind."""
    started: list[Worker] = []

    async def start(settings: WorkerSettings, *served: Plan) -> Worker:
        worker = Worker(settings, served)
        started.append(worker)
        await worker.start()
        return worker

    yield start
    for worker in started:
        await worker.close()


async def send(broker: Broker, prefix: str, slug: str, *, first: int = 0) -> None:
    events = [Outgoing(orjson.dumps({"n": n})) for n in range(first, first + EVENTS)]
    await produce(broker.settings, names.input_topic(prefix, slug), events)


async def outputs(broker: Broker, prefix: str, slug: str, *, count: int) -> list[str]:
    """The outputs of so many runs, and of any that come too many. A copy counts once."""
    topic = names.results_topic(prefix, slug)
    seen: set[bytes | None] = set()
    async with reading(broker.settings, topic) as reader:
        async for record in reader.follow(timeout=60):
            seen.add(record.value)
            if len(seen) == count:
                break
    found = {record.value for record in await read_all(broker.settings, topic)}
    return sorted(orjson.loads(value or b"")["output"] for value in found)


def marked(mark: str, first: int = 0) -> list[str]:
    return sorted(f"{mark} {n}" for n in range(first, first + EVENTS))


@pytest.mark.kafka
@pytest.mark.slow
async def test_two_pipelines_in_one_worker_see_only_their_own_events(kafka: Broker, plans: Any, serve: Any) -> None:
    settings = WorkerSettings(stream=kafka.settings, prefix=kafka.prefix, partitions=4)
    worker = await serve(settings, plans("First", "1.0.0", "one"), plans("Second", "1.0.0", "two"))
    await send(kafka, kafka.prefix, "first")
    await send(kafka, kafka.prefix, "second")
    assert await outputs(kafka, kafka.prefix, "first", count=EVENTS) == marked("one")
    assert await outputs(kafka, kafka.prefix, "second", count=EVENTS) == marked("two")
    assert await worker.drain()


@pytest.mark.kafka
@pytest.mark.slow
async def test_two_prefixes_on_one_cluster_see_only_their_own_events(kafka: Broker, plans: Any, serve: Any) -> None:
    base = WorkerSettings(stream=kafka.settings, partitions=4)
    prefixes = {"one": f"{kafka.prefix}a.", "two": f"{kafka.prefix}b."}
    workers = [
        await serve(replace(base, prefix=prefix), plans("Same", "1.0.0", mark)) for mark, prefix in prefixes.items()
    ]
    for mark, prefix in prefixes.items():
        await send(kafka, prefix, "same")
        assert await outputs(kafka, prefix, "same", count=EVENTS) == marked(mark)
    for worker in workers:
        assert await worker.drain()


@pytest.mark.kafka
@pytest.mark.slow
async def test_runs_finish_on_the_version_they_began_with(kafka: Broker, plans: Any, serve: Any) -> None:
    settings = WorkerSettings(stream=kafka.settings, prefix=kafka.prefix, partitions=4, config=TWO_PROCESSES)
    old = await serve(settings, plans("Moving", "1.0.0", "old", pause=0.05))
    await send(kafka, kafka.prefix, "moving")
    async with reading(kafka.settings, names.results_topic(kafka.prefix, "moving")) as reader:
        async for _ in reader.follow(count=1, timeout=60):
            pass
    new = await serve(
        settings, plans("Moving", "1.1.0", "new")
    )  # the old version is served beside it: it has runs in flight
    await send(kafka, kafka.prefix, "moving", first=EVENTS)
    found = await outputs(kafka, kafka.prefix, "moving", count=2 * EVENTS)
    assert found == sorted([*marked("old"), *marked("new", EVENTS)])
    assert await old.drain()
    assert await new.drain()


@pytest.mark.kafka
@pytest.mark.slow
async def test_a_restarted_worker_finishes_runs_of_a_version_whose_file_is_gone(
    kafka: Broker, plans: Any, serve: Any
) -> None:
    settings = WorkerSettings(stream=kafka.settings, prefix=kafka.prefix, partitions=4, config=TWO_PROCESSES)
    old = await serve(settings, plans("Moving", "1.0.0", "old", pause=0.1))
    await send(kafka, kafka.prefix, "moving")
    async with reading(kafka.settings, names.results_topic(kafka.prefix, "moving")) as reader:
        async for _ in reader.follow(count=1, timeout=60):
            pass
    await old.close()
    new = await serve(settings, plans("Moving", "1.1.0", "new"))
    assert await outputs(kafka, kafka.prefix, "moving", count=EVENTS) == marked("old")
    assert await new.drain()


@pytest.mark.kafka
@pytest.mark.slow
async def test_an_edited_file_of_the_same_version_is_refused_in_production_and_a_version_of_its_own_elsewhere(
    kafka: Broker, plans: Any, serve: Any
) -> None:
    settings = WorkerSettings(
        stream=kafka.settings,
        prefix=kafka.prefix,
        partitions=4,
        config=Configuration(env="production"),
        allow_unsafe=True,
    )
    first = await serve(settings, plans("Edited", "1.0.0", "first"))
    assert await first.drain()
    edited = plans("Edited", "1.0.0", "second")
    with pytest.raises(SpecError, match=r"version 1\.0\.0 of edited is deployed with another content") as caught:
        await serve(settings, edited)
    print(f"\nproduction: {caught.value}")
    developing = await serve(replace(settings, config=Configuration()), edited)
    await send(kafka, kafka.prefix, "edited")
    assert await outputs(kafka, kafka.prefix, "edited", count=EVENTS) == marked("second")
    print(f"development: it runs as {names.version_id(edited)}")
    assert await developing.drain()
