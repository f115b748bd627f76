"""Counters, gauges and histograms, and how `/metrics` shows them (Prometheus text format).

Promises
  * What is counted is in the next `render`, exactly once; a counter never goes down.
  * At most `limit` series: what comes beyond is one counter (`series_dropped_total`), never more memory.
Used from the event loop and from no other thread; nothing here waits. `docs/observing.md` has the names.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

PREFIX = "stream_orchestrator_"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# From a step that computes a little to a call that takes its ten minutes.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
LIMIT = 5_000

Kind = Literal["counter", "gauge", "histogram"]
Labels = tuple[tuple[str, str], ...]
_BAD = re.compile(r"[^a-zA-Z0-9_]")

HELP = {
    "runs_started_total": "Runs that began",
    "runs_total": "Runs that ended, by status",
    "run_seconds": "From an event's acceptance to its result",
    "steps_total": "Steps that ended, by task and outcome",
    "step_seconds": "From a step's first token to its outcome, waits included",
    "duplicates_total": "Copies of an event that were known as such",
    "late_events_total": "Events for runs or steps that have ended",
    "calls_total": "Attempts of calls, by model and outcome",
    "call_seconds": "How long an attempt of a call took",
    "calls_repeated_total": "Calls attempted again because a crash or a lost partition hid their answer",
    "calls_ambiguous_total": "Calls given up because nobody knows whether they were carried out",
    "calls_dropped_total": "Copies of calls that were known as such",
    "calls_conflicting_total": "Calls that came again under a known id with another request",
    "calls_answered_late_total": "Answers that came after another one was taken",
    "calls_answered_after_move_total": "Answers sent on to the new owner of a partition",
    "cost_usd_total": "What calls cost, in US dollars",
    "stream_lost_to_retention": "Records that retention deleted before they were acked",
    "stream_recovery_seconds": "From a partition's assignment to its rows being there",
    "watcher_failures_total": "Times that a watcher failed and was passed over",
    "series_dropped_total": "Values without a series, because there were too many",
}


@dataclass(slots=True)
class _Histogram:
    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(BUCKETS, value)] += 1
        self.total += value


class Metrics:
    """The registry; a watcher. A name has one kind: the first that it was used as."""

    def __init__(self, *, limit: int = LIMIT) -> None:
        self._limit = limit
        self._kinds: dict[str, Kind] = {}
        self._values: dict[tuple[str, Labels], float] = {}
        self._histograms: dict[tuple[str, Labels], _Histogram] = {}
        self._known: dict[tuple[object, ...], tuple[str, Labels]] = {}  # series, by how they are asked for

    def count(self, name: str, value: float = 1, /, **labels: str) -> None:
        """Add to a counter; what is not a positive number is ignored."""
        if not (value >= 0 and math.isfinite(value)):
            return
        key = self._series(name, "counter", labels)
        if key is not None:
            self._values[key] = self._values.get(key, 0.0) + float(value)

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        """Set a gauge."""
        key = self._series(name, "gauge", labels)
        if key is not None:
            self._values[key] = float(value)  # what callers hand over is often an int, whatever the type says

    def observe(self, name: str, seconds: float, /, **labels: str) -> None:
        """Add a duration to a histogram."""
        key = self._series(name, "histogram", labels)
        if key is not None:
            self._histograms.setdefault(key, _Histogram()).add(seconds)

    def value(self, name: str, /, **labels: str) -> float:
        """A counter or gauge as it is now; 0.0 when it was never used."""
        return self._values.get((_clean(name), _labels(labels)), 0.0)

    def render(self) -> bytes:
        """Everything, in the text format that Prometheus reads; families and series in a fixed order."""
        lines: list[str] = []
        for name, kind in sorted(self._kinds.items()):
            full = PREFIX + name
            if name in HELP:
                lines.append(f"# HELP {full} {HELP[name]}")
            lines.append(f"# TYPE {full} {kind}")
            lines += self._samples(name, full, kind)
        return "\n".join([*lines, ""]).encode()

    def _series(self, name: str, kind: Kind, labels: dict[str, str]) -> tuple[str, Labels] | None:
        asked = (name, kind, *labels.items())
        if (found := self._known.get(asked)) is not None:
            return found
        key = (_clean(name), _labels(labels))
        if key in self._values or key in self._histograms:
            known = self._kinds[key[0]] == kind
            if known and key[0] == name:  # of any number of names that scripts make up, none is kept
                self._known[asked] = key
        else:
            room = len(self._values) + len(self._histograms) < self._limit
            known = room and self._kinds.setdefault(key[0], kind) == kind
        if not known:
            self._drop()
        return key if known else None

    def _drop(self) -> None:
        self._kinds["series_dropped_total"] = "counter"
        key = ("series_dropped_total", ())
        self._values[key] = self._values.get(key, 0.0) + 1

    def _samples(self, name: str, full: str, kind: Kind) -> list[str]:
        if kind != "histogram":
            mine = sorted((labels, value) for (n, labels), value in self._values.items() if n == name)
            return [f"{full}{_shown(labels)} {_number(value)}" for labels, value in mine]
        lines = []
        for labels, histogram in sorted(
            ((k[1], h) for k, h in self._histograms.items() if k[0] == name), key=lambda p: p[0]
        ):
            below = 0
            for bound, counted in zip((*BUCKETS, math.inf), histogram.counts, strict=True):
                below += counted
                lines.append(f"{full}_bucket{_shown((*labels, ('le', _number(bound))))} {below}")
            lines.append(f"{full}_sum{_shown(labels)} {_number(histogram.total)}")
            lines.append(f"{full}_count{_shown(labels)} {below}")
        return lines


@lru_cache(maxsize=4096)
def _clean(name: str) -> str:
    """A name as Prometheus allows it; scripts name metrics too."""
    return _BAD.sub("_", name)


def _labels(labels: dict[str, str]) -> Labels:
    return tuple(sorted(labels.items()))


def _shown(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{_BAD.sub("_", name)}="{_escaped(str(value))}"' for name, value in labels) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(float(value))
