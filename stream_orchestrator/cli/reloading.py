"""What `dev` does: a worker that is started anew whenever what it serves has changed.

Promises
  * The broker stays while workers come and go: events and results of before are still there.
  * Only what compiles, and has its helper functions and keys, is served: anything else is shown, and the last good
    worker goes on.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from stream_orchestrator.cli import voice
from stream_orchestrator.cli.background import BackgroundWorker
from stream_orchestrator.cli.broker import address_of, any_broker
from stream_orchestrator.cli.failures import explain
from stream_orchestrator.cli.interrupts import terminated_as_interrupted
from stream_orchestrator.cli.sources import absolute, read_sources, refuse_incomplete, tell
from stream_orchestrator.cli.surroundings import configured, prefix_of
from stream_orchestrator.errors import OrchestratorError
from stream_orchestrator.plan.functions import is_file
from stream_orchestrator.plan.loading import SUFFIXES
from stream_orchestrator.streaming.settings import StreamSettings

EVERY = 0.5  # seconds between looks at the files
DRAIN = 5.0  # the author waits
Seen = dict[Path, tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What `dev` was told."""

    paths: tuple[Path, ...]
    broker: str | None
    offline: bool
    functions: tuple[str, ...]
    http: tuple[str, int] | None
    prefix: str | None

    def worker_arguments(self, settings: StreamSettings, prefix: str) -> list[str]:
        """The command line of its workers."""
        arguments = [
            *map(str, self.paths),
            "--broker",
            address_of(settings),
            "--prefix",
            prefix,
            *configured().arguments(),
        ]
        arguments += ["--drain", f"{DRAIN:g}s", "--drain-calls", f"{DRAIN:g}s"]
        arguments += [part for name in absolute(self.functions) for part in ("--functions", name)]
        arguments += ["--offline"] if self.offline else []
        return arguments + (["--http", f"{self.http[0]}:{self.http[1]}"] if self.http else [])


async def serve_and_reload(workshop: Workshop) -> NoReturn:
    """Until interrupted."""
    prefix = prefix_of(workshop.prefix, configured(workshop.paths))
    helpers = _checked(workshop)
    with terminated_as_interrupted():
        async with any_broker(workshop.broker) as settings:
            command = f"stream-orchestrator send FILE --input EVENTS.jsonl --broker {address_of(settings)}"
            voice.say(f"in another terminal: {command}")
            bench = _Bench(workshop.worker_arguments(settings, prefix))
            try:
                await bench.start()
                await _watch(workshop, bench, helpers)
            finally:
                await bench.stop()
    raise AssertionError("only an interrupt or an error ends it")


async def _watch(workshop: Workshop, bench: _Bench, helpers: list[Path]) -> None:
    seen = look([*workshop.paths, *helpers])
    while True:
        await asyncio.sleep(EVERY)
        bench.tell()
        now = look([*workshop.paths, *helpers])
        if now != seen:
            seen = now
            helpers = await _reload(workshop, bench, changed=helpers)


def look(paths: Iterable[Path]) -> Seen:
    """Time and size of every file that matters: documents below the folders, and the files themselves."""
    files = (file for path in paths for file in (_documents(path) if os.path.isdir(path) else [path]))
    return {file: (stat.st_mtime_ns, stat.st_size) for file in files if (stat := _stat(file)) is not None}


def _documents(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix in SUFFIXES]


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:  # it goes and comes again while an editor writes it
        return None


def _checked(workshop: Workshop) -> list[Path]:
    """Raise for what cannot be served; the files of helper functions, which are watched as well."""
    sources = read_sources(workshop.paths, workshop.functions)
    tell(sources.warnings)
    refuse_incomplete(sources.plans, workshop.functions, offline=workshop.offline)
    named = {*workshop.functions, *(name for plan in sources.plans for name in plan.functions)}
    return sorted(Path(name) for name in named if is_file(name))


async def _reload(workshop: Workshop, bench: _Bench, *, changed: list[Path]) -> list[Path]:
    try:
        helpers = _checked(workshop)
    except OrchestratorError as wrong:
        explain(wrong)
        voice.say("the last good version is still served")
        return changed
    voice.say("changed; starting anew")
    await bench.stop()
    await bench.start()
    return helpers


class _Bench:
    """The one worker of now."""

    def __init__(self, arguments: list[str]) -> None:
        self._arguments = arguments
        self._worker: BackgroundWorker | None = None

    async def start(self) -> None:
        self._worker = BackgroundWorker(self._arguments)
        self._worker.start()
        ready = await self._worker.ready()
        voice.say(f"serving, {ready['partitions']} partitions")

    async def stop(self) -> None:
        if self._worker is not None:
            await self._worker.stop(patience=2 * DRAIN + 5)
            self._worker.close()
            self._worker = None

    def tell(self) -> None:
        """What it has logged since, for the author. A worker that has ended ends us."""
        if self._worker is None:
            return
        for entry in self._worker.entries():
            voice.say(_told(entry))
        self._worker.check()


def _told(entry: dict[str, Any]) -> str:
    return voice.printable(f"{entry.get('level', entry.get('event', '')):<7} {entry.get('message', '')}")
