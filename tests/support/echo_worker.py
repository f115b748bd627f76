"""A worker of two agents, for tests that kill it: `in` collects ids in rows and forwards, `mid` waits, then answers.

Run as a process: `python -m support.echo_worker '<json>'`. It says what happens to it as JSON lines on stdout.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from typing import Any

from stream_orchestrator.streaming.core import AppSpec, Partition, Stream
from stream_orchestrator.streaming.core.model import Work
from stream_orchestrator.streaming.records import Record
from stream_orchestrator.streaming.settings import StreamSettings


def say(**words: Any) -> None:
    """One JSON line."""
    print(json.dumps({"at": round(time.time(), 3), **words}), flush=True)


class Codec:
    """Rows are JSON; `due` is one of their fields."""

    def encode(self, row: Any) -> bytes:
        """JSON."""
        return json.dumps(row).encode()

    def decode(self, data: bytes) -> Any:
        """JSON."""
        return json.loads(data)

    def due(self, row: Any) -> float | None:
        """As the row says."""
        due = row.get("due")
        return None if due is None else float(due)


class Collect:
    """Adds the record's id to its key's row, durably, and forwards it within the partition."""

    contiguous = False

    def __init__(self, prefix: str) -> None:
        self.topic, self._next = prefix + "in", prefix + "mid"

    def receive(self, record: Record, part: Partition) -> Work | None:
        """Decide on the row, then forward."""
        assert record.key is not None
        assert record.value is not None
        row = part.get(record.key) or {"ids": []}
        name = record.value.decode()
        if name not in row["ids"]:
            row["ids"].append(name)
        part.set(record.key, row)
        return self._forward(record, part)

    async def _forward(self, record: Record, part: Partition) -> None:
        assert record.key is not None
        await part.write(record.key)
        await part.publish(self._next, partition=part.number, key=record.key, value=record.value)


class Answer:
    """Works a while, then answers."""

    contiguous = True

    def __init__(self, prefix: str, work: float) -> None:
        self.topic, self._out, self._work = prefix + "mid", prefix + "out", work

    def receive(self, record: Record, part: Partition) -> Work | None:
        """Answer, after a while."""
        row = part.get(record.key or b"")
        if row is None or (record.value or b"").decode() not in row["ids"]:
            raise AssertionError(f"the row of {record.key!r} does not know {record.value!r}")
        return self._answer(record, part)

    async def _answer(self, record: Record, part: Partition) -> None:
        await asyncio.sleep(random.uniform(0, self._work))
        headers = (("worker", str(os.getpid()).encode()),)
        await part.publish(self._out, partition=part.number, key=record.key, value=record.value, headers=headers)


def spec(prefix: str, partitions: int, work: float) -> AppSpec:
    """The app."""
    agents = (Collect(prefix), Answer(prefix, work))
    return AppSpec(prefix + "echo", agents, partitions, prefix + "table", Codec())


async def main(config: dict[str, Any]) -> int:
    """Serve until SIGTERM (drain) or a failure."""
    stream = Stream(StreamSettings(**config["settings"]))
    await stream.start()
    app = await stream.add(spec(config["prefix"], config["partitions"], config["work"]))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    crashed = asyncio.ensure_future(stream.crashed())
    crashed.add_done_callback(lambda _: stop.set())
    reporter = asyncio.ensure_future(report(app))
    await stop.wait()
    reporter.cancel()
    if crashed.done():
        say(event="crashed", fault=repr(crashed.result()), cause=repr(crashed.result().__cause__))
        os._exit(4)
    whole = await stream.drain(config.get("drain", 10.0))
    say(event="drained", whole=whole, **statistics(app))
    return 0


def statistics(app: Any) -> dict[str, Any]:
    """What tests ask for."""
    now = app.statistics()
    names = ("assigned", "lag", "open_slots", "generation", "adopted", "records", "rows", "partitions_lost")
    return {name: getattr(now, name) for name in names}


async def report(app: Any) -> None:
    """Say when the assignment changes, once it is served."""
    last: Any = None
    while True:
        now = app.statistics()
        if app.ready.is_set() and (now.assigned, now.generation) != last:
            last = (now.assigned, now.generation)
            say(event="serving", **statistics(app))
        await asyncio.sleep(0.02)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(json.loads(sys.argv[1]))))
