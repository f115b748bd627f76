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
from stream_orchestrator.cli.broker import any_broker, existing_broker
from stream_orchestrator.cli.interrupts import terminated_as_interrupted
from stream_orchestrator.cli.load_progress import LoadProgress
from stream_orchestrator.cli.on_broker import OnBroker, refuse_impossible
from stream_orchestrator.cli.sources import absolute, check_functions
from stream_orchestrator.cli.stage import given_functions, staged
from stream_orchestrator.cli.surroundings import configured, prefix_of
from stream_orchestrator.cli.test_tables import load_table, replay_table
from stream_orchestrator.errors import UsageError
from stream_orchestrator.testkit.documents import AnyRun, TestDocument, collect
from stream_orchestrator.testkit.integration import IntegrationRun
from stream_orchestrator.testkit.junit import write_junit
from stream_orchestrator.testkit.load import PATIENCE, LoadOptions, LoadRun
from stream_orchestrator.testkit.outcome import Outcome, Report, summary
from stream_orchestrator.testkit.playing import play
from stream_orchestrator.testkit.recorded import recorded_runs
from stream_orchestrator.testkit.replay import ReplayRun
from stream_orchestrator.testkit.running import InMemory, Runner
from stream_orchestrator.testkit.suites import SuiteRun

PATIENCE_OF_A_TEST = 600.0  # seconds; a run may take a day, a test that does has hung
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
    config = configured(job.files)
    check_functions(job.functions)
    progress = LoadProgress()
    options = LoadOptions(
        time_scale=job.time_scale,
        patience=job.timeout or PATIENCE,
        run_patience=job.timeout or PATIENCE_OF_A_TEST,
        tell=progress,
    )
    given = absolute(job.functions)
    ready = [
        (each, each.prepare(given, offline=job.offline, load=options, config=config)) for each in collect(job.files)
    ]
    if job.broker is not None:
        for mocks in (each for _, run in ready if isinstance(run, SuiteRun | IntegrationRun) for each in run.mocks):
            refuse_impossible(mocks)
    reports = []
    with terminated_as_interrupted():
        for document, run in ready:
            _announce(document, run.pipeline)
            try:
                reports.append(await _played(job, document, run))
            finally:
                progress.stop()
    return _report(job, reports)


async def _played(job: TestJob, document: TestDocument, run: AnyRun) -> Report:
    if isinstance(run, LoadRun):
        return await _loaded(job, document, run)
    if isinstance(run, ReplayRun):
        return await _replayed(job, document, run)
    timeout = job.timeout or PATIENCE_OF_A_TEST
    if job.broker is None:
        return await _play(document, run, InMemory(offline=job.offline, timeout=timeout))
    async with any_broker(job.broker) as settings:
        runner = OnBroker(settings, prefix=_prefix(job), offline=job.offline, timeout=timeout)
        return await _play(document, run, runner)


async def _play(document: TestDocument, run: SuiteRun | IntegrationRun, runner: Runner) -> Report:
    try:
        return await play(document, run, runner, _tell)
    finally:
        await runner.close()


async def _replayed(job: TestJob, document: TestDocument, run: ReplayRun) -> Report:
    subject = run.subject
    if run.recorded is None:
        source = existing_broker(job.broker)
        run.recorded = await recorded_runs(source, _prefix(job), subject.plan.slug, last=run.last)
    asked = "no model" if job.offline or not subject.plan.models else ", ".join(subject.plan.models)
    voice.say(voice.printable(f"  {len(run.recorded)} events are run again; asked for real: {asked}"))
    options = [*given_functions(subject.functions), *(["--offline"] if job.offline else [])]
    async with (
        any_broker("embedded") as settings,
        staged(settings, subject.path, subject.plan, options=options) as target,
    ):
        found = await play(document, run, target, _tell)
    if not job.as_json:
        replay_table(run.pairs)
    return found


async def _loaded(job: TestJob, document: TestDocument, run: LoadRun) -> Report:
    subject = run.subject
    options = [*given_functions(subject.functions), *(["--offline"] if job.offline else [])]
    async with any_broker(job.broker) as settings:
        stage = staged(settings, subject.path, subject.plan, prefix=_prefix(job), options=options)
        async with stage as target:
            found = await play(document, run, target, _tell)
    if not job.as_json:
        load_table(run.loads)
    return found


def _prefix(job: TestJob) -> str:
    return prefix_of(job.prefix, configured(job.files))


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
