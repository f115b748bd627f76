from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_orchestrator.errors import HouseError, SpecError
from stream_orchestrator.plan.codec import content_hash, from_json, to_json
from stream_orchestrator.plan.compile import compile_document, examine
from stream_orchestrator.plan.functions import functions_of
from stream_orchestrator.plan.model import RESULT, START, Plan, TaskPlan, Variant
from stream_orchestrator.plan.models import current, default_model, service_of
from stream_orchestrator.plan.scripts import Script
from stream_orchestrator.spec.loader import load_text
from stream_orchestrator.spec.problems import Problem

INPUTS = "input_variables:\n  text: {type: string}\n  limit: {type: integer, default: 3}\n"


def document(tasks: str, more: str = "", *, file: str = "orders.yaml") -> Any:
    text = f'name: "Orders"\nversion: "1.2.0"\n{more}tasks:\n{indent(dedent(tasks).strip(), "  ")}\n'
    return load_text(text, file=file)[0]


def compiled(tasks: str, more: str = "", **settings: Any) -> Plan:
    return compile_document(document(tasks, more), **settings)


def problems(tasks: str, more: str = "", **settings: Any) -> tuple[Problem, ...]:
    return examine(document(tasks, more), **settings)[1]


def rules(tasks: str, more: str = "", severity: str = "error") -> list[str]:
    return [problem.rule for problem in problems(tasks, more) if problem.severity == severity]


def python(name: str, script: str, more: str = "") -> str:
    return f'- name: "{name}"\n  type: python_task\n  script: |\n{indent(script, "    ")}\n{indent(more, "  ")}\n'


def llm(name: str, prompt: str, more: str = "") -> str:
    return f'- name: "{name}"\n  type: llm_task\n  model: offline/x\n  prompt: {prompt!r}\n{indent(more, "  ")}\n'


# edges


@pytest.mark.parametrize(
    "second",
    [
        llm("b", "{{ a }}"),
        llm("b", "{{ tasks.a.n }}"),
        llm("b", "{% if a.ok %}x{% endif %}"),
        llm("b", "x", "max_tokens: '{{ a.n }}'"),
        llm("b", "x", "system: 'Be {{ a }}'"),
        llm("b", "x", "inputs:\n  n: '{{ a.n }}'"),
        llm("b", "x", "condition: a.n > 3"),
        llm("b", "x", "condition: '{{ a.n }} > 3'"),
        llm("b", "x", "depends_on: a"),
        llm("b", "x", "depends_on: [a]"),
        llm(
            "b",
            "x",
            "error_handling:\n  fallback:\n    - {name: c, type: llm_task, model: offline/x, prompt: '{{ a }}'}",
        ),
        llm("b", "x", "error_handling:\n  fallback: {name: c, type: python_task, script: 'return a'}"),
        python("b", "return {{ a }}"),
        python("b", 'return "{{ a }}"'),
        python("b", "return a['n']"),
        python("b", "a = a['n']\nreturn a"),
        python("b", "return context.get_task_output('a')"),
        python("b", "return tasks['a']"),
        python("b", "{% if a %}\nreturn 1\n{% endif %}"),
    ],
)
def test_a_task_waits_for_what_it_reads(second):
    plan = compiled(second + python("a", "return {'n': 1, 'ok': True}"))
    assert [task.name for task in plan.tasks] == ["a", "b"]
    assert plan.task("b").upstream == ("a",)
    assert plan.task("a").upstream == (START,)
    assert (plan.task("a").downstream, plan.task("b").downstream) == (("b",), (RESULT,))


@pytest.mark.parametrize(
    "second",
    [
        llm("b", "{{ c }}"),
        llm("b", "{{ a }}", "inputs: {a: 3}"),
        python("b", "a = 1\nreturn a"),
        python("b", "return [a for a in [1]]"),
        python("b", "# a\nreturn 'a'"),
        python("b", "return x.a"),
    ],
)
def test_a_task_does_not_wait_for_what_only_looks_like_a_name(second):
    assert compiled(python("a", "return 1") + second).task("b").upstream == (START,)


@pytest.mark.parametrize("kind", ["[python_task]", "{a: b}", "null", "7"])
def test_a_type_that_is_no_text_is_a_mistake_like_any_other(kind):
    assert "error" in {
        problem.severity for problem in problems(f"  - name: a\n    type: {kind}\n    script: return 1\n")
    }


def test_position_in_the_file_implies_nothing():
    plan = compiled(python("a", "return 1") + python("b", "return 2"))
    assert plan.task("a").downstream == plan.task("b").downstream == (RESULT,)


def test_a_computed_name_with_a_constant_part_is_an_edge_to_all_that_match():
    tasks = python("part_1", "1") + python("part_2", "2") + python("other", "3")
    plan = compiled(tasks + python("join", "return [context.get_task_output(f'part_{i}') for i in (1, 2)]"))
    assert plan.task("join").upstream == ("part_1", "part_2")


def test_a_wholly_computed_name_is_an_edge_from_every_earlier_task_with_a_warning():
    tasks = python("a", "1") + python("b", "n = 'a'\nreturn context.get_task_output(n)") + python("c", "1")
    assert compiled(tasks).task("b").upstream == ("a",)
    assert rules(tasks, severity="warning") == ["computed-task-name"]


def test_an_earlier_task_that_waits_for_the_reader_of_a_computed_name_makes_no_cycle():
    plan = compiled(python("a", "return b") + python("x", "1") + python("b", "return context.get_task_output(name)"))
    assert plan.task("b").upstream == ("x",)


def test_a_called_name_is_a_helper_even_where_a_task_has_it_too():
    plan = compiled(python("score", "return score(1)") + python("b", "return score(2)"))
    assert plan.task("b").upstream == (START,)
    assert plan.helpers == ("score",)


# what is wrong with names


@pytest.mark.parametrize(
    ("tasks", "rule"),
    [
        (llm("a", "x", "depends_on: [nope]"), "unknown-task"),
        (llm("a", "x", "depends_on: [a]"), "unknown-task"),
        (llm("a", "{{ nope }}"), "unknown-name"),
        (llm("a", "x", "condition: nope > 1"), "unknown-name"),
        (llm("a", "{{ tasks.nope }}"), "unknown-task"),
        (llm("a", "{{ inputs.nope }}"), "unknown-name"),
        (llm("a", "{{ a }}"), "self-reference"),
        (llm("a", "{{ item.value }}"), "unknown-name"),
        (python("a", "return {{ nope }}"), "unknown-name"),
        (python("a", "return txt"), "unknown-name"),
        (python("a", "return inputs['nope']"), "unknown-name"),
        (python("a", "return context.get_task_output('nope')"), "unknown-task"),
        (python("a", "return context.get_variable('nope')"), "unknown-name"),
        (python("a", "1") + python("a", "2"), "duplicate-task"),
        (python("a b", "1") + python("a-b", "2"), "slug-collision"),
        (python("text", "1"), "name-clash"),
        (python("input_data", "1"), "name-clash"),
        (python("tasks", "1"), "reserved-name"),
        (python("a {{ text }}", "1"), "templated-name"),
        (python("a", "return b") + python("b", "return a"), "cycle"),
        (llm("a", "{{ text"), "bad-template"),
        (llm("a", "say { text }} aloud"), "single-braces"),
        (llm("a", "{{ text | nofilter }}"), "bad-template"),
        (llm("a", "x", "condition: text >"), "bad-condition"),
        (python("a", "return ("), "bad-script"),
        (python("a", "x{{ text }} = 1"), "bad-script"),
        (llm("a", "x", "error_handling: {fallback_value: '{{ text }}'}"), "template-not-filled"),
        (
            llm("a", "x", "error_handling:\n  fallback: [{name: a, type: python_task, script: '1'}]"),
            "duplicate-task",
        ),
        (
            llm("a", "x", "error_handling:\n  fallback: [{name: f, type: python_task, script: '1'}]")
            + llm("b", "{{ f }}"),
            "fallback-output",
        ),
    ],
)
def test_a_name_that_stands_for_nothing_or_for_two_things_is_an_error(tasks, rule):
    assert rules(tasks, INPUTS) == [rule]
    with pytest.raises(SpecError) as caught:
        compiled(tasks, INPUTS)
    assert [problem.rule for problem in caught.value.problems if problem.severity == "error"] == [rule]


@pytest.mark.parametrize(
    ("tasks", "line", "column", "hint"),
    [
        (llm("score", "{{ txt }}"), 10, 17, "`text`"),
        (python("a", "x = 1\nreturn {{ limt }}"), 11, 17, "`limit`"),
        (python("scores", "1") + llm("b", "{{ tasks.score }}"), 15, 23, "`scores`"),
        (llm("bac", "x", "depends_on: [bacl]") + llm("back", "x"), 11, 18, "`back`"),
    ],
)
def test_a_wrong_name_is_told_at_its_place_with_the_nearest_right_one(tasks, line, column, hint):
    (problem,) = [problem for problem in problems(tasks, INPUTS) if problem.severity == "error"]
    assert (problem.line, problem.column) == (line, column)
    assert hint in problem.hint


def test_a_broken_script_is_told_at_its_own_line_of_the_file():
    (problem,) = problems(python("a", "x = 1\ny = (\nz = 3"), INPUTS)
    assert (problem.rule, problem.line) == ("bad-script", 11)


def test_a_cycle_is_printed_the_way_data_would_flow():
    (problem,) = problems(python("a", "return c") + python("b", "return a") + python("c", "return b"))
    assert "a → b → c → a" in problem.message


def test_every_problem_is_found_in_one_pass_beside_those_of_the_shape():
    tasks = (
        llm("a", "{{ nope }}", "retires: 3\ncondition: a >") + python("b", "return (") + llm("b", "x", "depends_on: q")
    )
    assert set(rules(tasks, INPUTS)) == {
        "unknown-key", "unknown-name", "bad-condition", "bad-script", "duplicate-task", "unknown-task",
    }  # fmt: skip


def test_without_declared_inputs_every_unknown_name_is_a_key_of_the_payload():
    plan = compiled(llm("a", "{{ anything }}") + python("b", "return something + {{ else_ }}"))
    assert plan.inputs == {}
    assert plan.helpers == ()


def test_single_braces_around_a_known_name_are_a_warning_and_other_braces_are_text():
    assert rules(llm("a", "say {text}"), INPUTS, severity="warning") == ["single-braces"]
    assert rules(llm("a", 'answer as {"text": {"a": {other}}}'), INPUTS, severity="warning") == []


def test_without_declared_inputs_a_name_that_is_almost_a_task_is_a_warning():
    tasks = python("validate_data", "1") + llm("b", "{{ validat_data }}")
    assert rules(tasks, severity="warning") == ["looks-like-a-task"]


def test_the_pipeline_may_not_take_the_topics_of_the_house():
    located = load_text("name: Orchestrator\ntasks:\n  - {name: a, type: python_task, script: '1'}\n", file="x.yaml")[0]
    assert [problem.rule for problem in examine(located)[1]] == ["reserved-name"]


@pytest.mark.parametrize(
    "output", ["output: '{{ nope }}'\n", "outputs: {a: '{{ tasks.nope }}'}\n", "output: {n: ['{{ a']}\n"]
)
def test_the_output_is_checked_like_any_template(output):
    assert len(rules(python("a", "1"), INPUTS + output)) == 1


# variants and their defaults


def test_scripts_try_once_within_300_seconds_and_models_three_times_within_120():
    plan = compiled(python("s", "1") + llm("m", "x"))
    assert [(task.variants[0].retries, task.variants[0].timeout) for task in plan.tasks] == [(0, 300.0), (2, 120.0)]
    assert plan.timeout == 86_400


def test_what_is_written_wins_over_the_defaults():
    retries = "retry_count: 4, retry_delay: 2 seconds, retry_backoff: 3"
    errors = f"error_handling: {{{retries}, on_ambiguous: fail, on_failure: skip}}"
    plan = compiled(python("s", "1", f"timeout: 1 minute\n{errors}"), "timeout: 1 hour\n")
    (variant,) = plan.tasks[0].variants
    assert (variant.timeout, variant.retries, variant.retry_delay, variant.retry_backoff) == (60, 4, 2, 3)
    assert (variant.on_ambiguous, plan.tasks[0].on_failure, plan.timeout) == ("fail", "skip", 3600)


def test_fallbacks_are_variants_of_the_same_task_in_their_order():
    fallback = """\
        error_handling:
          fallback_value: null
          fallback:
            - {name: second, type: llm_task, model: offline/y, prompt: y, error_handling: {retry_count: 0}}
            - {name: third, type: python_task, script: "return 3"}
        """
    (task,) = compiled(llm("first", "x", dedent(fallback))).tasks
    assert [(each.name, each.kind, each.retries) for each in task.variants] == [
        ("first", "llm_task", 2), ("second", "llm_task", 0), ("third", "python_task", 0),
    ]  # fmt: skip
    assert task.has_fallback_value
    assert task.fallback_value is None


def test_fallback_models_are_variants_named_after_their_model():
    more = "model_strategy: {fallback_model: offline/z}\n"
    (task,) = compiled(llm("first", "x", "fallback_models: [offline/y]"), more).tasks
    assert [(each.name, each.options["model"]) for each in task.variants] == [
        ("first", "offline/x"), ("offline/y", "offline/y"), ("offline/z", "offline/z"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("more", "model", "warned"),
    [
        ("", default_model(), ["default-model"]),
        ("model_strategy: {default_model: offline/s}\n", "offline/s", []),
        ("model_settings: {default_model: offline/t}\n", "offline/t", []),
    ],
)
def test_a_task_without_a_model_asks_the_pipelines_or_the_configured_one(more, model, warned):
    tasks = "- {name: a, type: llm_task, prompt: x}"
    assert compiled(tasks, more).tasks[0].variants[0].options["model"] == model
    assert rules(tasks, more, severity="warning") == warned


def test_the_configured_default_model_can_be_given():
    plan = compiled("- {name: a, type: llm_task, prompt: x}", default_model="offline/mine")
    assert plan.models == ("offline/mine",)


@pytest.mark.parametrize(
    "model", ["gpt-3.5-turbo", "gpt-4", "gpt-4-turbo", "gpt-4-0613", "claude-3-opus", "claude-3-haiku-20240307"]
)
def test_a_retired_model_is_asked_by_todays_name_with_a_warning(model):
    tasks = f"- {{name: a, type: llm_task, prompt: x, model: {model}}}"
    plan = compiled(tasks)
    assert plan.models == (current(model),) != (model,)
    assert service_of(current(model)) == service_of(model)
    assert rules(tasks, severity="warning") == ["retired-model"]


@pytest.mark.parametrize(
    "model", ["gpt-4o", "gpt-4.1-mini", "gpt-4o-mini", "gpt-5", "claude-sonnet-4-5", "offline/gpt-4", default_model()]
)
def test_a_model_of_today_keeps_its_name(model):
    assert current(model) == model


@pytest.mark.parametrize(
    ("model", "services", "models"),
    [
        ("offline/x", ("offline",), ("offline/x",)),
        ("gpt-5", ("openai",), ("gpt-5",)),
        ("claude-opus-5", ("anthropic",), ("claude-opus-5",)),
        ("llama-3-70b", ("openai",), ("llama-3-70b",)),
        ("'{{ pick }}'", ("offline", "openai", "anthropic"), ()),
    ],
)
def test_services_follow_from_the_models(model, services, models):
    plan = compiled(f"- {{name: a, type: llm_task, prompt: x, model: {model}}}")
    assert (plan.services, plan.models) == (services, models)


@pytest.mark.parametrize(
    ("script", "services"),
    [
        ("process_with_llm('x', model='claude-opus-5')", ("anthropic",)),
        ("process_with_llm('x')", ("openai",)),
        ("process_with_llm('x', pick)", ("offline", "openai", "anthropic")),
        ("return 1", ()),
    ],
)
def test_a_script_that_asks_models_needs_their_services(script, services):
    assert compiled(python("a", script)).services == services


def test_a_task_without_a_prompt_gets_one_that_shows_all_inputs_and_what_it_waits_for():
    tasks = (
        python("fetch it", "1")
        + '- {name: a, type: llm_task, model: offline/x, description: "Do {{ it }}", depends_on: [fetch it]}'
    )
    prompt = compiled(tasks, INPUTS).task("a").variants[0].options["prompt"]
    from stream_orchestrator.plan import templates

    scope = {"inputs": {"text": "T", "limit": 3}, "tasks": {"fetch it": {"n": None}}}
    assert templates.render(prompt, scope) == 'Do {{ it }}\n\ntext: T\nlimit: 3\nfetch it: {"n": null}'
    assert rules(tasks, INPUTS, severity="warning") == ["built-prompt"]


def test_a_model_task_with_a_script_runs_it_and_has_no_prompt():
    (task,) = compiled("- {name: a, type: llm_task, model: offline/x, script: 'return process_with_llm(text)'}").tasks
    assert "prompt" not in task.variants[0].options
    assert task.variants[0].options["model"] == "offline/x"


# what scripts reach


def test_a_script_gets_what_it_names_literally_and_nothing_of_ours():
    tasks = python("a", "import os, requests\nos.getenv('MINE'); os.getenv('OPENAI_API_KEY')")
    options = compiled(tasks).tasks[0].variants[0].options
    assert (options["network"], options["env"]) == (True, ["MINE"])
    assert rules(tasks, severity="warning") == ["reserved-env"]


def test_a_sandbox_says_it_aloud_and_overrules():
    plan = compiled(
        python("a", "import requests", "sandbox: {network: false, env: [B]}"), "sandbox: {network: true, env: [A]}\n"
    )
    options = plan.tasks[0].variants[0].options
    assert (options["network"], options["env"]) == (False, ["A", "B"])


# helpers


def test_helpers_that_nobody_defines_are_warnings_with_their_line(tmp_path):
    tasks = python("a", "x = 1\nreturn enrich(x, y=calculate(x))")
    (first, second) = [problem for problem in problems(tasks) if problem.rule == "unknown-helper"]
    assert (first.line, first.severity) == (8, "warning")
    assert ["calculate" in first.message, "enrich" in second.message] == [True, True]
    plan = compiled(tasks)
    helpers = tmp_path / "helpers.py"
    helpers.write_text("def enrich(x, y): return x\n")
    assert functions_of(plan) == (("calculate", "enrich"), ("calculate", "enrich"))
    assert functions_of(plan, [str(helpers)]) == (("calculate", "enrich"), ("calculate",))


def test_helpers_are_found_in_the_documents_own_functions_beside_it_without_running_them(tmp_path):
    (tmp_path / "helpers.py").write_text(
        "from json import dumps as write\nLIMIT = 3\ndef enrich(x): return x\nraise SystemExit\n"
    )
    file = str(tmp_path / "orders.yaml")
    located = document(python("a", "return enrich(write(LIMIT))"), INPUTS + "functions: helpers.py\n", file=file)
    plan, found = examine(located)
    assert found == ()
    assert plan is not None
    assert plan.functions == (str(tmp_path / "helpers.py"),)
    assert functions_of(plan) == (("LIMIT", "enrich", "write"), ())


def test_helpers_are_found_in_modules_too():
    tasks = python("a", "return dedent(x)")
    assert compiled(tasks, "functions: [textwrap]\n").helpers == ("dedent",)
    assert rules(tasks, "functions: [textwrap]\n", severity="warning") == []
    assert rules(tasks, "functions: [no.such.module]\n", severity="warning") == ["unknown-functions", "unknown-helper"]


def test_a_slip_in_a_helpers_name_is_told_with_the_right_one(tmp_path):
    (tmp_path / "h.py").write_text("def calculate_score(x): return x\n")
    (problem,) = problems(python("a", "return calculate_scor(1)"), functions=[str(tmp_path / "h.py")])
    assert "calculate_score" in problem.hint


# the plan as data

VARIED = llm("a", "{{ text }}", "description: d") + python(
    "b", "return a", "inputs: {n: '{{ limit }}'}\ncondition: limit > 1"
)


def test_a_plan_is_read_back_as_it_was_written():
    plan = compiled(VARIED, INPUTS + "output: {n: '{{ b }}'}\n")
    assert from_json(to_json(plan)) == plan
    assert content_hash(plan) == plan.hash


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
MAPS = st.dictionaries(TEXT, JSON, max_size=3)
VARIANTS = st.builds(Variant, name=TEXT, kind=TEXT, options=MAPS, timeout=st.floats(0, 1e6), retries=st.integers(0, 9))
TASKS = st.builds(
    TaskPlan, name=TEXT, slug=TEXT, kind=TEXT, upstream=TEXTS, downstream=TEXTS, fallback_value=JSON, inputs=MAPS,
    variants=st.lists(VARIANTS, min_size=1, max_size=2).map(tuple), condition=st.none() | TEXT,
)  # fmt: skip
PLANS = st.builds(
    Plan, title=TEXT, slug=TEXT, version=TEXT, tasks=st.lists(TASKS, max_size=3).map(tuple), inputs=MAPS, output=JSON,
    functions=TEXTS, helpers=TEXTS, models=TEXTS, services=TEXTS, env=TEXTS, hash=TEXT,
)  # fmt: skip


@given(PLANS)
def test_any_plan_is_read_back_as_it_was_written(plan):
    assert from_json(to_json(plan)) == plan
    assert to_json(from_json(to_json(plan))) == to_json(plan)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"format": 1}', b'{"format": 99, "tasks": []}', b"\xff"])
def test_bytes_that_are_no_plan_are_a_fault_of_the_house(data):
    with pytest.raises(HouseError):
        from_json(data)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('name: "Orders"', 'name: "orders"'),
        ("description: d", "description: another"),
        ("type: string}", "type: string, description: a text, example: abc}"),
        ("version:", "author: me\nversion:"),
        ("tasks:\n", "# a comment\ntasks:\n\n"),
    ],
)
def test_what_changes_nothing_does_not_change_the_hash(old, new):
    text = "\n".join(document(VARIED, INPUTS).lines)
    assert old in text
    assert _hash(text.replace(old, new)) == _hash(text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{{ text }}", "{{ text }}!"),
        ("limit > 1", "limit > 2"),
        ("return a", "return a "),
        ('version: "1.2.0"', 'version: "1.2.1"'),
        ("default: 3", "default: 4"),
        ("offline/x", "offline/y"),
        ("type: llm_task\n", "type: llm_task\n    timeout: 7\n"),
        ("type: llm_task\n", "type: llm_task\n    error_handling: {fallback_value: 1}\n"),
        ("tasks:\n", "output: '{{ b }}'\ntasks:\n"),
        ("tasks:\n", "input_validation: {strict_mode: true}\ntasks:\n"),
    ],
)
def test_what_changes_a_run_changes_the_hash(old, new):
    text = "\n".join(document(VARIED, INPUTS).lines)
    assert old in text
    assert _hash(text.replace(old, new, 1)) != _hash(text)


def test_the_hash_does_not_depend_on_where_the_checkout_lies(tmp_path):
    hashes = set()
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "h.py").write_text("def f(): return 1\n")
        located = document(python("a", "f()"), "functions: [h.py]\n", file=str(tmp_path / folder / "orders.yaml"))
        hashes.add(compile_document(located).hash)
    assert len(hashes) == 1


def test_a_document_that_uses_nothing_new_has_the_hash_of_the_first_release():
    """Its version is deployed: another hash would be another content under the same version."""
    text = """
name: Orders
version: 1.0.0
input_variables:
  text: {type: string, description: what, validation: {max_length: 50}}
tasks:
  - {name: words, type: python_task, script: "return text.split()"}
  - name: summary
    type: llm_task
    model: offline/echo
    prompt: "Say {{ words }}"
    condition: "words != []"
    error_handling: {retry_count: 1, fallback: [{name: short, type: python_task, script: "return text[:9]"}]}
output: {summary: "{{ summary }}"}
"""
    assert _hash(text) == "d0bb7958bbdfab0f29d334e25ec5c4b3cae37c76aa49453b85154bafaf35c846"


def test_the_hash_is_not_part_of_itself():
    plan = compiled(VARIED, INPUTS)
    assert content_hash(replace(plan, hash="other")) == plan.hash


def _hash(text: str) -> str:
    return compile_document(load_text(text, file="orders.yaml")[0]).hash


def test_every_script_of_a_plan_can_be_parsed_again():
    plan = compiled(VARIED, INPUTS)
    scripts = [
        variant.options["script"] for task in plan.tasks for variant in task.variants if "script" in variant.options
    ]
    assert [Script.parse(script).free_names for script in scripts] == [{"a"}]


def test_other_documents_compile_to_nothing_and_say_so():
    located = load_text(
        "type: component\nname: c\ntasks:\n  - {name: a, type: python_task, script: '1'}\n", file="c.yaml"
    )[0]
    assert examine(located)[0] is None
    with pytest.raises(SpecError, match="not a pipeline"):
        compile_document(located)


def test_a_pipeline_without_a_name_has_the_files():
    located = load_text(
        "tasks:\n  - {name: a, type: python_task, script: '1'}\n", file=str(Path("some") / "Order Intake.yaml")
    )[0]
    assert compile_document(located).slug == "order-intake"
