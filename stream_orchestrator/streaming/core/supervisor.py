"""The parent of a worker: keeps one child serving, and says so when it cannot.

The parent's id makes group membership static: a child that is started again takes the place of the one that died,
without a rebalance. That holds only while no two children live at once.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType

from stream_orchestrator.streaming.brokers.leash import dies_with, watch
from stream_orchestrator.streaming.settings import StreamSettings

INSTANCE_VARIABLE = "STREAM_ORCHESTRATOR_INSTANCE_ID"
MISSING = 3
FINAL_CODES = frozenset({0, 2, MISSING})  # done; a document, the command line or the surroundings are wrong
GAVE_UP = 1
PROBE_TIMEOUT = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How a dying child is treated. Times in seconds."""

    exits: int = 5  # this many ...
    within: float = 60.0  # ... within this time are given up on
    first_wait: float = 0.1
    longest_wait: float = 10.0
    healthy_after: float = 30.0  # a child that lived this long starts again at the first wait


class Supervisor:
    """Starts a command again when it dies.

    Promises
      * The next child is started only when the last one is dead, after a wait that doubles while they die young.
      * Too many exits within a time are given up on, loudly; exits while the broker is unreachable are not counted.
      * `give_up` (from any thread) kills the child and starts no other.
      * SIGTERM (and SIGINT) reach the child, which drains; a second one kills it. Nothing is started after the first.
      * The child dies with us, however we die. It finds our id in `STREAM_ORCHESTRATOR_INSTANCE_ID`.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        instance_id: str = "",
        environ: Mapping[str, str] = os.environ,
        reachable: Callable[[], bool] = lambda: True,
        say: Callable[[str], None] = lambda _: None,
        patience: Patience | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.instance_id = instance_id or f"{socket.gethostname()}-{uuid.uuid4().hex[:12]}"
        self._command = list(command)
        self._environ = dict(environ) | {INSTANCE_VARIABLE: self.instance_id}
        self._reachable = reachable
        self._say = say
        self._patience = patience or Patience()
        self._clock = clock
        self._child: subprocess.Popen[bytes] | None = None
        self._signals = 0
        self._lives = 0
        self._hopeless = ""
        self.stopped_by = 0  # the first signal that told us to stop
        self._exits: deque[float] = deque()

    def run(self) -> int:
        """Keep a child serving until it ends well, is told to stop, or is given up on; gives the exit code.

        Call it in the main thread: signals arrive there, and to the kernel the child's parent is a thread.
        """
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            return self._keep_serving()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def give_up(self, why: str) -> None:
        """Nothing can come of it any more: say why, and end with 1 instead of waiting."""
        self._say(why)
        self._hopeless = why
        child = self._child
        if child is not None:
            child.kill()

    @property
    def child(self) -> int:
        """The child's process id; 0 when none lives."""
        return self._child.pid if self._child is not None else 0

    def _keep_serving(self) -> int:
        wait = self._patience.first_wait
        while True:
            begun = self._clock()
            code = self._one_life()
            if self._hopeless:
                return GAVE_UP
            if self._signals or self._is_final(code):
                return _exit_code(code)
            self._lives += 1
            if self._given_up():
                self._say(
                    f"the worker died {self._patience.exits} times within {self._patience.within:.0f} s "
                    f"({_how(code)}); giving up"
                )
                return GAVE_UP
            if self._clock() - begun >= self._patience.healthy_after:
                wait = self._patience.first_wait
            self._say(f"the worker died ({_how(code)}); starting it again in {wait:.1f} s")
            self._sleep(wait)
            if self._signals or self._hopeless:
                return GAVE_UP if self._hopeless else 0
            wait = min(wait * 2, self._patience.longest_wait)

    def _one_life(self) -> int:
        on_linux = sys.platform == "linux"
        self._child = subprocess.Popen(  # noqa: S603  # our own command line, no shell
            self._command,
            env=self._environ,
            start_new_session=True,  # a Ctrl-C at the terminal is for us; we pass it on once
            preexec_fn=dies_with(os.getpid()) if on_linux else None,
        )
        watcher = None if on_linux else watch(self._child.pid)
        try:
            if self._hopeless:
                self._child.kill()
            elif self._signals:  # it came between fork and here
                self._child.send_signal(signal.SIGTERM)
            return self._child.wait()
        finally:
            self._child = None
            if watcher is not None:
                watcher.kill()
                watcher.communicate()

    def _is_final(self, code: int) -> bool:
        # A worker that served and finds its broker away when it starts again waits for it: only a first one is wrong.
        if code == MISSING and self._lives and not self._reachable():
            return False
        return code in FINAL_CODES

    def _given_up(self) -> bool:
        if not self._reachable():
            return False
        now = self._clock()
        self._exits.append(now)
        while now - self._exits[0] > self._patience.within:
            self._exits.popleft()
        return len(self._exits) >= self._patience.exits

    def _sleep(self, seconds: float) -> None:
        # In steps: since Python 3.5 a sleep goes on after a signal, and a stop must not wait for a back-off.
        end = time.monotonic() + seconds
        while not (self._signals or self._hopeless) and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.05))

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        self.stopped_by = self.stopped_by or number
        child = self._child
        if child is None:
            return
        if self._signals == 1:
            child.send_signal(signal.SIGTERM)
        else:
            child.kill()


def broker_reachable(settings: StreamSettings) -> bool:
    """Whether one of the cluster's addresses takes a connection now."""
    for server in settings.servers:
        host, _, port = server.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), PROBE_TIMEOUT).close()
        except OSError:
            continue
        return True
    return False


def _how(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _exit_code(code: int) -> int:
    return 128 - code if code < 0 else code
