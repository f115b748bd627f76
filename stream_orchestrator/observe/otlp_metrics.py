"""Metrics out of this process: OTLP over HTTP when the `OTEL_*` variables name an endpoint."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

from stream_orchestrator.observe import otel
from stream_orchestrator.observe.metrics import BUCKETS, HELP


class OtlpMetrics:
    """Hands every value to OpenTelemetry's instruments, which send them every `OTEL_METRIC_EXPORT_INTERVAL`."""

    def __init__(self, reader: Any) -> None:
        from opentelemetry.sdk.metrics import MeterProvider

        self._provider = MeterProvider([reader], resource=otel.resource(), shutdown_on_exit=False)
        self._meter = self._provider.get_meter("stream_orchestrator")
        self._instruments: dict[str, Any] = {}

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> OtlpMetrics | None:
        """None when nothing asks for it, and then nothing of OpenTelemetry is imported."""
        if not otel.exports("metrics", env):
            return None
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

        return cls(PeriodicExportingMetricReader(OTLPMetricExporter()))

    def count(self, name: str, value: float = 1, /, **labels: str) -> None:
        """Add to a counter."""
        self._instrument(name, "counter").add(float(value), labels)

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        """Set a gauge."""
        self._instrument(name, "gauge").set(float(value), labels)

    def observe(self, name: str, seconds: float, /, **labels: str) -> None:
        """Add a duration to a histogram."""
        self._instrument(name, "histogram").record(seconds, labels)

    async def close(self, budget: float = 2.0) -> None:
        """Send what is there, for at most `budget` seconds."""
        last = threading.Thread(target=self._provider.shutdown, kwargs={"timeout_millis": budget * 1000}, daemon=True)
        last.start()
        await asyncio.to_thread(last.join, budget)

    def _instrument(self, name: str, kind: str) -> Any:
        found = self._instruments.get(name)
        if found is None:
            make = getattr(self._meter, f"create_{kind}")
            options = {"unit": "s", "explicit_bucket_boundaries_advisory": list(BUCKETS)} if kind == "histogram" else {}
            full = f"stream_orchestrator.{name.removesuffix('_total')}"
            found = self._instruments[name] = make(full, description=HELP.get(name, ""), **options)
        return found
