"""The records that leave and the rows that stay: every key and type, equal bytes in every copy, back from bytes."""

from __future__ import annotations

import hashlib
import re
from typing import Any, get_args

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import Theatre, plan, task

from stream_orchestrator.errors import HouseError
from stream_orchestrator.kernel import audit, events, ids, rows
from stream_orchestrator.kernel.effects import Answer, CallRequest
from stream_orchestrator.kernel.events import Begin, Reply, Report, Token, Undecodable
from stream_orchestrator.kernel.rows import STATUSES, RunRow, StepRow, Stub, Transition
from stream_orchestrator.kernel.watch import SpanRecord
from stream_orchestrator.kernel.wires import CallEvent, decode_call, encode_call
from stream_orchestrator.plan.model import Plan

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

SHAPE: dict[str, Any] = {
    "format": int,
    "run_id": str,
    "attempt": int,
    "retry_of": (str, type(None)),
    "pipeline": str,
    "version": str,
    "status": str,
    "output": object,
    "output_sha256": str,
    "outputs": dict,
    "error": (dict, type(None)),
    "degraded": list,
    "cost": dict,
    "usage": dict,
    "timings": dict,
    "trace_id": str,
}


class Eyes:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.spans: list[SpanRecord] = []
        self.counts: dict[str, float] = {}

    def span(self, span: SpanRecord) -> None:
        self.spans.append(span)

    def count(self, name: str, value: float = 1, /, **labels: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + value

    def gauge(self, name: str, value: float, /, **labels: str) -> None: ...

    def observe(self, name: str, seconds: float, /, **labels: str) -> None: ...


async def played(made: Plan, **more: Any) -> Theatre:
    theatre = Theatre(made, **more)
    theatre.begin("run-1", parent_span=SPAN)
    await theatre.play()
    return theatre


DIAMOND = (task("a"), task("left", "a", does="call"), task("right", "a"), task("join", "left", "right"))


# --- results


@pytest.mark.parametrize(
    "made",
    [
        plan(*DIAMOND),
        plan(task("a", does="broken")),
        plan(task("a", does="broken", has_fallback_value=True, fallback_value=None)),
        plan(task("a", condition="false")),
    ],
    ids=["succeeded", "failed", "degraded", "skipped"],
)
async def test_a_result_has_exactly_the_promised_keys_with_their_types(made: Plan) -> None:
    (result,) = (await played(made)).results()
    assert list(result) == list(SHAPE)
    for key, kind in SHAPE.items():
        assert isinstance(result[key], kind), key
    assert result["status"] in {"succeeded", "degraded", "failed"}
    assert result["output_sha256"] == hashlib.sha256(orjson.dumps(result["output"])).hexdigest()
    assert set(result["cost"]) == {"usd", "by_task"}
    assert set(result["usage"]) == {"input_tokens", "output_tokens", "calls", "cached_calls"}
    assert set(result["timings"]) == {"accepted_at", "finished_at", "tasks"}
    assert all(INSTANT.fullmatch(result["timings"][key]) for key in ("accepted_at", "finished_at"))
    for timing in result["timings"]["tasks"].values():
        assert {"started_at", "seconds", "attempts"} <= set(timing) <= {"started_at", "seconds", "attempts", "model"}
        assert INSTANT.fullmatch(timing["started_at"])
    if result["error"] is not None:
        assert list(result["error"]) == ["type", "message", "task", "attempts", "retryable"]
    for entry in result["degraded"]:
        assert list(entry) == ["task", "reason", "answered_by"]


async def test_money_and_tokens_of_calls_are_added_up_by_task() -> None:
    (result,) = (await played(plan(task("a", does="call"), task("b", "a", does="ask"), task("c", "b")))).results()
    assert result["cost"] == {"usd": 0.002, "by_task": {"a": 0.001, "b": 0.001}}
    assert result["usage"] == {"input_tokens": 6, "output_tokens": 4, "calls": 2, "cached_calls": 0}
    assert result["timings"]["tasks"]["a"]["model"] == "m"


async def test_the_output_of_one_last_task_is_the_run_s() -> None:
    (result,) = (await played(plan(task("a"), task("b", "a", does="value")))).results()
    assert result["output"] == "b"


async def test_the_outputs_of_several_last_tasks_are_a_map_of_them() -> None:
    made = plan(task("a"), task("b", "a", does="value"), task("c", "a", condition="false"), task("d", does="value"))
    (result,) = (await played(made)).results()
    assert result["output"] == {"b": "b", "c": None, "d": "d"}


@pytest.mark.parametrize(
    ("output", "value"),
    [
        ("{{ b }}", "b"),
        ({"x": ["{{ b }}", "{{ run.id }}"], "y": 1}, {"x": ["b", "run-1"], "y": 1}),
        ("{{ s | default('none', true) }}", "none"),
        ({"n": "{{ f }}"}, {"n": None}),
        (None, None),
    ],
)
async def test_what_output_says_is_the_output(output: Any, value: Any) -> None:
    tasks = (
        task("a"),
        task("b", "a", does="value"),
        task("s", condition="false"),
        task("f", does="broken", on_failure="continue"),
    )
    (result,) = (await played(plan(*tasks, has_output=True, output=output))).results()
    assert result["output"] == value


async def test_after_a_failure_the_output_is_null_and_the_outputs_hold_what_was_finished() -> None:
    (result,) = (await played(plan(task("a"), task("b", "a", does="broken"), task("c", "b")))).results()
    assert (result["status"], result["output"], list(result["outputs"])) == ("failed", None, ["a"])


async def test_a_result_carries_its_key_headers_and_trace_and_copies_are_equal() -> None:
    theatre = Theatre(plan(*DIAMOND))
    theatre.begin("run-1", supplied=True)
    await theatre.play()
    theatre.begin("run-1", supplied=True)
    await theatre.play()
    first, second = theatre.world.topics["made.results"]
    assert first.value == second.value
    headers = dict(first.headers)
    assert (headers["run-id"], headers["status"], headers["content-type"]) == (
        b"run-1",
        b"succeeded",
        b"application/json",
    )
    assert headers["traceparent"].decode().split("-")[1] == theatre.results()[0]["trace_id"]


# --- audit, traces


async def test_audit_records_tell_what_happened_and_a_copy_has_the_same_id() -> None:
    calm, shaken = await played(plan(*DIAMOND)), Theatre(plan(*DIAMOND))
    shaken.begin("run-1", parent_span=SPAN)
    await shaken.play(crash_at=lambda number: number in {4, 9, 14})
    told, again = audits(calm), audits(shaken)
    assert {key for record in told for key in record} == {
        *("format", "event_id", "run_id", "pipeline", "version", "trace_id", "transitions")
    }
    kinds = [(each["task"], each["kind"]) for record in told for each in record["transitions"]]
    assert {("start", "accepted"), ("left", "called"), ("join", "finished"), ("result", "result")} <= set(kinds)
    assert len({record["event_id"] for record in told}) == len(told)
    named = {record["event_id"]: story(record) for record in again}
    assert all(named[record["event_id"]] == story(record) for record in again)
    assert all(
        INSTANT.fullmatch(each["at"]) and each["details"] is not None
        for record in told
        for each in record["transitions"]
    )


def audits(theatre: Theatre) -> list[dict[str, Any]]:
    return [orjson.loads(record.value) for record in theatre.world.topics["audit"]]


def story(record: dict[str, Any]) -> list[tuple[str, str, int]]:
    return [(each["task"], each["kind"], each["attempt"]) for each in record["transitions"]]


async def test_spans_hang_on_the_producer_s_trace_and_a_join_links_what_met() -> None:
    eyes = Eyes()
    theatre = Theatre(plan(*DIAMOND), watch=eyes)
    theatre.begin("run-1")
    await theatre.play()
    spans = {span.name: span for span in eyes.spans}
    assert set(spans) == {"task a", "task left", "task right", "task join", "result made", "publish made.results"}
    assert {span.trace_id for span in eyes.spans} == {theatre.results()[0]["trace_id"]}
    assert spans["task a"].parent_span_id == ids.span_of("made", "run-1", "ingest")
    assert spans["task left"].parent_span_id == spans["task a"].span_id
    met = {spans["task join"].parent_span_id, *(span for _, span in spans["task join"].links)}
    assert met == {spans["task left"].span_id, spans["task right"].span_id}
    assert spans["publish made.results"].parent_span_id == spans["result made"].span_id
    assert eyes.counts["steps_total"] == 4
    assert eyes.counts["runs_total"] == 1


@pytest.mark.parametrize(
    ("traceparent", "expected"),
    [
        (f"00-{TRACE}-{SPAN}-01", (TRACE, SPAN)),
        (f"cc-{TRACE}-{SPAN}-00", (TRACE, SPAN)),
        (None, None),
        ("", None),
        ("garbage", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
    ],
)
def test_a_trace_is_the_producer_s_or_computed_from_the_run(traceparent: str | None, expected: Any) -> None:
    found = ids.trace_of(traceparent, "made", "run-1")
    assert found == (expected or ids.trace_of(None, "made", "run-1"))
    assert re.fullmatch("[0-9a-f]{32}", found[0])


# --- bytes and back

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
NUMBERS = st.floats(0, 2e9)
REPORTS = st.builds(
    Report,
    task=TEXT,
    kind=st.sampled_from(get_args(events.TokenKind)),
    output=JSON,
    error=st.none() | st.dictionaries(TEXT, JSON, min_size=1, max_size=2),
    degraded=st.lists(st.dictionaries(TEXT, TEXT, max_size=2), max_size=2).map(tuple),
    usd=NUMBERS,
    calls=st.integers(0, 9),
    started_at=NUMBERS,
    seconds=NUMBERS,
    model=TEXT,
)
TOKENS = st.builds(
    lambda report, **more: Token(source=report.task, report=report, **more),
    report=REPORTS,
    run_id=TEXT,
    trail=st.lists(REPORTS, max_size=2).map(tuple),
    traceparent=TEXT,
)
ANSWERS = st.builds(
    Answer, text=TEXT, model=TEXT, usd=NUMBERS, retry_after=st.none() | NUMBERS, ambiguous=st.booleans()
)
HEADERS = st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple)
RUN: dict[str, Any] = {
    "run_id": TEXT,
    "payload": TEXT,
    "key": st.none() | TEXT,
    "headers": HEADERS,
    "position": TEXT,
    "accepted_at": NUMBERS,
    "deadline": NUMBERS,
    "supplied": st.booleans(),
    "attempt": st.integers(1, 6),
    "retry_of": st.none() | TEXT,
    "trace_id": TEXT,
}
EVENTS = TOKENS | st.builds(Reply, run_id=TEXT, call_id=TEXT, answer=ANSWERS) | st.builds(Begin, **RUN)


@given(event=EVENTS)
def test_an_event_survives_its_bytes(event: events.Event) -> None:
    assert events.decode(events.encode(event)) == event


@given(data=st.none() | st.binary(max_size=60) | JSON.map(orjson.dumps))
@settings(max_examples=300)
def test_bytes_that_are_no_event_are_undecodable_and_nothing_else(data: bytes | None) -> None:
    for decode in (events.decode, decode_call):
        with pytest.raises(Undecodable):
            decode(data)


@given(event=EVENTS, key=TEXT, value=JSON, depth=st.integers(0, 3))
@settings(max_examples=300)
def test_an_event_with_one_value_changed_is_an_event_or_undecodable(
    event: events.Event, key: str, value: Any, depth: int
) -> None:
    body = orjson.loads(events.encode(event))
    place = body
    for _ in range(depth):
        inner = [each for each in place.values() if isinstance(each, dict) and each]
        place = inner[0] if inner else place
    place[sorted(place)[len(key) % len(place)]] = value
    try:
        found = events.decode(orjson.dumps(body))
    except Undecodable:
        return
    assert isinstance(found.run_id, str)


@given(
    event=st.builds(
        CallEvent,
        call_id=TEXT,
        run_id=TEXT,
        task=TEXT,
        reply_topic=TEXT,
        reply_partition=st.integers(0, 100),
        expires=NUMBERS,
        request=st.builds(
            CallRequest,
            model=TEXT,
            messages=st.lists(st.fixed_dictionaries({"role": TEXT, "content": TEXT}), max_size=2).map(tuple),
            params=st.dictionaries(TEXT, JSON, max_size=2),
            output_schema=st.none() | st.dictionaries(TEXT, JSON, max_size=2),
            deadline=NUMBERS,
            on_ambiguous=st.sampled_from(["retry", "fail"]),
        ),
    )
)
def test_a_call_survives_its_bytes(event: CallEvent) -> None:
    assert decode_call(encode_call(event)) == event


@given(
    row=st.one_of(
        st.builds(
            Stub,
            status=st.sampled_from(STATUSES),
            partition=st.integers(0, 65_535),
            offset=st.integers(0, 2**63 - 1),
            expires=st.integers(0, 2**32 - 1).map(float),
        ),
        st.builds(
            RunRow,
            **RUN,
            at=TEXT,
            parent_span=TEXT,
            state=st.sampled_from(["running", "ended"]),
            aborted_by=TEXT,
            status=TEXT,
            result=TEXT,
            letter=st.none() | st.dictionaries(TEXT, TEXT, max_size=2),
        ),
        st.builds(
            StepRow,
            run_id=TEXT,
            task=TEXT,
            state=st.sampled_from(["waiting", "calling", "parked", "done"]),
            at=TEXT,
            tokens=st.dictionaries(TEXT, TOKENS, max_size=2),
            variant=st.integers(0, 3),
            attempt=st.integers(0, 9),
            journal=st.dictionaries(TEXT, JSON, max_size=2),
            degraded=st.lists(st.dictionaries(TEXT, TEXT, max_size=2), max_size=2).map(tuple),
            due=st.none() | st.floats(1, 2e9),
            size=st.integers(0, 10**8),
            report=st.none() | REPORTS,
        ),
    )
)
@settings(max_examples=200)
def test_a_row_survives_its_bytes(row: rows.Row) -> None:
    assert rows.decode(rows.encode(row)) == row


def test_a_stub_is_small() -> None:
    assert len(rows.encode(Stub("failed", 7, 2**40, 1.8e9))) == 16


@given(data=st.binary(max_size=40))
def test_bytes_that_are_no_row_are_our_own_failure_and_nothing_else(data: bytes) -> None:
    try:
        rows.decode(data)
    except HouseError:
        pass


async def test_the_audit_tells_when_a_step_began_not_when_its_record_was_written() -> None:
    run = RunRow(
        run_id="run-1",
        payload="{}",
        key=None,
        headers=(),
        position="in/0/0",
        accepted_at=0.0,
        deadline=1.0,
        at="in/0/0",
    )
    told = [Transition("started", 1, at=1_700_000_000.0), Transition("finished", 1)]
    value = audit.record(plan(task("a")), run, "t/0/0", now=1_700_000_009.0, transitions=told)
    instants = [each["at"] for each in orjson.loads(value)["transitions"]]
    assert instants == ["2023-11-14T22:13:20.000Z", "2023-11-14T22:13:29.000Z"]
