"""Whatever a run holds, it costs that run and no other: the inbox goes on, and the process never ends for it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from worlds import WAYS, FakeKind, FakeScripts, Theatre, plan, task, variant

from stream_orchestrator.kernel.effects import RunScript, ScriptDone
from stream_orchestrator.kernel.events import decode
from stream_orchestrator.kernel.kinds import Ask, Attempt, Step, Value
from stream_orchestrator.kernel.limits import MAX_OUTPUT, MAX_RECORD
from stream_orchestrator.kernel.rows import Stub
from stream_orchestrator.plan.model import START, Plan

LIMIT = 16 * 1024 * 1024  # what our topics take


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


class Giver(FakeKind):
    """Its tasks give what their `gives` says, asks for a model's answer as `asks` says."""

    def __init__(self, **gives: Any) -> None:
        self.gives = gives

    def begin(self, attempt: Attempt) -> Step:
        if attempt.variant.name in self.gives:
            return Value(self.gives[attempt.variant.name])
        return super().begin(attempt)


async def played(made: Plan, kind: FakeKind | None = None, **more: Any) -> Theatre:
    theatre = Theatre(made, kinds={"fake": kind or FakeKind()}, **more)
    theatre.begin("run-1", more.pop("payload", "{}"))
    theatre.begin("run-2")
    await theatre.play()
    assert {result["run_id"] for result in theatre.results()} == {"run-1", "run-2"}
    assert all(isinstance(row, Stub) for row in theatre.part.rows.values())
    for topic, records in theatre.world.topics.items():
        assert all(len(record.value or b"") < LIMIT for record in records), topic
    assert all(len(row) < LIMIT for row in theatre.part.durable.values())
    return theatre


@pytest.mark.parametrize(
    "value", [2**70, deep(400), "\ud800", {"a": {"b": -(2**64)}}], ids=["huge", "deep", "half", "nested"]
)
async def test_an_output_that_is_not_json_as_it_is_stored_fails_its_run(value: Any) -> None:
    theatre = await played(plan(task("a"), task("b", "a")), Giver(b=value))
    result = theatre.results()[0]
    assert (result["status"], result["error"]["type"], result["error"]["task"]) == ("failed", "InvalidOutput", "b")
    assert "a" in result["outputs"]
    assert theatre.letters()[0]["dlq-reason"] == b"task_failed"


async def test_an_output_too_large_for_a_record_fails_its_run_as_too_large() -> None:
    theatre = await played(plan(task("a")), Giver(a="x" * (MAX_OUTPUT + 1)))
    assert theatre.letters()[0]["dlq-reason"] == b"too_large"
    assert theatre.results()[0]["error"]["type"] == "TooLarge"


async def test_a_fallback_answers_for_an_output_that_is_too_large() -> None:
    made = plan(task("a", fallbacks=(variant("small", "script"),)))
    theatre = await played(made, Giver(a="x" * (MAX_OUTPUT + 1), small=1))
    result = theatre.results()[0]
    assert (result["status"], result["output"]) == ("degraded", 1)
    assert result["degraded"][0]["answered_by"] == "small"


async def test_outputs_that_add_up_to_more_than_a_record_on_a_chain_end_the_run() -> None:
    big = "x" * (MAX_RECORD // 3)
    theatre = await played(plan(task("a"), task("b", "a"), task("c", "b"), task("d", "c")), Giver(a=big, b=big, c=big))
    assert theatre.letters()[0]["dlq-reason"] == b"too_large"
    assert theatre.results()[0]["status"] == "failed"


async def test_outputs_that_add_up_to_more_than_a_record_in_a_join_end_the_run() -> None:
    names = [f"t{number}" for number in range(6)]
    made = plan(*(task(name) for name in names), task("join", *names))
    theatre = await played(made, Giver(**dict.fromkeys(names, "x" * (MAX_RECORD // 4))))
    result = theatre.results()[0]
    assert theatre.letters()[0]["dlq-reason"] == b"too_large"
    assert result["error"]["message"].startswith("what `join` gives on")


async def test_last_tasks_that_add_up_to_more_than_a_record_end_the_run() -> None:
    names = [f"t{number}" for number in range(6)]
    theatre = await played(
        plan(*(task(name) for name in names)), Giver(**dict.fromkeys(names, "x" * (MAX_RECORD // 4)))
    )
    assert theatre.results()[0]["outputs"] == {}
    assert theatre.letters()[0]["dlq-reason"] == b"too_large"


async def test_a_result_larger_than_a_record_is_told_without_its_outputs() -> None:
    theatre = await played(plan(task("a")), Giver(a="x" * (MAX_OUTPUT - 100)))  # `output` and `outputs` both hold it
    result = theatre.results()[0]
    assert (result["status"], result["output"], result["outputs"]) == ("failed", None, {})
    assert result["error"]["type"] == "TooLarge"


async def test_a_request_too_large_for_a_record_fails_its_task() -> None:
    class Wordy(FakeKind):
        def begin(self, attempt: Attempt) -> Step:
            asked = super().begin(attempt)
            assert isinstance(asked, Ask)
            asked.request.messages[0]["content"] = "x" * MAX_RECORD
            return asked

    theatre = await played(plan(task("a", does="call")), Wordy())
    assert theatre.letters()[0]["dlq-reason"] == b"too_large"


@pytest.mark.parametrize("inputs", [{"a": "{{ nowhere }}"}, {"a": "{{ 1 / 0 }}"}], ids=["unknown name", "fault"])
async def test_inputs_of_a_task_that_cannot_be_rendered_fail_the_run(inputs: dict[str, Any]) -> None:
    theatre = await played(plan(task("a", inputs=inputs)))
    result = theatre.results()[0]
    assert (result["status"], result["error"]["task"]) == ("failed", "a")


async def test_inputs_that_name_a_skipped_task_skip_the_task() -> None:
    made = plan(task("a", condition="false"), task("b", "a", "c", inputs={"x": "{{ a }}"}), task("c"))
    theatre = await played(plan(made_task(made, 0), made_task(made, 2), made_task(made, 1)))
    assert theatre.results()[0]["outputs"]["b"] is None
    assert theatre.results()[0]["status"] == "succeeded"


def made_task(made: Plan, number: int) -> dict[str, Any]:
    each = made.tasks[number]
    return {"name": each.name, "upstream": each.upstream, "variants": each.variants} | {
        "condition": each.condition,
        "inputs": each.inputs,
    }


@pytest.mark.parametrize("output", ["{{ 10 ** 30 }}", {"x": "{{ nowhere }}"}, "{{ a.b.c }}"])
async def test_an_output_template_that_cannot_be_rendered_fails_the_run(output: Any) -> None:
    theatre = await played(plan(task("a"), has_output=True, output=output))
    result = theatre.results()[0]
    assert (result["status"], result["output"]) == ("failed", None)
    assert "`output:`" in result["error"]["message"]
    assert "a" in result["outputs"]


async def test_an_output_template_that_names_a_skipped_task_gives_null() -> None:
    theatre = await played(plan(task("a"), task("b", condition="false"), has_output=True, output="{{ b }}"))
    assert (theatre.results()[0]["status"], theatre.results()[0]["output"]) == ("succeeded", None)


async def test_a_condition_that_cannot_be_decided_fails_the_run() -> None:
    theatre = await played(plan(task("a"), task("b", "a", condition="a.no.such > 3")))
    assert theatre.results()[0]["error"]["task"] == "b"


async def test_a_model_of_a_service_that_was_not_deployed_fails_its_task() -> None:
    theatre = Theatre(plan(task("a", does="call")))
    theatre.wires.calls.clear()
    theatre.begin("run-1")
    await theatre.play()
    assert theatre.results()[0]["error"]["type"] == "UnknownModel"


async def test_a_script_that_lies_in_its_reports_stops_nothing() -> None:
    class Liar(FakeScripts):
        async def run(self, job: RunScript) -> ScriptDone:
            reports = (
                {"kind": "metric"},
                {"kind": "metric", "name": 5, "value": "x"},
                {"kind": "metric", "name": "m", "value": [1]},
                {"kind": "log", "level": {"a": 1}, "message": 7},
                {"kind": "alert"},
                {"kind": "audit"},
                {"kind": "audit", "entry": deep(300)},
            )
            return ScriptDone(kind="value", value=1, reports=reports)

    theatre = await played(plan(task("a")), scripts=Liar())
    assert theatre.results()[0]["status"] == "succeeded"
    assert ("a", "noted", 1) in theatre.transitions()


async def test_a_line_of_a_script_is_logged_with_its_run(caplog: pytest.LogCaptureFixture) -> None:
    class Talker(FakeScripts):
        async def run(self, job: RunScript) -> ScriptDone:
            return ScriptDone(kind="value", value=1, reports=({"kind": "log", "level": "warning", "message": "hello"},))

    theatre = await played(plan(task("a")), scripts=Talker())
    lines = [record for record in caplog.records if record.getMessage().endswith("/a: hello")]
    assert {line.run_id for line in lines} == {result["run_id"] for result in theatre.results()}  # type: ignore[attr-defined]


async def test_audit_entries_of_a_script_that_fill_more_than_a_record_keep_their_place() -> None:
    class Chatty(FakeScripts):
        async def run(self, job: RunScript) -> ScriptDone:
            entry = {"kind": "audit", "entry": "x" * 60_000}
            return ScriptDone(kind="value", value=1, reports=(entry,) * 400)

    theatre = await played(plan(task("a")), scripts=Chatty())
    told = [orjson.loads(record.value) for record in theatre.world.topics["audit"]]
    noted = [each for record in told for each in record["transitions"] if each["kind"] == "noted"]
    assert len(noted) == 800  # of two runs
    assert noted[0]["details"] == {"entry": "x" * 60_000}
    assert "omitted_bytes" in noted[399]["details"]


async def test_audit_entries_that_fill_a_record_take_no_place_from_how_the_run_ended() -> None:
    class Chatty(FakeScripts):
        async def run(self, job: RunScript) -> ScriptDone:
            entry = {"kind": "audit", "entry": "x" * 60_000}
            return ScriptDone(kind="error", error_type="ValueError", message="never", reports=(entry,) * 150)

    theatre = await played(plan(task("a")), scripts=Chatty())
    told = [orjson.loads(record.value) for record in theatre.world.topics["audit"]]
    details = {each["kind"]: each["details"] for record in told for each in record["transitions"]}
    assert "omitted_bytes" in details["noted"]
    assert details["failed"] == {"type": "ScriptError", "message": "never"}
    assert details["result"] == {"status": "failed"}
    assert details["dead_lettered"] == {"reason": "task_failed"}


async def test_an_error_of_a_script_is_told_shortened_and_without_half_characters() -> None:
    class Loud(FakeScripts):
        async def run(self, job: RunScript) -> ScriptDone:
            return ScriptDone(kind="error", error_type="ValueError", message="\ud800" + "x" * LIMIT)

    theatre = await played(plan(task("a"), task("b", on_failure="continue")), scripts=Loud())
    assert len(theatre.results()[0]["error"]["message"]) <= 4000
    assert len(theatre.letters()[0]["dlq-message"]) <= 4000


async def test_a_thousand_retries_with_a_growing_wait_overflow_nothing() -> None:
    made = plan(
        task("a", does="broken", retries=1100, retry_delay=0.001, timeout=10**9, on_failure="skip"), timeout=10**9
    )
    first = made.tasks[0].variants[0]
    object.__setattr__(first, "retry_backoff", 1000.0)
    theatre = Theatre(made)
    theatre.begin("run-1")
    await theatre.play()
    assert theatre.results()[0]["timings"]["tasks"]["a"]["attempts"] == 1101


@pytest.mark.parametrize("inbox", [":start", "a", ":result"])
@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\xff",
        b"[]",
        b"5",
        b'{"format": 2}',
        b'{"format": 1, "token": 5}',
        b'{"format": 1, "token": {"run_id": 5, "source": "a", "report": {"task": "a", "kind": "value"}}}',
        b'{"format": 1, "token": {"run_id": "run-1", "source": "a", "report": {"task": "a", "kind": "bogus"}}}',
        b'{"format": 1, "token": {"run_id": "run-1", "source": [], "report": {"task": "a", "kind": "value"}}}',
        b'{"format": 1, "reply": {"run_id": "run-1", "call_id": "c", "answer": {"usd": "free"}}}',
        b'{"format": 1, "begin": {"run_id": {}, "headers": []}}',
        b'{"format": 1, "begin": {"run_id": "r", "headers": [[1]]}}',
    ],
)
async def test_a_record_that_is_no_event_goes_to_the_internal_letters_and_the_inbox_goes_on(
    inbox: str, value: bytes | None
) -> None:
    theatre = Theatre(plan(task("a")))
    theatre.world.append(theatre.wires.inbox(inbox), b"k", value, (("h", b"\xfe"),))
    theatre.begin("run-1")
    await theatre.play()
    (letter,) = theatre.world.topics["internal.dlq"]
    assert (letter.key, letter.value, dict(letter.headers)["dlq-reason"]) == (b"k", value, b"internal")
    assert theatre.results()[0]["status"] == "succeeded"


async def test_a_token_from_a_task_that_is_no_upstream_changes_nothing() -> None:
    theatre = Theatre(plan(task("a"), task("b", "a")), way=WAYS[-1])
    theatre.begin("run-1")
    await theatre.world.run(until=lambda: bool(theatre.world.topics[theatre.wires.inbox("a")]))
    true = theatre.world.topics[theatre.wires.inbox("a")][0].value
    for forged in ("nobody", "b", START):
        value = true.replace(b'"source":":start"', f'"source":"{forged}"'.encode())
        theatre.world.append(theatre.wires.inbox("b"), None, value)
        theatre.world.append(theatre.wires.inbox(":result"), None, value)
    await theatre.play()
    (result,) = theatre.results()
    assert result["outputs"]["b"]["from"] == {"a": result["outputs"]["a"]}


def test_fields_of_a_newer_release_are_passed_over() -> None:
    newer = (
        b'{"format":1,"later":1,"token":{"run_id":"r","source":"a","hue":3,'
        b'"report":{"task":"a","kind":"value","output":5,"mood":"good"}}}'
    )
    assert decode(newer).report.output == 5  # type: ignore[union-attr]
