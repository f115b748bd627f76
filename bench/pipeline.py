"""Runs a second of a python -> llm -> python pipeline, models offline: `python -m bench.pipeline HOST:PORT [ROUNDS]`.

One worker process with its sandbox, 2 KB a run. A worker core is a second of CPU, the sandbox's included: what the
worker would do with a core of its own for all it needs.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from statistics import median

import orjson

from bench import appends
from bench.harness import tables
from bench.harness.lanes import Lane
from bench.harness.lineup import Lineup
from bench.harness.topics import topics
from stream_orchestrator.streaming.client import read_all

SECONDS = 4.0


async def main(bootstrap: str, rounds: int) -> None:
    """Measure, and check every answer."""
    print(tables.machine())
    with tempfile.TemporaryDirectory(prefix="pipeline-") as folder:
        async with topics(bootstrap) as between:
            lineup = Lineup(between, Path(folder))
            try:
                lane = Lane(await lineup.ours(str(appends.DOCUMENT), slug="appends"), lambda _: appends.EVENT)
                await lane.warm(between)
                for _ in range(rounds):
                    await lane.turn(between, SECONDS)
                results = [orjson.loads(r.value or b"") for r in await read_all(between.settings, lane.side.sink)]
            finally:
                lineup.stop()
    assert len({result["run_id"] for result in results}) == len(results) == lane.sent
    assert all(result["output"] == appends.ANSWER for result in results)
    per_core = [1e6 / cpu for cpu in lane.cpu]
    rows = [
        ["runs/s, as the machine let it", tables.spread(lane.rates)],
        ["CPU us a run", tables.number(median(lane.cpu))],
        ["runs/s per worker core", f"{tables.spread(per_core)}, aim 150"],
    ]
    tables.show("python -> llm -> python, 2 KB, offline:", ["", ""], rows)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5))
