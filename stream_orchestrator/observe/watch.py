"""The eyes of a worker: one `Watch` for the engine, any number of watchers behind it.

Promises
  * The engine never sees a watcher fail: it is counted (`watcher_failures_total`), told once in the log, and passed
    over; the other watchers are told all the same.
  * A watcher is told only what it has a method for.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Mapping
from typing import Any

from stream_orchestrator.kernel.watch import SpanRecord
from stream_orchestrator.observe.metrics import Metrics
from stream_orchestrator.observe.otlp_metrics import OtlpMetrics
from stream_orchestrator.observe.tracing import Tracing

log = logging.getLogger(__name__)


class Eyes:
    """Implements `kernel.watch.Watch`. `metrics` and `tracing` are always there; `others` are anything that looks."""

    def __init__(self, *others: object, metrics: Metrics | None = None, tracing: Tracing | None = None) -> None:
        self.metrics = metrics or Metrics()
        self.tracing = tracing or Tracing()
        self.failures: Counter[str] = Counter()
        self._watchers: tuple[object, ...] = (self.metrics, self.tracing, *others)

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Eyes:
        """As the `OTEL_*` variables say."""
        env = os.environ if env is None else env
        otlp = OtlpMetrics.from_env(env)
        return cls(*([otlp] if otlp else []), tracing=Tracing.from_env(env))

    def span(self, span: SpanRecord) -> None:
        """A span has ended."""
        self._tell("span", (span,), {})

    def count(self, name: str, value: float = 1, /, **labels: str) -> None:
        """Add to a counter."""
        self._tell("count", (name, value), labels)

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        """Set a gauge."""
        self._tell("gauge", (name, value), labels)

    def observe(self, name: str, seconds: float, /, **labels: str) -> None:
        """Record a duration in a histogram."""
        self._tell("observe", (name, seconds), labels)

    async def close(self, budget: float = 2.0) -> None:
        """Let every watcher send what it holds; each has `budget` seconds."""
        for watcher in self._watchers:
            close = getattr(watcher, "close", None)
            if close is not None:
                try:
                    await close(budget)
                except Exception as error:  # border: a watcher's failure ends here, counted
                    self._failed(watcher, error)

    def _tell(self, verb: str, arguments: tuple[Any, ...], labels: dict[str, str]) -> None:
        for watcher in self._watchers:
            method = getattr(watcher, verb, None)
            if method is not None:
                try:
                    method(*arguments, **labels)
                except Exception as error:  # border: a watcher's failure ends here, counted
                    self._failed(watcher, error)

    def _failed(self, watcher: object, error: Exception) -> None:
        name = type(watcher).__name__
        self.failures[name] += 1
        if self.failures[name] == 1:
            log.warning("the watcher %s failed and is passed over", name, exc_info=error)
        if watcher is not self.metrics:
            self.metrics.count("watcher_failures_total", watcher=name)
