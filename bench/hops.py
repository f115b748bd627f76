"""Runs a second through 1, 3 and 6 tasks and a join, and what they cost: `python -m bench.hops HOST:PORT [options]`.

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
from bench.harness.lineup import READY_WITHIN, Lineup
from bench.harness.sides import Side
from bench.harness.topics import Topics, topics
from stream_orchestrator.streaming.client import read_all

TEXT = "x" * 270  # with its number, an event of some 300 bytes
WARM = 400
PUBLISHED = """
Published for three trivial steps on a machine like this, runs/s: raw aiokafka batched 5,700-12,400 | Quix Streams with
a topic between steps 7,000 | Faust by hand 130-560 | FastStream with a commit per record 87-105 | Restate 135-196 |
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
        self.shape, self.scripts = shape, scripts
        self.lanes: dict[str, Lane] = {}
        self._topics, self._lineup = between, Lineup(between, folder)

    async def start(self) -> None:
        """Every side serves, warm."""
        more = ["scripts"] if self.scripts else []
        sides = [await self._lineup.ours(self.shape, *more)]
        sides.append(await self._lineup.baseline("faust_by_hand.py", self.shape, *more, name="faust"))
        if not self.scripts:
            sides.append(await self._lineup.baseline("raw_aiokafka.py", self.shape, name="raw"))
        for side in sides:
            self.lanes[side.name] = Lane(side)
            await self._warm(self.lanes[side.name])

    async def round(self, seconds: float) -> None:
        """Every side once."""
        for lane in self.lanes.values():
            await self._turn(lane, seconds)

    async def check(self) -> None:
        """Every event came out of every side, once, as it should."""
        for name, lane in self.lanes.items():
            outputs = [
                orjson.loads(record.value or b"") for record in await read_all(self._topics.settings, lane.side.sink)
            ]
            values = [output["output"] if name == "ours" else output for output in outputs]
            numbers = sorted(value["n"] for value in values)
            assert numbers == list(range(lane.sent)), (
                f"{name}: {lane.sent} in, {len(set(numbers))} of {len(numbers)} out"
            )
            assert all(value["text"] == TEXT for value in values), f"{name}: a wrong value"

    def stop(self) -> None:
        """End the sides."""
        self._lineup.stop()

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


async def race(shape: str, options: argparse.Namespace, *, scripts: bool) -> dict[str, Lane]:
    """The lanes of one shape, after all rounds; the first round only finds how many events make one."""
    with tempfile.TemporaryDirectory(prefix="hops-") as folder:
        async with topics(options.bootstrap) as between:
            found = Race(between, shape, scripts=scripts, folder=Path(folder))
            try:
                await found.start()
                for number in range(options.rounds + 1):
                    await found.round(options.seconds)
                    if number == 0:
                        forget(found.lanes)
                await found.check()
            finally:
                found.stop()
            return found.lanes


def forget(lanes: dict[str, Lane]) -> None:
    """The first round is for warming."""
    for lane in lanes.values():
        lane.rates.clear()
        lane.cpu.clear()


def row(shape: str, name: str, lanes: dict[str, Lane]) -> list[str]:
    """A line of the table."""
    lane, ours, hops = lanes[name], lanes["ours"], passing.tasks(shape)
    others = [lanes.get(other) if name == "ours" else None for other in ("faust", "raw")]
    per_run = median(lane.cpu)
    return [
        f"{shape} ({hops} tasks)",
        name,
        tables.spread(lane.rates),
        tables.number(median(lane.rates) * hops),
        tables.number(per_run),
        tables.number(per_run / hops),
        *(tables.ratio(ours.rates, other.rates) if other else "" for other in others),
        *(tables.ratio(other.cpu, ours.cpu) if other else "" for other in others),
    ]


def marginal(found: dict[str, dict[str, Lane]]) -> list[list[str]]:
    """What one more task costs a run: the slope from the shortest line of tasks to the longest."""
    lines = [shape for shape in found if shape != "join"]
    if len(lines) < 2:
        return []
    first, last = found[lines[0]], found[lines[-1]]
    more = passing.tasks(lines[-1]) - passing.tasks(lines[0])
    slopes = {name: (median(last[name].cpu) - median(first[name].cpu)) / more for name in first}
    return [[name, tables.number(slope), f"{slope / slopes['ours']:.2f}"] for name, slope in slopes.items()]


HEAD = (
    "shape",
    "side",
    "runs/s",
    "hops/s",
    "CPU us/run",
    "us/hop",
    "rate / (a)",
    "rate / (b)",
    "by CPU / (a)",
    "/ (b)",
)


def report(title: str, found: dict[str, dict[str, Lane]]) -> None:
    """Both tables. A ratio above 1 is in our favour."""
    tables.show(title, HEAD, [row(shape, name, lanes) for shape, lanes in found.items() for name in lanes])
    if slopes := marginal(found):
        tables.show("One task more in a line:", ["side", "CPU us/hop added", "ours is so many times cheaper"], slopes)


async def main(options: argparse.Namespace) -> None:
    """Without the sandbox, then with scripts."""
    print(
        f"{tables.machine()}; (a) is Faust by hand, (b) raw aiokafka; median (least to most) of {options.rounds} rounds"
    )
    if not options.only_scripts:
        found = {shape: await race(shape, options, scripts=False) for shape in options.shapes}
        report("Tasks that need no sandbox; audit, journal, metrics and spans on:", found)
        print(PUBLISHED)
    if options.scripts:
        found = {shape: await race(shape, options, scripts=True) for shape in options.scripts}
        report("With scripts; (a) calls the same sandbox:", found)


def arguments() -> argparse.Namespace:
    """What to run."""
    parser = argparse.ArgumentParser("python -m bench.hops")
    parser.add_argument("bootstrap")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="about how long a side works in a round")
    parser.add_argument("--shapes", nargs="+", default=list(passing.SHAPES), choices=passing.SHAPES)
    parser.add_argument(
        "--scripts", nargs="*", default=["3"], choices=passing.SHAPES, help="shapes to run with scripts"
    )
    parser.add_argument("--only-scripts", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main(arguments()))
