"""Tasks of services: what is asked, and that no secret is in it."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest
from attempts import attempt
from hypothesis import given
from hypothesis import strategies as st

from stream_orchestrator.errors import RunError
from stream_orchestrator.kernel.effects import Answer, ServiceRequest
from stream_orchestrator.kernel.kinds import Ask, Value
from stream_orchestrator.plan.model import Guards
from stream_orchestrator.plan.services import SERVICE_OF_KIND
from stream_orchestrator.plan.templates import SkippedReference
from stream_orchestrator.tasks import KINDS

LEAST: dict[str, dict[str, Any]] = {
    "web_scraping_task": {"url": "https://a.example"},
    "web_search_task": {"query": "q"},
    "api_task": {"url": "https://a.example"},
    "file_task": {"operation": "read", "path": "a"},
    "database_task": {"connection": "db", "query": "SELECT 1"},
    "email_task": {"to": ["a@b.example"], "subject": "s"},
}


def asked(kind: str, options: dict[str, Any], **more: Any) -> ServiceRequest:
    step = KINDS[kind].begin(attempt(kind, {**LEAST[kind], **options}, **more))
    assert isinstance(step, Ask)
    assert isinstance(step.request, ServiceRequest)
    return step.request


@pytest.mark.parametrize("kind", LEAST)
def test_every_kind_asks_its_service_and_gives_what_it_answers(kind: str) -> None:
    request = asked(kind, {})
    assert request.service == SERVICE_OF_KIND[kind]
    assert request.operation
    made = attempt(kind, LEAST[kind])
    assert KINDS[kind].answered(made, Answer(value={"a": 1})) == Value({"a": 1})
    assert request.deadline == made.deadline


@pytest.mark.parametrize("kind", LEAST)
def test_the_key_of_an_effect_is_the_same_for_every_attempt_of_a_step_and_no_other(kind: str) -> None:
    first = attempt(kind, LEAST[kind])
    again = msgspec.structs.replace(first, row=msgspec.structs.replace(first.row, attempt=2, attempts=7))
    other = msgspec.structs.replace(first, row=msgspec.structs.replace(first.row, run_id="run-2"))
    fallback = msgspec.structs.replace(first, row=msgspec.structs.replace(first.row, variant=1))
    keys = [KINDS[kind].begin(each).request.key for each in (first, again, other, fallback)]  # type: ignore[union-attr]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_how_a_task_is_asked_for_is_no_part_of_the_request() -> None:
    assert asked("api_task", {"breaker": {"name": "b"}}).options == {"url": "https://a.example"}


def test_a_statement_is_never_a_template_and_its_values_are() -> None:
    query = "SELECT '{% raw %}' , '{{ x }}' WHERE a = :x"
    request = asked("database_task", {"query": query, "parameters": {"x": "{{ x }}"}}, inputs={"x": 5})
    assert (request.options["query"], request.options["parameters"]) == (query, {"x": 5})


# --- secrets


def test_a_secret_is_a_mark_in_the_request() -> None:
    options = {
        "headers": {"X": "k={{ secret('a') }}"},
        "auth": {"bearer": "{{ secret('b') }}"},
        "query": {"q": "{{ x }}"},
    }
    request = asked("api_task", options, inputs={"x": 1})
    (mark_a,) = (mark for mark, name in request.secrets.items() if name == "a")
    (mark_b,) = (mark for mark, name in request.secrets.items() if name == "b")
    assert request.options["headers"] == {"X": f"k={mark_a}"}
    assert request.options["auth"] == {"bearer": mark_b}
    assert request.options["query"] == {"q": 1}


def test_a_variable_of_the_environment_that_looks_like_a_secret_is_one() -> None:
    options = {"headers": {"X": "{{ env.REGION }}", "Y": "{{ env.API_TOKEN }}"}}
    made = attempt("api_task", {**LEAST["api_task"], **options})
    scope = {**made.scope, "env": {"REGION": "eu", "API_TOKEN": "tok-123456"}}
    request = KINDS["api_task"].begin(msgspec.structs.replace(made, scope=scope)).request  # type: ignore[union-attr]
    assert request.options["headers"]["X"] == "eu"
    assert request.secrets == {request.options["headers"]["Y"]: "env:API_TOKEN"}
    assert b"tok-123456" not in msgspec.json.encode(request)


def test_the_same_step_has_the_same_marks_and_another_has_others() -> None:
    options = {"body": "{{ secret('a') }} {{ x }}"}
    first, again = (asked("api_task", options, inputs={"x": 1}) for _ in range(2))
    other = asked("api_task", options, inputs={"x": 2})
    assert first == again
    assert not first.secrets.keys() & other.secrets.keys()


@pytest.mark.parametrize("value", [2**100, "\ud800"])
def test_what_no_record_can_hold_fails_a_task_with_secrets_and_not_the_worker(value: Any) -> None:
    with pytest.raises(RunError, match="cannot be stored as JSON"):
        asked("api_task", {"body": "{{ secret('a') }}"}, inputs={"x": value})


@pytest.mark.parametrize("kind", LEAST)
def test_a_pipeline_that_wants_tls_says_so_with_every_address(kind: str) -> None:
    made = attempt(kind, LEAST[kind])
    plan = dataclasses.replace(made.around.plan, guards=Guards(tls=True))
    around = msgspec.structs.replace(made.around, plan=plan)
    step = KINDS[kind].begin(msgspec.structs.replace(made, around=around))
    assert step.request.options.get("tls", False) is ("url" in LEAST[kind])  # type: ignore[union-attr]
    assert "tls" not in asked(kind, {}).options


@given(st.text(max_size=60))
def test_what_an_event_holds_is_never_taken_for_a_mark(text: str) -> None:
    options = {"body": "{{ secret('a') }}", "query": {"q": "{{ x }}"}}
    known = next(iter(asked("api_task", options, inputs={"x": "first"}).secrets))
    request = asked("api_task", options, inputs={"x": text + known})
    assert request.options["query"] == {"q": text + known}
    assert known not in request.secrets
    assert list(request.secrets) == [request.options["body"]]


@pytest.mark.parametrize(
    "template",
    [
        "{{ secret('a') | upper }}",
        "{{ secret('a') | length }}",
        "{% if secret('a') == 'x' %}yes{% endif %}",
        "{{ secret('a')[:4] }}",
        "{{ secret(5) }}",
        "{{ secret('env:HOME') }}",
        "{{ secret('') }}",
    ],
)
def test_a_secret_goes_out_as_it_is_or_not_at_all(template: str) -> None:
    with pytest.raises(RunError):
        asked("api_task", {"body": template})


def test_a_secret_that_is_not_asked_for_is_not_sent() -> None:
    assert asked("api_task", {"body": "{% if x %}{{ secret('a') }}{% endif %}"}, inputs={"x": False}).secrets == {}


# --- what cannot be asked


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("web_scraping_task", {"url": "{{ x }}"}),
        ("web_search_task", {"query": " "}),
        ("web_search_task", {"max_results": "{{ x }}"}),
        ("web_search_task", {"max_results": 1000}),
        ("api_task", {"url": "{{ x }}"}),
        ("api_task", {"headers": "{{ x }}"}),
        ("api_task", {"json": 1, "body": "x"}),
        ("file_task", {"operation": "write"}),
        ("file_task", {"path": "{{ x }}"}),
        ("database_task", {"max_rows": 0}),
        ("email_task", {"to": ["{{ x }}"]}),
        ("email_task", {"to": ["nobody"]}),
        ("email_task", {"to": []}),
        ("email_task", {"subject": "{{ x }}"}),
    ],
)
def test_what_cannot_be_asked_ends_the_attempt_before_anything_is(kind: str, options: dict[str, Any]) -> None:
    with pytest.raises(RunError):
        asked(kind, options, inputs={"x": None})


def test_addresses_may_come_as_a_list_of_an_event() -> None:
    request = asked("email_task", {"to": ["{{ x }}", "c@d.example"]}, inputs={"x": ["a@b.example", "b@c.example"]})
    assert request.options["to"] == ["a@b.example", "b@c.example", "c@d.example"]


def test_a_skipped_output_skips_the_task() -> None:
    with pytest.raises(SkippedReference):
        asked("api_task", {"body": "{{ before }}"}, skipped=("before",))


@pytest.mark.parametrize(
    ("content", "written"),
    [("{{ x }}\n", "a\n"), ("- {{ x }}\n", "- a\n"), ("{{ x }}", "a"), ("{{ n }}\n", 5), ("a\n", "a\n")],
)
def test_a_line_keeps_its_end(content: str, written: Any) -> None:
    request = asked("file_task", {"operation": "append", "content": content}, inputs={"x": "a", "n": 5})
    assert request.options["content"] == written
