"""Sides by name, started and serving: ours, Faust by hand, raw aiokafka."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from bench.harness import passing
from bench.harness.sides import BASELINES, Side
from bench.harness.topics import PARTITIONS, Topics, fresh_prefix

READY_WITHIN = 120.0


class Lineup:
    """The sides of one comparison, on one connection. `stop` ends them, whatever has happened."""

    def __init__(self, between: Topics, folder: Path) -> None:
        self.topics, self._folder = between, folder
        self.sides: list[Side] = []

    async def ours(self, shape: str, *more: str, slug: str = "bench", prefix: str = "", name: str = "ours") -> Side:
        """A worker that serves the shape, or the document at that path; ready. A `prefix` may have others."""
        prefix = prefix or fresh_prefix()
        arguments = [self.topics.settings.bootstrap, prefix, str(PARTITIONS), shape, *more]
        source, sink = f"{prefix}{slug}.input", f"{prefix}{slug}.results"
        side = self._start(name, ["-m", "bench.harness.ours", *arguments], source=source, sink=sink)
        await said(side, "ready")
        return side

    async def baseline(self, program: str, shape: str, *more: str, name: str, prefix: str = "") -> Side:
        """A program of `baselines/`, its topics made (those of a `prefix` are there); it may still be joining."""
        fresh, prefix = not prefix, prefix or fresh_prefix()
        names = [prefix + inbox for inbox in passing.inboxes(shape)]
        if fresh:
            await self.topics.make([*names, f"{prefix}app-halves-changelog", f"{prefix}audit", f"{prefix}runs"])
        arguments = [self.topics.settings.bootstrap, prefix, str(PARTITIONS), shape, *more]
        return self._start(name, [str(BASELINES / program), *arguments], source=names[0], sink=names[-1])

    def stop(self) -> None:
        """No side is left."""
        for side in self.sides:
            side.thaw()
            side.kill()

    def _start(self, name: str, command: Sequence[str], *, source: str, sink: str) -> Side:
        side = Side(name, command, source=source, sink=sink, folder=self._folder)
        self.sides.append(side)
        return side


async def said(side: Side, word: str) -> None:
    """Wait until its log has that word."""
    async with asyncio.timeout(READY_WITHIN):
        while word not in side.log.read_text():
            side.check()
            await asyncio.sleep(0.1)
