"""Our side, a process of its own: `python -m bench.harness.ours HOST:PORT PREFIX PARTITIONS SHAPE [HOW]`.

One worker as users have it: audit, journal, metrics and spans on, no exporter. `SHAPE` is one of `passing.SHAPES`, or
the path of a document. `HOW`: `scripts` (of a shape), `online` (models are asked as the environment says; else they
are offline), `calls` (online, and nothing but the calls is served). Processes with one prefix and one `BENCH_MEMBER`
are the same member, one after the other. SIGTERM drains.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.harness import passing
from stream_orchestrator.observe.watch import Eyes
from stream_orchestrator.plan.loading import load_plan
from stream_orchestrator.plan.model import Plan
from stream_orchestrator.streaming import heap
from stream_orchestrator.streaming.core.model import AppSpec
from stream_orchestrator.streaming.deployments import Deployment
from stream_orchestrator.streaming.serving import WorkerSettings
from stream_orchestrator.streaming.settings import StreamSettings
from stream_orchestrator.streaming.worker import Worker
from stream_orchestrator.tasks import KINDS

SESSION = 30.0  # longer than a side is ever stopped in its tracks


class CallWorker(Worker):
    """A worker of which only the calls are served."""

    async def _specs(self, served: Sequence[Deployment]) -> list[AppSpec]:
        return [spec for spec in await super()._specs(served) if ".calls." in spec.id]


def served(shape: str, *, scripts: bool) -> Plan:
    """The plan to serve."""
    return passing.plan(shape, scripts=scripts) if shape in passing.SHAPES else load_plan(Path(shape))


def built(bootstrap: str, prefix: str, partitions: str, shape: str, *how: str) -> Worker:
    """The worker."""
    member = f"{prefix}{os.environ.get('BENCH_MEMBER') or os.getpid()}"
    settings = WorkerSettings(
        stream=StreamSettings(bootstrap=bootstrap, instance_id=member, session_timeout=SESSION),
        prefix=prefix,
        partitions=int(partitions),
        offline="calls" not in how and "online" not in how,
    )
    kind = CallWorker if "calls" in how else Worker
    plan = served(shape, scripts="scripts" in how)
    return kind(settings, [plan], watch=Eyes(), kinds={**KINDS, passing.PassKind.name: passing.PassKind()})


async def main(*arguments: str) -> None:
    """Serve until told to stop, or until something fails."""
    begun = time.perf_counter()
    worker = built(*arguments)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await worker.start()
    heap.settle()  # as the command does
    print(f"ready: {worker.partitions} partitions after {time.perf_counter() - begun:.3f} s", flush=True)
    crash, told = asyncio.ensure_future(worker.crashed()), asyncio.ensure_future(stop.wait())
    await asyncio.wait({crash, told}, return_when=asyncio.FIRST_COMPLETED)
    if crash.done():
        raise crash.result()
    await worker.drain()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
