"""Broken events and scripts that misbehave, among good ones, on real Kafka: every one is a dead letter, nobody waits.

pytest -s tests/proofs/test_poisoned_events.py           POISON_EVENTS shortens it, POISON_SEED replays it
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.broker import Broker
from support.site import Traffic, WorkerProcess

from stream_orchestrator.streaming.client import read_all

PIPELINE = Path(__file__).parent / "pipelines" / "poison-proof.yaml"
EVENTS = int(os.environ.get("POISON_EVENTS", "1000"))
SEED = int(os.environ.get("POISON_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
POOL = 4
# What goes in, and the dead letter that must come out: its reason, and how often the task may have been tried. A retry
# that would come after the task's time (it waited for a process that hanging scripts held) is not made.
POISON = {
    "broken JSON": ("not_json", {"0"}),
    "wrong type": ("invalid_input", {"0"}),
    "raise": ("task_failed", {"1", "2"}),
    "hang": ("timeout", {"1"}),
    "exit": ("sandbox_killed", {"1", "2"}),
    "allocate": ("sandbox_killed", {"1", "2"}),
}


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_poison_becomes_dead_letters_and_holds_nobody_up(kafka: Broker, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    print(f"\nseed {SEED} (POISON_SEED={SEED} replays it), {EVENTS} events, 1 % of each poison")
    flags = ("--broker", f"kafka://{kafka.settings.bootstrap}", "--prefix", kafka.prefix)
    env = {"STREAM_ORCHESTRATOR__SCRIPTS__WORKERS": str(POOL)}
    worker = WorkerProcess([PIPELINE], *flags, env=env, log=tmp_path / "worker.log")
    try:
        await worker.ready()
        async with Traffic(
            kafka.settings, f"{kafka.prefix}poison-proof.input", f"{kafka.prefix}poison-proof.results"
        ) as traffic:
            injected = await poisoned(traffic, chance)
            await traffic.all_answered(300)
            letters = await letters_of(kafka)
            check_letters(letters, injected)
            await check_neighbours(traffic)
            await check_redrive(kafka, flags, letters, injected, traffic)
    finally:
        await worker.end()


async def poisoned(traffic: Traffic, chance: random.Random) -> dict[str, tuple[str, bytes]]:
    """Send all; what poison went in, by run id."""
    each = max(1, EVENTS // 100)
    kinds = [kind for kind in POISON for _ in range(each)]
    kinds += ["good"] * (EVENTS - len(kinds))
    chance.shuffle(kinds)
    injected = {}
    for n, kind in enumerate(kinds):
        while traffic.in_flight >= 200:
            await asyncio.sleep(0.01)
        value = body(n, kind)
        run_id = await traffic.send(value, key=f"key-{n}".encode())
        if kind != "good":
            injected[run_id] = (kind, value)
    return injected


def body(n: int, kind: str) -> bytes:
    if kind == "broken JSON":
        return b'{"n": %d, \xff' % n
    if kind == "wrong type":
        return orjson.dumps({"n": f"number {n}"})
    return orjson.dumps({"n": n, "mode": kind})


async def letters_of(kafka: Broker) -> dict[str, Any]:
    records = await read_all(kafka.settings, f"{kafka.prefix}poison-proof.dlq")
    return {(record.header("run-id") or b"").decode(): record for record in records}


def check_letters(letters: dict[str, Any], injected: dict[str, tuple[str, bytes]]) -> None:
    print(
        f"injected {len(injected)}, dead letters {len(letters)}: {dict(Counter(kind for kind, _ in injected.values()))}"
    )
    assert letters.keys() == injected.keys()
    for run_id, (kind, value) in injected.items():
        letter, (reason, attempts) = letters[run_id], POISON[kind]
        assert letter.value == value
        assert letter.header("dlq-reason") == reason.encode(), (kind, letter.headers)
        assert letter.header("dlq-attempts").decode() in attempts, (kind, letter.headers)
        assert letter.header("dlq-topic").endswith(b"poison-proof.input")
        assert letter.header("dlq-offset").isdigit()
        assert letter.header("dlq-task") == (b"work" if reason not in {"not_json", "invalid_input"} else b"")


async def check_neighbours(traffic: Traffic) -> None:
    """While fewer scripts hang than the pool has workers, records of the same partition are answered at once."""
    slowest = 0.0
    for turn in range(POOL - 1):
        await traffic.send({"n": turn, "mode": "hang"}, key=b"one-partition")
    await asyncio.sleep(0.2)
    for n in range(20):
        run_id = await traffic.send({"n": n}, key=b"one-partition")
        while run_id not in traffic.answered:
            await asyncio.sleep(0.005)
        slowest = max(slowest, traffic.answered[run_id] - traffic.sent[run_id])
    print(
        f"{POOL - 1} scripts hang in a pool of {POOL}: the slowest of 20 neighbours was answered after {slowest:.2f} s"
    )
    assert slowest <= 1.0
    await traffic.all_answered(30)


async def check_redrive(
    kafka: Broker,
    flags: tuple[str, ...],
    letters: dict[str, Any],
    injected: dict[str, tuple[str, bytes]],
    traffic: Traffic,
) -> None:
    run_id = next(run_id for run_id, (kind, _) in injected.items() if kind == "wrong type")
    mended = Path(traffic.input.replace(".", "-") + ".json")
    mended.write_text(json.dumps({"n": 21}))
    try:
        command = ["dlq", "redrive", "poison-proof", "--id", run_id, "--payload", str(mended), "--json", *flags]
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-m", "stream_orchestrator", *command], capture_output=True, check=False
        )
    finally:
        mended.unlink()
    assert done.returncode == 0, done.stderr.decode()
    started = time.monotonic()
    while f"{run_id}#2" not in traffic.answered and time.monotonic() < started + 30:
        await asyncio.sleep(0.05)
    results = [orjson.loads(record.value) for record in traffic.records]
    again = next(result for result in results if result["run_id"] == f"{run_id}#2")
    print(f"redriven with a mended payload: {again['run_id']} {again['status']}, retry_of {again['retry_of']}")
    assert (again["status"], again["retry_of"], again["attempt"], again["output"]) == ("succeeded", run_id, 2, 42)
