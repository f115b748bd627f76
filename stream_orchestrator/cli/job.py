"""What `run` does: everything is checked, a worker starts, events go in, results come out, the worker drains.

Promises
  * Nothing starts before the events, the pipeline, its helper functions and its keys are all there.
  * Results are read by a plain consumer from the results topic, from where it ended before the first event was sent.
  * Whatever ends it (results, time, Ctrl-C, a worker that failed), the worker is drained and results so far are kept.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from stream_orchestrator.cli import voice
from stream_orchestrator.cli.background import BackgroundWorker
from stream_orchestrator.cli.broker import address_of, any_broker
from stream_orchestrator.cli.events import Event, read_events
from stream_orchestrator.cli.interrupts import terminated_as_interrupted
from stream_orchestrator.cli.progress import Progress
from stream_orchestrator.cli.sending import send_events
from stream_orchestrator.cli.sources import absolute, read_plan, refuse_incomplete
from stream_orchestrator.cli.surroundings import configured, prefix_of
from stream_orchestrator.cli.tally import STATUSES, Tally
from stream_orchestrator.errors import UsageError
from stream_orchestrator.plan import names
from stream_orchestrator.plan.model import Plan
from stream_orchestrator.streaming.client import Reader, reading
from stream_orchestrator.streaming.records import Record
from stream_orchestrator.streaming.settings import StreamSettings

STDOUT = Path("-")
DRAIN = 30.0  # seconds for tasks, and as long for calls: when all results are there, nothing is left to wait for
LATE = 5.0  # the same when the time is over: nobody waits for more
POLL = 0.5
Write = Callable[[Record], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What `run` was told."""

    file: Path
    events: Path
    output: Path | None
    broker: str | None
    offline: bool
    functions: tuple[str, ...]
    key_field: str | None
    run_id_field: str | None
    timeout: float | None
    prefix: str | None
    allow_unsafe: bool
    as_json: bool

    def worker_arguments(self, settings: StreamSettings, prefix: str) -> list[str]:
        """The command line of the worker that serves it."""
        arguments = [str(self.file), "--broker", address_of(settings), "--prefix", prefix, *configured().arguments()]
        arguments += ["--drain", f"{DRAIN:g}s", "--drain-calls", f"{DRAIN:g}s"]
        arguments += [part for name in absolute(self.functions) for part in ("--functions", name)]
        arguments += ["--offline"] if self.offline else []
        return arguments + (["--allow-unsafe"] if self.allow_unsafe else [])


async def run_job(job: Job) -> int:
    """All of it; the exit code."""
    if job.as_json and job.output == STDOUT:
        raise UsageError("--json and --output - both want stdout", hint="give --output a file")
    events = read_events(job.events, key_field=job.key_field, run_id_field=job.run_id_field)
    config = configured([job.file])
    plan, prefix = read_plan(job.file, job.functions), prefix_of(job.prefix, config)
    refuse_incomplete([plan], job.functions, offline=job.offline)
    with _output(job.output) as write, terminated_as_interrupted():
        async with any_broker(job.broker) as settings:
            tally, seconds = await _served(job, settings, prefix, plan, events, write)
    return _report(job, tally, seconds)


async def _served(
    job: Job, settings: StreamSettings, prefix: str, plan: Plan, events: list[Event], write: Write
) -> tuple[Tally, float]:
    worker, patience = BackgroundWorker(job.worker_arguments(settings, prefix)), 2 * DRAIN + 10
    started = time.monotonic()
    worker.start()
    try:
        await worker.ready()
        results = names.results_topic(prefix, plan.slug)
        async with reading(settings, results, at_end=True) as reader:
            sent_at = time.monotonic()
            course = _Course(job, worker, reader, write, total=len(events), started=started)
            await course.follow(settings, names.input_topic(prefix, plan.slug), events)
            seconds = time.monotonic() - sent_at
        if missing := course.tally.missing():
            patience = LATE
            await _tell_missing(settings, prefix, missing, timeout=job.timeout)
        return course.tally, seconds
    except asyncio.CancelledError:
        voice.say("stopping; what has begun may end (Ctrl-C again stops at once)")
        raise
    finally:
        await worker.stop(patience=patience)
        worker.close()


class _Course:
    """Sending and receiving at once, until every result is there or the time is over."""

    def __init__(
        self, job: Job, worker: BackgroundWorker, reader: Reader, write: Write, *, total: int, started: float
    ) -> None:
        self.tally = Tally()
        self._job, self._worker, self._reader, self._write = job, worker, reader, write
        self._total, self._started = total, started
        self._first = True

    async def follow(self, settings: StreamSettings, topic: str, events: list[Event]) -> None:
        """Send all, receive all."""
        sending = asyncio.create_task(self._send(settings, topic, events))
        try:
            with Progress(self._total) as progress:
                async with asyncio.timeout(self._job.timeout):
                    await self._receive(sending, progress)
        except TimeoutError:
            pass  # what is missing is told by the caller
        finally:
            sending.cancel()

    async def _receive(self, sending: asyncio.Task[None], progress: Progress) -> None:
        while not sending.done() or self.tally.come < self.tally.owed:
            self._take(self.tally.receive(await self._reader.poll(POLL)))
            progress.show(self.tally)
            self._worker.check()
            if sending.done():
                sending.result()

    async def _send(self, settings: StreamSettings, topic: str, events: list[Event]) -> None:
        async for chunk in send_events(settings, topic, events):
            self._take(self.tally.send(chunk))
        self.tally.complete()

    def _take(self, records: Iterable[Record]) -> None:
        for record in records:
            if self._first:
                self._first = False
                voice.say(f"first result after {time.monotonic() - self._started:.1f} s")
            self._write(record)


async def _tell_missing(settings: StreamSettings, prefix: str, missing: list[str], *, timeout: float | None) -> None:
    from stream_orchestrator.cli.whereabouts import whereabouts

    some = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
    places = await whereabouts(settings, prefix, missing)
    voice.fail(
        f"{len(missing)} runs have no result after {timeout or 0:g} s: {places}",
        hint=f"give it more time (--timeout); `audit RUN_ID` tells what happened to one: {some}",
    )


# --- results out -----------------------------------------------------------------------------------------------------


@contextmanager
def _output(path: Path | None) -> Iterator[Write]:
    """A function that writes a result as a line. The file is made before anything starts."""
    if path is None:
        yield lambda record: None
    elif path == STDOUT:
        yield lambda record: _write_line(sys.stdout.buffer, record)
    else:
        try:
            file = path.open("wb")
        except OSError as failed:
            raise UsageError(
                f"cannot write {path}: {failed.strerror}", hint="--output names a file in a folder that is there"
            ) from failed
        with file:
            yield lambda record: _write_line(file, record)


def _write_line(file: IO[bytes], record: Record) -> None:
    file.write((record.value or b"") + b"\n")
    file.flush()


def _report(job: Job, tally: Tally, seconds: float) -> int:
    summary: dict[str, Any] = {"runs": tally.owed}
    summary |= {status: tally.statuses[status] for status in STATUSES}
    summary |= {"duplicates": tally.duplicates, "seconds": round(seconds, 3), "cost_usd": round(tally.usd, 6)}
    if job.as_json:
        voice.emit(summary)
    else:
        voice.table(
            [name.upper() for name in summary],
            [list(summary.values())],
            data=False,
            right=[name.upper() for name in summary],
        )
        if job.output is None:
            voice.say("\nresults were not kept; --output RESULTS.jsonl writes them")
    for reason in tally.reasons.lines():
        voice.say(voice.printable(reason))
    whole = tally.come == tally.owed and tally.sent > 0
    return 0 if whole and not (tally.statuses["failed"] or tally.statuses["rejected"]) else 1
