"""Spans out of this process: OTLP over HTTP as the `OTEL_*` variables say, and the latest ones kept for our own pages.

Promises
  * A span leaves with the ids, times and links of its record: a copy of the same work is the same span.
  * `span` never waits; a collector that is away or slow costs spans, never time. Without an endpoint nothing of
    OpenTelemetry is even imported.
  * At most `keep` spans are remembered.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stream_orchestrator.kernel.watch import SpanRecord
from stream_orchestrator.observe import otel

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

# Names of attributes, ours to keep: the conventions for generative models have no released version yet.
GEN_AI_OPERATION = "gen_ai.operation.name"
GEN_AI_PROVIDER = "gen_ai.provider.name"
GEN_AI_REQUEST_MODEL = "gen_ai.request.model"
GEN_AI_RESPONSE_MODEL = "gen_ai.response.model"
GEN_AI_INPUT_TOKENS = "gen_ai.usage.input_tokens"
GEN_AI_OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
GEN_AI_FINISH_REASONS = "gen_ai.response.finish_reasons"
ERROR_TYPE = "error.type"

KEEP = 2_000
_RATIO_SAMPLERS = frozenset({"traceidratio", "parentbased_traceidratio"})


class Tracing:
    """Where spans go. `processor` is OpenTelemetry's, None keeps them here; `ratio` of all traces is exported."""

    def __init__(self, processor: SpanProcessor | None = None, *, ratio: float = 1.0, keep: int = KEEP) -> None:
        self._processor = processor
        self._bound = round(min(max(ratio, 0.0), 1.0) * 2**64)
        self._recent: deque[SpanRecord] = deque(maxlen=keep)
        self._resource = otel.resource() if processor else None

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Tracing:
        """As the `OTEL_*` variables say. OpenTelemetry's own classes read the rest of them, from `os.environ`."""
        env = os.environ if env is None else env
        if not otel.exports("traces", env):
            return cls()
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        return cls(BatchSpanProcessor(OTLPSpanExporter()), ratio=_ratio(env))

    def span(self, span: SpanRecord) -> None:
        """Remember a span, and hand it to the exporter's queue."""
        self._recent.append(span)
        if self._processor is not None and self._sampled(span.trace_id):
            self._processor.on_end(readable(span, self._resource))

    def recent(self, trace_id: str = "") -> list[SpanRecord]:
        """The latest spans, oldest first; of one trace when it is named."""
        return [span for span in self._recent if not trace_id or span.trace_id == trace_id]

    async def close(self, budget: float = 2.0) -> None:
        """Send what is queued, for at most `budget` seconds: a collector that is away must not hold up a drain."""
        if self._processor is None:
            return
        last = threading.Thread(target=self._processor.shutdown, daemon=True)
        last.start()
        await asyncio.to_thread(last.join, budget)

    def _sampled(self, trace_id: str) -> bool:
        """By the trace's id alone, as OpenTelemetry's own samplers do: every process keeps the same traces."""
        return int(trace_id[16:], 16) < self._bound


def readable(span: SpanRecord, resource: Any = None) -> ReadableSpan:
    """The record as OpenTelemetry's span."""
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import Link, Status, StatusCode

    message = None if span.ok else str(span.attributes.get(ERROR_TYPE, ""))
    return ReadableSpan(
        name=span.name,
        context=_context(span.trace_id, span.span_id),
        parent=_context(span.trace_id, span.parent_span_id) if span.parent_span_id else None,
        resource=resource,
        attributes=span.attributes,
        links=[Link(_context(trace_id, span_id)) for trace_id, span_id in span.links],
        kind=_kind(span.name),
        status=Status(StatusCode.UNSET if span.ok else StatusCode.ERROR, message),
        start_time=int(span.started_at * 1e9),
        end_time=int(span.ended_at * 1e9),
        instrumentation_scope=InstrumentationScope("stream_orchestrator"),
    )


def _context(trace_id: str, span_id: str) -> Any:
    from opentelemetry.trace import SpanContext, TraceFlags

    flags = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=flags)


def _kind(name: str) -> Any:
    from opentelemetry.trace import SpanKind

    kinds = {"chat": SpanKind.CLIENT, "ingest": SpanKind.CONSUMER, "publish": SpanKind.PRODUCER}
    return kinds.get(name.split(" ", 1)[0], SpanKind.INTERNAL)


def _ratio(env: Mapping[str, str]) -> float:
    sampler = env.get("OTEL_TRACES_SAMPLER", "").strip().lower()
    if sampler in {"always_off", "parentbased_always_off"}:
        return 0.0
    if sampler not in _RATIO_SAMPLERS:
        return 1.0
    try:
        return float(env.get("OTEL_TRACES_SAMPLER_ARG", "1"))
    except ValueError:
        return 1.0
