"""What a run writes, record by record: `python -m bench.appends [RUNS]`. On the embedded broker; all count the same.

A python -> llm -> python pipeline, 2 KB of text in, the cleaned text between, a word back from an offline model. Every
record of every topic is counted, tombstones included, with the bytes of key, value and headers. What a worker writes
once for a partition (who owns it, which version its runs are of) is no part of a run, and is counted apart.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from stream_orchestrator.plan.loading import load_plan
from stream_orchestrator.streaming.brokers import EmbeddedBroker
from stream_orchestrator.streaming.client import Outgoing, administering, follow, produce, read_all
from stream_orchestrator.streaming.core.changelog import BEGIN
from stream_orchestrator.streaming.records import Record
from stream_orchestrator.streaming.serving import WorkerSettings
from stream_orchestrator.streaming.settings import StreamSettings
from stream_orchestrator.streaming.worker import Worker

DOCUMENT = Path(__file__).with_name("appends.yaml")
PARTITIONS = 4
WITHIN = 60.0
SENTENCE = "The parcel came late, the box was wet, and nobody at the desk could say why it had been left in the rain. "
TEXT = (SENTENCE * 20)[:2000]
EVENT = orjson.dumps({"text": TEXT})
ANSWER = {"judged": "negative", "letters": 8}


@dataclass(slots=True)
class Written:
    """Records and bytes by topic, of runs and of partitions."""

    runs: int
    appends: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    once: int = 0

    def add(self, topic: str, record: Record) -> None:
        if of_partition(topic, record):
            self.once += 1
            return
        self.appends[topic] += 1
        self.bytes[topic] += size(record)


def size(record: Record) -> int:
    """The bytes that are ours to choose."""
    headers = sum(len(name) + len(value) for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers


def of_partition(topic: str, record: Record) -> bool:
    """Whether it would be there, once, for any number of runs."""
    key = record.key or b""
    return (
        topic.endswith(".plans") or (topic.endswith(".table") and key.startswith(BEGIN)) or _names_version(topic, key)
    )


def _names_version(topic: str, key: bytes) -> bool:
    # The door of a pipeline keeps, for each partition, which version was active when: its row keys begin with a `v`,
    # after the table's own nine bytes.
    return topic.endswith(".input.table") and key[9:10] == b"v"


async def measure(settings: StreamSettings, runs: int) -> Written:
    """Everything that so many runs have written by the time the worker has drained. The broker is theirs alone."""
    await serve(settings, runs)
    async with administering(settings) as admin:
        names = sorted(topic["topic"] for topic in await admin.describe_topics())
    written = Written(runs)
    for topic in names:
        for record in await read_all(settings, topic):
            written.add(topic, record)
    return written


async def serve(settings: StreamSettings, runs: int) -> None:
    """One worker, all runs to their end, and every answer as it should be."""
    plan = load_plan(DOCUMENT)
    worker = Worker(WorkerSettings(stream=settings, partitions=PARTITIONS, offline=True), [plan])
    await worker.start()
    events = [Outgoing(EVENT, partition=number % PARTITIONS) for number in range(runs)]
    await produce(settings, "appends.input", events)
    seen = [orjson.loads(r.value or b"") async for r in follow(settings, "appends.results", count=runs, timeout=WITHIN)]
    assert len(seen) == runs, f"{len(seen)} results of {runs}"
    assert all(result["output"] == ANSWER for result in seen), seen[0]
    assert await worker.drain()


async def main(runs: int) -> None:
    async with EmbeddedBroker() as broker:
        written = await measure(broker.settings, runs)
    print(f"{'topic':<44} {'appends/run':>11} {'bytes/run':>10}")
    for topic in written.appends:
        print(f"{topic:<44} {written.appends[topic] / runs:>11.2f} {written.bytes[topic] / runs:>10,.0f}")
    print(f"{'a run':<44} {written.appends.total() / runs:>11.2f} {written.bytes.total() / runs:>10,.0f}")
    print(f"{written.once} records were written once, for partitions and versions")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
