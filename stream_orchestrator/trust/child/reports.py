"""What a script says besides its output: log lines, metrics, audit entries, alerts. Bounded, and in order."""

from __future__ import annotations

import io
from typing import Any

import orjson

from .wire import Wire

MAX_LINES = 1_000  # log lines of one run; more are counted and dropped
MAX_EFFECTS = 1_000  # metrics, audit entries and alerts of one run; more is an error of the script
MAX_LINE = 8 * 1024
MAX_ENTRY = 64 * 1024
_AT_ONCE = 64  # so many are sent as they come: a script that then hangs or dies has said them


class Reports:
    """The reports of one run, on their way to the worker.

    Promises
      * The first reports are with the worker before the script goes on, so a kill does not lose them.
      * At most `MAX_LINES` log lines; one line more says how many were dropped.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._lines = self._effects = 0
        self._waiting: list[dict[str, Any]] = []

    def log(self, level: str, message: str, **fields: Any) -> None:
        self._lines += 1
        if self._lines <= MAX_LINES:
            self._add({"kind": "log", "level": level, "message": _shortened(message), **fields})

    def effect(self, kind: str, **fields: Any) -> None:
        """A metric, an audit entry or an alert: never dropped in silence."""
        self._effects += 1
        if self._effects > MAX_EFFECTS:
            raise RuntimeError(f"more than {MAX_EFFECTS:,} metrics, audit entries and alerts in one run of a script")
        report = {"kind": kind, **fields}
        if len(orjson.dumps(report)) > MAX_ENTRY:
            raise ValueError(f"this {kind} entry is larger than {MAX_ENTRY // 1024} KB")
        self._add(report)

    def flush(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            self._wire.send({"op": "reports", "reports": waiting})

    def end(self) -> None:
        """Send what is left, and say what was dropped."""
        if self._lines > MAX_LINES:
            message = f"{self._lines - MAX_LINES:,} more log lines of this script were dropped"
            self._waiting.append({"kind": "log", "level": "warning", "message": message})
        self.flush()

    def _add(self, report: dict[str, Any]) -> None:
        self._waiting.append(report)
        if self._lines + self._effects <= _AT_ONCE or len(self._waiting) >= _AT_ONCE:
            self.flush()


class Printed(io.TextIOBase):
    """Stands in for stdout and stderr: every line becomes a log report. Holds at most one unfinished line."""

    def __init__(self, reports: Reports, level: str) -> None:
        self._reports, self._level = reports, level
        self._line = ""
        self.buffer = _Bytes(self)

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        *lines, rest = (self._line + text).split("\n")
        for line in lines:
            self._reports.log(self._level, line, source="print")
        self._line = rest[:MAX_LINE]
        return len(text)

    def end(self) -> None:
        if self._line:
            self._reports.log(self._level, self._line, source="print")
            self._line = ""


class _Bytes(io.RawIOBase):
    """`sys.stdout.buffer`, for those who write bytes."""

    def __init__(self, text: Printed) -> None:
        self._text = text

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        raw = bytes(data)
        self._text.write(raw.decode("utf-8", "replace"))
        return len(raw)


def _shortened(text: str) -> str:
    kept = text if len(text) <= MAX_LINE else f"{text[:MAX_LINE]}... ({len(text):,} characters)"
    return kept if kept.isascii() else kept.encode("utf-8", "replace").decode()
