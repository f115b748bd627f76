"""From a document that is ready to the report about it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from stream_orchestrator.testkit.documents import TestDocument
from stream_orchestrator.testkit.outcome import Outcome, Report

Tell = Callable[[Outcome], None]
R = TypeVar("R", contravariant=True)


class Run(Protocol[R]):
    """A document that is ready to be played on an `R`: a runner, or a target."""

    @property
    def pipeline(self) -> str:
        """What is tested."""
        ...

    @property
    def names(self) -> list[str]:
        """The tests."""
        ...

    async def open(self, on: R, /) -> list[str]:
        """Set up; what failed, and then no test runs."""
        ...

    async def play(self, index: int, on: R, /) -> Outcome:
        """Run one test."""
        ...

    async def close(self) -> list[str]:
        """Tear down; what failed."""
        ...


async def play(document: TestDocument, run: Run[R], runner: R, tell: Tell) -> Report:
    """Set up, run every test, tear down: the last of it whatever happens, and when we are told to stop, too."""
    outcomes: list[Outcome] = []
    started = time.monotonic()

    def note(outcome: Outcome) -> None:
        outcomes.append(outcome)
        tell(outcome)

    try:
        if failures := await run.open(runner):
            for name in run.names:
                note(Outcome(name=name, status="error", failures=tuple(failures)))
        else:
            for index in range(len(run.names)):
                note(await run.play(index, runner))
    finally:
        if failures := await run.close():
            note(Outcome(name="teardown", status="error", failures=tuple(failures)))
    return report(document, run.pipeline, outcomes, seconds=time.monotonic() - started)


def report(document: TestDocument, pipeline: str, outcomes: list[Outcome], *, seconds: float) -> Report:
    """The report about a document."""
    return Report(
        file=str(document.path),
        index=document.index,
        kind=document.kind,
        name=document.title,
        pipeline=pipeline,
        outcomes=tuple(outcomes),
        seconds=seconds,
    )
