"""The pytest plugin: `test_*.yaml` of type `test_suite` and `integration_test` are tests like any other.

Promises
  * Nothing changes until a project asks for it: `--stream-orchestrator`, or `stream_orchestrator = true` in its ini.
  * Even then only YAML files named `test_*` that hold such a document are taken; all other YAML is left alone.
  * Models that a test does not mock are answered offline, unless `--stream-orchestrator-live` asks for real calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from stream_orchestrator.testkit.documents import TestDocument

OPTION = "stream_orchestrator"
PLAYED = ("test_suite", "integration_test")


class TestFailed(Exception):
    """A test of a document was not passed. Its text is all that pytest shows."""

    __test__ = False


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options, and the ini setting that a project writes once."""
    group = parser.getgroup("stream-orchestrator")
    group.addoption("--stream-orchestrator", action="store_true", help="collect test_*.yaml of pipelines")
    group.addoption(
        "--stream-orchestrator-live", action="store_true", help="models that a test does not mock are really asked"
    )
    parser.addini(OPTION, "collect test_*.yaml of pipelines", type="bool", default=False)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A file with tests of pipelines, if the project wants them collected."""
    if file_path.suffix not in (".yaml", ".yml") or not file_path.name.startswith("test_"):
        return None
    wanted = parent.config.getoption("--stream-orchestrator") or parent.config.getini(OPTION)
    return YamlFile.from_parent(parent, path=file_path) if wanted else None


class YamlFile(pytest.File):
    """A YAML file; its test documents are collected, whatever else it holds is not."""

    def collect(self) -> Iterator[DocumentTests]:
        """The test documents."""
        from stream_orchestrator.testkit.documents import read_tests

        for document in read_tests(self.path):
            if document.kind in PLAYED:
                name = document.title if document.index == 0 else f"{document.title}#{document.index}"
                yield DocumentTests.from_parent(self, name=name, document=document)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException]) -> Any:  # type: ignore[override]
        """In words: a traceback of ours would tell nobody anything."""
        return _told(excinfo.value) or super().repr_failure(excinfo)


class DocumentTests(pytest.Collector):
    """One document: set up before its first test, torn down after its last one."""

    def __init__(self, *, document: TestDocument, **more: Any) -> None:
        super().__init__(**more)
        self._document = document
        self._runner: Any = None
        self._loop: asyncio.Runner | None = None
        self._trouble: list[str] = []
        self.run: Any = None

    def collect(self) -> Iterator[YamlTest]:
        """The tests; the pipeline, data and helpers that they need are there."""
        live = bool(self.config.getoption("--stream-orchestrator-live"))
        self.run = self._document.prepare(offline=not live)
        for index, name in enumerate(self.run.names):
            yield YamlTest.from_parent(self, name=name, index=index)

    def setup(self) -> None:
        """Run the setup steps."""
        from stream_orchestrator.testkit.running import InMemory

        self._loop = asyncio.Runner()
        self._runner = InMemory(offline=not self.config.getoption("--stream-orchestrator-live"))
        self._trouble = self._loop.run(self.run.open(self._runner))

    def teardown(self) -> None:
        """Run the teardown steps, whatever happened."""
        if self._loop is None:
            return
        try:
            failures = self._loop.run(self.run.close())
            self._loop.run(self._runner.close())
        finally:
            self._loop.close()
            self._loop = None
        if failures:
            raise TestFailed("\n".join(failures))

    def play(self, index: int) -> Any:
        """Run one test; its outcome."""
        if self._trouble:
            raise TestFailed("\n".join(self._trouble))
        assert self._loop is not None
        return self._loop.run(self.run.play(index, self._runner))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException]) -> Any:  # type: ignore[override]
        """In words: a traceback of ours would tell nobody anything."""
        return _told(excinfo.value) or super().repr_failure(excinfo)


class YamlTest(pytest.Item):
    """One test of a document."""

    def __init__(self, *, index: int, **more: Any) -> None:
        super().__init__(**more)
        self._index = index

    def runtest(self) -> None:
        """Run it, and raise with all that was not as expected."""
        assert isinstance(self.parent, DocumentTests)
        outcome = self.parent.play(self._index)
        if outcome.status != "passed":
            raise TestFailed("\n".join(outcome.failures))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException]) -> Any:  # type: ignore[override]
        """In words: a traceback of ours would tell nobody anything."""
        return _told(excinfo.value) or super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where it is."""
        return self.path, None, self.name


def _told(error: BaseException) -> str:
    from stream_orchestrator.errors import OrchestratorError, SpecError
    from stream_orchestrator.spec.problems import Problem, render

    if isinstance(error, SpecError) and error.problems:
        return "\n".join(render(problem) for problem in error.problems if isinstance(problem, Problem))
    if isinstance(error, OrchestratorError):
        return f"{error}\nhint: {error.hint}" if error.hint else str(error)
    return str(error) if isinstance(error, TestFailed) else ""
