"""Runs a second through 1, 3 and 6 tasks and a join, against both baselines: `python -m bench.hops HOST:PORT [options]`.

All sides of a shape run at the same time, each a process of its own with as many partitions. A round stops one side in
its tracks, fills its input, lets it go, and takes the time until its last output is acknowledged; the sides take turns,
round after round, and the ratios are of neighbours. Every output is checked at the end: nothing missing, nothing wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import orjson

from bench.harness import passing, tables
from bench.harness.sides import BASELINES, Side
from bench.harness.topics import PARTITIONS, Topics, fresh_prefix, topics
from stream_orchestrator.streaming.client import read_all

TEXT = "x" * 270  # with its number, an event of some 300 bytes
WARM = 400
READY_WITHIN = 120.0
PUBLISHED = """
Published for three trivial steps on a machine like this, runs/s: raw aiokafka batched 5,700-12,400 | Quix Streams with a
topic between steps 7,000 | Faust by hand 130-560 | FastStream with a commit per record 87-105 | Restate 135-196 |
LangGraph with SQLite 89-122 | DBOS 41-58"""


@dataclass(slots=True)
class Lane:
    """One side, what went into it, and what each round gave."""

    side: Side
    sent: int = 0
    size: int = WARM
    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def events(self, count: int) -> Iterator[tuple[bytes, bytes]]:
        """The next events."""
        for number in range(self.sent, self.sent + count):
            yield str(number).encode(), orjson.dumps({"n": number, "text": TEXT})
        self.sent += count


class Race:
    """One shape, all its sides."""

    def __init__(self, between: Topics, shape: str, *, scripts: bool, folder: Path) -> None:
        self.shape, self.scripts, self._topics, self._folder = shape, scripts, between, folder
        self.lanes: dict[str, Lane] = {}
        self._prefixes: list[str] = []

    async def start(self) -> None:
        """Every side serves, warm."""
        more = ["scripts"] if self.scripts else []
        await self._ours(more)
        await self._baseline("faust", "faust_by_hand.py", more)
        if not self.scripts:
            await self._baseline("raw", "raw_aiokafka.py", [])
        for lane in self.lanes.values():
            await self._warm(lane)

    async def round(self, seconds: float) -> None:
        """Every side once."""
        for lane in self.lanes.values():
            await self._turn(lane, seconds)

    async def check(self) -> None:
        """Every event came out of every side, once, as it should."""
        for name, lane in self.lanes.items():
            outputs = [orjson.loads(record.value) for record in await read_all(self._topics.settings, lane.side.sink)]
            values = [output["output"] if name == "ours" else output for output in outputs]
            numbers = sorted(value["n"] for value in values)
            assert numbers == list(range(lane.sent)), f"{name}: {lane.sent} in, {len(set(numbers))} of {len(numbers)} out"
            assert all(value["text"] == TEXT for value in values), f"{name}: a wrong value"

    async def stop(self) -> None:
        """End the sides, and leave no topic."""
        for lane in self.lanes.values():
            lane.side.thaw()
            lane.side.kill()
        for prefix in self._prefixes:
            await self._topics.drop(prefix)

    async def _ours(self, more: list[str]) -> None:
        prefix = self._prefix()
        command = ["-m", "bench.harness.ours", self._topics.settings.bootstrap, prefix, str(PARTITIONS), self.shape, *more]
        side = Side("ours", command, source=f"{prefix}bench.input", sink=f"{prefix}bench.results", folder=self._folder)
        self.lanes["ours"] = Lane(side)
        async with asyncio.timeout(READY_WITHIN):
            while "ready" not in side.log.read_text():
                side.check()
                await asyncio.sleep(0.1)

    async def _baseline(self, name: str, program: str, more: list[str]) -> None:
        prefix = self._prefix()
        names = [prefix + inbox for inbox in passing.inboxes(self.shape)]
        await self._topics.make([*names, *([f"{prefix}app-halves-changelog"] if name == "faust" else [])])
        command = [str(BASELINES / program), self._topics.settings.bootstrap, prefix, str(PARTITIONS), self.shape, *more]
        self.lanes[name] = Lane(Side(name, command, source=names[0], sink=names[-1], folder=self._folder))

    async def _warm(self, lane: Lane) -> None:
        """The first events, sent to a side that may still be joining."""
        await self._topics.fill(lane.side.source, lane.events(1))
        await self._topics.reach(lane.side.sink, 1, within=READY_WITHIN, alive=lane.side)
        await self._topics.fill(lane.side.source, lane.events(WARM))
        await self._topics.reach(lane.side.sink, lane.sent, within=READY_WITHIN, alive=lane.side)

    async def _turn(self, lane: Lane, seconds: float) -> None:
        lane.side.freeze()
        await self._topics.fill(lane.side.source, lane.events(lane.size))
        cpu, begun = lane.side.cpu(), time.perf_counter()
        lane.side.thaw()
        took = await self._topics.reach(lane.side.sink, lane.sent, within=READY_WITHIN, alive=lane.side) - begun
        lane.rates.append(lane.size / took)
        lane.cpu.append((lane.side.cpu() - cpu) / lane.size * 1e6)
        lane.size = int(min(max(lane.rates[-1] * seconds, WARM), 50_000))

    def _prefix(self) -> str:
        self._prefixes.append(fresh_prefix())
        return self._prefixes[-1]


async def race(between: Topics, shape: str, options: argparse.Namespace, *, scripts: bool) -> dict[str, Lane]:
    """The lanes of one shape, after all rounds; the first round only finds how many events make one."""
    with tempfile.TemporaryDirectory(prefix="hops-") as folder:
        found = Race(between, shape, scripts=scripts, folder=Path(folder))
        try:
            await found.start()
            for number in range(options.rounds + 1):
                await found.round(options.seconds)
                if number == 0:
                    forget(found.lanes)
            await found.check()
        finally:
            await found.stop()
        return found.lanes


def forget(lanes: dict[str, Lane]) -> None:
    """The first round is for warming."""
    for lane in lanes.values():
        lane.rates.clear()
        lane.cpu.clear()


def row(shape: str, name: str, lanes: dict[str, Lane]) -> list[str]:
    """A line of the table."""
    lane, hops = lanes[name], passing.tasks(shape)
    ratios = [
        tables.ratio(lanes["ours"].rates, lanes[other].rates) if name == "ours" and other in lanes else ""
        for other in ("faust", "raw")
    ]
    per_run = median(lane.cpu)
    return [
        f"{shape} ({hops} tasks)", name, tables.spread(lane.rates), tables.number(median(lane.rates) * hops),
        tables.number(per_run), tables.number(per_run / hops), *ratios,
    ]  # fmt: skip


def marginal(found: dict[str, dict[str, Lane]]) -> list[list[str]]:
    """What one more task costs a run: the slope from the shortest line of tasks to the longest."""
    lines = [shape for shape in found if shape != "join"]
    if len(lines) < 2:
        return []
    first, last = found[lines[0]], found[lines[-1]]
    more = passing.tasks(lines[-1]) - passing.tasks(lines[0])
    slopes = {name: (median(last[name].cpu) - median(first[name].cpu)) / more for name in first}
    return [[name, tables.number(slope), f"{slopes['ours'] / slope:.2f}"] for name, slope in slopes.items() if slope > 0]


def report(title: str, found: dict[str, dict[str, Lane]]) -> None:
    """Both tables."""
    head = ["shape", "side", "runs/s", "hops/s", "CPU us/run", "CPU us/hop", "x Faust by hand (a)", "x raw aiokafka (b)"]
    tables.show(title, head, [row(shape, name, lanes) for shape, lanes in found.items() for name in lanes])
    if slopes := marginal(found):
        tables.show("One task more in a line:", ["side", "CPU us/hop added", "ours, as a multiple"], slopes)


async def main(options: argparse.Namespace) -> None:
    """Without the sandbox, then with scripts."""
    print(tables.machine())
    async with topics(options.bootstrap) as between:
        if not options.only_scripts:
            found = {shape: await race(between, shape, options, scripts=False) for shape in options.shapes}
            report("Tasks that need no sandbox; audit, journal, metrics and spans on:", found)
            print(PUBLISHED)
        if options.scripts:
            found = {shape: await race(between, shape, options, scripts=True) for shape in options.scripts}
            report("With scripts; (a) calls the same sandbox:", found)


def arguments() -> argparse.Namespace:
    """What to run."""
    parser = argparse.ArgumentParser("python -m bench.hops")
    parser.add_argument("bootstrap")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="about how long a side works in a round")
    parser.add_argument("--shapes", nargs="+", default=list(passing.SHAPES), choices=passing.SHAPES)
    parser.add_argument("--scripts", nargs="*", default=["3"], choices=passing.SHAPES, help="shapes to run with scripts")
    parser.add_argument("--only-scripts", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main(arguments()))
