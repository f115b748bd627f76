"""A thousand calls in flight in one call worker: `python -m bench.calls HOST:PORT [SECONDS]`.

Every call takes a second, one takes thirty. The worker serves the calls topic and nothing else; the model server is
this process. Ideal is a thousand answers published every second, from a second after the first request.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from bench.harness import calling, tables
from bench.harness.lineup import Lineup
from bench.harness.sides import Side
from bench.harness.topics import topics
from stream_orchestrator.testkit.models import ModelServer

IN_FLIGHT = 1000
EACH, SLOW = 1.0, 30.0
SPARE = 2  # times as many calls as an ideal worker makes: it never runs dry


async def watch(side: Side, until: asyncio.Event) -> int:
    """The most memory that it had in use."""
    most = 0
    while not until.is_set():
        side.check()
        most = max(most, side.rss())
        await asyncio.sleep(0.2)
    return most


async def main(bootstrap: str, seconds: float) -> None:
    """Feed it, wait for all, count."""
    print(tables.machine())
    count = round(IN_FLIGHT * seconds / EACH) * SPARE
    with tempfile.TemporaryDirectory(prefix="calls-") as folder:
        async with ModelServer(default=calling.Patient(EACH, slow=SLOW)) as server, topics(bootstrap) as between:
            os.environ["OPENAI_BASE_URL"] = server.openai_url
            lineup = Lineup(between, Path(folder))
            try:
                side = await lineup.ours(str(calling.DOCUMENT), "calls", slug="calls")
                prefix = side.source.removesuffix("calls.input")
                over = asyncio.Event()
                memory = asyncio.ensure_future(watch(side, over))
                cpu = side.cpu()
                await between.fill(calling.calls_topic(prefix), calling.calls(prefix, count, slow=10))
                await between.reach(calling.reply_topic(prefix), count, within=SLOW + 30 * seconds, alive=side)
                cpu = side.cpu() - cpu
                over.set()
                replies = await calling.replies(between.settings, prefix)
            finally:
                lineup.stop()
    first = server.seen[0].at + EACH
    answered = sum(first <= at < first + seconds for _, at in replies)
    assert {call for call, _ in replies} == {f"call-{number}" for number in range(count)}
    ideal = IN_FLIGHT * seconds / EACH
    slow = next(at for call, at in replies if call == "call-10") - server.seen[0].at
    rows: list[list[object]] = [
        ["answers in the window", f"{answered:,} of {ideal:,.0f}", f"{answered / ideal:.2f} (aim 0.9)"],
        ["most in flight", server.most_in_flight, ""],
        ["memory", f"{await memory / 2**20:.0f} MB", "aim 400"],
        ["CPU", f"{cpu / count * 1e6:,.0f} us a call", ""],
        ["the slow one was answered after", f"{slow:.1f} s", ""],
        ["calls made twice", calling.repeated(server.seen), ""],
    ]
    tables.show(f"{IN_FLIGHT:,} calls of {EACH:g} s in flight for {seconds:g} s:", ["", "seen", ""], rows)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 10.0))
