"""`validate`, `plan`, `graph`, `schema`, `topics list`: what they print, to a person and to a program."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

TRIAGE = "pipelines/production/support-triage-v1.1.0.yaml"
Write = Callable[[str, str], Path]
GOOD = """name: Greeter
tasks:
  - name: look
    type: python_task
    script: return name.upper()
  - name: greeting
    type: llm_task
    model: offline/echo
    prompt: "Hello {{ look }}"
"""
BROKEN = GOOD.replace("prompt:", "promt:").replace("{{ look }}", "{{ lok }}")
HELPLESS = GOOD.replace("name.upper()", "shout(name)")
PROBLEM = {"rule", "severity", "message", "hint", "line", "column", "path"}


def test_validate_reports_every_document_of_every_file(call: Any, write: Write) -> None:
    several = write("several.yaml", f"{GOOD}---\n{GOOD.replace('Greeter', 'Other')}")
    said = call("validate", "--json", several, "pipelines/production")
    assert said.code == 0
    assert set(said.json) == {"ok", "documents"}
    assert said.json["ok"] is True
    documents = said.json["documents"]
    assert [(each["file"], each["index"], each["name"]) for each in documents[:2]] == [
        (str(several), 0, "Greeter"),
        (str(several), 1, "Other"),
    ]
    assert len(documents) == 5
    assert all(set(each) == {"file", "index", "kind", "name", "ok", "problems"} for each in documents)
    assert {each["kind"] for each in documents} == {"pipeline"}


def test_validate_says_where_and_what_to_do_and_exits_with_2(call: Any, write: Write) -> None:
    said = call("validate", "--json", write("broken.yaml", BROKEN))
    assert said.code == 2
    (document,) = said.json["documents"]
    assert (said.json["ok"], document["ok"]) == (False, False)
    assert all(set(problem) == PROBLEM for problem in document["problems"])
    found = next(problem for problem in document["problems"] if "promt" in problem["message"])
    assert (found["severity"], found["line"], found["column"], found["path"]) == ("error", 9, 5, "tasks[1].promt")
    assert "prompt" in found["hint"]


def test_validate_shows_a_person_the_line(call: Any, write: Write) -> None:
    path = write("broken.yaml", BROKEN)
    said = call("validate", path)
    assert said.code == 2
    assert f"--> {path}:9:5" in said.err
    assert "hint:" in said.err
    assert f"wrong  {path}" in said.out
    assert "\x1b" not in said.err + said.out


def test_a_helper_that_nobody_defines_is_a_warning_until_somebody_does(call: Any, write: Write) -> None:
    path, helpers = write("helpless.yaml", HELPLESS), write("helpers.py", "def shout(text): return text.upper()\n")
    said = call("validate", "--json", path)
    assert said.code == 0
    (problem,) = said.json["documents"][0]["problems"]
    assert problem["severity"] == "warning"
    assert "shout" in problem["message"]
    assert call("validate", "--json", path, "--functions", helpers).json["documents"][0]["problems"] == []


@pytest.mark.parametrize("command", ["validate", "plan", "graph"])
def test_a_path_that_is_not_there_is_a_usage_error(call: Any, command: str) -> None:
    said = call(command, "nowhere.yaml")
    assert (said.code, said.out) == (2, "")
    assert "nowhere.yaml" in said.err
    assert "hint:" in said.err


def test_functions_that_are_not_there_are_a_usage_error(call: Any) -> None:
    for name, kind in (("nowhere.py", "file"), ("no_such_module_anywhere", "module")):
        said = call("validate", TRIAGE, "--functions", name)
        assert said.code == 2
        assert f"there is no {kind} `{name}`" in said.err


def test_the_plan_has_the_keys_that_programs_read(call: Any) -> None:
    plan = call("plan", TRIAGE, "--json", "--prefix", "site.").json
    assert set(plan) == {"pipeline", "title", "version", "hash", "inputs", "tasks", "topics", "functions", "models"}
    assert (plan["pipeline"], plan["title"], plan["version"]) == ("support-triage", "Support Triage", "1.1.0")
    assert all(set(task) == {"name", "type", "depends_on", "inbox"} for task in plan["tasks"])
    route = next(task for task in plan["tasks"] if task["name"] == "route")
    assert (route["type"], route["depends_on"]) == ("python_task", ["signals", "classify"])
    assert route["inbox"] == f"site.support-triage.1-1-0-{plan['hash'][:8]}.route"
    assert plan["functions"] == {"needed": ["classify_by_rules", "route_ticket", "ticket_signals"], "missing": []}
    assert plan["models"] == ["claude-haiku-5-5", "gpt-6-luna"]


def test_every_topic_of_the_plan_is_one_that_is_made(call: Any) -> None:
    planned = call("plan", TRIAGE, "--json", "--prefix", "site.").json["topics"]
    listed = {topic["name"] for topic in call("topics", "list", TRIAGE, "--json", "--prefix", "site.").json["topics"]}
    assert set(planned) <= listed
    assert {f"site.support-triage.{kind}" for kind in ("input", "results", "dlq")} <= set(planned)
    others = {name for name in listed - set(planned) if name.startswith("site.support-triage.") and "table" not in name}
    assert others == set()


def test_the_plan_names_the_helpers_that_are_missing(call: Any, write: Write) -> None:
    said = call("plan", write("helpless.yaml", HELPLESS), "--json")
    assert said.code == 0
    assert said.json["functions"] == {"needed": ["shout"], "missing": ["shout"]}


def test_the_plan_of_a_broken_document_shows_every_problem_and_gives_no_data(call: Any, write: Write) -> None:
    said = call("plan", write("broken.yaml", BROKEN), "--json")
    assert (said.code, said.out) == (2, "")
    assert "promt" in said.err


def test_a_file_with_two_pipelines_has_no_one_plan(call: Any, write: Write) -> None:
    said = call("plan", write("two.yaml", f"{GOOD}---\n{GOOD}"))
    assert said.code == 2
    assert "2 pipelines" in said.err


def test_the_graph_is_drawn_in_three_languages(call: Any) -> None:
    assert "● triaged" in call("graph", TRIAGE).out
    assert call("graph", TRIAGE, "--format", "mermaid").out.startswith("flowchart TD\n")
    assert call("graph", TRIAGE, "--format", "dot").out.startswith("digraph")


@pytest.mark.parametrize("words", [[], ["pipeline"], ["component"], ["test_suite"], ["monitoring"]])
def test_the_schema_is_one(call: Any, words: list[str]) -> None:
    schema = call("schema", *words, "--json").json
    assert schema["$schema"].endswith("2020-12/schema")
    jsonschema_rs.validator_for(schema)
    assert json.loads(call("schema", *words).out) == schema


def test_an_unknown_kind_is_answered_with_the_nearest(call: Any) -> None:
    said = call("schema", "pipline")
    assert (said.code, said.out) == (2, "")
    assert "did you mean `pipeline`?" in said.err


def test_topics_are_listed_without_a_broker(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_ORCHESTRATOR__TOPICS__PARTITIONS", "3")
    topics = call("topics", "list", TRIAGE, "--json", "--offline").json["topics"]
    assert all(set(topic) == {"name", "partitions", "config", "state"} for topic in topics)
    by_name = {topic["name"]: topic for topic in topics}
    assert by_name["support-triage.input"]["partitions"] == 3
    assert "orchestrator.calls.offline" in by_name
    assert "orchestrator.audit" in by_name


@pytest.mark.parametrize(
    "words",
    [
        ["send", TRIAGE, "--input", "pipelines/data/tickets.jsonl"],
        ["results", "support-triage"],
        ["dlq", "list", "support-triage"],
        ["topics", "diff", TRIAGE],
        ["audit", "run-1"],
    ],
    ids=lambda words: words[0],
)
def test_what_needs_a_broker_says_so_when_none_is_named(call: Any, words: list[str]) -> None:
    said = call(*words)
    assert (said.code, said.out) == (3, "")
    assert "no broker was named" in said.err
    assert "KAFKA_BOOTSTRAP_SERVERS" in said.err


@pytest.mark.parametrize(
    "words",
    [
        ["results", "support-triage"],
        ["worker", TRIAGE, "--offline"],
        ["run", TRIAGE, "--offline", "--input", "pipelines/data/tickets.jsonl"],
    ],
    ids=lambda words: words[0],
)
def test_a_broker_that_is_not_there_is_3_and_named(call: Any, words: list[str]) -> None:
    said = call(*words, "--broker", "kafka://127.0.0.1:1")
    assert (said.code, said.out) == (3, "")
    assert said.err.startswith("error: ")
    assert "127.0.0.1:1" in said.err
    assert "hint:" in said.err


def test_a_broker_address_that_is_none_is_a_usage_error(call: Any) -> None:
    said = call("results", "p", "--broker", "http://localhost:9092")
    assert said.code == 2
    assert "is not a broker address" in said.err


TWIN = 'name: Two\ntasks: [{name: a, type: python_task, script: "return 1"}]\n'


def test_two_that_differ_and_have_one_name_and_version_are_an_error_at_the_second(call: Any, write: Write) -> None:
    path = write("twins.yaml", TWIN + "---\n" + TWIN.replace("1", "2"))
    said = call("validate", "--json", path)
    first, second = said.json["documents"]
    assert (said.code, first["ok"], second["ok"]) == (2, True, False)
    (problem,) = second["problems"]
    assert (problem["rule"], problem["line"]) == ("same-version", 4)
    assert "another `version:`" in problem["hint"]


def test_twins_are_found_across_the_files_of_a_folder(call: Any, write: Write) -> None:
    folder = write("folder/one.yaml", TWIN).parent
    write("folder/two.yaml", TWIN.replace("1", "2"))
    found = [each["ok"] for each in call("validate", "--json", folder).json["documents"]]
    assert found == [True, False]


def test_the_same_document_twice_and_two_versions_are_no_twins(call: Any, write: Write) -> None:
    path = write("same.yaml", TWIN + "---\n" + TWIN + "---\nversion: 2.0.0\n" + TWIN.replace("1", "2"))
    assert call("validate", path, path).code == 0
