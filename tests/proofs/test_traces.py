"""One trace from the producer's header to the result's header, in every copy of the work the same ids.

pytest -s tests/proofs/test_traces.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from support.broker import Broker

from stream_orchestrator.kernel.watch import Blind, SpanRecord
from stream_orchestrator.plan import names
from stream_orchestrator.plan.loading import load_plan
from stream_orchestrator.streaming.client import Outgoing, produce, reading
from stream_orchestrator.streaming.serving import WorkerSettings
from stream_orchestrator.streaming.worker import Worker

PIPELINE = """
name: "Traced"
version: "1.0.0"
tasks:
  - name: "draw"
    type: "python_task"
    script: "return n"
  - name: "left"
    type: "llm_task"
    model: "offline/echo"
    prompt: "left {{ draw }}"
  - name: "right"
    type: "python_task"
    script: "return draw + 1"
  - name: "join"
    type: "python_task"
    script: "return [left, right]"
"""
TRACE, PRODUCER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Spans(Blind):
    """A watcher that keeps the spans."""

    def __init__(self) -> None:
        self.seen: list[SpanRecord] = []

    def span(self, span: SpanRecord) -> None:
        self.seen.append(span)


@pytest.mark.embedded
async def test_one_trace_runs_from_the_producer_through_every_step_and_call_to_the_result(
    embedded: Broker, tmp_path: Path
) -> None:
    file = tmp_path / "traced.yaml"
    file.write_text(PIPELINE)
    spans = Spans()
    settings = WorkerSettings(stream=embedded.settings, prefix=embedded.prefix, partitions=2)
    worker = Worker(settings, [load_plan(file)], watch=spans)
    try:
        await worker.start()
        event = Outgoing(orjson.dumps({"n": 1}), headers=(("traceparent", f"00-{TRACE}-{PRODUCER}-01".encode()),))
        await produce(embedded.settings, names.input_topic(embedded.prefix, "traced"), [event])
        async with reading(embedded.settings, names.results_topic(embedded.prefix, "traced")) as reader:
            results = [record async for record in reader.follow(count=1, timeout=30)]
    finally:
        assert await worker.drain()
    by_name = {span.name: span for span in spans.seen}
    assert orjson.loads(results[0].value or b"")["trace_id"] == TRACE
    assert (results[0].header("traceparent") or b"").startswith(f"00-{TRACE}-".encode())
    assert {span.trace_id for span in spans.seen} == {TRACE}
    parents = {span.span_id: span.name for span in spans.seen} | {PRODUCER: "the producer"}
    tree = {name: parents[span.parent_span_id] for name, span in by_name.items()}
    prefix = embedded.prefix
    assert tree == {
        "ingest traced": "the producer",
        "task draw": "ingest traced",
        "task left": "task draw",
        "chat offline/echo": "task left",
        "task right": "task draw",
        "task join": tree["task join"],
        "result traced": "ingest traced",
        f"publish {prefix}traced.results": "result traced",
    }
    met = {tree["task join"], *(parents[span_id] for _, span_id in by_name["task join"].links)}
    assert met == {"task left", "task right"}
    assert attributes(by_name["chat offline/echo"])["gen_ai.request.model"] == "offline/echo"
    assert len(spans.seen) == 8


def attributes(span: SpanRecord) -> dict[str, Any]:
    return dict(span.attributes)
