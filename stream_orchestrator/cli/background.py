"""A worker in the background, for commands that need one while they run (`run`, `dev`).

Promises
  * It is the same `worker` that people start, in a process of its own; it dies with us, however we die.
  * `ready` returns when it serves, or raises with its own words and its own exit code.
  * `stop` drains it. What it has said is kept in its log until `close`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stream_orchestrator.errors import OrchestratorError
from stream_orchestrator.streaming.brokers.leash import Leashed

TICK = 0.05
SHOWN = 4000  # of its last words, in characters


class WorkerFailed(OrchestratorError):
    """The worker in the background ended by itself; its exit code is ours."""

    def __init__(self, message: str, *, exit_code: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


class BackgroundWorker:
    """`worker` with these arguments, from `start` to `close`."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = list(arguments)
        self._folder = tempfile.TemporaryDirectory(prefix="stream-orchestrator-")
        self._log = Path(self._folder.name) / "worker.log"
        self._read = 0
        self._process: Leashed | None = None

    def start(self) -> None:
        """Start it. From the main thread: to the kernel, that is its parent."""
        command = [sys.executable, "-m", "stream_orchestrator", "worker", *self._arguments, "--json"]
        with self._log.open("ab") as output:
            self._process = Leashed(command, output=output, env={**os.environ, "NO_COLOR": "1"})

    async def ready(self) -> dict[str, Any]:
        """Wait until it serves: what its ready line says."""
        while True:
            for entry in self.entries():
                if entry.get("event") == "ready":
                    return entry
            self.check()
            await asyncio.sleep(TICK)

    def check(self) -> None:
        """Raise if it has ended."""
        assert self._process is not None
        if self._process.exit_code is not None:
            code = self._process.exit_code
            raise WorkerFailed(f"the worker ended: {self.last_words()}", exit_code=code if code in (2, 3) else 1)

    def entries(self) -> list[dict[str, Any]]:
        """The lines of its log that are JSON and were not read yet. A line that is being written waits."""
        with self._log.open("rb") as file:
            file.seek(self._read)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._read += len(whole) + len(newline)
        return [entry for line in whole.split(b"\n") if (entry := _object(line))]

    def last_words(self) -> str:
        """What it said that is no log entry (its error), else its last entries."""
        lines = self._log.read_bytes().splitlines()
        said = [line.decode(errors="replace") for line in lines if not _object(line)]
        if not any(said):
            said = [str(entry.get("message", "")) for line in lines[-3:] if (entry := _object(line))]
        return "\n".join(said)[-SHOWN:].strip().removeprefix("error: ") or "it said nothing"

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
