"""What a worker does beside its work: small loops, owned by one place that ends them and hears of their failures."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any


class Chores:
    """Loops that run until they are ended.

    Promise: a chore that fails is heard by whoever waits in `first_of`; it is our own fault, and the process ends.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Event = asyncio.Event()
        self._fault: BaseException | None = None

    def start(self, *chores: Coroutine[Any, Any, None]) -> None:
        """Let them go on beside each other."""
        for chore in chores:
            task = asyncio.create_task(chore)
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    async def end(self) -> None:
        """Cancel them all, and wait until they are gone."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def first_of(self, crash: Awaitable[BaseException]) -> BaseException:
        """The first failure: of a chore, or the one that is awaited."""
        other, ours = asyncio.ensure_future(crash), asyncio.ensure_future(self._failed.wait())
        try:
            await asyncio.wait((other, ours), return_when=asyncio.FIRST_COMPLETED)
            return other.result() if self._fault is None else self._fault
        finally:
            other.cancel()
            ours.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None and self._fault is None:
            self._fault = fault
            self._failed.set()
