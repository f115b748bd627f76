"""An `integration_test`: setup, pipelines with services around them, checks, teardown."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream_orchestrator.errors import OrchestratorError
from stream_orchestrator.spec.config import Configuration
from stream_orchestrator.spec.testing import IntegrationCase, IntegrationTest
from stream_orchestrator.testkit.data import NAME, TestData
from stream_orchestrator.testkit.finding import find_pipeline
from stream_orchestrator.testkit.mocks import Mocks
from stream_orchestrator.testkit.outcome import Outcome
from stream_orchestrator.testkit.records import Result, ended_well
from stream_orchestrator.testkit.running import Runner, Subject
from stream_orchestrator.testkit.steps import Step, Steps, parts
from stream_orchestrator.testkit.suites import late, measures

SETUP = "setup"


@dataclass(frozen=True, slots=True)
class _Prepared:
    case: IntegrationCase
    subject: Subject
    mocks: Mocks


class IntegrationRun:
    """An integration test that is ready to be played.

    Promises
      * Every step, check and pipeline that is named is there before the first setup step runs.
      * Once setup has begun, `close` runs every teardown step, in order, even after one of them has failed; when one
        was interrupted, that is told after the last.
      * After a setup step has failed no test runs.
      * What a setup step returns is read in templates by its name, as `setup.<name>`, and if it is a map by its keys,
        where nothing else has that name.
    """

    def __init__(
        self,
        document: IntegrationTest,
        path: Path,
        *,
        title: str,
        functions: Sequence[str],
        offline: bool,
        config: Configuration | None = None,
    ) -> None:
        self._document, self._data = document, TestData(path)
        self._steps = Steps(functions)
        self._names: dict[str, Any] = {}
        self._begun = False
        files = [find_pipeline(path, named=case.pipeline, title=title) for case in document.tests]
        subjects = {file: Subject.load(file, functions, config) for file in dict.fromkeys(files)}
        self._tests = [self._prepared(case, subjects[file]) for case, file in zip(document.tests, files, strict=True)]
        checks = [check for case in document.tests for check in case.validate_ or []]
        steps = [*(document.setup or []), *(document.teardown or [])]
        self._steps.refuse_missing(steps, checks, document=title)
        for each in self._tests:
            each.subject.refuse_incomplete(each.mocks, offline=offline)

    @property
    def pipeline(self) -> str:
        """What is tested."""
        return ", ".join(dict.fromkeys(each.subject.title for each in self._tests))

    @property
    def names(self) -> list[str]:
        """The tests."""
        return [each.case.name for each in self._tests]

    @property
    def mocks(self) -> list[Mocks]:
        """Of each test."""
        return [each.mocks for each in self._tests]

    async def open(self, runner: Runner) -> list[str]:
        """Run the setup steps, until one fails; what failed."""
        self._begun = True
        returned: dict[str, Any] = {}
        for step in self._document.setup or []:
            try:
                returned[parts(step)[0]] = await self._steps.call(self._rendered(step))
            except Exception as error:  # the border to the tester's code: no test runs, and teardown still does
                return [f"setup: {_told(step, error)}"]
            self._names = _names(returned)
        return []

    async def play(self, index: int, runner: Runner) -> Outcome:
        """Run one test and its checks."""
        test, started = self._tests[index], time.monotonic()
        try:
            inputs = self._data.event(test.case.inputs, self._names)
            checks = [self._rendered(check) for check in test.case.validate_ or []]
            result = await runner.run(test.subject, inputs, test.mocks)
        except TimeoutError:
            return late(test.case.name, started)
        except OrchestratorError as error:
            said = f"{error}; {error.hint}" if error.hint else str(error)
            return Outcome(name=test.case.name, status="error", seconds=time.monotonic() - started, failures=(said,))
        failures = _ending(result)
        for check in checks:
            failures += await self._steps.check(check, result)
        return Outcome.of(test.case.name, failures, seconds=time.monotonic() - started, **measures(result))

    async def close(self) -> list[str]:
        """Run every teardown step; what failed. Nothing to do when setup never began."""
        failures = []
        interrupted: KeyboardInterrupt | None = None
        for step in (self._document.teardown or []) if self._begun else []:
            try:
                await self._steps.call(self._rendered(step))
            except KeyboardInterrupt as stop:
                interrupted = stop
            except Exception as error:  # the border to the tester's code: the other steps still have to run
                failures.append(f"teardown: {_told(step, error)}")
        self._begun = False
        if interrupted is not None:
            raise interrupted
        return failures

    def _prepared(self, case: IntegrationCase, subject: Subject) -> _Prepared:
        given = (self._document.mocks, case.mocks)
        return _Prepared(case, subject, Mocks.of(subject.plan, *(self._data.render(each or {}) for each in given)))

    def _rendered(self, step: Step) -> Step:
        if isinstance(step, str):
            return step
        return {name: self._data.render(value, self._names) for name, value in step.items()}


def _names(returned: dict[str, Any]) -> dict[str, Any]:
    """What templates may read of what setup steps returned."""
    inner = {key: value for each in returned.values() if isinstance(each, dict) for key, value in each.items()}
    names = {**{str(key): value for key, value in inner.items()}, **returned, SETUP: returned}
    return {name: value for name, value in names.items() if name != NAME}


def _ending(result: Result) -> list[str]:
    if ended_well(result):
        return []
    error = result.error or {}
    task = f" in `{error['task']}`" if error.get("task") else ""
    return [f"the run {result.status}{task}: {error.get('type')}: {error.get('message')}"]


def _told(step: Step, error: Exception) -> str:
    return f"`{parts(step)[0]}` raised {type(error).__name__}: {error}"
