"""`init` makes pipelines that are good as they are."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import stream_orchestrator
from stream_orchestrator.calls import offline
from stream_orchestrator.cli.main import main
from stream_orchestrator.cli.templating import Answers, made, templates
from stream_orchestrator.spec.loader import load_text

by_template = pytest.mark.parametrize("template", templates())


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir())


@by_template
async def test_a_new_pipeline_is_valid_formatted_and_runs_offline(template: str, tmp_path: Path, call: Any) -> None:
    said = call("init", "Order Check", "--template", template, "--output", tmp_path)
    assert said.code == 0
    pipeline, events, tests = (Path(line) for line in said.out.splitlines())
    assert {pipeline, events, tests} == set(files_of(tmp_path))
    assert pipeline.name == "order-check-v0.1.0.yaml"
    assert call("validate", tmp_path).code == 0
    linted = call("lint", "--json", tmp_path)
    assert [each["problems"] for each in linted.json["documents"]] == [[], []]
    assert call("fmt", "--check", tmp_path).code == 0
    loaded = stream_orchestrator.load(pipeline)
    for line in events.read_text(encoding="utf-8").splitlines():
        result = await loaded.run(json.loads(line), models=offline.answer)
        assert result.status == "succeeded", result.error


@by_template
def test_the_tests_beside_it_pass_without_a_key(template: str, tmp_path: Path, call: Any) -> None:
    call("init", "Order Check", "--template", template, "--output", tmp_path)
    said = call("test", tmp_path / "test_order_check.yaml")
    assert said.code == 0, said.err


def test_a_file_that_is_there_is_never_replaced(tmp_path: Path, call: Any) -> None:
    (tmp_path / "test_a.yaml").write_text("mine")
    said = call("init", "A", "--output", tmp_path)
    assert said.code == 2
    assert "is there already" in said.err
    assert [path.name for path in files_of(tmp_path)] == ["test_a.yaml"]
    assert (tmp_path / "test_a.yaml").read_text() == "mine"


def test_without_a_terminal_nothing_is_asked_and_a_name_is_needed(tmp_path: Path, call: Any) -> None:
    said = call("init", "--output", tmp_path)
    assert (said.code, files_of(tmp_path)) == (2, [])
    assert "needs a name" in said.err
    assert call("init", "A", "--template", "clasify", "--output", tmp_path).code == 2


def test_json_names_the_files(tmp_path: Path, call: Any) -> None:
    said = call("init", "A", "--template", "script", "--output", tmp_path / "new", "--json")
    assert sorted(map(Path, said.json["files"])) == files_of(tmp_path / "new")


def test_on_a_terminal_it_asks_for_what_no_option_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    answers = {"Name of the pipeline": "Ticket Sorter", "Template": "script", "Who writes it": "Ada"}

    def prompt(question: str, **options: Any) -> str:
        asked.append(question)
        assert options["err"], "questions are no data"
        return answers.get(question, options["default"])

    monkeypatch.setattr("typer.prompt", prompt)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert main(["init", "--output", str(tmp_path), "--contact", "ada@example.org"]) == 0
    assert asked == ["Name of the pipeline", "Template", "What is it for", "Who writes it"]
    (located,) = load_text((tmp_path / "ticket-sorter-v0.1.0.yaml").read_text(encoding="utf-8"))
    assert (located.data["author"], located.data["contact"]) == ("Ada", "ada@example.org")


@by_template
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(words=st.lists(st.text(max_size=30), min_size=5, max_size=5))
def test_any_words_are_text_and_nothing_else(template: str, words: list[str]) -> None:
    name, description, author, contact, url = (word.strip() or "word" for word in words)
    texts = made(template, Answers(name, description, author, contact, url, "2026-11-26"))
    (located,) = load_text(next(iter(texts.values())))
    assert located.problems == ()
    for key, word in (("name", name), ("description", description), ("author", author), ("contact", contact)):
        assert located.data[key] == word


def test_a_name_that_is_ours_is_refused(tmp_path: Path, call: Any) -> None:
    said = call("init", "Orchestrator", "--output", tmp_path)
    assert (said.code, files_of(tmp_path)) == (2, [])
    assert "are ours" in said.err
