"""One run repeats a task 10,000 times, 50 at once, and its worker dies in the middle.

At no time do more than 50 run (counted where they ask), nothing is lost, what has ended is not run again, the results
are in order, and memory and changelog grow with the number of items and no faster.

    pytest -s tests/proofs/test_for_each.py         MANY_ITEMS shortens it
"""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
from support.broker import Broker
from support.site import Traffic, WorkerProcess, until

from stream_orchestrator.plan import names
from stream_orchestrator.plan.loading import load_plan
from stream_orchestrator.streaming.client import read_all
from stream_orchestrator.testkit.models import ModelServer, Text

PIPELINE = Path(__file__).parent / "pipelines" / "many-proof.yaml"
ITEMS = int(os.environ.get("MANY_ITEMS", "10000"))
FEW = max(100, ITEMS // 5)
LIMIT = 50
DELAY = 0.25  # seconds of an answer: long enough that as many are asked at once as may be
WITHIN = 600.0


@dataclass(frozen=True)
class Figures:
    """What one run took."""

    items: int
    seconds: float
    changelog: int
    memory: int

    def __str__(self) -> str:
        took = f"{self.items:,} items in {self.seconds:.1f} s ({self.items / self.seconds:.0f}/s)"
        changelog, memory = self.changelog / self.items, self.memory / self.items
        return f"{took}: {changelog:.0f} bytes of changelog and {memory:.0f} of memory an item"


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.timeout(2 * WITHIN + 300)
async def test_ten_thousand_items_end_once_each_at_most_fifty_at_once_though_the_worker_dies(
    kafka: Broker, tmp_path: Path
) -> None:
    async with ModelServer(default=Text(delay=DELAY)) as models:
        env = {"OPENAI_BASE_URL": models.openai_url, "OPENAI_API_KEY": "test"}
        flags = ("--broker", f"kafka://{kafka.settings.bootstrap}", "--prefix", kafka.prefix)
        worker = WorkerProcess([PIPELINE], *flags, env=env, log=tmp_path / "worker.log")
        try:
            await worker.ready()
            topics = [f"{kafka.prefix}many-proof.{end}" for end in ("input", "results")]
            async with Traffic(kafka.settings, *topics) as traffic:
                few = await measured(kafka, worker, traffic, FEW)
                print(f"\nin peace: {few}")
                models.seen.clear()
                models.most_in_flight = 0
                calls = await killed_in_the_middle(worker, models, traffic)
                many = await changelog_of(kafka)
        finally:
            await worker.end()
    repeated = sum(calls.values()) - len(calls)
    per_item = (many - few.changelog) / ITEMS
    print(f"with a kill: {per_item:.0f} bytes of changelog an item; most at once {models.most_in_flight} of {LIMIT};")
    print(f"  calls {sum(calls.values()):,} for {ITEMS:,} items, repeated {repeated}; lost 0, in order")
    assert LIMIT * 0.8 <= models.most_in_flight <= LIMIT
    assert len(calls) == ITEMS
    assert max(calls.values()) <= 2
    assert repeated <= LIMIT, "what had ended was run again"
    assert per_item <= 1.5 * few.changelog / FEW + 1, "the changelog grows faster than the items"


async def measured(kafka: Broker, worker: WorkerProcess, traffic: Traffic, items: int) -> Figures:
    """One run in peace: its time, what it adds to the changelog, and to the worker's memory at the most."""
    before, resident, started = await changelog_of(kafka), memory_of(worker), time.monotonic()
    await traffic.send({"n": items})
    await traffic.all_answered(WITHIN)
    seconds = time.monotonic() - started
    assert_in_order(traffic, items)
    return Figures(items, seconds, await changelog_of(kafka) - before, max(0, memory_of(worker) - resident))


async def killed_in_the_middle(worker: WorkerProcess, models: ModelServer, traffic: Traffic) -> Counter[str]:
    """The great run, and a SIGKILL when half of it is done; every prompt with how often it was asked."""
    started, resident = time.monotonic(), memory_of(worker)
    await traffic.send({"n": ITEMS})
    for part in (4, 2):
        await until(lambda most=ITEMS // part: len(models.seen) >= most, WITHIN, f"1/{part} of the items")
        grown = (memory_of(worker) - resident) / len(models.seen)
        print(f"after {len(models.seen):,} calls: {grown:.0f} bytes of memory an item more than before the run")
    seen, killed = len(models.seen), time.monotonic()
    worker.kill_child()
    await worker.ready(2)
    await until(lambda: len(models.seen) > seen + LIMIT, 120, "the run to go on")
    print(f"killed after {seen:,} calls; {LIMIT} more were made {time.monotonic() - killed:.1f} s later")
    await traffic.all_answered(WITHIN)
    assert_in_order(traffic, ITEMS)
    print(f"{ITEMS:,} items in {time.monotonic() - started:.1f} s, the kill counted in")
    return Counter(each.prompt for each in models.seen)


def assert_in_order(traffic: Traffic, items: int) -> None:
    """Each run has one answer, and the last one is right."""
    results = [orjson.loads(record.value) for record in traffic.records]
    digests = {result["run_id"]: result["output_sha256"] for result in results}
    assert all(digests[result["run_id"]] == result["output_sha256"] for result in results)
    assert results[-1]["error"] is None
    assert results[-1]["output"] == {"count": items, "wrong": []}


async def changelog_of(kafka: Broker) -> int:
    """All bytes that the version's changelog was ever given."""
    table = names.table_topic(kafka.prefix, load_plan(PIPELINE))
    return sum(len(record.key or b"") + len(record.value or b"") for record in await read_all(kafka.settings, table))


def memory_of(worker: WorkerProcess) -> int:
    """Bytes that the serving child holds."""
    status = Path(f"/proc/{worker.children[-1]}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024
