"""Any pipeline ends every run exactly once, and a worker on a broker gives what the same kernel gives in memory.

Pipelines of up to 30 tasks are made from a seed, with real scripts and offline models, and a small evaluator of the
tests' own says what each must answer: three witnesses. What is compared, and what cannot be:

  * a run that no task may end is determinate: status, output, outputs, degraded, attempts, usage and cost are equal;
  * a run that a task ends: the status is, and the error is the one that this task must raise, with its attempts, and
    all that it comes after is in `outputs`. Which of several such tasks is first, and which of its siblings were
    finished by then, is a race in both; each of their outputs that is there is the right one.

    pytest -s tests/proofs/test_same_answers.py      SAME_SEED replays, SAME_PIPELINES and SAME_EVENTS lengthen it
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.broker import Broker
from support.made_pipelines import Expected, Made, make

import stream_orchestrator
from stream_orchestrator.streaming.client import Outgoing, produce, read_all
from stream_orchestrator.streaming.serving import WorkerSettings
from stream_orchestrator.streaming.worker import Worker

SEED = int(os.environ.get("SAME_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
LONG = int(os.environ.get("SAME_PIPELINES", "0"))
EVENTS = int(os.environ.get("SAME_EVENTS", "4"))
AT_ONCE = 3  # in-memory runs beside each other: each has a sandbox of its own

Result = dict[str, Any]


@pytest.mark.embedded
@pytest.mark.timeout(900 if LONG else 120)
async def test_the_embedded_broker_gives_what_memory_gives(embedded: Broker, tmp_path: Path) -> None:
    await same_answers(embedded, tmp_path, pipelines=LONG or 5)


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_kafka_gives_what_memory_gives(kafka: Broker, tmp_path: Path) -> None:
    await same_answers(kafka, tmp_path, pipelines=LONG or 8)


async def same_answers(broker: Broker, folder: Path, *, pipelines: int) -> None:
    """Make the pipelines, run their events both ways, and compare."""
    print(f"\nseed {SEED} (SAME_SEED={SEED} SAME_PIPELINES={pipelines} SAME_EVENTS={EVENTS} replays it)")
    made = [make(SEED + number) for number in range(pipelines)]
    loaded = {each.name: _loaded(each, folder) for each in made}
    events = {each.name: each.events(EVENTS) for each in made}
    gate = asyncio.Semaphore(AT_ONCE)
    inside = asyncio.gather(*(_in_memory(loaded[each.name], events[each.name], gate) for each in made))
    outside = await _on_broker(broker, made, loaded, events)
    tally: Counter[str] = Counter()
    for each, memory in zip(made, await inside, strict=True):
        for number, event in enumerate(events[each.name]):
            there, here = outside[each.name][number], memory[number]
            expected = each.expect(event)
            about = f"seed {each.seed}, event {number} {event}\n{each.text}\nbroker {there}\nmemory {here}"
            for result in (here, there):
                assert_right(result, expected, each, about)
            if not expected.failures:
                assert _determinate(there) == _determinate(here), about
            tally[expected.status] += 1
    sizes = sorted(len(each.nodes) for each in made)
    print(f"{len(made)} pipelines of {sizes} tasks, {tally.total()} runs: {dict(tally)}; different 0, lost 0, twice 0")


def assert_right(result: Result, expected: Expected, made: Made, about: str) -> None:
    """The result is what the dialect says."""
    assert result["status"] == expected.status, about
    assert result["output"] == expected.output, about
    if expected.status == "rejected":
        assert result["error"]["type"] == "InvalidInput", about
        assert result["outputs"] == {}, about
    elif expected.failures:
        _assert_failed(result, expected, made, about)
    else:
        assert result["error"] is None, about
        assert result["outputs"] == expected.outputs, about
        told = [(entry["task"], entry["answered_by"]) for entry in result["degraded"]]
        assert sorted(told) == sorted(expected.degraded), about
        for name, attempts in expected.attempts.items():
            assert result["timings"]["tasks"][name]["attempts"] == attempts, f"{name}: {about}"


def _assert_failed(result: Result, expected: Expected, made: Made, about: str) -> None:
    error = result["error"]
    assert error["task"] in expected.failures, about
    kind, says, attempts = expected.failures[error["task"]]
    assert error["type"] == kind or not kind, about
    assert says in error["message"], about
    assert error["attempts"] == attempts, about
    assert made.ancestors(error["task"]) <= result["outputs"].keys(), about
    for name, output in result["outputs"].items():
        assert output == expected.outputs[name], f"{name}: {about}"


def _determinate(result: Result) -> Result:
    """The keys of a result that its input alone decides."""
    kept = ("pipeline", "version", "attempt", "status", "output", "output_sha256", "outputs", "error", "degraded")
    tasks = {name: (task["attempts"], task.get("model")) for name, task in result["timings"]["tasks"].items()}
    return {name: result[name] for name in (*kept, "usage", "cost")} | {"tasks": tasks}


def _loaded(made: Made, folder: Path) -> stream_orchestrator.Pipeline:
    path = folder / f"{made.name}.yaml"
    path.write_text(made.text)
    return stream_orchestrator.load(path)


async def _in_memory(
    pipeline: stream_orchestrator.Pipeline, events: Iterable[Any], gate: asyncio.Semaphore
) -> list[Result]:
    async def one(event: Any) -> Result:
        async with gate:
            return (await pipeline.run(event)).model_dump()

    return await asyncio.gather(*(one(event) for event in events))


async def _on_broker(
    broker: Broker,
    made: list[Made],
    loaded: dict[str, stream_orchestrator.Pipeline],
    events: dict[str, list[dict[str, Any]]],
) -> dict[str, list[Result]]:
    """Every result by pipeline and event; each run has one, and as many dead letters as its status asks for."""
    settings = WorkerSettings(stream=broker.settings, prefix=broker.prefix, partitions=2, drain=30.0)
    worker = Worker(settings, [pipeline.plan for pipeline in loaded.values()])
    try:
        await worker.start()
        for each in made:
            sent = [Outgoing(orjson.dumps(event), headers=_named(n)) for n, event in enumerate(events[each.name])]
            await produce(broker.settings, f"{broker.prefix}{each.name}.input", sent)
        await _all_answered(broker, made, events)
    finally:
        drained = await worker.drain()
    assert drained, "the drain was cut: something of a run went on after its result"
    return {each.name: await _results(broker, each, len(events[each.name])) for each in made}


async def _all_answered(broker: Broker, made: list[Made], events: dict[str, list[dict[str, Any]]]) -> None:
    topics = [f"{broker.prefix}{each.name}.results" for each in made]
    wanted = sum(map(len, events.values()))
    for _ in range(600):
        found = {(record.topic, record.header("run-id")) for record in await read_all(broker.settings, *topics)}
        if len(found) >= wanted:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{wanted - len(found)} of {wanted} runs have no result")


async def _results(broker: Broker, made: Made, count: int) -> list[Result]:
    records = await read_all(broker.settings, f"{broker.prefix}{made.name}.results")
    letters = await read_all(broker.settings, f"{broker.prefix}{made.name}.dlq")
    by_run = {result["run_id"]: result for result in (orjson.loads(record.value or b"") for record in records)}
    assert len(records) == len(by_run) == count, f"{len(records)} results of {count} runs (seed {made.seed})"
    wanted = sorted(run for run, result in by_run.items() if result["status"] in {"failed", "rejected"})
    assert sorted((letter.header("run-id") or b"").decode() for letter in letters) == wanted
    return [by_run[f"event-{number}"] for number in range(count)]


def _named(number: int) -> tuple[tuple[str, bytes], ...]:
    return (("run-id", f"event-{number}".encode()),)
