"""A worker whose clock can be turned, and which watches its own loop: for faults that no signal can cause.

SIGUSR1 turns its clock an hour forward, SIGUSR2 an hour back; SIGTERM drains. It says what happens as JSON lines, like
`stream-orchestrator worker --json`: the same worker is built, by the same settings.
usage: python -m faults.instrumented_worker JSON, with paths, bootstrap, prefix, name and scripts (how many processes)
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from stream_orchestrator.cli.logs import start_logging
from stream_orchestrator.plan.loading import load_plan
from stream_orchestrator.spec.config import from_environ
from stream_orchestrator.streaming.serving import WorkerSettings
from stream_orchestrator.streaming.settings import StreamSettings
from stream_orchestrator.streaming.worker import Worker

HOUR = 3600.0
TICK = 0.005


class Clock:
    """Wall time, turned."""

    def __init__(self) -> None:
        self.turned = 0.0

    def __call__(self) -> float:
        return time.time() + self.turned

    def turn(self, seconds: float) -> None:
        self.turned += seconds


class Lookout:
    """How late the loop runs what is due, and how long the coordinators were not heard of."""

    def __init__(self) -> None:
        self.delays: list[float] = []
        self.longest_silence = 0.0

    async def watch_loop(self) -> None:
        while True:
            due = time.monotonic() + TICK
            await asyncio.sleep(TICK)
            self.delays.append(time.monotonic() - due)

    async def watch_fences(self, worker: Worker) -> None:
        while True:
            await asyncio.sleep(0.1)
            heard = [app._fence._heard_at for app in worker._stream.apps]  # the ages of the last good answers
            self.longest_silence = max(self.longest_silence, time.monotonic() - min(heard))

    def words(self) -> dict[str, Any]:
        """What was seen since the last time."""
        ordered, silence = sorted(self.delays), self.longest_silence
        self.delays, self.longest_silence = [], 0.0
        p99 = ordered[int(len(ordered) * 0.99)]
        return {"p99": round(p99, 4), "worst": round(ordered[-1], 3), "silence": round(silence, 2)}


async def main(config: dict[str, Any]) -> int:
    loop, clock, lookout, stop = asyncio.get_running_loop(), Clock(), Lookout(), asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, clock.turn, HOUR)
    loop.add_signal_handler(signal.SIGUSR2, clock.turn, -HOUR)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    log = start_logging(as_json=True)
    assert log is not None
    settings = WorkerSettings(
        stream=StreamSettings(bootstrap=config["bootstrap"], instance_id=config["name"]),
        prefix=config["prefix"],
        config=from_environ({"STREAM_ORCHESTRATOR__SCRIPTS__WORKERS": str(config["scripts"])}),
    )
    plans = [load_plan(Path(path)) for path in config["paths"]]
    worker = Worker(settings, plans, clock=clock)
    try:
        await worker.start()
        log.ready({"pid": os.getpid(), "partitions": worker.partitions})
        lookout_tasks = [loop.create_task(lookout.watch_loop()), loop.create_task(lookout.watch_fences(worker))]
        loop.add_signal_handler(signal.SIGWINCH, lambda: say(event="looked", **lookout.words()))
        crashed = asyncio.ensure_future(worker.crashed())
        await asyncio.wait({crashed, asyncio.ensure_future(stop.wait())}, return_when=asyncio.FIRST_COMPLETED)
        if crashed.done():
            say(event="crashed", fault=repr(crashed.result()), cause=repr(crashed.result().__cause__))
            return 1
        crashed.cancel()
        for task in lookout_tasks:
            task.cancel()
        return 0 if await worker.drain() else 1
    finally:
        await worker.close()


def say(**words: Any) -> None:
    """One JSON line."""
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(json.loads(sys.argv[1]))))
