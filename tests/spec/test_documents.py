"""Documents: what is accepted, and every refusal with its place and hint."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_orchestrator.errors import SpecError
from stream_orchestrator.spec import kinds
from stream_orchestrator.spec.documents import Document, kind_of, read, read_file
from stream_orchestrator.spec.loader import load_text
from stream_orchestrator.spec.problems import render
from stream_orchestrator.spec.tasks import LlmTask, PythonTask
from stream_orchestrator.spec.unbuilt import TABLE

ACCEPTED = sorted((Path(__file__).parent / "accepted").rglob("*.yaml"))


def document(text: str, file: str = "pipelines/orders.yaml") -> Document:
    (located,) = load_text(text, file=file)
    return read(located)


def rules(text: str, file: str = "pipelines/orders.yaml") -> list[tuple[str, str]]:
    return [(problem.rule, problem.path) for problem in document(text, file).problems]


TASK = "tasks:\n  - name: score\n    type: python_task\n    script: return 1\n"
LLM = "tasks:\n  - name: score\n    type: llm_task\n    prompt: hello\n"


@pytest.mark.parametrize("path", ACCEPTED, ids=lambda path: path.name)
def test_a_good_document_has_no_problem(path):
    for found in read_file(path):
        # A config says what an environment has, also where nothing reads it yet.
        said = [problem for problem in found.problems if found.kind != "config" or problem.rule != "no-effect-yet"]
        assert not said, "\n\n".join(render(problem) for problem in said)
        assert found.model is not None


def test_every_kind_but_the_unbuilt_one_has_a_good_example():
    seen = {found.kind for path in ACCEPTED for found in read_file(path)}
    assert seen == {kind.name for kind in kinds.KINDS}


def test_the_model_of_a_pipeline_holds_what_was_written():
    found = document(
        'name: Orders\nversion: "1.2.0"\ntimeout: 1h30m\ninput_validation: {max_input_size: 10MB}\n'
        "model_strategy: {default_model: offline/echo}\nfunctions: helpers.py\n"
        "tasks:\n"
        "  - name: score\n    type: python_task\n    script: return 1\n    depends_on: other\n    condition: true\n"
        "    error_handling:\n      retry_count: 3\n      retry_delay: 500ms\n      retry_backoff: fixed\n"
        "      fallback: {name: again, type: llm_task, prompt: hi, stop: END}\n"
        "  - name: other\n    type: llm_task\n    prompt: '{{ score }}'\n    max_tokens: '{{ limit }}'\n"
        "    temperature: 0\n"
    ).pipeline
    score, other = found.tasks
    assert (found.timeout, found.input_validation.max_input_size, found.functions) == (
        5400.0,
        10_000_000,
        ["helpers.py"],
    )
    assert isinstance(score, PythonTask)
    assert isinstance(other, LlmTask)
    assert (score.depends_on, score.condition, score.error_handling.retry_delay) == (["other"], "true", 0.5)
    assert score.error_handling.retry_backoff == 1.0
    assert score.error_handling.fallback[0].stop == ["END"]
    assert (other.max_tokens, other.temperature) == ("{{ limit }}", 0)


@pytest.mark.parametrize(
    ("text", "rule", "path", "word", "hint"),
    [
        # keys
        (f"retires: 3\n{TASK}", "unknown-key", "retires", "retires", "`retry_count` under `error_handling`"),
        (f"qqqq: 3\n{TASK}", "unknown-key", "qqqq", "qqqq", "`x-qqqq`"),
        (f"versoin: 1.0.0\n{TASK}", "unknown-key", "versoin", "versoin", "`version`"),
        (f"{TASK}    scrpt: x\n", "unknown-key", "tasks[0].scrpt", "scrpt", "`script`"),
        (
            f"{TASK}    retries: 3\n",
            "unknown-key",
            "tasks[0].retries",
            "retries",
            "`retry_count` under `error_handling`",
        ),
        (f"{TASK}    needs: x\n", "unknown-key", "tasks[0].needs", "needs", "`depends_on`"),
        (f"{TASK}    fallbak: x\n", "unknown-key", "tasks[0].fallbak", "fallbak", "`fallback` under `error_handling`"),
        (f"{TASK}    prompt: x\n", "unknown-key", "tasks[0].prompt", "prompt", "`x-prompt`"),
        (f"{LLM}    sytem: x\n", "unknown-key", "tasks[0].sytem", "sytem", "`system`"),
        (
            f"input_validation: {{strict: true}}\n{TASK}",
            "unknown-key",
            "input_validation.strict",
            "strict",
            "`strict_mode`",
        ),
        ("name: x\n", "missing-key", "tasks", "name", "`tasks:`"),
        ("tasks:\n  - type: python_task\n    script: x\n", "missing-key", "tasks[0].name", "type", "`name:`"),
        ("tasks:\n  - name: a\n    type: python_task\n", "missing-key", "tasks[0].script", "name", "`script:`"),
        ("tasks:\n  - name: a\n    script: x\n", "missing-key", "tasks[0]", "name", "`type:`"),
        # shapes
        ("tasks: []\n", "bad-value", "tasks", "tasks", "add"),
        ("tasks: {a: 1}\n", "wrong-type", "tasks", "tasks", "a list"),
        ("tasks: [foo]\n", "wrong-type", "tasks[0]", "foo", "`name:`"),
        ("tasks: [{name: a, type: 3}]\n", "unknown-task-type", "tasks[0].type", "type", "python_task"),
        ("- a\n- b\n", "wrong-type", "", "- a", "`tasks:`"),
        ("just text\n", "wrong-type", "", "just", "`tasks:`"),
        (
            "tasks: [{name: a, type: pyton_task, script: x}]\n",
            "unknown-task-type",
            "tasks[0].type",
            "type",
            "`python_task`",
        ),
        (f"type: pipelin\n{TASK}", "unknown-kind", "type", "type", "`pipeline`"),
        (f"type: 3\n{TASK}", "unknown-kind", "type", "type", "needs no `type`"),
        (f"name: 3\n{TASK}", "bad-value", "name", "name", "quotes"),
        (f"name: ''\n{TASK}", "bad-value", "name", "name", "write the text"),
        (f"input_variables: [a]\n{TASK}", "wrong-type", "input_variables", "input_variables", "a map"),
        (f"input_variables: {{a: string}}\n{TASK}", "wrong-type", "input_variables.a", "a", "`type:`"),
        (
            f"input_validation: {{strict_mode: yes}}\n{TASK}",
            "wrong-type",
            "input_validation.strict_mode",
            "strict",
            "true",
        ),
        (
            f"input_validation: {{strict_mode: 'true'}}\n{TASK}",
            "wrong-type",
            "input_validation.strict_mode",
            "strict",
            "quotes",
        ),
        # values
        (f"version: 1.0\n{TASK}", "bad-value", "version", "version", "1.2.0"),
        (f"version: v1.0.0\n{TASK}", "bad-value", "version", "version", "1.2.0"),
        (f"version: 01.0.0\n{TASK}", "bad-value", "version", "version", "1.2.0"),
        (f"timeout: 5 parsecs\n{TASK}", "bad-value", "timeout", "timeout", "30 seconds"),
        (f"timeout: 0\n{TASK}", "bad-value", "timeout", "timeout", "above zero"),
        (f"{TASK}    timeout: true\n", "bad-value", "tasks[0].timeout", "timeout", "30 seconds"),
        (f"{TASK}    depends_on: 3\n", "bad-value", "tasks[0].depends_on", "depends_on", "[one, two]"),
        (f"{TASK}    depends_on: [a, 3]\n", "bad-value", "tasks[0].depends_on[1]", "3", "quotes"),
        (f"{TASK}    condition: 3\n", "bad-value", "tasks[0].condition", "condition", "quotes"),
        (f"{TASK}    sandbox: {{network: 3}}\n", "wrong-type", "tasks[0].sandbox.network", "network", "true"),
        (
            f"{TASK}    error_handling: {{retry_count: -1}}\n",
            "bad-value",
            "tasks[0].error_handling.retry_count",
            "retry",
            "after",
        ),
        (
            f"{TASK}    error_handling: {{retry_count: '3'}}\n",
            "bad-value",
            "tasks[0].error_handling.retry_count",
            "retry",
            "after",
        ),
        (
            f"{TASK}    error_handling: {{retry_backoff: 0.5}}\n",
            "bad-value",
            "tasks[0].error_handling.retry_backoff",
            "r",
            "fixed",
        ),
        (
            f"{TASK}    error_handling: {{on_failure: skp}}\n",
            "bad-value",
            "tasks[0].error_handling.on_failure",
            "on",
            "`skip`",
        ),
        (
            f"{TASK}    error_handling: {{on_ambiguous: x}}\n",
            "bad-value",
            "tasks[0].error_handling.on_ambiguous",
            "on",
            "`retry`",
        ),
        (f"{LLM}    max_tokens: 0\n", "bad-value", "tasks[0].max_tokens", "max_tokens", "template"),
        (f"{LLM}    max_tokens: lots\n", "bad-value", "tasks[0].max_tokens", "max_tokens", "template"),
        (f"{LLM}    temperature: warm\n", "bad-value", "tasks[0].temperature", "temperature", "template"),
        (f"{LLM}    output_type: strng\n", "bad-value", "tasks[0].output_type", "output_type", "`string`"),
        # between keys
        (f"{TASK}output: 1\noutputs: {{a: 1}}\n", "conflicting-keys", "outputs", "outputs", "one of them"),
        (
            f"{LLM}    system: a\n    system_message: b\n",
            "conflicting-keys",
            "tasks[0].system_message",
            "system_m",
            "one",
        ),
        # fallbacks
        (
            f"{TASK}    error_handling:\n      fallback: {{name: b, type: python_task, script: x, depends_on: a}}\n",
            "fallback-key",
            "tasks[0].error_handling.fallback.depends_on",
            "depends_on",
            "upstream",
        ),
        (
            f"{TASK}    error_handling:\n      fallback: [{{name: b, type: python_task}}]\n",
            "missing-key",
            "tasks[0].error_handling.fallback[0].script",
            "{name",
            "`script:`",
        ),
        (
            f"{TASK}    error_handling:\n      fallback:\n        name: b\n        type: llm_task\n        scrip: x\n",
            "unknown-key",
            "tasks[0].error_handling.fallback.scrip",
            "scrip",
            "`script`",
        ),
        (
            f"{TASK}    error_handling:\n      fallback:\n        name: b\n        type: python_task\n"
            "        script: x\n        error_handling: {on_failure: skip}\n",
            "fallback-key",
            "tasks[0].error_handling.fallback.error_handling.on_failure",
            "on_failure",
            "belongs to",
        ),
        # variables
        (f"input_variables: {{a: {{type: int}}}}\n{TASK}", "bad-value", "input_variables.a.type", "type", "`integer`"),
        (f"input_variables: {{a: {{}}}}\n{TASK}", "missing-key", "input_variables.a.type", "a:", "`type:`"),
        (
            f"input_variables:\n  a: {{type: string, validation: '(?=x)y'}}\n{TASK}",
            "bad-regex",
            "input_variables.a.validation",
            "validation",
            "script",
        ),
        (
            f"input_variables:\n  a:\n    type: string\n    validation:\n      regex: '(a)\\1'\n{TASK}",
            "bad-regex",
            "input_variables.a.validation.regex",
            "regex",
            "script",
        ),
        (
            f"input_variables:\n  a:\n    type: array\n    validation:\n      min_length: 3\n{TASK}",
            "bad-rule",
            "input_variables.a.validation.min_length",
            "min_length",
            "`min_items`",
        ),
        (
            f"input_variables:\n  a:\n    type: string\n    validation:\n      max_lenght: 3\n{TASK}",
            "unknown-key",
            "input_variables.a.validation.max_lenght",
            "max_lenght",
            "`max_length`",
        ),
        (
            f"input_variables: {{a: {{type: integer, default: '5'}}}}\n{TASK}",
            "bad-default",
            "input_variables.a.default",
            "default",
            "mend",
        ),
    ],
)
def test_what_is_wrong_is_refused_at_its_place_with_a_hint(text, rule, path, word, hint):
    found = document(text)
    assert [(problem.rule, problem.path) for problem in found.problems] == [(rule, path)], found.problems
    (problem,) = found.problems
    assert problem.source[problem.column - 1 :].startswith(word), render(problem)
    assert hint in problem.to_json()["hint"]
    assert problem.source == text.splitlines()[problem.line - 1]
    with pytest.raises(SpecError):
        _ = found.pipeline


def test_an_unknown_key_lists_the_keys_that_are_allowed():
    (problem,) = document(f"{TASK}    scrpt: x\n").problems
    assert problem.message == "unknown key `scrpt` in task `score`"
    assert problem.label.startswith("a `python_task` has: name, type, description, depends_on")
    assert "batch" not in problem.label, "what is not built is not offered"


def test_all_errors_come_in_one_pass_in_the_order_of_the_file():
    text = (
        "name: 3\nname: 4\nversoin: 1\ntimeout: never\ntasks:\n"
        "  - {name: a, type: python_task}\n"
        "  - {name: b, type: llm_task, max_tokens: x, error_handling: {fallback: [{name: c, type: pthon_task}]}}\n"
        "  - {name: d, type: python_task, script: '1', batch: {size: 2}}\n"
    )
    assert rules(text) == [
        ("bad-value", "name"),
        ("duplicate-key", "name"),
        ("unknown-key", "versoin"),
        ("bad-value", "timeout"),
        ("missing-key", "tasks[0].script"),
        ("bad-value", "tasks[1].max_tokens"),
        ("unknown-task-type", "tasks[1].error_handling.fallback[0].type"),
        ("not-yet-supported", "tasks[2].batch"),
    ]


def test_keys_that_begin_with_x_are_free_everywhere():
    text = (
        "x-note: {a: 1}\nx-b: 2\ninput_variables: {a: {type: string, x-c: 1, validation: {x-d: 2}}}\n"
        f"{TASK}    x-e: 1\n    error_handling:\n      x-f: 1\n"
        "      fallback: {name: b, type: python_task, script: x, x-g: 1}\n"
    )
    assert rules(text) == []


def test_a_name_of_a_task_type_among_the_keys_does_not_confuse_the_place():
    assert rules(f"{TASK}    python_task: 1\n    later: 2\n") == [
        ("unknown-key", "tasks[0].python_task"),
        ("unknown-key", "tasks[0].later"),
    ]


# --- not built yet -----------------------------------------------------------------------------------------------


def on(key: str) -> str:
    """A value of the right shape that switches the key on."""
    values = {
        "privacy_settings": "{data_residency: EU}",
        "cost_management.budget_limit": "$5/day",
        "cost_management.optimization_mode": "cost",
        "model_tier_strategy": "{fast: {models: [a]}}",
        "ordering": "key",
        "resource_management.resource_limits": "{memory: 1GB}",
        "cache_strategy": "{default_ttl: 3600}",
        "cache_config": "{enabled: true}",
        "cache": "{enabled: true}",
        "channels": "{slack: {url: hush}}",
        "blobs.url": "s3://bucket/values",
        "alerting": "{enabled: true}",
        "monitoring.alerting": "{error_threshold: 0.05}",
        "logging": "{level: INFO}",
        "error_handling.circuit_breaker": "{failure_threshold: 5}",
        "resource_limits": "{memory: 1GB}",
        "tier": "fast",
        "sandbox.network": "[example.com]",
        "sandbox.packages": "[requests]",
        "use_case": "chat",
    }
    return values.get(key, "true")


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.place}.{row.key}")
def test_a_key_that_is_not_built_is_said_aloud(row):
    *parents, last = row.key.split(".")
    setting = f"{last}: {on(row.key)}"
    for parent in reversed(parents):
        setting = f"{parent}: {{{setting}}}"
    head = f"type: {row.place}\n" if row.place in ("component", "config") else ""
    tasks = "" if row.place == "config" else TASK
    text = f"{head}{TASK}    {setting}\n" if row.place == "task" else f"{head}{setting}\n{tasks}"
    path = f"tasks[0].{row.key}" if row.place == "task" else row.key
    found = document(text)
    rule = "not-yet-supported" if row.matters else "no-effect-yet"
    assert [(problem.rule, problem.path) for problem in found.problems] == [(rule, path)], found.problems
    (problem,) = found.problems
    assert problem.severity == ("error" if row.matters else "warning")
    assert problem.source[problem.column - 1 :].startswith(last)
    assert problem.hint
    assert found.ok is not row.matters


@pytest.mark.parametrize(
    "text",
    [
        "security: {encryption_at_rest: false, audit_logging: true}",
        "optimization_strategies: [{name: batch_processing, enabled: false}]",
        "ordering: none",
        "resource_management: {auto_scaling: false}",
        "cache: {enabled: false}",
        "cost_management: {cost_tracking: true}",
        "model_strategy: {default_model: gpt-4, cost_optimization: false}",
        "monitoring: {metrics_enabled: true, custom_metrics: [{name: a, type: counter}]}",
    ],
)
def test_what_is_switched_off_or_always_there_is_no_problem(text):
    assert rules(f"{text}\n{TASK}") == []


def test_strategies_and_loops_in_groups_are_found():
    text = (
        "optimization_strategies:\n  - {name: batch_processing, batch_size: 10}\n  - {name: request_coalescing}\n"
        "tasks:\n  - name: g\n    type: parallel_group\n    tasks:\n"
        "      - {name: c, type: llm_task, for_each: '{{ x }}', batch: {size: 2}}\n"
    )
    assert rules(text) == [
        ("no-effect-yet", "optimization_strategies[0].name"),
        ("no-effect-yet", "optimization_strategies[1].name"),
        ("not-yet-supported", "tasks[0].tasks[0].batch"),
    ]


# --- kinds and versions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "path", "kind"),
    [
        ({}, "a.yaml", "pipeline"),
        ({"tasks": []}, "config/a.yaml", "pipeline"),
        ({"type": "component"}, "a.yaml", "component"),
        ({"type": "nonsense"}, "a.yaml", "pipeline"),
        ({"type": ["a"]}, "a.yaml", "pipeline"),
        ({"extends": "base.yaml"}, "a.yaml", "config"),
        ({"name": "x"}, "config/base.yaml", "config"),
        ({"strategy": "blue_green"}, "a.yaml", "deployment"),
        ({"alerts": []}, "a.yaml", "monitoring"),
        ({"dashboards": []}, "a.yaml", "monitoring"),
        ({"functions": []}, "a.yaml", "functions"),
        ({"functions": [], "tasks": []}, "a.yaml", "pipeline"),
        ([], "config/a.yaml", "pipeline"),
    ],
)
def test_the_kind_is_what_type_says_else_what_keys_say_else_the_folder(data, path, kind):
    assert kind_of(data, path) == kind


@pytest.mark.parametrize(
    ("file", "version", "expected"),
    [
        ("content-v3.2.1.yaml", 'version: "3.2.1"\n', []),
        ("content-v3.2.1.yaml", 'version: "3.2.0"\n', [("version-mismatch", "version")]),
        ("content-v3.2.1.yaml", "", [("version-mismatch", "")]),
        ("content-v3.2.1-rc.1.yaml", 'version: "3.2.1-rc.1"\n', []),
        ("content-v3.yaml", 'version: "3.2.1"\n', []),
        ("content.yaml", 'version: "3.2.1"\n', []),
        ("content-view.yaml", "", []),
    ],
)
def test_a_file_named_with_a_version_must_carry_it(file, version, expected):
    assert rules(f"{version}{TASK}", file) == expected


def test_without_a_name_the_file_names_the_pipeline():
    assert document(TASK, "pipelines/content-analysis-v3.2.1.yaml").name == "content-analysis"
    assert document(f"name: Mine\n{TASK}").name == "Mine"


@pytest.mark.parametrize(
    ("text", "rule", "path"),
    [
        ("type: test_suite\ntests: [{nam: a}]\n", "missing-key", "tests[0].name"),
        (
            "type: test_suite\ntests: [{name: a, validation: {response_time: 30 seconds}}]\n",
            "bad-value",
            "response_time",
        ),
        (
            "type: load_test\ntest_scenarios: [{name: a, concurrent_users: 0, duration: 1m}]\n",
            "bad-value",
            "concurrent_users",
        ),
        ("type: load_test\ntest_scenarios: [{name: a, concurrent_users: 1, duration: x}]\n", "bad-value", "duration"),
        ("type: integration_test\nsetup: [{a: 1, b: 2}]\ntests: [{name: a, pipeline: b}]\n", "bad-value", "setup[0]"),
        ("alerts: [{name: a, condition: often}]\n", "bad-value", "alerts[0].condition"),
        ("alerts: [{name: a, condition: x > 1, severity: bad}]\n", "bad-value", "alerts[0].severity"),
        ("health_checks: [{name: a, frequency: x}]\n", "bad-value", "health_checks[0].frequency"),
        ("strategy: canary\nenvironments: {}\n", "bad-value", "strategy"),
        (
            "strategy: blue_green\nenvironments: {blue: {pipeline_version: 1.0.0, traffic_percentage: 101}}\n",
            "bad-value",
            "environments.blue.traffic_percentage",
        ),
        ("strategy: blue_green\ndeployment_process: [deploy_to_gren]\n", "bad-value", "deployment_process[0]"),
        (
            "strategy: blue_green\ndeployment_process: [{gradual_traffic_shift: [10%]}]\n",
            "bad-value",
            "deployment_process[0].gradual_traffic_shift[0]",
        ),
        ("extends: base.yaml\nmodel_setings: {}\n", "unknown-key", "model_setings"),
        ("type: component\nparameters: {a: {type: strin}}\n" + TASK, "bad-value", "parameters.a.type"),
    ],
)
def test_other_kinds_are_checked_as_closely(text, rule, path):
    assert any(found[0] == rule and found[1].endswith(path) for found in rules(text)), rules(text)


def test_several_documents_in_one_file_are_each_checked(tmp_path):
    path = tmp_path / "all.yaml"
    path.write_text(f"name: one\n{TASK}---\ntype: test_suite\ntests: []\n---\nalerts: [\n")
    found = read_file(path)
    assert [(each.kind, each.ok, each.located.index) for each in found] == [
        ("pipeline", True, 0),
        ("test_suite", False, 1),
        ("pipeline", False, 2),
    ]


def test_another_kind_is_no_pipeline():
    with pytest.raises(SpecError, match="not a pipeline"):
        _ = document("functions: [a.py]\n").pipeline
