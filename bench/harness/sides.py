"""A process that is measured: its log, its CPU, its memory; it can be stopped in its tracks while its input fills."""

from __future__ import annotations

import os
import resource
import signal
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

from stream_orchestrator.streaming.brokers.leash import Leashed

TICKS = os.sysconf("SC_CLK_TCK")
BASELINES = Path(__file__).parents[1] / "baselines"


class Side:
    """One side of a comparison, and the topics that lead into it and out of it. It dies with us."""

    def __init__(self, name: str, command: Sequence[str], *, source: str, sink: str, folder: Path) -> None:
        self.name, self.source, self.sink = name, source, sink
        self.log = folder / f"{name.replace(' ', '-')}.{uuid.uuid4().hex[:6]}.log"
        with self.log.open("ab") as output:
            self._child = Leashed([sys.executable, *command], output=output, env=os.environ)

    @property
    def pid(self) -> int:
        return self._child.pid

    def freeze(self) -> None:
        """It stands still, and is still a member of its group for as long as its session lasts."""
        self._child.send(signal.SIGSTOP)

    def thaw(self) -> None:
        self._child.send(signal.SIGCONT)

    def check(self) -> None:
        """Raises with the end of its log when it is gone."""
        if not self._child.alive:
            raise RuntimeError(f"{self.name} ended:\n{self.log.read_text()[-3000:]}")

    def cpu(self) -> float:
        """Seconds of CPU that it and its children have used."""
        return sum(used(pid) for pid in family(self.pid))

    def rss(self) -> int:
        """Bytes of memory in use, without its children."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * resource.getpagesize()

    def end(self, *, patience: float = 20.0) -> None:
        """Ask it to stop; kill it when it does not."""
        self._child.end(patience=patience)

    def kill(self) -> None:
        self._child.end(patience=0)


def used(pid: int) -> float:
    """CPU seconds of one process and of its children that have ended; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(field) for field in fields[11:15]) / TICKS


def family(pid: int) -> list[int]:
    """The process and all below it."""
    found = [pid]
    for parent in found:
        for listing in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found.extend(int(child) for child in listing.read_text().split())
            except OSError:
                continue
    return found
