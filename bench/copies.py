"""What becomes of copies of events after a kill, ours and the baselines: `python -m bench.copies HOST:PORT [EVENTS]`.

Each side works on events that carry ids, and is killed (`kill -9`) when their outputs are there; it starts again, and
gets every event once more, by another partition. A producer that repeats itself and a worker that dies are no more than
that. Our worker answers a copy with the result that it gave first, so it may publish twice; what counts is the last
column. An app whose step has an effect (a model that is paid) has it once for each of its outputs.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import orjson

from bench.harness import tables
from bench.harness.lineup import READY_WITHIN, Lineup
from bench.harness.sides import Side
from bench.harness.topics import PARTITIONS, Topics, topics
from bench.hops import value
from stream_orchestrator.streaming.client import read_all

SETTLED = 75.0  # seconds without an output: longer than the session of a member that was killed
BASELINES = {"(a)": "faust_by_hand.py", "(c)": "faust_with_promises.py", "(d)": "faust_same_guarantee.py"}


async def told_twice(between: Topics, lineup: Lineup, name: str, count: int) -> list[str]:
    """A line of the table."""
    count -= count % PARTITIONS  # so that each is sent again by another partition
    side = await start(lineup, name)
    events = [(str(number).encode(), value(number)) for number in range(count)]
    await between.fill(side.source, events, by_id=True)
    await between.reach(side.sink, count, within=READY_WITHIN, alive=side)
    side.kill()
    side = await start(lineup, name, again=side)
    await between.fill(side.source, [events[-1], *events[:-1]], by_id=True)
    had, still = 0, 0.0
    while still < SETTLED:
        side.check()
        await asyncio.sleep(1)
        have = await between.count(side.sink)
        had, still = have, still + 1 if have == had else 0.0
    results: dict[int, set[bytes]] = defaultdict(set)
    for record in await read_all(between.settings, side.sink):
        output = orjson.loads(record.value or b"")
        results[output.get("output", output)["n"]].add(record.value or b"")
    assert sorted(results) == list(range(count)), f"{name}: an event has no output"
    return [name, str(count), str(had), str(sum(len(each) > 1 for each in results.values()))]


async def start(lineup: Lineup, name: str, again: Side | None = None) -> Side:
    """A side; or the next process of one that was killed."""
    prefix = again.source.removesuffix("bench.input" if name == "ours" else "in") if again else ""
    if name == "ours":
        return await lineup.ours("1", prefix=prefix)
    return await lineup.baseline(BASELINES[name], "1", name=name, prefix=prefix)


async def main(bootstrap: str, events: str = "2000") -> None:
    """All sides at the same time."""
    print("Every event comes twice, by two partitions, with a kill -9 in between (some minutes) ...", flush=True)
    with tempfile.TemporaryDirectory(prefix="copies-") as folder:
        async with topics(bootstrap) as between:
            lineup = Lineup(between, Path(folder))
            try:
                sides = [told_twice(between, lineup, name, int(events)) for name in ("ours", *BASELINES)]
                rows = await asyncio.gather(*sides)
            finally:
                lineup.stop()
    tables.show("After it:", ("side", "events", "outputs", "events with results that differ"), rows)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
