"""What runs leave behind: stubs, and when their time is over, nothing.

pytest -s tests/proofs/test_tables.py           TABLES_RUNS shortens it
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest
from support.broker import Broker
from support.site import until

from stream_orchestrator.kernel import rows
from stream_orchestrator.kernel.rows import Stub
from stream_orchestrator.plan import names
from stream_orchestrator.plan.loading import load_plan
from stream_orchestrator.streaming.client import Outgoing, produce, read_all, reading
from stream_orchestrator.streaming.core.changelog import Replay
from stream_orchestrator.streaming.records import Record
from stream_orchestrator.streaming.serving import WorkerSettings
from stream_orchestrator.streaming.worker import Worker

PIPELINE = Path(__file__).parent / "pipelines" / "cheap-proof.yaml"
RUNS = int(os.environ.get("TABLES_RUNS", "10000"))
HORIZON = 8 * 86_400.0
EVERY = 4  # every fourth event has an id of its own, and is remembered by ingest as well


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_after_many_runs_only_stubs_are_left_and_past_the_horizon_nothing(kafka: Broker) -> None:
    plan = load_plan(PIPELINE)
    settings = WorkerSettings(stream=kafka.settings, prefix=kafka.prefix, offline=True)
    worker = Worker(settings, [plan])
    await worker.start()
    started = time.monotonic()
    events = (Outgoing(orjson.dumps({"n": n}), headers=named(n)) for n in range(RUNS))
    await produce(kafka.settings, names.input_topic(kafka.prefix, plan.slug), events)
    async with reading(kafka.settings, names.results_topic(kafka.prefix, plan.slug)) as reader:
        seen = [record async for record in reader.follow(count=RUNS, timeout=400)]
    assert len(seen) == RUNS
    print(f"\n{RUNS} runs in {time.monotonic() - started:.1f} s")
    assert await worker.drain()

    table = names.table_topic(kafka.prefix, plan)
    left = living(await read_all(kafka.settings, table))
    kinds = {type(rows.decode(value)) for value in left.values()}
    sizes = [len(key) + len(value) for key, value in left.items()]
    mean = sum(sizes) / len(sizes)
    print(f"rows left {len(left)}, all stubs: {kinds == {Stub}}; {mean:.0f} bytes per stub, key included")
    assert (len(left), kinds) == (RUNS, {Stub})
    assert max(sizes) <= 48

    later = Worker(settings, [plan], clock=lambda: time.time() + HORIZON)
    await later.start()
    await until(lambda: later.health()[1]["apps"][names.app_id(kafka.prefix, plan)]["rows"] == 0, 120, "stubs to go")
    assert await later.drain()
    tables = [
        table,
        f"{names.input_topic(kafka.prefix, plan.slug)}.table",
        f"{names.ingest_topic(kafka.prefix, plan.slug)}.table",
    ]
    remaining = {
        topic: [key for key in living(await read_all(kafka.settings, topic)) if key[:1] != b"v"] for topic in tables
    }
    print(f"with the clock {HORIZON / 86_400:g} days on: { ({topic: len(keys) for topic, keys in remaining.items()}) }")
    assert not any(remaining.values())


def named(n: int) -> tuple[tuple[str, bytes], ...]:
    return (("run-id", f"event-{n}".encode()),) if n % EVERY == 0 else ()


def living(records: Sequence[Record]) -> dict[bytes, bytes]:
    """The rows that a new owner would find, of all partitions."""
    replays: dict[int, Replay] = {}
    for record in records:
        replays.setdefault(record.partition, Replay()).read(record.offset, record.key, record.value, record.headers)
    return {key: value for replay in replays.values() for key, value in replay.inheritance(2**62).rows.items()}
