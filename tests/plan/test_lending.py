"""A config lends its sections to pipelines, and production asks for more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stream_orchestrator.plan.loading import load_path
from stream_orchestrator.spec import config

ASKS = "name: p\n{head}tasks:\n  - {{name: a, type: llm_task, prompt: hi}}\n"
FETCHES = (
    "name: p\n{head}tasks:\n  - name: a\n    type: python_task\n    script: |\n      import requests\n      return 1\n"
)
READS = (
    'name: p\n{head}tasks:\n  - name: a\n    type: python_task\n    script: return __import__("os").getenv("REGION")\n'
)


@pytest.fixture
def loaded(tmp_path: Path) -> Any:
    def load(text: str, settings: str, *, env: str = "development", head: str = "") -> Any:
        (tmp_path / "settings.yaml").write_text(settings or "description: nothing\n", encoding="utf-8")
        (tmp_path / "p.yaml").write_text(text.format(head=head), encoding="utf-8")
        found = config.load(env=env, file=tmp_path / "settings.yaml", environ={})
        (document,) = load_path(tmp_path / "p.yaml", config=found)
        return document

    return load


def model(document: Any) -> str:
    return str(document.plan.tasks[0].variants[0].options["model"])


@pytest.mark.parametrize("section", ["model_settings", "model_strategy"])
def test_the_default_model_of_a_config_is_asked_without_a_warning(loaded: Any, section: str) -> None:
    document = loaded(ASKS, f"{section}: {{default_model: offline/echo}}\n")
    assert (model(document), document.problems) == ("offline/echo", ())


@pytest.mark.parametrize("section", ["model_settings", "model_strategy"])
def test_what_the_pipeline_says_itself_stays(loaded: Any, section: str) -> None:
    head = f"{section}: {{default_model: offline/mine}}\n"
    assert model(loaded(ASKS, "model_settings: {default_model: offline/echo}\n", head=head)) == "offline/mine"


def test_the_fallback_model_is_lent_beside_a_default_model_that_is_not(loaded: Any) -> None:
    head = "model_settings: {default_model: offline/mine}\n"
    document = loaded(ASKS, "model_strategy: {default_model: offline/x, fallback_model: offline/echo}\n", head=head)
    models = [variant.options["model"] for variant in document.plan.tasks[0].variants]
    assert models == ["offline/mine", "offline/echo"]


def test_a_problem_in_what_was_lent_is_said_where_the_config_says_it(loaded: Any) -> None:
    document = loaded(ASKS, "description: d\nmodel_settings:\n  default_model: gpt-4\n")
    (problem,) = document.problems
    assert (problem.rule, Path(problem.file).name, problem.line) == ("retired-model", "settings.yaml", 3)


def test_a_cache_that_a_config_switches_off_is_off_whatever_the_pipeline_says(loaded: Any) -> None:
    document = loaded(ASKS, "cache: {enabled: false}\n", head="cache: {enabled: true, ttl: 60}\n")
    assert document.located.data["cache"] == {"enabled": False, "ttl": 60}


def test_no_script_reaches_the_network_when_the_config_denies_it(loaded: Any) -> None:
    head = "sandbox: {network: true}\n"
    opened, closed = loaded(FETCHES, "", head=head), loaded(FETCHES, "trust: {network: deny}\n", head=head)
    networks = [each.plan.tasks[0].variants[0].options["network"] for each in (opened, closed)]
    assert networks == [True, False]
    assert opened.plan.hash != closed.plan.hash


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (FETCHES, "sandbox: {network: true}\n"),
        (FETCHES, "sandbox: {network: false}\n"),
        (READS, "sandbox: {env: [REGION]}\n"),
    ],
)
def test_in_production_a_script_says_aloud_what_it_reaches(loaded: Any, text: str, said: str) -> None:
    silent = loaded(text, "", env="production")
    assert silent.plan is None
    assert [problem.rule for problem in silent.problems if problem.severity == "error"] == ["sandbox-unsaid"]
    assert loaded(text, "", env="production", head=said).plan is not None
    assert loaded(text, "").plan is not None
