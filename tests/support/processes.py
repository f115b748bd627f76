"""Workers as processes, for tests that hurt them."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stream_orchestrator.streaming.settings import StreamSettings

TESTS = Path(__file__).parent.parent


class Worker:
    """One `support.echo_worker` process."""

    def __init__(
        self, settings: StreamSettings, prefix: str, *, partitions: int, work: float = 0.03, name: str
    ) -> None:
        values = dataclasses.asdict(dataclasses.replace(settings, instance_id=None if settings.embedded else name))
        self.name = name
        self.heard: list[dict[str, Any]] = []
        config = {"settings": values, "prefix": prefix, "partitions": partitions, "work": work}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.echo_worker", json.dumps(config)],
            cwd=TESTS,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": f"{TESTS}:{TESTS.parent}"},
        )
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """As the machine would."""
        self._process.kill()
        self._process.wait()

    async def ended(self, within: float = 20.0) -> int:
        """Its exit code."""
        await until(lambda: self._process.poll() is not None, within, f"{self.name} to end")
        self._reader.join(2.0)
        return self._process.wait()

    def close(self) -> None:
        self.kill()
        self._reader.join(2.0)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def last(self, event: str) -> dict[str, Any] | None:
        """The last thing of that kind that it said."""
        return next((words for words in reversed(self.heard) if words["event"] == event), None)

    @property
    def assigned(self) -> list[int]:
        """The partitions it said it serves."""
        return (self.last("serving") or {"assigned": []})["assigned"]

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(b"{"):
                self.heard.append(json.loads(line))


async def until(state: Callable[[], bool], within: float, what: str) -> None:
    """Wait for a state."""
    end = time.monotonic() + within
    while not state():
        if time.monotonic() > end:
            raise AssertionError(f"waited {within} s for {what}")
        await asyncio.sleep(0.02)
