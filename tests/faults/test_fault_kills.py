"""`kill -9`: of workers, of those who hold a particular thing, of one that is just coming back, of scripts' processes.

FAULTS=full pytest -s tests/faults/test_fault_kills.py       FAULTS_SEED replays, FAULTS_EVENTS shortens
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from scene import FULL, Fault, Report, Scene
from support.site import WorkerProcess, until

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(600)]


async def kill_worker(scene: Scene) -> None:
    """Any of them, a few times, at moments that the seed chooses."""
    for _ in range(5 if FULL else 2):
        await asyncio.sleep(scene.chance.uniform(0, 1))
        await scene.loaded()
        await scene.kill_child(scene.chance.choice(scene.workers))


async def kill_ingest_owner(scene: Scene) -> None:
    """Who admits most events, in the middle of a burst of them."""
    owner = await scene.owner("fault-proof.input.app")
    burst = [asyncio.ensure_future(scene.send_next()) for _ in range(60)]
    await asyncio.wait(burst, return_when=asyncio.FIRST_COMPLETED)
    await scene.kill_child(owner)
    await asyncio.gather(*burst)


async def kill_call_owner(scene: Scene) -> None:
    """Who holds most calls, while some are asked."""
    await scene.kill_child(await scene.owner("orchestrator.calls.openai.app"))


async def kill_both_owners(scene: Scene) -> None:
    """Both at once, of three."""
    ingest = await scene.owner("fault-proof.input.app")
    calls = await scene.owner("orchestrator.calls.openai.app", but=ingest)
    await asyncio.gather(scene.kill_child(ingest), scene.kill_child(calls))


async def kill_machine(scene: Scene) -> None:
    """Parent and child: nobody comes back, the others notice by the session alone."""
    scene.hurt()
    scene.workers[0].kill_whole()


async def kill_during_recovery(scene: Scene) -> None:
    """The next child as it comes back, after it has joined and before it serves."""
    worker = scene.workers[0]
    scene.hurt()
    worker.kill_child()
    dead, ready = worker.children[-1], len(worker.children)
    for _ in range(3):
        dead = await next_child(worker, dead)
        await asyncio.sleep(scene.chance.uniform(0.8, 2.5))
        assert len(worker.children) == ready, "it was ready before it was killed: not in its recovery"
        scene.hurt()
        os.kill(dead, signal.SIGKILL)
    await worker.ready(ready + 1)


async def next_child(worker: WorkerProcess, last: int) -> int:
    """The child after that one, as soon as it exists."""
    await until(lambda: bool(fresh_child(worker.popen.pid, last)), 60, "the next child")
    return fresh_child(worker.popen.pid, last)


SANDBOXES = 20 if FULL else 8  # are killed; each with the one script that it runs, at most


async def kill_sandbox(scene: Scene) -> None:
    """Processes that run scripts, one after another; the workers' own stay as they are."""
    serving = [worker.children[-1] for worker in scene.workers]
    for _ in range(SANDBOXES):
        await asyncio.sleep(scene.chance.uniform(0.05, 0.3))
        sandboxes = [pid for child in serving for pid in children_of(child)]
        if sandboxes:
            with suppress(ProcessLookupError):
                os.kill(scene.chance.choice(sandboxes), signal.SIGKILL)
    scene.hurt()
    assert [worker.children[-1] for worker in scene.workers] == serving, "a worker died of it"


FAULTS = [
    Fault(name="kill -9 of a worker's child", strike=kill_worker, kills=True, short=True),
    Fault(name="kill -9 of the ingest owner", strike=kill_ingest_owner, kills=True),
    Fault(name="kill -9 of the call owner", strike=kill_call_owner, kills=True),
    Fault(name="kill -9 of both owners", strike=kill_both_owners, kills=True, workers=3),
    Fault(name="kill -9 of a whole worker", strike=kill_machine, kills=True),
    Fault(name="kill -9 during recovery", strike=kill_during_recovery, kills=True),
    Fault(name="kill -9 of sandbox processes", strike=kill_sandbox, scripts=SANDBOXES, short=True),
]


async def test_what_a_killed_process_had_in_hand_is_done_again_and_nothing_else(
    stage: Callable[[], Awaitable[Report]],
) -> None:
    await stage()


def children_of(pid: int) -> list[int]:
    """A process's children now, of all its threads."""
    found: list[int] = []
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += map(int, (thread / "children").read_text().split())
    return found


def fresh_child(parent: int, old: int) -> int:
    """A child that is not the old one; 0 when there is none."""
    return next((pid for pid in children_of(parent) if pid != old), 0)
