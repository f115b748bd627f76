"""Lets a few in at a time, the lowest rank first."""

from __future__ import annotations

import asyncio
import heapq
import itertools


class Turnstile:
    """At most `size` are inside. Among those who wait, the lowest rank goes first; of one rank, who came first.

    Cancelled while waiting: the place in the queue is given up, and a turn that was just given is passed on.
    """

    def __init__(self, size: int) -> None:
        self._free = size
        self._queue: list[tuple[float, int, asyncio.Future[None]]] = []
        self._arrivals = itertools.count()

    async def enter(self, rank: float) -> None:
        """Wait for a turn; `leave` gives it back."""
        if self._free:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queue, (rank, next(self._arrivals), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        """The next one, or nobody, has the turn."""
        while self._queue:
            _, _, turn = heapq.heappop(self._queue)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
