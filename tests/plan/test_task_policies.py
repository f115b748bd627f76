"""What a task says of failures, limits and models, in every spelling: all of it ends in the same fields of the plan."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from stream_orchestrator.plan.codec import content_hash, from_json, to_json
from stream_orchestrator.plan.compile import examine
from stream_orchestrator.plan.dependencies import missing_packages
from stream_orchestrator.plan.model import Plan, TaskPlan
from stream_orchestrator.plan.stateful import uses_state
from stream_orchestrator.spec.loader import load_text

TASK: dict[str, Any] = {"name": "t", "type": "python_task", "script": "return 1"}


def look(task: dict[str, Any] | None = None, **top: Any) -> tuple[Plan | None, list[tuple[str, str]]]:
    """The plan of a document with one task, and the errors and warnings in it."""
    text = yaml.safe_dump({"name": "P", **top, "tasks": [{**TASK, **(task or {})}]}, sort_keys=False)
    (located,) = load_text(text, file="p.yaml")
    made, problems = examine(located)
    return made, [(problem.rule, str(problem.to_json()["path"])) for problem in problems]


def planned(task: dict[str, Any] | None = None, **top: Any) -> TaskPlan:
    made, problems = look(task, **top)
    assert made is not None, problems
    return made.tasks[0]


WAYS = [
    {"error_handling": {"retry_count": 3, "retry_delay": 2, "retry_backoff": "fixed"}},
    {"retry_count": 3, "retry_delay": 2, "retry_backoff": "fixed"},
    {"retry_policy": {"max_attempts": 4, "initial_delay": "2 seconds", "backoff_strategy": "fixed"}},
    {"error_handling": {"retry_policy": {"max_retries": 3, "delay": 2, "backoff_factor": 1}}},
]


@pytest.mark.parametrize("said", WAYS)
def test_retries_are_the_same_however_they_are_written(said: dict[str, Any]) -> None:
    for first in (planned(said).variants[0], planned(error_handling=said.get("error_handling", said)).variants[0]):
        assert (first.retries, first.retry_delay, first.retry_backoff) == (3, 2.0, 1.0)


@pytest.mark.parametrize(
    "said",
    [
        {"fallback_value": {"a": None}},
        {"fallback_response": {"a": None}},
        {"error_handling": {"fallback_response": {"a": None}}},
    ],
)
def test_a_value_that_stands_in_has_three_names(said: dict[str, Any]) -> None:
    made = planned(said)
    assert (made.has_fallback_value, made.fallback_value) == (True, {"a": None})


def test_null_stands_in_when_it_is_written_and_not_when_nothing_is() -> None:
    assert planned({"fallback_value": None}).has_fallback_value
    assert not planned().has_fallback_value


def test_a_task_s_own_words_come_before_the_pipeline_s_and_what_it_does_not_say_is_the_pipeline_s() -> None:
    top = {"retry_count": 1, "retry_delay": 9, "on_failure": "continue"}
    made = planned({"error_handling": {"retry_count": 5}, "on_failure": "skip"}, error_handling=top)
    assert (made.variants[0].retries, made.variants[0].retry_delay, made.on_failure) == (5, 9.0, "skip")


@pytest.mark.parametrize(
    ("word", "meaning"), [("abort", "abort_pipeline"), ("fail", "abort_pipeline"), ("skip", "skip")]
)
def test_on_failure_stands_at_the_task_too(word: str, meaning: str) -> None:
    assert planned({"on_failure": word}).on_failure == meaning


@pytest.mark.parametrize(
    ("task", "rule", "path"),
    [
        ({"retry_count": 1, "error_handling": {"retry_count": 2}}, "conflicting-keys", "tasks[0].retry_count"),
        ({"fallback_value": 1, "fallback_response": 2}, "conflicting-keys", "tasks[0].fallback_response"),
        ({"retry_count": -1}, "bad-value", "tasks[0].retry_count"),
        ({"error_handling": {"circuit_breaker": {"failure_threshold": 0}}}, None, "tasks[0].error_handling"),
        ({"tier": "fsat"}, "unknown-tier", "tasks[0].tier"),
        ({"use_case": "chess"}, "unknown-use-case", "tasks[0].use_case"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_its_place(task: dict[str, Any], rule: str | None, path: str) -> None:
    asks = {**task, "script": "return process_with_llm('x')"}
    made, problems = look(asks, model_tier_strategy={"fast": {"models": ["offline/echo"]}})
    assert made is None
    assert [place for found, place in problems if rule in (None, found) and place.startswith(path)], problems


def test_a_fallback_at_the_top_belongs_to_no_task() -> None:
    made, problems = look(error_handling={"fallback": [{**TASK, "name": "u"}]})
    assert made is None
    assert ("fallback-key", "error_handling.fallback") in problems


TIERS = {
    "fast": {"models": ["offline/echo", "offline/summary"], "use_cases": ["labels"]},
    "good": {"models": ["offline/summary"], "use_cases": ["essays"]},
}


@pytest.mark.parametrize(
    ("said", "model"),
    [
        ({"tier": "good"}, "offline/summary"),
        ({"use_case": "labels"}, "offline/echo"),
        ({"tier": "good", "model": "offline/echo"}, "offline/echo"),
    ],
)
def test_a_tier_or_a_use_case_picks_the_model_unless_one_is_named(said: dict[str, Any], model: str) -> None:
    task = {"type": "llm_task", "prompt": "hello", **said}
    text = yaml.safe_dump({"name": "P", "model_tier_strategy": TIERS, "tasks": [{"name": "t", **task}]})
    (located,) = load_text(text, file="p.yaml")
    made, problems = examine(located)
    assert made is not None, problems
    assert made.tasks[0].variants[0].options["model"] == model
    assert not problems


def test_limits_of_a_task_come_before_those_of_the_pipeline() -> None:
    top = {"resource_limits": {"memory": "1GB", "cpu": "1 core", "timeout": "10 minutes"}}
    options = planned({"resource_limits": {"memory": "64MB", "cpu": 1.5}}, resource_management=top).variants[0].options
    assert (options["memory_bytes"], options["cores"], options["script_seconds"]) == (64_000_000, 2, 600.0)
    assert "memory_bytes" not in planned().variants[0].options


AUTO = {"threshold": 2, "recovery": 300.0, "probes": 3}
SPEC = {"failure_threshold": 2, "recovery_timeout": "5 minutes", "half_open_max_calls": 3}


def test_a_breaker_is_named_after_the_task_or_the_one_name_that_its_script_reads() -> None:
    plain = planned({"error_handling": {"circuit_breaker": SPEC}}).variants[0].options
    assert plain["breaker"] == {"name": "t", "limits": AUTO}
    reads = {"script": "return context.get_circuit_breaker_state('api')", "error_handling": {"circuit_breaker": SPEC}}
    assert planned(reads).variants[0].options["breaker"]["name"] == "api"
    named = {**reads, "error_handling": {"circuit_breaker": {**SPEC, "name": "own"}}}
    assert planned(named).variants[0].options["breaker"]["name"] == "own"


def test_a_script_that_records_by_itself_is_not_watched_as_well() -> None:
    script = "context.record_circuit_breaker_failure('api')"
    options = planned({"script": script, "error_handling": {"circuit_breaker": SPEC}}).variants[0].options
    assert "breaker" not in options
    assert options["breakers"] == {"api": AUTO}


def test_each_model_of_a_task_has_a_breaker_of_its_own() -> None:
    task = {"type": "llm_task", "prompt": "x", "model": "offline/echo", "fallback_models": ["offline/summary"]}
    text = yaml.safe_dump({"name": "P", "tasks": [{"name": "t", **task, "circuit_breaker": SPEC}]})
    (located,) = load_text(text, file="p.yaml")
    made, problems = examine(located)
    assert made is not None, problems
    names = [variant.options["breaker"]["name"] for variant in made.tasks[0].variants]
    assert names == ["offline/echo", "offline/summary"]


@pytest.mark.parametrize(
    ("script", "uses"),
    [
        ("return 1", False),
        ("return context.get_variable('x')", False),
        ("return context.get_cache('x')", True),
        ("return keep(context)", True),
        ("context.update_progress(0.5)", True),
        ("x = context\nreturn x.get_global_state('n')", True),
    ],
)
def test_a_worker_serves_state_where_a_script_may_use_it(script: str, uses: bool) -> None:
    made, problems = look({"script": script})
    assert made is not None, problems
    assert uses_state(made) is uses


def test_state_management_reaches_the_scripts_that_use_state_and_no_other() -> None:
    said = {"ttl": "1 hour", "max_value_size": "1MB", "initial_state": {"n": 1}, "namespace": "team"}
    made = planned({"script": "return context.get_global_state('n')"}, state_management=said)
    expected = {"ttl": 3600.0, "max_value": 1_000_000, "initial": {"n": 1}, "namespace": "team"}
    assert made.variants[0].options["state"] == expected
    assert "state" not in planned(state_management=said).variants[0].options


def test_words_about_state_that_change_nothing_are_said() -> None:
    _, problems = look(state_management={"backend": "redis", "persistence": True, "checkpointing": {"interval": 5}})
    paths = {path for rule, path in problems if rule == "no-effect-yet"}
    assert paths == {f"state_management.{key}" for key in ("persistence", "backend", "checkpointing")}


@pytest.mark.parametrize(
    ("said", "missing"),
    [
        (["pyyaml", "orjson>=3"], []),
        (["no-such-package-of-ours"], ["no-such-package-of-ours"]),
        ({"pyyaml": "*", "orjson": ">=3"}, []),
        ({"python": ["pyyaml>=999"]}, ["pyyaml>=999 (installed: "]),
        ([{"name": "orjson", "version": "1.0"}], ["orjson==1.0 (installed: "]),
        (['tomli; python_version < "3"'], []),
    ],
)
def test_packages_that_are_not_installed_are_named_with_what_is(said: Any, missing: list[str]) -> None:
    made, problems = look(dependencies=said)
    assert made is not None, problems
    found = missing_packages(made)
    assert len(found) == len(missing)
    assert all(text.startswith(start) for text, start in zip(found, missing, strict=True))


@pytest.mark.parametrize("said", ["requests", 5, ["not a package!"], [{"name": "x", "colour": "red"}], [5]])
def test_what_is_no_package_is_refused(said: Any) -> None:
    made, problems = look(dependencies=said)
    assert made is None
    assert problems[0][1].startswith("dependencies")


def test_packages_travel_with_the_plan_and_are_no_part_of_what_it_does() -> None:
    made, _ = look(dependencies=["orjson>=3"])
    bare, _ = look()
    assert made is not None
    assert bare is not None
    assert from_json(to_json(made)) == made
    assert content_hash(made) == content_hash(bare)
