"""Containers in containers, out of a seed: every run ends exactly once with what the dialect says, wherever it runs.

The pipelines, and an evaluator that knows only the dialect, are `support.made_containers`. In memory scripts run in
this process, so that hundreds of pipelines take seconds; on the broker they run in the sandbox, by a real worker.

    pytest -s tests/proofs/test_nested_answers.py    NESTED_SEED replays, NESTED_PIPELINES lengthens
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from support.broker import Broker
from support.in_process import InProcess
from support.made_containers import Expected, Made, containers_in, make

import stream_orchestrator
from stream_orchestrator.streaming.client import Outgoing, produce, read_all
from stream_orchestrator.streaming.serving import WorkerSettings
from stream_orchestrator.streaming.worker import Worker

SEED = int(os.environ.get("NESTED_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
PIPELINES = int(os.environ.get("NESTED_PIPELINES", "0"))
EVENTS = 3

Result = dict[str, Any]


@pytest.mark.timeout(900 if PIPELINES else 180)
async def test_containers_in_containers_give_in_memory_what_the_dialect_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream_orchestrator.api.ScriptPool", Pool)
    tally, kinds = Counter[str](), Counter[str]()
    print(f"\nseed {SEED} (NESTED_SEED={SEED} replays it)")
    for seed in range(SEED, SEED + (PIPELINES or 60)):
        made = make(seed)
        pipeline = loaded(made, tmp_path)
        kinds.update(containers_in(yaml.safe_load(made.text)))
        for event in made.events(EVENTS):
            result = (await pipeline.run(event)).model_dump()
            expected = made.expect(event)
            assert_right(result, expected, f"NESTED_SEED={seed} event {event}\n{made.text}\n{json.dumps(result)}")
            tally[expected.status] += 1
    print(f"{tally.total()} runs: {dict(tally)}; tasks {dict(kinds)}; different 0")


@pytest.mark.embedded
@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_the_embedded_broker_gives_the_same_once(embedded: Broker, tmp_path: Path) -> None:
    await nested_answers(embedded, tmp_path, pipelines=PIPELINES or 6)


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_kafka_gives_the_same_once(kafka: Broker, tmp_path: Path) -> None:
    await nested_answers(kafka, tmp_path, pipelines=PIPELINES or 6)


class Pool(InProcess):
    """Stands in for a pool of processes."""

    def __init__(self, **_: Any) -> None:
        super().__init__()

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def helper_names(self) -> frozenset[str]:
        return frozenset()


async def nested_answers(broker: Broker, folder: Path, *, pipelines: int) -> None:
    """Run the events of some pipelines through a worker; every run has one result, and it is the right one."""
    print(f"\nseed {SEED} (NESTED_SEED={SEED} replays it)")
    made = [make(SEED + number) for number in range(pipelines)]
    plans = [loaded(each, folder).plan for each in made]
    worker = Worker(WorkerSettings(stream=broker.settings, prefix=broker.prefix, partitions=2), plans)
    try:
        await worker.start()
        for each in made:
            events = [Outgoing(orjson.dumps(event), headers=named(n)) for n, event in enumerate(each.events(EVENTS))]
            await produce(broker.settings, f"{broker.prefix}{each.name}.input", events)
        await all_answered(broker, made)
    finally:
        drained = await worker.drain()
    assert drained, "something of a run went on after its result"
    tally = Counter[str]()
    for each in made:
        results = await results_of(broker, each)
        for number, event in enumerate(each.events(EVENTS)):
            expected = each.expect(event)
            about = f"NESTED_SEED={each.seed} event {event}\n{each.text}\n{json.dumps(results[number])}"
            assert_right(results[number], expected, about)
            tally[expected.status] += 1
    print(f"{len(made)} pipelines, {tally.total()} runs: {dict(tally)}; different 0, lost 0, twice 0")


def loaded(made: Made, folder: Path) -> stream_orchestrator.Pipeline:
    """The pipeline, with its components beside it."""
    for file, text in {**made.files, f"{made.name}.yaml": made.text}.items():
        (folder / file).write_text(text)
    return stream_orchestrator.load(folder / f"{made.name}.yaml")


def assert_right(result: Result, expected: Expected, about: str) -> None:
    """The result is what the dialect says."""
    assert result["status"] == expected.status, about
    assert result["output"] == expected.output, about
    if expected.status == "failed":
        assert result["error"]["task"] in expected.causes, f"{expected.causes}\n{about}"
        return
    assert result["error"] is None, about
    for name, output in expected.outputs.items():
        assert result["outputs"][name] == output, f"{name}: {about}"
    told = [(entry["task"], entry["answered_by"]) for entry in result["degraded"]]
    assert expected.told.surely(told) == sorted(expected.told.degraded), f"{expected.told}\n{about}"


async def all_answered(broker: Broker, made: list[Made]) -> None:
    topics = [f"{broker.prefix}{each.name}.results" for each in made]
    found: set[Any] = set()
    for _ in range(1200):
        found = {(record.topic, record.header("run-id")) for record in await read_all(broker.settings, *topics)}
        if len(found) >= len(made) * EVENTS:
            return
        await asyncio.sleep(0.2)
    raise AssertionError(f"{len(made) * EVENTS - len(found)} runs have no result")


async def results_of(broker: Broker, made: Made) -> list[Result]:
    records = await read_all(broker.settings, f"{broker.prefix}{made.name}.results")
    letters = await read_all(broker.settings, f"{broker.prefix}{made.name}.dlq")
    by_run = {result["run_id"]: result for result in (orjson.loads(record.value or b"") for record in records)}
    assert len(records) == len(by_run) == EVENTS, f"{len(records)} results of {EVENTS} runs (seed {made.seed})"
    wanted = sorted(run for run, result in by_run.items() if result["status"] == "failed")
    assert sorted((letter.header("run-id") or b"").decode() for letter in letters) == wanted
    return [by_run[f"event-{number}"] for number in range(EVENTS)]


def named(number: int) -> tuple[tuple[str, bytes], ...]:
    return (("run-id", f"event-{number}".encode()),)
