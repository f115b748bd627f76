"""`llm_task`: what is asked, and how an answer is read."""

from __future__ import annotations

from typing import Any

import pytest
from attempts import NOW, attempt

from stream_orchestrator.errors import RunError
from stream_orchestrator.kernel.effects import Answer, CallRequest, RunScript, ScriptDone
from stream_orchestrator.kernel.kinds import Ask, Fault, Value
from stream_orchestrator.plan.templates import SkippedReference
from stream_orchestrator.tasks import KINDS

TASK = KINDS["llm_task"]


def asked(options: dict[str, Any], **more: Any) -> CallRequest:
    step = TASK.begin(attempt("llm_task", {"model": "m", "prompt": "p", **options}, **more))
    assert isinstance(step, Ask)
    assert step.number == 0
    return step.request


def read(text: str, **options: Any) -> Value | Fault:
    step = TASK.answered(attempt("llm_task", {"model": "m", "prompt": "p", **options}), Answer(text=text, model="m"))
    assert isinstance(step, Value | Fault)
    return step


def test_the_prompt_is_the_user_s_message_and_the_system_text_stands_before_it() -> None:
    request = asked({"system": "You are {{ who }}.", "prompt": "Hi {{ who }}"}, inputs={"who": "Ann"})
    assert request.messages == ({"role": "system", "content": "You are Ann."}, {"role": "user", "content": "Hi Ann"})


def test_a_prompt_that_is_one_value_is_told_as_json() -> None:
    assert asked({"prompt": "{{ x }}"}, inputs={"x": {"a": [1, None]}}).messages[0]["content"] == '{"a": [1, null]}'


def test_values_are_data_even_when_they_look_like_templates() -> None:
    assert asked({"prompt": "{{ x }}!"}, inputs={"x": "{{ 7 * 7 }}"}).messages[0]["content"] == "{{ 7 * 7 }}!"


def test_parameters_keep_the_types_of_their_templates() -> None:
    options = {"max_tokens": "{{ n }}", "temperature": 0, "stop": ["{{ s }}"], "top_p": "{{ n / 1000 }}"}
    assert asked(options, inputs={"n": 100, "s": "END"}).params == {
        "max_tokens": 100,
        "temperature": 0,
        "stop": ["END"],
        "top_p": 0.1,
    }


def test_a_model_may_be_named_by_an_earlier_task() -> None:
    assert asked({"model": "{{ pick.model }}"}, outputs={"pick": {"model": "big"}}).model == "big"


@pytest.mark.parametrize("value", [None, 5, "", ["m"]])
def test_a_model_that_is_no_name_ends_the_attempt_before_anything_is_asked(value: Any) -> None:
    with pytest.raises(RunError, match="`model` must be a name"):
        asked({"model": "{{ x }}"}, inputs={"x": value})


def test_a_request_carries_the_attempt_s_deadline_and_what_is_done_about_doubt() -> None:
    request = asked({}, on_ambiguous="fail")
    assert (request.deadline, request.on_ambiguous) == (NOW + 50, "fail")


def test_a_prompt_that_names_a_skipped_task_skips_and_one_with_a_default_does_not() -> None:
    with pytest.raises(SkippedReference):
        asked({"prompt": "{{ a }}"}, skipped=("a",))
    assert asked({"prompt": "{{ a | default('-', true) }}"}, skipped=("a",)).messages[0]["content"] == "-"


@pytest.mark.parametrize("schema", [{"type": 5}, {"$ref": "http://127.0.0.1:9/schema.json"}])
def test_a_schema_that_is_none_is_found_before_anything_is_asked_and_nothing_is_fetched(schema: dict[str, Any]) -> None:
    with pytest.raises(RunError, match="`output_schema`"):
        asked({"output_schema": schema})


# --- answers


def test_without_a_type_the_answer_is_its_text_untouched() -> None:
    assert read(' {"a": 1}\n') == Value(' {"a": 1}\n')
    assert read("5", output_type="string") == Value("5")


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("integer", "5", 5),
        ("number", "5.5", 5.5),
        ("float", "5", 5),
        ("boolean", " true ", True),
        ("array", "[1]", [1]),
        ("object", '{"a": null}', {"a": None}),
        ("object", '```json\n{"a": 1}\n```', {"a": 1}),
        ("object", '```\n{"a": 1}\n```', {"a": 1}),
    ],
)
def test_a_typed_answer_is_the_value_that_it_spells(kind: str, text: str, value: Any) -> None:
    assert read(text, output_type=kind) == Value(value)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("integer", "5.5"),
        ("integer", "true"),
        ("number", "NaN"),
        ("number", "Infinity"),
        ("number", '"5"'),
        ("boolean", "1"),
        ("array", "{}"),
        ("object", "none"),
        ("object", ""),
        ("object", '{"a": 1'),
        ("integer", "1" * 40),
        ("array", "[" * 100_000),
        ("array", "[" * 500 + "]" * 500),
        ("array", '["\\ud800"]'),
        ("object", '{"a": ' + "9" * 5000 + "}"),
    ],
)
def test_an_answer_that_is_not_what_was_asked_for_is_a_fault_that_may_pass(kind: str, text: str) -> None:
    fault = read(text, output_type=kind)
    assert isinstance(fault, Fault)
    assert (fault.type, fault.passing, fault.reason) == ("InvalidOutput", True, "task_failed")


def test_an_answer_is_held_against_its_schema() -> None:
    schema = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer", "maximum": 3}}}
    assert read('{"a": 3}', output_schema=schema) == Value({"a": 3})
    wrong = read('{"a": 4}', output_schema=schema)
    assert isinstance(wrong, Fault)
    assert "3" in wrong.message


# --- with a script


def test_with_a_script_the_script_runs_and_its_calls_are_the_task_s() -> None:
    options = {"model": "{{ pick }}", "script": "return process_with_llm('x')"}
    made = attempt("llm_task", options, inputs={"pick": "big"})
    assert isinstance(TASK.begin(made), RunScript)
    done = ScriptDone(kind="call", call_number=2, request={"text": "x", "model": None, "params": {"max_tokens": 5}})
    step = TASK.scripted(made, done)
    assert isinstance(step, Ask)
    assert (step.number, step.request.model, step.request.params) == (2, "big", {"max_tokens": 5})
    assert step.request.messages == ({"role": "user", "content": "x"},)


def test_a_script_may_name_another_model() -> None:
    made = attempt("llm_task", {"model": "m", "script": "return 1"})
    step = TASK.scripted(made, ScriptDone(kind="call", call_number=1, request={"text": "x", "model": "other"}))
    assert isinstance(step, Ask)
    assert step.request.model == "other"


@pytest.mark.parametrize("request_", [{}, {"text": 5, "params": [1]}, {"model": None, "text": None}])
def test_a_request_that_a_script_wrote_into_its_pipe_by_itself_is_read_as_well_as_it_can_be(request_: Any) -> None:
    made = attempt("llm_task", {"model": "m", "script": "return 1"})
    step = TASK.scripted(made, ScriptDone(kind="call", call_number=1, request=request_))
    assert isinstance(step, Ask)
    assert isinstance(step.request.messages[0]["content"], str)
    assert step.request.params == {}


def test_a_script_without_any_model_cannot_ask() -> None:
    made = attempt("python_task", {"script": "return 1"})
    with pytest.raises(RunError, match="needs a model"):
        KINDS["python_task"].scripted(made, ScriptDone(kind="call", call_number=1, request={"text": "x"}))
