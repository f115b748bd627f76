"""Test documents of files and folders, checked, and made ready to run.

Promises
  * Every mistake of every document is told before anything runs.
  * A file that is named has a test in it, or it is a `UsageError`; in a folder other documents are passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream_orchestrator.errors import UsageError
from stream_orchestrator.plan.functions import exists, is_file, resolve
from stream_orchestrator.plan.loading import files_of
from stream_orchestrator.spec.config import Configuration
from stream_orchestrator.spec.documents import Document, read_file
from stream_orchestrator.spec.kinds import Functions
from stream_orchestrator.spec.problems import raise_errors
from stream_orchestrator.spec.testing import IntegrationTest, LoadTest, ReplayTest, TestSuite
from stream_orchestrator.testkit.integration import IntegrationRun
from stream_orchestrator.testkit.load import LOAD, LoadOptions, LoadRun
from stream_orchestrator.testkit.replay import ReplayRun
from stream_orchestrator.testkit.suites import SuiteRun

KINDS = ("test_suite", "integration_test", "load_test", "replay_test")
AnyRun = SuiteRun | IntegrationRun | LoadRun | ReplayRun
TestModel = TestSuite | IntegrationTest | LoadTest | ReplayTest


@dataclass(frozen=True, slots=True, kw_only=True)
class TestDocument:
    """One test document. `functions`: its own list, and the functions lists in the same file, as paths and modules."""

    __test__ = False  # not a test of pytest's

    path: Path
    index: int
    kind: str
    title: str
    model: TestModel
    functions: tuple[str, ...]

    def prepare(
        self,
        functions: Sequence[str] = (),
        *,
        offline: bool,
        load: LoadOptions = LOAD,
        config: Configuration | None = None,
    ) -> AnyRun:
        """Ready to be played. `functions`: further files and modules, which win over those of the document."""
        given: dict[str, Any] = {"title": self.title, "offline": offline, "config": config}
        given["functions"] = (*self.functions, *functions)
        match self.model:
            case TestSuite():
                return SuiteRun(self.model, self.path, **given)
            case IntegrationTest():
                return IntegrationRun(self.model, self.path, **given)
            case LoadTest():
                return LoadRun(self.model, self.path, load=load, **given)
            case ReplayTest():
                return ReplayRun(self.model, self.path, patience=load.run_patience, **given)


def read_tests(path: Path) -> list[TestDocument]:
    """The test documents of one file; SpecError with every problem of the whole file when one of them is wrong."""
    documents = read_file(path)
    tests = [document for document in documents if document.kind in KINDS]
    if not tests:
        return []
    raise_errors(tuple(problem for document in documents for problem in document.problems))
    shared = tuple(name for each in documents if isinstance(each.model, Functions) for name in each.model.functions)
    return [_test(path, document, shared) for document in tests]


def collect(paths: Iterable[Path]) -> list[TestDocument]:
    """The test documents of files and folders, in their order; UsageError for a path that has none."""
    found = []
    for path in paths:
        here = [each for file in files_of(path) for each in read_tests(file)]
        if not here:
            raise UsageError(f"{path} has no test", hint=f"a test document has a `type:` of {', '.join(KINDS)}")
        found += here
    return found


def _test(path: Path, document: Document, shared: tuple[str, ...]) -> TestDocument:
    model = document.model
    assert isinstance(model, TestSuite | IntegrationTest | LoadTest | ReplayTest), document.kind
    functions = tuple(resolve(name, path.parent) for name in (*shared, *(model.functions or ())))
    for name in functions:
        if not exists(name):
            kind = "file" if is_file(name) else "module"
            raise UsageError(f"{path}: `functions:` names a {kind} `{name}` that is not there", hint="mend the path")
    return TestDocument(
        path=path,
        index=document.located.index,
        kind=document.kind,
        title=document.name,
        model=model,
        functions=functions,
    )
