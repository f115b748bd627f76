"""Self-fencing: a member that has not heard from its coordinator may have been replaced, and holds its tongue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class Fence:
    """Closed while no good answer of the coordinator is younger than half the session.

    Promises: a process that was stopped and woke up sends nothing until the coordinator has said that it is still a
    member. A broker that is away kills nobody: the fence opens again with its first good answer.
    """

    def __init__(self, session: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience = session / 2
        self._clock = clock
        self._heard_at = float("-inf")
        self._answered = asyncio.Event()

    def heard(self, asked_at: float) -> None:
        """The coordinator answered well to what was asked at `asked_at` (the clock's time before asking)."""
        self._heard_at = max(self._heard_at, asked_at)
        self._answered.set()

    @property
    def open(self) -> bool:
        """Whether anything may be sent now."""
        return self._clock() - self._heard_at < self._patience

    async def opened(self) -> None:
        """Wait until something may be sent."""
        while not self.open:
            self._answered.clear()
            await self._answered.wait()
