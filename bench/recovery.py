"""How long a worker is away: `python -m bench.recovery HOST:PORT [ROWS]`.

Recovery: a worker is killed with runs in flight, each waiting for its model; their rows are multiplied in the changelog
until there are ROWS live ones, and the same member starts again. Its start with the few rows it had is taken off.
Rebalance: a second worker joins while a thousand calls are in flight; the pause is the longest time without an answer.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from msgspec.structs import replace

from bench.harness import calling, tables
from bench.harness.lineup import Lineup
from bench.harness.sides import Side
from bench.harness.topics import Topics, topics
from stream_orchestrator.errors import HouseError
from stream_orchestrator.kernel import ids, rows
from stream_orchestrator.kernel.rows import RunRow, StepRow
from stream_orchestrator.plan import names
from stream_orchestrator.plan.loading import load_plan
from stream_orchestrator.streaming.client import read_all
from stream_orchestrator.streaming.core import changelog
from stream_orchestrator.streaming.core.changelog import Replay
from stream_orchestrator.testkit.models import ModelServer

Work = Callable[[Lineup], Awaitable[list[list[str]]]]
RUNS = 40  # real ones, whose rows are multiplied
HANG = 3600.0
IN_FLIGHT = 1000
EACH = 4.0  # seconds a call, give or take half: a thousand in flight are 250 answers a second
SECONDS = 30.0


async def recovery(between: Topics, lineup: Lineup, wanted: int) -> list[list[str]]:
    """The lines of its table."""
    async with ModelServer(default=calling.Patient(HANG)) as server:
        os.environ |= {"OPENAI_BASE_URL": server.openai_url, "BENCH_MEMBER": "same"}
        first = await serve(lineup, "")
        prefix = first.source.removesuffix("calls.input")
        await between.fill(first.source, ((b"", b'{"text": "hello"}') for _ in range(RUNS)))
        while len(server.seen) < RUNS:
            first.check()
            await asyncio.sleep(0.1)
        first.kill()
        few = await restart(lineup, prefix)
        live = await multiply(between, prefix, wanted)
        many = await restart(lineup, prefix)
    return [
        ["a start with the rows of 40 runs", f"{few:.1f} s"],
        [f"with {live:,} live rows", f"{many:.1f} s"],
        ["recovery of these rows", f"{many - few:.1f} s (aim 10)"],
    ]


async def serve(lineup: Lineup, prefix: str, *how: str) -> Side:
    """A whole worker of the calls pipeline, ready."""
    return await lineup.ours(str(calling.DOCUMENT), *(how or ["online"]), slug="calls", prefix=prefix)


async def restart(lineup: Lineup, prefix: str) -> float:
    """Seconds that a worker says it needed to be ready; it is killed then."""
    side = await serve(lineup, prefix)
    told = re.search(r"^ready: .* after ([\d.]+) s$", side.log.read_text(), re.MULTILINE)
    assert told is not None, side.log.read_text()
    side.kill()
    return float(told[1])


async def multiply(between: Topics, prefix: str, wanted: int) -> int:
    """Append copies of the living rows, under run ids of their own, as the last owner would have written them."""
    topic = names.table_topic(prefix, load_plan(calling.DOCUMENT))
    replays: dict[int, Replay] = {}
    epochs: dict[int, int] = {}  # by partition, the last owner's
    for record in await read_all(between.settings, topic):
        replay = replays.setdefault(record.partition, Replay())
        replay.read(record.offset, record.key, record.value, record.headers)
        if (record.key or b"").startswith(changelog.BEGIN) and record.value is not None:
            epochs[record.partition] = record.offset
    living = [
        (partition, rows.decode(data))
        for partition, replay in replays.items()
        for data in replay.inheritance(2**62).rows.values()
    ]
    copies = wanted // len(living)
    acks = []
    for partition, row in living:
        for key, value in copied(row, copies):
            entry = changelog.put(key, epochs[partition], value)
            acks.append(await between.quick.send(topic, entry.value, key=entry.key, partition=partition))
    await asyncio.gather(*acks)
    return len(living) * (copies + 1)


def copied(row: rows.Row, copies: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and bytes of the row, for other runs."""
    for number in range(copies):
        run_id = f"{getattr(row, 'run_id', '')}-{number}"
        match row:
            case RunRow():
                yield ids.run_key(run_id), rows.encode(replace(row, run_id=run_id))
            case StepRow():
                yield ids.step_key(run_id, row.task), rows.encode(replace(row, run_id=run_id))
            case _:
                raise HouseError(f"a run in flight left {row!r}")


async def rebalance(between: Topics, lineup: Lineup) -> list[list[str]]:
    """The lines of its table."""
    async with ModelServer(default=calling.Patient(EACH, jitter=0.5)) as server:
        os.environ |= {"OPENAI_BASE_URL": server.openai_url, "BENCH_MEMBER": ""}
        first = await serve(lineup, "", "calls")
        prefix = first.source.removesuffix("calls.input")
        count = round(IN_FLIGHT / EACH * SECONDS)
        await between.fill(calling.calls_topic(prefix), calling.calls(prefix, count))
        while server.in_flight < IN_FLIGHT * 0.9:
            first.check()
            await asyncio.sleep(0.05)
        in_flight = server.in_flight
        await serve(lineup, prefix, "calls")
        await between.reach(calling.reply_topic(prefix), count, within=20 * SECONDS, alive=first)
        replies = await calling.replies(between.settings, prefix)
        for _ in range(20):  # a reply may be there twice, and the last ones still be on their way
            if len({call for call, _ in replies}) == count:
                break
            await asyncio.sleep(0.5)
            replies = await calling.replies(between.settings, prefix)
        assert {call for call, _ in replies} == {f"call-{number}" for number in range(count)}
        pause = max(later - sooner for (_, sooner), (_, later) in itertools.pairwise(replies))
        return [
            ["calls in flight when it began", f"{in_flight:,}"],
            ["longest time without an answer", f"{pause:.1f} s (aim 5)"],
            ["calls made twice", f"{calling.repeated(server.seen)} of {count:,}"],
        ]


async def main(bootstrap: str, wanted: int) -> None:
    """Both."""
    print(tables.machine())
    async with topics(bootstrap) as between:
        works: dict[str, Work] = {
            "Recovery:": lambda lineup: recovery(between, lineup, wanted),
            "Rebalance with calls in flight:": lambda lineup: rebalance(between, lineup),
        }
        for title, work in works.items():
            with tempfile.TemporaryDirectory(prefix="recovery-") as folder:
                lineup = Lineup(between, Path(folder))
                try:
                    tables.show(title, ["", ""], await work(lineup))
                finally:
                    lineup.stop()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 100_000))
