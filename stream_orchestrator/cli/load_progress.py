"""How far a load test is: a bar on a terminal, a line now and then everywhere else. On stderr."""

from __future__ import annotations

import sys
import time
from typing import Any

from stream_orchestrator.cli import voice
from stream_orchestrator.cli.progress import EVERY
from stream_orchestrator.testkit.load import Load


class LoadProgress:
    """Shows each load while it runs; a callable for `LoadRun`."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._shown: Load | None = None
        self._said_at = time.monotonic()

    def __call__(self, load: Load) -> None:
        if sys.stderr.isatty():
            self._draw(load)
        elif load is not self._shown:
            self._shown, self._said_at = load, time.monotonic()
        elif time.monotonic() - self._said_at >= EVERY:
            self._said_at = time.monotonic()
            voice.say(voice.printable(f"  {load.scenario.name}: {_said(load)}"))

    def stop(self) -> None:
        """The terminal is as it was."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _draw(self, load: Load) -> None:
        if self._bar is None:
            self._bar = _bar()
            self._bar.start()
        if load is not self._shown:
            if self._shown is not None:
                self._bar.remove_task(self._task)
            self._shown = load
            self._task = self._bar.add_task(voice.printable(load.scenario.name), total=load.duration, said="")
        self._bar.update(self._task, completed=min(load.seconds, load.duration), said=_said(load))


def _said(load: Load) -> str:
    waits = f"p95 {load.latencies.percentile(95.0):.3f} s"
    return f"{load.seconds:.0f} of {load.duration:.0f} s, {load.sent} sent, {load.in_flight} in flight, {waits}"


def _bar() -> Any:
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}"))
    return Bar(*columns, console=voice.console(), transient=True)
