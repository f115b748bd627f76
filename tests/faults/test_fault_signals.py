"""Signals that stop and signals that pause: a drain under load, a drain that is forced, a process that was away.

FAULTS=full pytest -s tests/faults/test_fault_signals.py
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable

import pytest
from scene import SESSION, Fault, Report, Scene
from support.site import until

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(600)]

DRAIN = 30.0
FORCED_WITHIN = 10.0


async def drain_one(scene: Scene) -> None:
    """SIGTERM to one of two, its calls longer than its tasks may take and shorter than calls may."""
    worker = await scene.owner("orchestrator.calls.openai.app")
    await scene.calling()
    scene.hurt()
    began = time.monotonic()
    worker.signal(signal.SIGTERM)
    await until(lambda: not worker.alive, DRAIN + 10, "the drained worker to end")
    took = time.monotonic() - began
    scene.healed()
    calls = f"calls of {scene.fault.call_delay:g} s in flight"
    print(f"\ndrained in {took:.1f} s with {calls}, exit {worker.popen.returncode}")
    assert worker.popen.returncode == 0, worker.log.read_text()[-2000:]
    assert took <= DRAIN


async def force_one(scene: Scene) -> None:
    """SIGTERM, and again while its calls go on."""
    worker = await scene.owner("orchestrator.calls.openai.app")
    await scene.calling()
    worker.signal(signal.SIGTERM)
    await asyncio.sleep(1.0)
    said = f"it did not wait for its calls, exit {worker.popen.returncode}:\n"
    assert worker.alive, said + worker.log.read_text()[-4000:]
    scene.hurt()
    began = time.monotonic()
    worker.signal(signal.SIGTERM)
    await until(lambda: not worker.alive, FORCED_WITHIN, "the forced worker to end")
    print(f"\nforced within {time.monotonic() - began:.1f} s, exit {worker.popen.returncode}")
    assert worker.popen.returncode != 0, "something was cut: its exit code must say so"


async def zombie(scene: Scene) -> None:
    """A serving process stands still for longer than its session, then goes on as if nothing had been."""
    pid = scene.workers[0].children[-1]
    scene.hurt()
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(SESSION + scene.chance.uniform(4, 8))
    finally:
        os.kill(pid, signal.SIGCONT)
    await asyncio.sleep(2.0)


FAULTS = [
    Fault(name="SIGTERM under load", strike=drain_one, short=True, call_delay=3.0, flags=("--drain", "30s")),
    Fault(
        name="SIGTERM, calls longer than tasks may take",
        strike=drain_one,
        call_delay=5.0,
        flags=("--drain", "2s", "--drain-calls", "20s"),
    ),
    Fault(name="SIGTERM twice", strike=force_one, kills=True, call_delay=8.0),
    Fault(name="SIGSTOP longer than the session", strike=zombie, kills=True, short=True),
]


async def test_who_is_told_to_stop_cuts_nothing_and_who_was_away_disturbs_nothing(
    stage: Callable[[], Awaitable[Report]],
) -> None:
    await stage()
