"""What is put back between two scripts of one process, and how we notice that something cannot be."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _thread
import builtins
import gc
import io
import os
import shutil
import signal
import sys
from operator import is_
from typing import Any

_SIGNALS = tuple(
    number
    for number in signal.valid_signals()
    if number not in (signal.SIGKILL, signal.SIGSTOP) and number < signal.NSIG
)
_handler = _signal.getsignal  # that of `signal` makes an enum of every answer: 40 us a script


class Tidy:
    """Remembers the process as it was before its first script.

    Promises: before each script the working directory is an empty scratch folder, and environment, umask, signal
    handlers, timers, builtins, import path, recursion limit and standard streams are as at the start.
    Modules stay imported, with whatever a script did to them.
    """

    def __init__(self, scratch: str) -> None:
        self._scratch = scratch
        self._environ = {"HOME": scratch, "TMPDIR": scratch}
        self._builtins = dict(vars(builtins))
        self._path, self._hooks = list(sys.path), list(sys.meta_path)
        self._recursion = sys.getrecursionlimit()
        self._signals = {int(number): _handler(number) for number in _SIGNALS}
        self._threads = _thread._count()
        self._put_back()

    def before(self, env: dict[str, str]) -> None:
        if env:
            self._set_environ({**self._environ, **env})

    def after(self) -> bool:
        """Put back what a script may have changed; cheap when it was nothing. False: this process is not as it was."""
        try:
            self._put_back()
        except OSError:  # such as a scratch folder that is gone: the worker replaces the process
            return False
        return _thread._count() <= self._threads  # only the end of the process stops a thread

    def _put_back(self) -> None:
        self._reset_signals()
        self._reset_builtins()
        sys.path[:] = self._path
        sys.meta_path[:] = self._hooks
        sys.setrecursionlimit(self._recursion)
        sys.settrace(None)
        sys.setprofile(None)
        gc.enable()
        sys.stdin = io.StringIO()
        self._set_environ(self._environ)
        os.umask(0o077)
        self._empty_scratch()

    def _set_environ(self, wanted: dict[str, str]) -> None:
        if dict(os.environ) != wanted:
            os.environ.clear()
            os.environ.update(wanted)

    def _reset_builtins(self) -> None:
        now = vars(builtins)
        if now.keys() != self._builtins.keys() or not all(map(is_, now.values(), self._builtins.values())):
            now.clear()
            now.update(self._builtins)

    def _reset_signals(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._signals.items():
            if _handler(number) is not handler and handler is not None:
                signal.signal(number, handler)
        if signal.pthread_sigmask(signal.SIG_BLOCK, ()):
            signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _empty_scratch(self) -> None:
        os.chdir(self._scratch)
        with os.scandir(self._scratch) as entries:
            left: list[os.DirEntry[Any]] = list(entries)
        for entry in left:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                os.unlink(entry.path)
