"""Runs a second through 1, 3 and 6 tasks and a join, and what they cost: `python -m bench.hops HOST:PORT [options]`.

The shape `1 by id` is one task whose events carry ids: copies of an event meet, whichever partition they come by.

All sides of a shape run at the same time, each a process of its own with as many partitions. A round stops one side in
its tracks, fills its input, lets it go, and takes the time until its last output is acknowledged; the sides take turns,
round after round, and the ratios are of neighbours. Every output is checked at the end: nothing missing, nothing wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path
from statistics import median

import orjson

from bench.harness import passing, tables
from bench.harness.lanes import Lane
from bench.harness.lineup import Lineup
from bench.harness.topics import Topics, topics
from stream_orchestrator.streaming.client import read_all

TEXT = "x" * 270
BY_ID = " by id"
SHAPES = ("1", f"1{BY_ID}", *passing.SHAPES[1:])
PUBLISHED = """
Published for three trivial steps on a machine like this, runs/s: raw aiokafka batched 5,700-12,400 | Quix Streams with
a topic between steps 7,000 | Faust by hand 130-560 | FastStream with a commit per record 87-105 | Restate 135-196 |
LangGraph with SQLite 89-122 | DBOS 41-58"""


def value(number: int) -> bytes:
    """An event of some 300 bytes."""
    return orjson.dumps({"n": number, "text": TEXT})


class Race:
    """One shape, all its sides."""

    def __init__(self, between: Topics, shape: str, *, scripts: bool, folder: Path) -> None:
        self.shape, self.scripts = shape.removesuffix(BY_ID), scripts
        self.by_id = shape.endswith(BY_ID)
        self.lanes: dict[str, Lane] = {}
        self._topics, self._lineup = between, Lineup(between, folder)

    async def start(self) -> None:
        """Every side serves, warm."""
        more = ["scripts"] if self.scripts else []
        sides = [await self._lineup.ours(self.shape, *more)]
        for name, program in self._baselines().items():
            sides.append(await self._lineup.baseline(program, self.shape, *more, name=name))
        for side in sides:
            self.lanes[side.name] = Lane(side, value, by_id=self.by_id)
            await self.lanes[side.name].warm(self._topics)

    def _baselines(self) -> dict[str, str]:
        if self.by_id:
            return {"guarantee": "faust_same_guarantee.py"}
        found = {"faust": "faust_by_hand.py"}
        if not self.scripts:
            found["raw"] = "raw_aiokafka.py"
        if self.shape == "1":
            found["promises"] = "faust_with_promises.py"
        return found

    async def round(self, seconds: float) -> None:
        """Every side once."""
        for lane in self.lanes.values():
            await lane.turn(self._topics, seconds)

    async def check(self) -> None:
        """Every event came out of every side, once, as it should."""
        for name, lane in self.lanes.items():
            outputs = [
                orjson.loads(record.value or b"") for record in await read_all(self._topics.settings, lane.side.sink)
            ]
            values = [output.get("output", output) for output in outputs]
            numbers = sorted(value["n"] for value in values)
            assert numbers == list(range(lane.sent)), (
                f"{name}: {lane.sent} in, {len(set(numbers))} of {len(numbers)} out"
            )
            assert all(value["text"] == TEXT for value in values), f"{name}: a wrong value"

    def stop(self) -> None:
        """End the sides."""
        self._lineup.stop()


async def race(shape: str, options: argparse.Namespace, *, scripts: bool) -> dict[str, Lane]:
    """The lanes of one shape, after all rounds."""
    with tempfile.TemporaryDirectory(prefix="hops-") as folder:
        async with topics(options.bootstrap) as between:
            found = Race(between, shape, scripts=scripts, folder=Path(folder))
            try:
                await found.start()
                for _ in range(options.rounds):
                    await found.round(options.seconds)
                await found.check()
            finally:
                found.stop()
            return found.lanes


def row(shape: str, name: str, lanes: dict[str, Lane]) -> list[str]:
    """A line of the table."""
    lane, ours, hops = lanes[name], lanes["ours"], passing.tasks(shape.removesuffix(BY_ID))
    others = [lanes.get(other) if name == "ours" else None for other in BASELINES]
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
    lines = [shape for shape in found if shape.isdigit()]
    if len(lines) < 2:
        return []
    first, last = found[lines[0]], found[lines[-1]]
    more = passing.tasks(lines[-1]) - passing.tasks(lines[0])
    slopes = {name: (median(last[name].cpu) - median(first[name].cpu)) / more for name in first if name in last}
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
    "rate / (c)",
    "rate / (d)",
    "by CPU / (a)",
    "/ (b)",
    "/ (c)",
    "/ (d)",
)
BASELINES = ("faust", "raw", "promises", "guarantee")


def report(title: str, found: dict[str, dict[str, Lane]]) -> None:
    """Both tables. A ratio above 1 is in our favour."""
    tables.show(title, HEAD, [row(shape, name, lanes) for shape, lanes in found.items() for name in lanes])
    sides = {
        "ours": "ours",
        "faust": "Faust by hand",
        "promises": "Faust by hand, keeping what we keep",
        "guarantee": "Faust by hand, same guarantee",
    }
    rates = [
        (f"{shape}, {said}", median(lanes[name].rates))
        for shape, lanes in found.items()
        for name, said in sides.items()
        if name in lanes
    ]
    tables.bars("Runs a second, shape by shape (raw aiokafka, which keeps nothing, is far off this scale):", rates)
    if slopes := marginal(found):
        tables.show("One task more in a line:", ["side", "CPU us/hop added", "ours is so many times cheaper"], slopes)


async def main(options: argparse.Namespace) -> None:
    """Without the sandbox, then with scripts."""
    print(tables.machine())
    print("(a) is Faust by hand, (b) raw aiokafka; one task only: (c) Faust by hand keeping of a run what we keep,")
    print("(d) Faust by hand that knows an event by its id, however it comes, also after a crash")
    print(f"Median (least to most) of {options.rounds} rounds.")
    if options.shapes:
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
    parser.add_argument("--shapes", nargs="*", default=list(SHAPES), choices=SHAPES)
    parser.add_argument(
        "--scripts", nargs="*", default=["1", f"1{BY_ID}", "3"], choices=SHAPES, help="shapes to run with scripts"
    )
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main(arguments()))
