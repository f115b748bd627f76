"""What `test` does: every document is read and made ready, then one after another is played.

Promises
  * Nothing runs before every document, pipeline, helper function and key is there (exit 2 and 3).
  * On Ctrl-C what runs is told to stop, teardown steps run, and workers and brokers of ours end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream_orchestrator.cli import voice
from stream_orchestrator.cli.interrupts import terminated_as_interrupted
from stream_orchestrator.cli.sources import absolute, check_functions
from stream_orchestrator.errors import UsageError
from stream_orchestrator.testkit.documents import TestDocument, collect
from stream_orchestrator.testkit.junit import write_junit
from stream_orchestrator.testkit.outcome import Outcome, Report, summary
from stream_orchestrator.testkit.playing import play
from stream_orchestrator.testkit.running import InMemory, Runner

MARKS = {"passed": "ok", "failed": "FAILED", "error": "ERROR"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TestJob:
    """What `test` was told."""

    __test__ = False  # not a test of pytest's

    files: tuple[Path, ...]
    functions: tuple[str, ...] = ()
    broker: str | None = None
    offline: bool = False
    timeout: float | None = None
    time_scale: float = 1.0
    prefix: str | None = None
    junit: Path | None = None
    as_json: bool = False


async def run_tests(job: TestJob) -> int:
    """All of it; the exit code."""
    if not job.time_scale > 0:
        raise UsageError(f"--time-scale is {job.time_scale:g}", hint="a number above zero; 0.01 is a hundredth")
    check_functions(job.functions)
    ready = [(each, each.prepare(absolute(job.functions), offline=job.offline)) for each in collect(job.files)]
    reports = []
    with terminated_as_interrupted():
        for document, run in ready:
            runner = _runner(job)
            try:
                _announce(document, run.pipeline)
                reports.append(await play(document, run, runner, _tell))
            finally:
                await runner.close()
    return _report(job, reports)


def _runner(job: TestJob) -> Runner:
    return InMemory(offline=job.offline, timeout=job.timeout)


def _announce(document: TestDocument, pipeline: str) -> None:
    voice.say(voice.printable(f"{document.path}: {document.title} ({pipeline})"))


def _tell(outcome: Outcome) -> None:
    voice.say(voice.printable(f"  {MARKS[outcome.status]:<6}  {outcome.name}  ({outcome.seconds:.2f} s)"))
    for failure in outcome.failures:
        voice.say(voice.printable(f"          {failure}"))


def _report(job: TestJob, reports: list[Report]) -> int:
    if job.junit is not None:
        write_junit(job.junit, reports)
    found = summary(reports)
    if job.as_json:
        voice.emit(found)
    else:
        _table(reports)
    failed = found["failed"] + found["errors"]
    voice.say(f"{found['tests']} tests: {found['passed']} passed, {failed or 'none'} failed")
    return 0 if found["ok"] else 1


def _table(reports: list[Report]) -> None:
    columns = ["DOCUMENT", "PIPELINE", "TESTS", "PASSED", "FAILED", "ERRORS", "SECONDS"]
    voice.table(columns, _rows(reports), right=columns[2:])


def _rows(reports: Iterable[Report]) -> Iterable[list[Any]]:
    for report in reports:
        counts = [report.count(status) for status in ("passed", "failed", "error")]
        yield [report.name, report.pipeline, len(report.outcomes), *counts, f"{report.seconds:.2f}"]
