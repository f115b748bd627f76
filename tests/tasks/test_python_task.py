"""`python_task`: what a script is given, and how its end is read."""

from __future__ import annotations

from typing import Any

import pytest
from attempts import NOW, attempt
from msgspec.structs import replace

from stream_orchestrator.kernel.effects import RunScript, ScriptDone
from stream_orchestrator.kernel.kinds import Fault, Value
from stream_orchestrator.plan.templates import SkippedReference
from stream_orchestrator.tasks import KINDS, TASK_KINDS

TASK = KINDS["python_task"]


def job(script: str, *, timeout: float = 60.0, options: dict[str, Any] | None = None, **more: Any) -> RunScript:
    step = TASK.begin(attempt("python_task", {"script": script, **(options or {})}, timeout=timeout, **more))
    assert isinstance(step, RunScript)
    return step


def test_the_names_that_a_script_reads_are_its_inputs_and_the_outputs_before_it() -> None:
    made = job("return a, n, b", inputs={"n": 1, "unread": 2}, outputs={"a": {"x": 1}, "b": None})
    assert made.names == {"a": {"x": 1}, "n": 1, "b": None}


def test_what_was_skipped_is_null_to_a_script() -> None:
    made = job("return a, tasks", skipped=("a",), outputs={"b": 1})
    assert made.names == {"a": None, "tasks": {"b": 1, "a": None}}
    assert made.info["outputs"] == {"b": 1, "a": None}


def test_a_template_that_names_a_skipped_task_skips_the_script() -> None:
    with pytest.raises(SkippedReference):
        job("return {{ a }}", skipped=("a",))


def test_values_of_templates_are_bound_and_never_part_of_the_source() -> None:
    hostile = '"); import os; os._exit(1); ("'
    made = job('return "{{ x }}", {{ y }}', inputs={"x": hostile, "y": {"deep": hostile}})
    assert "os._exit" not in made.source
    assert sorted(map(str, made.bindings.values())) == sorted([hostile, str({"deep": hostile})])


def test_one_shape_of_a_script_has_one_digest_whatever_its_values() -> None:
    script = "return {{ x }}"
    first, second = job(script, inputs={"x": 1}), job(script, inputs={"x": [2]})
    assert first.digest == second.digest
    assert first.bindings != second.bindings


def test_a_script_knows_its_run() -> None:
    info = job("return 1", inputs={"n": 1}).info
    about = {name: info[name] for name in ("run_id", "key", "pipeline", "version", "task", "attempt", "variables")}
    assert about == {
        "run_id": "run-1",
        "key": "k",
        "pipeline": "made",
        "version": "1.2.3",
        "task": "t",
        "attempt": 3,
        "variables": {"n": 1},
    }


def test_a_script_has_what_is_left_of_its_time_and_never_nothing() -> None:
    assert job("return 1").timeout == 50.0
    late = replace(attempt("python_task", {"script": "return 1"}), deadline=NOW - 5)
    step = TASK.begin(late)
    assert isinstance(step, RunScript)
    assert 0 < step.timeout < 1


def test_what_a_script_may_reach_is_what_its_options_say() -> None:
    made = job("return 1", options={"network": True, "env": ["A"], "memory_bytes": 10**6})
    assert (made.network, made.env, made.memory_bytes) == (True, ("A",), 10**6)
    closed = job("return 1")
    assert (closed.network, closed.env, closed.memory_bytes) == (False, (), 512 * 1024 * 1024)


def test_a_value_is_the_output() -> None:
    assert ended(ScriptDone(kind="value", value=None)) == Value(None)


@pytest.mark.parametrize(
    ("done", "fault"),
    [
        (
            ScriptDone(kind="error", error_type="KeyError", message="'x'"),
            Fault(type="KeyError", message="'x'", passing=True),
        ),
        (
            ScriptDone(kind="killed", message="memory"),
            Fault(type="SandboxKilled", message="memory", passing=True, reason="sandbox_killed"),
        ),
        (
            ScriptDone(kind="timeout"),
            Fault(type="Timeout", message="the script did not end within 60 s", passing=True, reason="timeout"),
        ),
    ],
    ids=["error", "killed", "timeout"],
)
def test_every_other_end_is_a_fault_that_a_retry_may_mend(done: ScriptDone, fault: Fault) -> None:
    assert ended(done) == fault


def ended(done: ScriptDone) -> Any:
    return TASK.scripted(attempt("python_task", {"script": "return 1"}), done)


@pytest.mark.parametrize("kind", TASK_KINDS, ids=lambda kind: kind.name)
def test_every_kind_says_what_it_does_and_what_may_happen_twice(kind: Any) -> None:
    assert kind.summary.endswith(".")
    assert kind.guarantees.endswith(".")
    assert KINDS[kind.name] is kind
