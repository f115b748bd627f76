"""Tasks of services in a plan: which services it needs, what its options are, what does not compile."""

from __future__ import annotations

import pytest

from stream_orchestrator.plan.compile import examine
from stream_orchestrator.plan.model import Plan
from stream_orchestrator.plan.services import SERVICE_OF_KIND
from stream_orchestrator.spec.loader import load_text
from stream_orchestrator.tasks import KINDS

HEAD = "name: P\ninput_variables:\n  x: {type: string}\n"


def looked_at(text: str) -> tuple[Plan | None, list[tuple[str, str]]]:
    (located,) = load_text(text, file="p.yaml")
    plan, problems = examine(located)
    return plan, [(problem.rule, problem.message) for problem in problems if problem.severity == "error"]


def compiled(text: str) -> Plan:
    plan, problems = looked_at(text)
    assert plan is not None, problems
    return plan


@pytest.mark.parametrize("kind", SERVICE_OF_KIND)
def test_the_example_of_a_kind_compiles_and_needs_its_service(kind: str) -> None:
    plan = compiled(KINDS[kind].example)
    assert plan.services == (SERVICE_OF_KIND[kind],)
    (variant,) = plan.tasks[0].variants
    assert (variant.kind, variant.retries, variant.timeout) == (kind, 2, 120.0)


def test_the_services_of_fallbacks_and_of_bodies_are_needed_too() -> None:
    plan = compiled(
        HEAD
        + """
tasks:
  - name: a
    type: python_task
    script: return 1
    error_handling:
      fallback: {name: b, type: file_task, operation: read, path: x}
  - name: loop
    type: for_loop
    iterate_over: [1]
    tasks:
      - {name: c, type: api_task, url: "https://a.example"}
"""
    )
    assert plan.services == ("api", "files")


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ("article_url: {type: string}\n  depth: {type: string}", '{{ inputs["article_url"] }}'),
        ('page: {type: string, validation: "^https?://.*"}', '{{ inputs["page"] }}'),
        ('page: {type: string, validation: {regex: "^https?://.*"}}\n  n: {type: integer}', '{{ inputs["page"] }}'),
    ],
)
def test_a_page_without_an_address_is_the_one_variable_that_holds_one(variables: str, url: str) -> None:
    plan = compiled(f"name: P\ninput_variables:\n  {variables}\ntasks:\n  - {{name: a, type: web_scraping_task}}\n")
    assert plan.tasks[0].variants[0].options["url"] == url


@pytest.mark.parametrize(
    "variables", ["x: {type: string}", "a_url: {type: string}\n  b_url: {type: string}", "n_url: {type: integer}"]
)
def test_a_page_whose_address_nobody_can_know_does_not_compile(variables: str) -> None:
    plan, problems = looked_at(
        f"name: P\ninput_variables:\n  {variables}\ntasks:\n  - {{name: a, type: web_scraping_task}}\n"
    )
    assert plan is None
    assert [rule for rule, _ in problems] == ["no-url"]


def test_templates_make_edges() -> None:
    plan = compiled(
        HEAD
        + """
tasks:
  - {name: a, type: api_task, url: "https://a.example"}
  - name: b
    type: api_task
    url: "https://b.example"
    auth: {bearer: "{{ secret('t') }}"}
    json: {deep: [{of: "{{ a.json }}"}]}
"""
    )
    assert plan.task("b").upstream == ("a",)


@pytest.mark.parametrize(
    ("task", "rule"),
    [
        ("type: database_task, connection: db, query: \"SELECT '{{ x }}'\"", "bad-value"),
        ('type: database_task, connection: "{{ x }}", query: SELECT 1', "bad-value"),
        ("type: api_task, url: https://a.example, json: {a: 1}, body: x", "bad-value"),
        ("type: api_task, url: https://a.example, method: FETCH", "bad-value"),
        ("type: api_task, url: https://a.example, auth: {token: x}", "unknown-key"),
        ("type: file_task, operation: chmod, path: x", "bad-value"),
        ("type: email_task, subject: s", "missing-key"),
        ('type: llm_task, model: offline/echo, prompt: "{{ secret(1) }}"', "unknown-name"),
    ],
)
def test_what_cannot_be_meant_does_not_compile(task: str, rule: str) -> None:
    plan, problems = looked_at(f"{HEAD}tasks:\n  - {{name: a, {task}}}\n")
    assert plan is None
    assert rule in {found for found, _ in problems}, problems
