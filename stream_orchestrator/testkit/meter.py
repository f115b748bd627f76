"""How much memory and processor a process and all its children use, sampled while something runs."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from stream_orchestrator.errors import MissingError

if TYPE_CHECKING:
    import psutil

INTERVAL = 0.05  # a script of a tenth of a second is seen; a sample of a worker's tree costs about a millisecond


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used: the most memory at one time, and the mean share of all cores."""

    peak_bytes: int
    cpu_share: float


class Meter:
    """Samples a process tree from `__enter__` to `__exit__`.

    Promises
      * `peak_bytes` is the highest sum of resident memory of the process and its children at any sample: memory that
        they share counts once a process, so the figure is an upper bound.
      * `cpu_share` is 1.0 when every core was busy for the whole time. A child that ended counts until its last sample.
    """

    def __init__(self, pid: int | None = None, *, interval: float = INTERVAL) -> None:
        self._pid = os.getpid() if pid is None else pid
        self._interval = interval
        self._psutil: Any = _psutil()
        self._seen: dict[tuple[int, float], tuple[float, float]] = {}  # a process → its processor seconds, then and now
        self._peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="meter")
        self._started = self._stopped = 0.0

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self.sample(first=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.sample()
        self._stopped = time.monotonic()

    def usage(self) -> Usage:
        """What was used so far."""
        seconds = (self._stopped or time.monotonic()) - self._started
        used = sum(now - then for then, now in self._seen.values())
        cores = self._psutil.cpu_count() or 1
        return Usage(self._peak, used / (seconds * cores) if seconds > 0 else 0.0)

    def sample(self, *, first: bool = False) -> None:
        """Look once."""
        total = 0
        for process in self._tree():
            try:
                with process.oneshot():
                    spent = process.cpu_times()
                    key, now = (process.pid, process.create_time()), spent.user + spent.system
                    total += process.memory_info().rss
            except self._psutil.Error:  # it ended between two questions
                continue
            # A process that began while we looked has used all of its time since then.
            then = self._seen.get(key, (now if first else 0.0, 0.0))[0]
            self._seen[key] = (then, now)
        self._peak = max(self._peak, total)

    def _tree(self) -> list[psutil.Process]:
        try:
            root = self._psutil.Process(self._pid)
            return [root, *root.children(recursive=True)]
        except self._psutil.Error:
            return []

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            self.sample()


def _psutil() -> Any:
    try:
        import psutil
    except ImportError as missing:
        raise MissingError(
            "memory and processor use cannot be measured: psutil is not installed",
            hint="pip install 'stream-orchestrator[testing]'",
        ) from missing
    return psutil
