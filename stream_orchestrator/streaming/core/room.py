"""How much work one app has in flight: the bound behind back-pressure, and what a drain waits for."""

from __future__ import annotations

import asyncio
import time


class Room:
    """How much work one app may have in flight, and who waits for less."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._waiting: set[asyncio.Event] = set()
        self._progress_at = time.monotonic()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def free(self) -> bool:
        """Whether one more may start."""
        return self._taken < self._limit

    @property
    def taken(self) -> int:
        """Work in flight."""
        return self._taken

    def take(self) -> None:
        """One more is in flight."""
        self._taken += 1
        self._empty.clear()

    def give_back(self) -> None:
        """One less."""
        self._taken -= 1
        self.progress()
        if not self._taken:
            self._empty.set()
        while self._waiting:
            self._waiting.pop().set()

    def tell(self, waiter: asyncio.Event) -> None:
        """Set the event when something was given back."""
        self._waiting.add(waiter)

    def progress(self) -> None:
        """Something moved."""
        self._progress_at = time.monotonic()

    def idle_for(self) -> float:
        """Seconds since something moved."""
        return time.monotonic() - self._progress_at

    async def empty(self) -> None:
        """Wait until nothing is in flight."""
        await self._empty.wait()
