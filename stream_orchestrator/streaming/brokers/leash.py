"""Processes that die with us, however we die.

Promise: when the starting process is gone, even by SIGKILL, the child is killed: at once by the kernel on Linux, by a
small watcher elsewhere. Start from a thread that lives as long as the child should (the main thread): to the Linux
kernel the parent is the thread.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO

PR_SET_PDEATHSIG = 1

# The write end of its standard input is ours alone: it reads an end of file when we are gone.
WATCHER = 'read -r _; kill -9 "$1"'


class Leashed:
    """A child process on a leash. All it says goes to `output`; it has no standard input."""

    def __init__(self, command: Sequence[str], *, output: IO[bytes], env: Mapping[str, str]) -> None:
        on_linux = sys.platform == "linux"
        self._process = subprocess.Popen(  # noqa: S603  # a fixed command, no shell
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(env),
            start_new_session=True,  # a Ctrl-C at the terminal is for us; we stop our children in our own order
            preexec_fn=dies_with(os.getpid()) if on_linux else None,
        )
        self._watcher = None if on_linux else watch(self.pid)

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs, negative after a signal."""
        return self._process.poll()

    def send(self, number: signal.Signals) -> None:
        """Signal it, if it still runs."""
        self._process.send_signal(number)

    def end(self, *, patience: float) -> None:
        """Stop it: SIGTERM, then SIGKILL when it has not ended after `patience` seconds. Gone when this returns."""
        if patience > 0:
            self.send(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)
        self._process.kill()
        self._process.wait()
        if self._watcher is not None:
            self._watcher.kill()
            self._watcher.communicate()


def dies_with(parent: int) -> Callable[[], None]:
    """What a Linux child does between fork and exec so that the kernel kills it when `parent` goes."""
    libc = ctypes.CDLL(None)  # loaded here: between fork and exec only a plain call is safe

    def tie() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it went before we were tied
            os._exit(1)

    return tie


def watch(pid: int) -> subprocess.Popen[bytes]:
    """Kill `pid` when this process is gone. The watcher itself is killed first in an orderly end: pids are reused."""
    command = ["/bin/sh", "-c", WATCHER, "leash", str(pid)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603  # fixed command
