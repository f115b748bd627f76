"""One partition number that this process serves: the partition, its desk, and the tasks that keep it going."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from stream_orchestrator.streaming.core.desk import Desk
from stream_orchestrator.streaming.core.model import AppSpec
from stream_orchestrator.streaming.core.partition import Partition, State
from stream_orchestrator.streaming.core.settle import settle, take_over
from stream_orchestrator.streaming.settings import StreamSettings

Start = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


class Seat:
    """Follows one partition through recovered, served, frozen, thawed and lost.

    Promises: records are delivered only after the rows are there and `on_recovered` has ended; nothing is delivered and
    nothing taken over while frozen; a lost seat does nothing more.
    """

    def __init__(self, part: Partition, desk: Desk, *, member: str, start: Start) -> None:
        self.part = part
        self.desk = desk
        self.member = member  # as whom we were given it: another member id means that others may have had it
        self._start = start
        self._tasks: set[asyncio.Task[None]] = set()

    def recover(self, spec: AppSpec, settings: StreamSettings, *, served: Callable[[], None]) -> None:
        """Read the rows, then serve; `served` is called when it is, or when it never will be."""
        self._run(self._recover(spec, settings, served))

    def serve(self) -> None:
        """Deliver, and go on with what is left of taking over."""
        self.part.leaving = False
        self._run(self.desk.run())
        self._run(take_over(self.part))

    def thaw(self) -> None:
        """The partition came back: go on."""
        self.part.thaw()
        self.serve()

    def dismiss(self) -> None:
        """Deliver nothing more; work in flight goes on."""
        self.part.leaving = True
        self.desk.clear()
        for task in self._tasks:
            task.cancel()

    def lose(self) -> None:
        """The partition is somebody else's."""
        self.dismiss()
        self.part.lose()

    async def _recover(self, spec: AppSpec, settings: StreamSettings, served: Callable[[], None]) -> None:
        part = self.part
        if spec.table is not None and spec.codec is not None:
            await settle(part, settings, spec.table, spec.codec)
        if part.state is State.RECOVERING:
            work = spec.on_recovered(part)
            if work is not None:
                await work
            part.state = State.LIVE
            self.serve()
        served()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._start(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
