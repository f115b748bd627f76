"""SIGTERM as Ctrl-C: what runs is told to stop, is waited for, and the exit code is 130."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Inside `asyncio.run`: its answer to SIGINT (the main task is cancelled) is that to SIGTERM too.

    Where SIGINT is ignored (a job in the background of a shell script, `nohup`), asyncio has no answer to lend, and
    SIGTERM gets one of ours: the first cancels, the second stops at once.
    """
    interrupted = signal.getsignal(signal.SIGINT)
    answer = _Cancel() if interrupted == signal.SIG_IGN else interrupted
    before = signal.signal(signal.SIGTERM, answer)
    try:
        yield
    except asyncio.CancelledError:
        if isinstance(answer, _Cancel) and answer.came:
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


class _Cancel:
    """What asyncio does at a SIGINT, for a signal that it does not know."""

    def __init__(self) -> None:
        self.came = False
        self._task, self._loop = asyncio.current_task(), asyncio.get_running_loop()

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        if self.came:
            raise KeyboardInterrupt
        self.came = True
        if self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)
