"""Sixty pipelines, ten or more of each family, give what they say: in memory, and the same on the embedded broker.

Each file holds its events and what they must give (`support.cases`).

    pytest tests/generality -k refine-draft       one of them, in memory
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from pathlib import Path

import orjson
import pytest
from support.broker import Broker
from support.cases import Result, Subject, assert_gives, determinate, server_of, subject_of

import stream_orchestrator
from stream_orchestrator.streaming.client import Outgoing, produce, read_all
from stream_orchestrator.streaming.serving import WorkerSettings
from stream_orchestrator.streaming.worker import Worker
from stream_orchestrator.testkit.models import ModelServer

FAMILIES = ("loops", "parallel", "conditions", "components", "state", "failure")
SUBJECTS = [subject_of(path) for family in FAMILIES for path in sorted((Path(__file__).parent / family).glob("*.yaml"))]


def test_there_are_ten_of_each_family_at_least() -> None:
    found = Counter(subject.path.parent.name for subject in SUBJECTS)
    assert found.keys() == set(FAMILIES)
    assert min(found.values()) >= 10
    assert len({stream_orchestrator.load(subject.path).plan.slug for subject in SUBJECTS}) == found.total()


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
async def test_a_pipeline_gives_what_it_says_in_memory(subject: Subject) -> None:
    for result, case in zip(await in_memory(subject), subject.cases, strict=True):
        assert_gives(result, case, subject.name)


def shown() -> list[str]:
    """The pipelines of the page on writing that say what they give."""
    page = (Path(__file__).parents[2] / "docs" / "pipelines.md").read_text()
    return [each for each in re.findall(r"^```yaml\n(.*?)^```$", page, re.M | re.S) if "x-cases:" in each]


@pytest.mark.parametrize("text", shown(), ids=lambda text: text.splitlines()[0])
async def test_a_pipeline_of_the_docs_gives_what_it_shows(text: str, tmp_path: Path) -> None:
    (tmp_path / "shown.yaml").write_text(text)
    subject = subject_of(tmp_path / "shown.yaml")
    for result, case in zip(await in_memory(subject), subject.cases, strict=True):
        assert_gives(result, case, subject.name)


def test_the_docs_show_what_containers_give() -> None:
    assert len(shown()) >= 2


@pytest.mark.embedded
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("family", FAMILIES)
async def test_the_embedded_broker_gives_the_same(
    embedded: Broker, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    subjects = [subject for subject in SUBJECTS if subject.path.parent.name == family]
    loaded = {subject.name: stream_orchestrator.load(subject.path) for subject in subjects}
    async with ModelServer(default=server_of(subjects)) as models:
        monkeypatch.setenv("OPENAI_BASE_URL", models.openai_url)
        monkeypatch.setenv("OPENAI_API_KEY", "test")
        settings = WorkerSettings(stream=embedded.settings, prefix=embedded.prefix, partitions=2)
        worker = Worker(settings, [pipeline.plan for pipeline in loaded.values()])
        try:
            await worker.start()
            slugs = {name: pipeline.plan.slug for name, pipeline in loaded.items()}
            there = await asyncio.gather(*(on_broker(embedded, each, slugs[each.name]) for each in subjects))
        finally:
            drained = await worker.drain()
    assert drained, "something of a run went on after its result"
    for subject, results in zip(subjects, there, strict=True):
        here = await in_memory(subject)
        for case, ours, theirs in zip(subject.cases, here, results, strict=True):
            assert_gives(theirs, case, f"{subject.name} on the broker")
            assert determinate(theirs) == determinate(ours), subject.name
    runs = sum(len(subject.cases) for subject in subjects)
    print(f"\n{family}: {len(subjects)} pipelines, {runs} runs on the embedded broker; different 0")


async def in_memory(subject: Subject) -> list[Result]:
    """The results of a pipeline's events, one after another."""
    pipeline = stream_orchestrator.load(subject.path)
    return [(await pipeline.run(case.event, models=subject.answer)).model_dump() for case in subject.cases]


async def on_broker(broker: Broker, subject: Subject, slug: str) -> list[Result]:
    """The same on a broker, where a worker serves it. Each run has one result."""
    results: list[Result] = []
    for number, case in enumerate(subject.cases):
        record = Outgoing(orjson.dumps(case.event), headers=(("run-id", f"case-{number}".encode()),))
        await produce(broker.settings, f"{broker.prefix}{slug}.input", [record])
        results.append(await _result(broker, slug, f"case-{number}"))
    found = [record.header("run-id") for record in await read_all(broker.settings, f"{broker.prefix}{slug}.results")]
    assert len(found) == len(set(found)) == len(results), f"{subject.name}: {len(found)} results of {len(results)} runs"
    return results


async def _result(broker: Broker, slug: str, run_id: str) -> Result:
    for _ in range(900):
        for record in await read_all(broker.settings, f"{broker.prefix}{slug}.results"):
            if record.header("run-id") == run_id.encode():
                found: Result = orjson.loads(record.value or b"")
                return found
        await asyncio.sleep(0.2)
    raise AssertionError(f"the run {run_id} of {slug} has no result")
