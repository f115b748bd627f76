"""How far a `run` is: a bar on a terminal, a line now and then everywhere else. On stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self

from stream_orchestrator.cli import voice
from stream_orchestrator.cli.tally import STATUSES, Tally

EVERY = 10.0  # seconds between lines where there is no terminal


class Progress:
    """Shows a tally of `total` events while it grows."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._bar: Any = None
        self._task: Any = None
        self._said_at = time.monotonic()

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._bar = _bar()
            self._bar.start()
            self._task = self._bar.add_task("results", total=self._total, said="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, tally: Tally) -> None:
        """The tally as it is now."""
        owed = tally.owed + self._total - tally.sent
        if self._bar is not None:
            self._bar.update(self._task, completed=tally.come, total=owed, said=_said(tally))
        elif time.monotonic() - self._said_at >= EVERY:
            self._said_at = time.monotonic()
            voice.say(f"{tally.come} of {owed} results: {_said(tally)}")


def _said(tally: Tally) -> str:
    counted = [f"{tally.statuses[status]} {status}" for status in STATUSES if tally.statuses[status]]
    return ", ".join([f"{tally.sent} sent", *counted])


def _bar() -> Any:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("results"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[said]}"),
    )
    return Bar(*columns, console=voice.console(), transient=True)
