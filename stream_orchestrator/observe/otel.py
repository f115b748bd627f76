"""What the standard `OTEL_*` variables say: whether a signal leaves this process, and as whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Signal = Literal["traces", "metrics"]
SERVICE_NAME = "stream-orchestrator"


def exports(signal: Signal, env: Mapping[str, str]) -> bool:
    """Whether a signal is exported: an OTLP endpoint or the exporter `otlp` is named, and nothing forbids it."""
    if env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = env.get(f"OTEL_{signal.upper()}_EXPORTER", "").strip().lower()
    if exporter:
        return "otlp" in exporter.split(",")
    return bool(env.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT") or env.get("OTEL_EXPORTER_OTLP_ENDPOINT"))


def resource() -> Any:
    """Who we are: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, else our own name."""
    from opentelemetry.sdk.resources import SERVICE_NAME as KEY
    from opentelemetry.sdk.resources import Resource

    found = Resource.create()
    named = not str(found.attributes.get(KEY, "unknown_service")).startswith("unknown_service")
    return found if named else found.merge(Resource({KEY: SERVICE_NAME}))
