"""A worker in the background, for commands that need one while they run (`run`, `dev`).

Promises
  * It is the same `worker` that people start, in a process of its own; it dies with us, however we die.
  * `ready` returns when it serves, or raises with its own exit code.
  * What it says to people goes on to ours, on stderr; its log is for who asks for `entries`.
  * `stop` drains it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stream_orchestrator.cli import voice
from stream_orchestrator.errors import OrchestratorError
from stream_orchestrator.streaming.brokers.leash import Leashed

TICK = 0.05


class WorkerFailed(OrchestratorError):
    """The worker in the background ended by itself; its exit code is ours."""

    def __init__(self, message: str, *, exit_code: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


class BackgroundWorker:
    """`worker` with these arguments, from `start` to `close`. `environ` wins over our own environment."""

    def __init__(self, arguments: Sequence[str], *, environ: Mapping[str, str] | None = None) -> None:
        self._arguments = list(arguments)
        self._environ = {**os.environ, **(environ or {}), "NO_COLOR": "1"}
        self._folder = tempfile.TemporaryDirectory(prefix="stream-orchestrator-")
        self._log = Path(self._folder.name) / "worker.log"
        self._read = 0
        self._last: deque[dict[str, Any]] = deque(maxlen=3)
        self._process: Leashed | None = None

    def start(self) -> None:
        """Start it. From the main thread: to the kernel, that is its parent."""
        command = [sys.executable, "-m", "stream_orchestrator", "worker", *self._arguments, "--json"]
        with self._log.open("ab") as output:
            self._process = Leashed(command, output=output, env=self._environ)

    async def ready(self) -> dict[str, Any]:
        """Wait until it serves: what its ready line says."""
        while True:
            for entry in self.entries():
                if entry.get("event") == "ready":
                    return entry
            self.check()
            await asyncio.sleep(TICK)

    def check(self) -> None:
        """Pass on what it says to people, and raise if it has ended."""
        assert self._process is not None
        code = self._process.exit_code
        self._last += self.entries()
        if code is not None:
            # What it said to people stands above; of its log, only the end is worth a look now.
            logged = "\n".join(str(entry.get("message", "")) for entry in self._last)
            hint = logged or "what it said stands above"
            raise WorkerFailed(
                f"the worker ended with exit code {code}", exit_code=code if code in (2, 3) else 1, hint=hint
            )

    def entries(self) -> list[dict[str, Any]]:
        """The entries of its log that were not read yet; what else it says goes to stderr. Half a line waits."""
        with self._log.open("rb") as file:
            file.seek(self._read)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._read += len(whole) + len(newline)
        found = []
        for line in whole.split(b"\n") if newline else ():
            if (entry := _object(line)) is not None:
                found.append(entry)
            else:
                voice.say(voice.printable(line.decode(errors="replace")))
        return found

    async def stop(self, *, patience: float) -> int:
        """Drain it, at most so long; the exit code: 0, nothing was cut."""
        if self._process is None:
            return 0
        self._process.send(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while self._process.alive:
                    await asyncio.sleep(TICK)
        return self._process.exit_code if self._process.exit_code is not None else 1

    def close(self) -> None:
        """Gone, with its log."""
        if self._process is not None:
            self._process.end(patience=0)
            self._process = None
        self._folder.cleanup()


def _object(line: bytes) -> dict[str, Any] | None:
    if not line.startswith(b"{"):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
