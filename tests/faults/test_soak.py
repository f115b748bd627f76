"""Modest load for a long time, with random faults: nothing is lost, and nothing grows that need not.

    make soak MINUTES=60            SOAK_MINUTES and FAULTS_SEED set it from outside; the short form is short

One worker is a witness: nobody hurts it, and its memory, descriptors and rows are looked at all the time. What it
remembers on purpose (of every run its id, its place and its call, as long as copies may come) grows with the runs.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import pytest
from scene import LEAST_IN_FLIGHT, Fault, Report, Scene
from support.site import WorkerProcess
from test_fault_kills import children_of

MINUTES = float(os.environ.get("SOAK_MINUTES", "0.7"))
EVERY = 2.0
MIB = 1024 * 1024
# What may come on top of what was there in the first third: a warm heap, and some bytes for each row kept on purpose.
SLACK, BYTES_A_ROW, DESCRIPTORS, ROWS, ROWS_A_RUN = 24 * MIB, 2048, 10, 500, 3

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(900 + 180 * MINUTES)]


@dataclass(frozen=True, slots=True)
class Look:
    """The witness at one moment, and how many runs the site had answered by then."""

    memory: int
    descriptors: int
    rows: int
    runs: int

    def __str__(self) -> str:
        memory = f"{self.memory / MIB:.0f} MB, {self.descriptors} descriptors and {self.rows:,} rows"
        return f"{self.runs:,} runs answered; the witness has {memory}"


async def soak(scene: Scene) -> None:
    """Random faults to everybody but the witness, for so long."""
    witness, looks, end = scene.workers[0], [], time.monotonic() + 60 * MINUTES
    watching = asyncio.ensure_future(watch(scene, witness, looks))
    struck: list[str] = []
    try:
        while time.monotonic() < end:
            await asyncio.sleep(scene.chance.uniform(3, 12 if MINUTES < 10 else 40))
            harm = scene.chance.choice(HARMS)
            struck.append(harm.__name__)
            gone = MINUTES - (end - time.monotonic()) / 60
            print(
                f"{gone:6.1f} of {MINUTES:g} minutes: {harm.__name__}; {looks[-1] if looks else 'no look yet'}",
                flush=True,
            )
            await harm(scene)
    finally:
        watching.cancel()
    scene.hurt()
    counted = ", ".join(f"{name} {count}" for name, count in Counter(struck).items())
    print(f"\n{MINUTES:g} minutes, {len(struck)} faults: {counted}")
    flat(looks)


def flat(looks: list[Look]) -> None:
    """Compare the first third with the last."""
    third = len(looks) // 3
    assert third >= 2, looks
    first, last = looks[:third], looks[-third:]
    was, now = ({name: mean(getattr(look, name) for look in part) for name in Look.__slots__} for part in (first, last))
    for name, unit in (("memory", MIB), ("descriptors", 1), ("rows", 1), ("runs", 1)):
        print(f"  {name:12} first third {was[name] / unit:8.1f}   last third {now[name] / unit:8.1f}")
    assert now["memory"] - was["memory"] <= SLACK + BYTES_A_ROW * max(0.0, now["rows"] - was["rows"])
    assert now["descriptors"] - was["descriptors"] <= DESCRIPTORS
    assert now["rows"] - was["rows"] <= ROWS + ROWS_A_RUN * (now["runs"] - was["runs"])


async def kill_child(scene: Scene) -> None:
    await scene.kill_child(scene.workers[1])


async def stand_still(scene: Scene) -> None:
    pid = scene.workers[1].children[-1]
    scene.hurt()
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(scene.chance.uniform(1, 14))
    finally:
        os.kill(pid, signal.SIGCONT)


async def come_and_go(scene: Scene) -> None:
    guest = await scene.add_worker("w3")
    await asyncio.sleep(scene.chance.uniform(0, 3))
    scene.hurt()
    await guest.end(60)


async def kill_sandbox(scene: Scene) -> None:
    for worker in scene.workers:
        for pid in children_of(worker.children[-1])[:1]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


HARMS = (kill_child, stand_still, come_and_go, kill_sandbox)
FAULTS = [
    Fault(
        name=f"soak, {MINUTES:g} minutes",
        strike=soak,
        kills=True,
        call_delay=1.0,
        most=LEAST_IN_FLIGHT + 10,
    )
]


async def test_under_modest_load_and_random_faults_nothing_is_lost_and_nothing_grows(
    stage: Callable[[], Awaitable[Report]],
) -> None:
    await stage()


async def watch(scene: Scene, worker: WorkerProcess, looks: list[Look]) -> None:
    """Look now and then, until cancelled."""
    health = next(event["message"] for event in worker.events if "health and metrics on" in event.get("message", ""))
    address = health.rsplit(" ", 1)[-1]
    while True:
        looks.append(await asyncio.to_thread(look_at, worker.children[-1], address, len(scene.traffic.answered)))
        await asyncio.sleep(EVERY)


def look_at(pid: int, address: str, runs: int) -> Look:
    status = Path(f"/proc/{pid}/status").read_text()
    memory = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))
    apps = json.loads(healthy(f"{address}/health/ready"))["checks"]["apps"]
    rows = sum(app["rows"] for app in apps.values())
    return Look(memory, len(os.listdir(f"/proc/{pid}/fd")), rows, runs)


def healthy(url: str) -> bytes:
    """The answer, ready or not."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as not_ready:
        with not_ready:
            return bytes(not_ready.read())
