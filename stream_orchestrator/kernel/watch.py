"""How the engine is looked at. Watchers only look: one that fails is counted and passed over."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct


class SpanRecord(Struct, frozen=True, kw_only=True):
    """A span that has ended. Ids are hex (32 and 16 digits), computed from the run, so a copy of work has the same id.

    `links` are `(trace_id, span_id)` of other spans that met here. Instants are UNIX seconds.
    """

    name: str
    trace_id: str
    span_id: str
    parent_span_id: str
    started_at: float
    ended_at: float
    ok: bool = True
    attributes: dict[str, str | int | float | bool] = {}
    links: tuple[tuple[str, str], ...] = ()


class Watch(Protocol):
    """What a watcher is told. Implementations may not block and may not raise."""

    def span(self, span: SpanRecord) -> None:
        """A span has ended."""

    def count(self, name: str, value: float = 1, /, **labels: str) -> None:
        """Add to a counter."""

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        """Set a gauge."""

    def observe(self, name: str, seconds: float, /, **labels: str) -> None:
        """Record a duration in a histogram."""


class Blind:
    """A watcher that sees nothing: the default."""

    def span(self, span: SpanRecord) -> None: ...

    def count(self, name: str, value: float = 1, /, **labels: str) -> None: ...

    def gauge(self, name: str, value: float, /, **labels: str) -> None: ...

    def observe(self, name: str, seconds: float, /, **labels: str) -> None: ...
