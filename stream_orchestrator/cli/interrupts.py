"""SIGTERM as Ctrl-C: what runs is told to stop, is waited for, and the exit code is 130."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Inside `asyncio.run`: its answer to SIGINT (the main task is cancelled) is that to SIGTERM too."""
    before = signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
