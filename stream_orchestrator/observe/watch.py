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
from collections.abc import Callable, Mapping
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
        self._span, self._count, self._gauge, self._observe = map(self._told, ("span", "count", "gauge", "observe"))

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Eyes:
        """As the `OTEL_*` variables say."""
        env = os.environ if env is None else env
        otlp = OtlpMetrics.from_env(env)
        return cls(*([otlp] if otlp else []), tracing=Tracing.from_env(env))

    def span(self, span: SpanRecord) -> None:
        """A span has ended."""
        self._tell(self._span, (span,), {})

    def count(self, name: str, value: float = 1, /, **labels: str) -> None:
        """Add to a counter."""
        self._tell(self._count, (name, value), labels)

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        """Set a gauge."""
        self._tell(self._gauge, (name, value), labels)

    def observe(self, name: str, seconds: float, /, **labels: str) -> None:
        """Record a duration in a histogram."""
        self._tell(self._observe, (name, seconds), labels)

    async def close(self, budget: float = 2.0) -> None:
        """Let every watcher send what it holds; each has `budget` seconds."""
        for watcher in self._watchers:
            close = getattr(watcher, "close", None)
            if close is not None:
                try:
                    await close(budget)
                except Exception as error:  # border: a watcher's failure ends here, counted
                    self._failed(watcher, error)

    def _told(self, verb: str) -> list[tuple[object, Callable[..., None]]]:
        """Who has a method for it, and which."""
        methods = ((watcher, getattr(watcher, verb, None)) for watcher in self._watchers)
        return [(watcher, method) for watcher, method in methods if method is not None]

    def _tell(
        self, told: list[tuple[object, Callable[..., None]]], arguments: tuple[Any, ...], labels: dict[str, str]
    ) -> None:
        for watcher, method in told:
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
