"""A `test_suite`: events of one pipeline, each beside what it is to give."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream_orchestrator.spec.config import Configuration
from stream_orchestrator.spec.testing import TestCase, TestSuite
from stream_orchestrator.testkit.data import TestData
from stream_orchestrator.testkit.finding import find_pipeline
from stream_orchestrator.testkit.judging import judge
from stream_orchestrator.testkit.meter import Meter
from stream_orchestrator.testkit.mocks import Mocks
from stream_orchestrator.testkit.outcome import Outcome
from stream_orchestrator.testkit.records import Result, response_time
from stream_orchestrator.testkit.running import Runner, Subject


@dataclass(frozen=True, slots=True)
class _Prepared:
    case: TestCase
    inputs: dict[str, Any]
    expected: Any
    mocks: Mocks


class SuiteRun:
    """A suite that is ready to be played.

    Promises
      * Making one reads all that the tests name: what is wrong or missing is said before any of them runs.
      * One test's outcome depends on no other test.
    """

    def __init__(
        self,
        suite: TestSuite,
        document: Path,
        *,
        title: str,
        functions: Sequence[str],
        offline: bool,
        config: Configuration | None = None,
    ) -> None:
        self.subject = Subject.load(find_pipeline(document, named=suite.pipeline, title=title), functions, config)
        data = TestData(document)
        self._tests = [self._prepared(suite, case, data) for case in suite.tests]
        for each in self._tests:
            self.subject.refuse_incomplete(each.mocks, offline=offline)

    @property
    def pipeline(self) -> str:
        """What is tested."""
        return self.subject.title

    @property
    def names(self) -> list[str]:
        """The tests."""
        return [each.case.name for each in self._tests]

    @property
    def mocks(self) -> list[Mocks]:
        """Of each test."""
        return [each.mocks for each in self._tests]

    async def open(self, runner: Runner) -> list[str]:
        """Nothing has to be set up."""
        return []

    async def play(self, index: int, runner: Runner) -> Outcome:
        """Run one test."""
        test, started = self._tests[index], time.monotonic()
        wants_memory = test.case.validation is not None and test.case.validation.memory_usage is not None
        try:
            with Meter() if wants_memory else nullcontext() as meter:
                result = await runner.run(self.subject, test.inputs, test.mocks)
        except TimeoutError:
            return late(test.case.name, started)
        usage = meter.usage() if meter is not None else None
        more = {"peak_bytes": usage.peak_bytes} if usage is not None else {}
        return Outcome.of(
            test.case.name,
            judge(test.case, test.expected, result, usage),
            seconds=time.monotonic() - started,
            **measures(result),
            **more,
        )

    async def close(self) -> list[str]:
        """Nothing has to be torn down."""
        return []

    def _prepared(self, suite: TestSuite, case: TestCase, data: TestData) -> _Prepared:
        return _Prepared(
            case,
            data.event(case.input),
            data.render(case.expected_output),
            Mocks.of(self.subject.plan, data.render(suite.mocks or {}), data.render(case.mocks or {})),
        )


def measures(result: Result) -> dict[str, Any]:
    """What a report tells about a run beside its outcome."""
    return {
        "status": result.status,
        "response_time": round(response_time(result), 6),
        "calls": result.usage.get("calls", 0),
        "cost_usd": result.cost.get("usd", 0.0),
        **({"degraded": result.degraded} if result.degraded else {}),
    }


def late(name: str, started: float) -> Outcome:
    """The outcome of a test whose run did not end in time."""
    seconds = time.monotonic() - started
    said = f"no result after {seconds:.1f} seconds; --timeout gives it more"
    return Outcome(name=name, status="error", seconds=seconds, failures=(said,))
