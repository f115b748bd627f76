"""How many attempts there are at once, and how fast they may begin."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

BURST = 0.05  # of a second's attempts may begin in one moment
MANY = 500  # fewer attempts at once make no waves


class Turns:
    """At most `most` attempts at once; of many, a little more than that may begin in a second.

    Attempts that begin in one moment end in one moment: a thousand of them would be waves for a long time, the worker
    idle while it waits and late when they come. Spread over the first second they stay spread.
    """

    def __init__(self, most: int, *, clock: Callable[[], float] | None = None) -> None:
        self.most = most
        self._slots = asyncio.Semaphore(most)
        self._pace = 1 / (1.1 * most) if most >= MANY else 0.0
        self._ahead = BURST
        self._clock = clock
        self._next = float("-inf")

    @asynccontextmanager
    async def turn(self, patience: float | None) -> AsyncIterator[None]:
        """One of the attempts; after `patience` seconds without one it goes on all the same."""
        try:
            await acquire(self._slots, None if patience is None else asyncio.get_running_loop().time() + patience)
        except TimeoutError:
            yield
            return
        try:
            if (wait := self.wait()) > 0:
                await asyncio.sleep(wait)
            yield
        finally:
            self._slots.release()

    def wait(self) -> float:
        """Seconds until the next attempt may begin; it is counted as begun then."""
        now = (self._clock or asyncio.get_running_loop().time)()
        self._next = max(self._next + self._pace, now - self._ahead)
        return max(0.0, self._next - now)


async def acquire(slots: asyncio.Semaphore, deadline: float | None) -> None:
    """Take one of `slots`. TimeoutError: none was free until `deadline` (on the loop's clock; None waits for ever)."""
    if not slots.locked():
        await slots.acquire()  # at once: no clock need run
        return
    async with asyncio.timeout_at(deadline):
        await slots.acquire()
