"""Our side, a process of its own: `python -m bench.harness.ours HOST:PORT PREFIX PARTITIONS SHAPE [scripts]`.

One worker as users have it: audit, journal, metrics and spans on, no exporter. `SHAPE` is one of `passing.SHAPES`, or
the path of a document, whose models are answered offline. SIGTERM drains.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from bench.harness import passing
from stream_orchestrator.observe.watch import Eyes
from stream_orchestrator.plan.loading import load_plan
from stream_orchestrator.plan.model import Plan
from stream_orchestrator.streaming.settings import StreamSettings
from stream_orchestrator.streaming.worker import Worker, WorkerSettings
from stream_orchestrator.tasks import KINDS


def served(shape: str, *, scripts: bool) -> Plan:
    """The plan to serve."""
    return passing.plan(shape, scripts=scripts) if shape in passing.SHAPES else load_plan(Path(shape))


async def main(bootstrap: str, prefix: str, partitions: str, shape: str, *scripts: str) -> None:
    """Serve until told to stop, or until something fails."""
    stream = StreamSettings(bootstrap=bootstrap, instance_id=f"{prefix}{os.getpid()}", session_timeout=30.0)
    settings = WorkerSettings(
        stream=stream, prefix=prefix, partitions=int(partitions), offline=shape not in passing.SHAPES
    )
    kinds = {**KINDS, "pass": passing.PassKind()}
    worker = Worker(settings, [served(shape, scripts=bool(scripts))], watch=Eyes(), kinds=kinds)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await worker.start()
    print(f"ready: {worker.partitions} partitions", flush=True)
    crash, told = asyncio.ensure_future(worker.crashed()), asyncio.ensure_future(stop.wait())
    await asyncio.wait({crash, told}, return_when=asyncio.FIRST_COMPLETED)
    if crash.done():
        raise crash.result()
    await worker.drain()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
