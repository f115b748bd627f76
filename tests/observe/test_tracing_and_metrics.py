"""Spans and metrics as a collector and a scraper see them, and watchers that fail."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from stream_orchestrator.kernel.watch import SpanRecord
from stream_orchestrator.observe.metrics import BUCKETS, HELP, Metrics
from stream_orchestrator.observe.tracing import Tracing
from stream_orchestrator.observe.watch import Eyes

TRACE, OTHER = "0af7651916cd43dd8448eb211c80319c", "0af7651916cd43ddf448eb211c80319c"


def span(name: str = "task a", *, trace_id: str = TRACE, **more: object) -> SpanRecord:
    fields = {
        "span_id": "00f067aa0ba902b7",
        "parent_span_id": "b7ad6b7169203331",
        "started_at": 100.25,
        "ended_at": 101.5,
    }
    return SpanRecord(name=name, trace_id=trace_id, **{**fields, **more})  # type: ignore[arg-type]


@dataclass
class Collector:
    """An OTLP collector that keeps what it gets."""

    address: str = ""
    spans: list[object] = field(default_factory=list)
    metrics: dict[str, object] = field(default_factory=dict)
    resources: list[dict[str, str]] = field(default_factory=list)

    async def take_spans(self, request: web.Request) -> web.Response:
        for resource in ExportTraceServiceRequest.FromString(await request.read()).resource_spans:
            self.resources.append({a.key: a.value.string_value for a in resource.resource.attributes})
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        return web.Response()

    async def take_metrics(self, request: web.Request) -> web.Response:
        for resource in ExportMetricsServiceRequest.FromString(await request.read()).resource_metrics:
            self.metrics |= {metric.name: metric for scope in resource.scope_metrics for metric in scope.metrics}
        return web.Response()


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    collector = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", collector.take_spans)
    app.router.add_post("/v1/metrics", collector.take_metrics)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    collector.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address)
    yield collector
    await runner.cleanup()


# --- spans


async def test_a_span_reaches_the_collector_with_its_own_ids_times_and_links(collector: Collector) -> None:
    eyes = Eyes.from_env()
    link = (OTHER, "1111111111111111")
    eyes.span(
        span(
            "chat gpt-4o",
            ok=False,
            attributes={"gen_ai.request.model": "gpt-4o", "error.type": "timeout"},
            links=(link,),
        )
    )
    await eyes.close(10)
    (sent,) = collector.spans
    assert (sent.trace_id.hex(), sent.span_id.hex(), sent.parent_span_id.hex()) == (
        TRACE,
        "00f067aa0ba902b7",
        "b7ad6b7169203331",
    )
    assert (sent.start_time_unix_nano, sent.end_time_unix_nano) == (100_250_000_000, 101_500_000_000)
    assert [(one.trace_id.hex(), one.span_id.hex()) for one in sent.links] == [link]
    assert {a.key: a.value.string_value for a in sent.attributes} == {
        "gen_ai.request.model": "gpt-4o",
        "error.type": "timeout",
    }
    assert (sent.status.code, sent.status.message, sent.kind) == (2, "timeout", 3)
    assert collector.resources[0]["service.name"] == "stream-orchestrator"


async def test_the_service_name_is_the_users_when_given(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "orders")
    tracing = Tracing.from_env()
    tracing.span(span())
    await tracing.close(10)
    assert collector.resources[0]["service.name"] == "orders"


async def test_a_ratio_keeps_or_leaves_a_trace_as_a_whole(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.6")
    tracing = Tracing.from_env()
    for trace_id in (TRACE, OTHER) * 5:  # lower halves 0x84… and 0xf4…: at 52 % and 95 %
        tracing.span(span(trace_id=trace_id))
    await tracing.close(10)
    assert {sent.trace_id.hex() for sent in collector.spans} == {TRACE}
    assert len(collector.spans) == 5


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
        {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:9"},
    ],
    ids=str,
)
def test_without_an_endpoint_for_traces_nothing_is_exported(env: dict[str, str]) -> None:
    tracing = Tracing.from_env(env)
    tracing.span(span())
    assert tracing._processor is None
    assert len(tracing.recent()) == 1


def test_without_an_endpoint_nothing_of_opentelemetry_is_imported() -> None:
    code = (
        "import sys\nfrom stream_orchestrator.observe.watch import Eyes\nEyes.from_env({}).count('x_total')\n"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


async def test_a_collector_that_is_away_costs_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:9/v1/traces")
    tracing = Tracing.from_env()
    loop = asyncio.get_running_loop()
    started = loop.time()
    for _ in range(1_000):
        tracing.span(span())
    assert loop.time() - started < 1
    await tracing.close(0.1)
    assert loop.time() - started < 3


def test_only_the_latest_spans_are_remembered() -> None:
    tracing = Tracing(keep=3)
    for n in range(5):
        tracing.span(span(f"task {n}", trace_id=OTHER if n == 4 else TRACE))
    assert [one.name for one in tracing.recent()] == ["task 2", "task 3", "task 4"]
    assert [one.name for one in tracing.recent(OTHER)] == ["task 4"]


# --- metrics


def read(text: bytes) -> dict[str, float]:
    """The samples of a page, by name and labels."""
    lines = [line for line in text.decode().splitlines() if not line.startswith("#")]
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines}


def test_a_page_shows_every_kind_of_metric() -> None:
    metrics = Metrics()
    metrics.count("runs_total", status="failed")
    metrics.count("runs_total", 2, status="failed")
    metrics.gauge("lag", 7.5, partition="3")
    metrics.observe("step_seconds", 0.3, task="a")
    metrics.observe("step_seconds", 1_000, task="a")
    page = metrics.render()
    assert b"# TYPE stream_orchestrator_runs_total counter\n" in page
    assert b"# HELP stream_orchestrator_runs_total Runs that ended, by status\n" in page
    samples = read(page)
    assert samples['stream_orchestrator_runs_total{status="failed"}'] == 3
    assert samples['stream_orchestrator_lag{partition="3"}'] == 7.5
    assert samples['stream_orchestrator_step_seconds_bucket{task="a",le="0.25"}'] == 0
    assert samples['stream_orchestrator_step_seconds_bucket{task="a",le="0.5"}'] == 1
    assert samples['stream_orchestrator_step_seconds_bucket{task="a",le="+Inf"}'] == 2
    assert samples['stream_orchestrator_step_seconds_sum{task="a"}'] == 1000.3


def test_the_page_is_what_the_prometheus_parser_reads() -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    metrics = Metrics()
    nasty = 'a "quoted\\ line\n break'
    metrics.count("runs_total", status=nasty)
    metrics.observe("step_seconds", 0.3, task=nasty)
    families = {family.name: family for family in parser.text_string_to_metric_families(metrics.render().decode())}
    assert families["stream_orchestrator_runs"].samples[0].labels == {"status": nasty}
    assert families["stream_orchestrator_step_seconds"].type == "histogram"


@given(st.lists(st.floats(0, 1e6)))
def test_a_histogram_counts_every_value_once_and_its_buckets_never_go_down(values: list[float]) -> None:
    metrics = Metrics()
    for value in values:
        metrics.observe("step_seconds", value)
    samples = read(metrics.render())
    shown = [number for name, number in samples.items() if "_bucket" in name]
    assert shown == [sum(value <= bound for value in values) for bound in (*BUCKETS, float("inf"))][: len(shown)]
    assert samples.get("stream_orchestrator_step_seconds_count", 0) == len(values)


def test_a_counter_never_goes_down() -> None:
    metrics = Metrics()
    for value in (5, -3, float("nan"), float("inf")):
        metrics.count("runs_total", value)
    assert metrics.value("runs_total") == 5


def test_too_many_series_are_one_counter_and_no_more_memory() -> None:
    metrics = Metrics(limit=10)
    for n in range(100):
        metrics.count("runs_total", status=str(n))
    metrics.count("runs_total", status="3")
    assert metrics.value("runs_total", status="3") == 2
    assert metrics.value("series_dropped_total") == 90
    assert len(read(metrics.render())) == 11


def test_a_name_keeps_its_kind() -> None:
    metrics = Metrics()
    metrics.count("runs_total")
    metrics.gauge("runs_total", 9)
    metrics.observe("runs_total", 9, status="x")
    assert metrics.value("runs_total") == 1
    assert metrics.value("series_dropped_total") == 2


def test_names_that_scripts_choose_are_made_fit_and_do_not_make_a_family_twice() -> None:
    metrics = Metrics()
    metrics.gauge("custom_a b", 1)
    metrics.gauge("custom_a-b", 2)
    assert metrics.render() == b"# TYPE stream_orchestrator_custom_a_b gauge\nstream_orchestrator_custom_a_b 2\n"


def test_every_metric_that_has_a_description_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "observing.md").read_text()
    assert [name for name in HELP if f"`{name}`" not in page] == []


async def test_metrics_reach_the_collector_too(collector: Collector) -> None:
    eyes = Eyes.from_env()
    eyes.count("runs_total", 3, status="failed")
    eyes.gauge("lag", 7)
    eyes.observe("step_seconds", 0.3)
    await eyes.close(10)
    assert set(collector.metrics) == {
        "stream_orchestrator.runs",
        "stream_orchestrator.lag",
        "stream_orchestrator.step_seconds",
    }
    runs = collector.metrics["stream_orchestrator.runs"]
    assert runs.sum.data_points[0].as_double == 3
    assert runs.sum.is_monotonic
    assert eyes.metrics.value("runs_total", status="failed") == 3


# --- watchers that fail


class BlindWatcher:
    """Fails at whatever it is told."""

    def span(self, span: SpanRecord) -> None:
        raise RuntimeError("cannot see")

    def count(self, name: str, value: float = 1, /, **labels: str) -> None:
        raise RuntimeError("cannot count")

    async def close(self, budget: float) -> None:
        raise RuntimeError("cannot close")


def test_values_that_make_no_series_take_no_memory() -> None:
    metrics = Metrics()
    for n in range(10):
        with pytest.raises(ValueError, match="could not convert"):
            metrics.gauge("size", "no number", of=str(n))  # type: ignore[arg-type]
    assert not metrics._values
    assert not metrics._known


def test_a_watcher_that_says_it_has_no_method_is_not_told() -> None:
    class Spans:
        count = None

    eyes = Eyes(Spans())
    eyes.count("runs_total")
    assert not eyes.failures


async def test_a_failing_watcher_is_counted_and_passed_over_and_the_others_are_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    eyes = Eyes(BlindWatcher())
    for _ in range(3):
        eyes.span(span())
        eyes.count("runs_total")
        eyes.gauge("lag", 1)  # it has no method for this
    await eyes.close()
    assert eyes.failures == {"BlindWatcher": 7}
    assert eyes.metrics.value("watcher_failures_total", watcher="BlindWatcher") == 7
    assert eyes.metrics.value("runs_total") == 3
    assert len(eyes.tracing.recent()) == 3
    assert len([record for record in caplog.records if "BlindWatcher" in record.message]) == 1
