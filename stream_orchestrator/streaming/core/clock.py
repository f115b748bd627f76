"""The time by which rows are due."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

# Seconds that nobody can set. On Linux a machine that slept has them counted, as its peers have.
elapsed = partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic


class SteadyClock:
    """UNIX seconds as they were at the start, and what has passed since.

    Promise: who sets the machine's clock, forward or back, makes no timer fire early or late in a process that runs:
    a deadline of a minute is a minute. What starts afterwards begins with the new time.
    """

    def __init__(self, wall: Callable[[], float] = time.time, passed: Callable[[], float] = elapsed) -> None:
        self._passed = passed
        self._origin = wall() - passed()

    def __call__(self) -> float:
        return self._origin + self._passed()
