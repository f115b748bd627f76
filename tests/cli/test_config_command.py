"""`config explain`, and the settings that commands take from files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

SETTING = "STREAM_ORCHESTRATOR__"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/development.yaml").write_text("topics:\n  prefix: dev.\nkafka:\n  sasl_password: hush\n")
    (tmp_path / "config/production.yaml").write_text("extends: development.yaml\ntopics:\n  prefix: prod.\n")
    (tmp_path / "p.yaml").write_text("name: p\ntasks:\n  - {name: a, type: python_task, script: return 1}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def explained(said: Any) -> dict[str, Any]:
    return {row["key"]: row for row in json.loads(said.out)["settings"]}


def test_each_setting_comes_with_its_origin(call: Any, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{SETTING}CALLS__MAX_IN_FLIGHT", "5")
    rows = explained(call("config", "explain", "--env", "production", "--json"))
    assert rows["topics.prefix"]["value"] == "prod."
    assert rows["topics.prefix"]["origin"] == {"kind": "file", "file": "config/production.yaml", "line": 3}
    variable = {"kind": "environment", "variable": f"{SETTING}CALLS__MAX_IN_FLIGHT"}
    assert rows["calls.max_in_flight"] == {"key": "calls.max_in_flight", "value": 5, "origin": variable}
    assert rows["calls.connect_timeout"]["origin"] == {"kind": "default"}


def test_a_secret_is_explained_and_not_shown(call: Any, project: Path) -> None:
    said = call("config", "explain", "kafka")
    assert "development.yaml:4" in said.out
    assert "hush" not in said.out + said.err


def test_a_key_that_is_none_is_refused_with_the_nearest(call: Any, project: Path) -> None:
    said = call("config", "explain", "topics.prefx")
    assert said.code == 2
    assert "did you mean `topics.prefix`?" in said.err


@pytest.mark.parametrize(
    ("options", "prefix"),
    [
        ([], "dev."),
        (["--env", "production"], "prod."),
        (["--config", "config/production.yaml"], "prod."),
        (["--prefix", "x."], "x."),
    ],
)
def test_topics_are_named_as_the_environment_says(call: Any, project: Path, options: list[str], prefix: str) -> None:
    topics = json.loads(call("plan", "p.yaml", "--json", *options).out)["topics"]
    assert topics
    assert all(topic.startswith(prefix) for topic in topics)


def test_an_environment_that_is_not_there_stops_the_command(call: Any, project: Path) -> None:
    said = call("validate", "p.yaml", "--env", "staging")
    assert said.code == 2
    assert "there is no environment `staging`" in said.err
