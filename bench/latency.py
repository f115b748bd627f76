"""What a task adds to the way of an event, at 100 events a second: `python -m bench.latency HOST:PORT [options]`.

An open loop: events leave when their time has come, whether earlier ones have arrived or not, and each says when it
left. It has arrived when a plain consumer has it. One task and six, ours and raw aiokafka (linger 0), take turns; what
a task adds is a fifth of the difference.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from bench.harness import tables
from bench.harness.lineup import READY_WITHIN, Lineup
from bench.harness.sides import Side
from bench.harness.topics import PARTITIONS, Topics, topics

RATE = 100.0  # events a second
SHORT, LONG = 1, 6
TEXT = "x" * 250
WARM = 50
SHARES = (0.5, 0.99)
Way = tuple[str, int]  # whose, and how many tasks


async def flight(between: Topics, side: Side, count: int) -> list[float]:
    """Seconds that each of so many events was under way."""
    ear = AIOKafkaConsumer(**between.settings.consumer(), fetch_max_wait_ms=500)
    await ear.start()
    try:
        parts = [TopicPartition(side.sink, number) for number in range(PARTITIONS)]
        ear.assign(parts)
        await ear.seek_to_end(*parts)
        await asyncio.gather(*[ear.position(part) for part in parts])
        sending = asyncio.ensure_future(depart(between, side.source, count))
        taken = await arrivals(ear, side, count)
        await sending
        return taken
    finally:
        await ear.stop()


async def depart(between: Topics, topic: str, count: int) -> None:
    """Send on time; a late loop sends what is due and says when it really left."""
    begun, acks = time.perf_counter(), []
    for number in range(count):
        await asyncio.sleep(max(0.0, begun + number / RATE - time.perf_counter()))
        value = orjson.dumps({"n": number, "at": time.time(), "text": TEXT})
        acks.append(await between.quick.send(topic, value, partition=number % PARTITIONS))
    await asyncio.gather(*acks)


async def arrivals(ear: AIOKafkaConsumer, side: Side, count: int) -> list[float]:
    """Until all are here."""
    seen: dict[int, float] = {}
    deadline = time.perf_counter() + READY_WITHIN
    while len(seen) < count:
        side.check()
        assert time.perf_counter() < deadline, f"{side.name}: {len(seen)} of {count} arrived"
        batches = await ear.getmany(timeout_ms=500)
        now = time.time()
        for record in (record for batch in batches.values() for record in batch):
            body = orjson.loads(record.value)
            value = body.get("output", body)
            seen.setdefault(value["n"], now - value["at"])
    return list(seen.values())


async def start(lineup: Lineup) -> dict[Way, Side]:
    """All sides, warm."""
    sides: dict[Way, Side] = {}
    for tasks in (SHORT, LONG):
        sides["ours", tasks] = await lineup.ours(str(tasks), name=f"ours {tasks}")
        sides["raw", tasks] = await lineup.baseline("raw_aiokafka.py", str(tasks), "0", name=f"raw {tasks}")
    for side in sides.values():
        await flight(lineup.topics, side, WARM)
    return sides


async def measure(options: argparse.Namespace) -> dict[Way, list[list[float]]]:
    """Every round's flights, by way."""
    with tempfile.TemporaryDirectory(prefix="latency-") as folder:
        async with topics(options.bootstrap) as between:
            lineup = Lineup(between, Path(folder))
            try:
                sides = await start(lineup)
                taken: dict[Way, list[list[float]]] = {way: [] for way in sides}
                for _ in range(options.rounds):
                    for way, side in sides.items():
                        taken[way].append(await flight(between, side, round(options.seconds * RATE)))
                return taken
            finally:
                lineup.stop()


def per_round(rounds: Iterable[list[float]], share: float) -> list[float]:
    """A percentile of each round, in milliseconds."""
    return [tables.percentile(taken, share) * 1000 for taken in rounds]


def added(taken: dict[Way, list[list[float]]], whose: str, share: float) -> list[float]:
    """What one task adds to a percentile, round by round."""
    short, long = per_round(taken[whose, SHORT], share), per_round(taken[whose, LONG], share)
    return [(more - less) / (LONG - SHORT) for less, more in zip(short, long, strict=True)]


async def main(options: argparse.Namespace) -> None:
    """Measure, then both tables."""
    print(tables.machine())
    print(f"{RATE:g} events/s, {options.rounds} rounds of {options.seconds:g} s; median (least to most)")
    taken = await measure(options)
    whole = [
        [whose, tasks, *(tables.spread(per_round(rounds, share), " ms") for share in SHARES)]
        for (whose, tasks), rounds in taken.items()
    ]
    tables.show("Producer's timestamp to consumer's receipt:", ["side", "tasks", "p50", "p99"], whole)
    more = {(whose, share): added(taken, whose, share) for whose in ("ours", "raw") for share in SHARES}
    rows = [[whose, *(tables.spread(more[whose, share], " ms") for share in SHARES)] for whose in ("ours", "raw")]
    rows.append(["ours / raw", *(tables.ratio(more["ours", share], more["raw", share]) for share in SHARES)])
    tables.show("Added by one task more:", ["side", "p50", "p99"], rows)


def arguments() -> argparse.Namespace:
    """How long."""
    parser = argparse.ArgumentParser("python -m bench.latency")
    parser.add_argument("bootstrap")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main(arguments()))
