"""`lint` as people and programs call it."""

from __future__ import annotations

import json
import random
import runpy
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from stream_orchestrator.cli.main import main
from stream_orchestrator.plan.compile import examine
from stream_orchestrator.plan.lint import RULES, lint
from stream_orchestrator.plan.lint.credentials import credentials_in
from stream_orchestrator.plan.loading import Loaded
from stream_orchestrator.spec.documents import read
from stream_orchestrator.spec.loader import load_bytes
from tests.support.mutations import STRUCTURAL

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "pipelines").rglob("*.yaml"))

# What a reader of SARIF 2.1.0 may rely on (sections 3.13 to 3.30 of the standard), as far as we use it.
MESSAGE = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string", "minLength": 1}}}
LEVEL = {"enum": ["none", "note", "warning", "error"]}
REGION = {
    "type": "object",
    "required": ["startLine"],
    "properties": {key: {"type": "integer", "minimum": 1} for key in ("startLine", "startColumn", "endColumn")},
    "additionalProperties": False,
}
ARTIFACT = {"type": "object", "required": ["uri"], "properties": {"uri": {"type": "string", "format": "uri-reference"}}}
RULE = {
    "type": "object",
    "required": ["id", "shortDescription"],
    "properties": {
        "id": {"type": "string", "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$"},
        "shortDescription": MESSAGE,
        "fullDescription": MESSAGE,
        "help": MESSAGE,
        "defaultConfiguration": {"type": "object", "properties": {"level": LEVEL}},
    },
    "additionalProperties": False,
}
RESULT = {
    "type": "object",
    "required": ["ruleId", "ruleIndex", "level", "message", "locations"],
    "properties": {
        "ruleId": {"type": "string"},
        "ruleIndex": {"type": "integer", "minimum": 0},
        "level": LEVEL,
        "message": MESSAGE,
        "locations": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["physicalLocation"],
                "properties": {
                    "physicalLocation": {"properties": {"artifactLocation": ARTIFACT, "region": REGION}},
                    "logicalLocations": {"items": {"required": ["fullyQualifiedName"]}},
                },
                "additionalProperties": False,
            },
        },
        "suppressions": {"items": {"properties": {"kind": {"enum": ["inSource", "external"]}}, "required": ["kind"]}},
        "fixes": {"items": {"required": ["artifactChanges"]}},
    },
    "additionalProperties": False,
}
SARIF = {
    "type": "object",
    "required": ["version", "runs"],
    "properties": {
        "$schema": {"type": "string", "format": "uri"},
        "version": {"const": "2.1.0"},
        "runs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["tool", "results"],
                "properties": {
                    "tool": {
                        "required": ["driver"],
                        "properties": {
                            "driver": {
                                "required": ["name"],
                                "properties": {"rules": {"type": "array", "uniqueItems": True, "items": RULE}},
                            }
                        },
                    },
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "results": {"type": "array", "items": RESULT},
                },
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}

BAD = """\
name: Orders
tasks:
  - name: sort_orders
    type: python_task
    script: |
      try:
          key = "sk-1234567890abcdef"
          f(key)
      except ValueError as e:  # the usual one
          raise e   # seen before
  - name: Second  # lint: allow task-name
    type: python_task
    script: "try:\\n    g()\\nexcept KeyError as e:\\n    raise e\\n"
"""


@pytest.fixture
def bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "my orders.yaml"
    file.write_text(BAD, encoding="utf-8")
    file.chmod(0o640)
    return file


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    capsys.readouterr()
    return main(["lint", *map(str, arguments)]), capsys.readouterr().out


def test_an_error_of_advice_is_exit_code_1(bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = call(capsys, bad)
    assert code == 1
    assert "error[hard-coded-credential]: an API key is written here" in out
    assert "sk-1234" not in out


def test_a_warning_counts_only_when_it_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("name: A\ntasks: [{name: a_b, type: python_task, script: nobody_has_me()}]\n")
    assert call(capsys, file)[0] == 0
    assert call(capsys, "--strict", file)[0] == 1


def test_a_broken_document_is_exit_code_2_as_in_validate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("name: A\ntaks: []\n")
    assert call(capsys, file)[0] == main(["validate", str(file)]) == 2
    (tmp_path / "b.yaml").write_text("name: [\n")
    assert call(capsys, tmp_path / "b.yaml")[0] == 2


def test_json_has_the_shape_of_validate(bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = call(capsys, "--json", bad)
    assert (code, out) == call(capsys, "--format", "json", bad)
    (document,) = json.loads(out)["documents"]
    main(["validate", "--json", str(bad)])
    (plain,) = json.loads(capsys.readouterr().out)["documents"]
    assert document.keys() == plain.keys()
    assert [each for each in plain["problems"] if each not in document["problems"]] == []
    assert document["ok"] is False
    assert {tuple(each) for each in document["problems"]} == {tuple(plain["problems"][0])}


def test_sarif_is_what_the_standard_asks_for(bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = json.loads(call(capsys, "--format", "sarif", bad)[1])
    jsonschema_rs.validator_for(SARIF, validate_formats=True).validate(made)
    (run,) = made["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uri"] == "my%20orders.yaml"
        assert place["region"]["endColumn"] > place["region"]["startColumn"]
    suppressed = [result["ruleId"] for result in run["results"] if result.get("suppressions")]
    assert suppressed == ["task-name"]
    assert "sk-1234" not in json.dumps(made)


def test_fix_mends_in_place_and_keeps_every_other_byte(bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "--fix", bad)[0] == 1  # the key is still there
    assert bad.read_text() == BAD.replace("raise e   # seen before", "raise   # seen before")
    assert bad.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in bad.parent.iterdir()] == [bad.name]
    left = json.loads(call(capsys, "--json", bad)[1])["documents"][0]["problems"]
    assert [each["line"] for each in left if each["rule"] == "raise-e"] == [13]  # no safe place to write


def test_fix_keeps_windows_line_ends(bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad.write_bytes(BAD.replace("\n", "\r\n").encode())
    call(capsys, "--fix", bad)
    assert b"          raise   # seen before\r\n" in bad.read_bytes()
    assert bad.read_bytes().count(b"\r\n") == BAD.count("\n")


def test_the_page_of_rules_is_what_the_rules_say() -> None:
    made = runpy.run_path(str(ROOT / "docs/rules.py"))
    page = made["PAGE"].read_text(encoding="utf-8")
    assert page == made["page"](), "run: python docs/rules.py"
    assert [rule.id for rule in RULES if f"\n## {rule.id}\n" not in page] == []


def test_every_rule_says_what_why_and_what_instead() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert min(map(len, (rule.summary, rule.why, rule.instead))) >= 12
        assert not rule.summary.endswith(".")


def test_shipped_pipelines_have_neither_errors_nor_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = call(capsys, "--strict", ROOT / "pipelines")
    assert code == 0


@pytest.mark.parametrize("operator", STRUCTURAL)
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_damaged_document_gives_findings_and_never_a_traceback(path: Path, operator: str) -> None:
    dice = random.Random(f"{path.name}{operator}")
    for _ in range(6):
        damaged = STRUCTURAL[operator](path.read_text(encoding="utf-8"), dice)
        for located in load_bytes(damaged, file=path.name):
            document = read(located)
            plan, problems = examine(document)
            found = lint(Loaded(document, plan, problems))
            assert {each.problem for each in found} >= set(problems)
            assert all(each.problem.hint or each.problem.label for each in found)


@pytest.mark.parametrize("depth", [40, 300, 5000])
def test_a_script_however_deeply_nested_is_no_traceback(depth: int) -> None:
    scripts = [
        "return " + " + ".join(["1"] * depth),
        "if a == 0:\n    x = 0\n" + "".join(f"elif a == {n}:\n    x = {n}\n" for n in range(depth)) + "return x",
        "return " + "(" * min(depth, 90) + "1" + ")" * min(depth, 90),
        "return " + "f(" * min(depth, 80) + ")" * min(depth, 80),
    ]
    tasks = [{"name": f"t{n}", "type": "python_task", "script": each} for n, each in enumerate(scripts)]
    for located in load_bytes(json.dumps({"name": "A", "tasks": tasks}).encode(), file="a.yaml"):
        document = read(located)
        lint(Loaded(document, *examine(document)))


WEIRD: list[Any] = [None, 3, True, "x", [], {}, ["x"], {"a": "b"}, [{"name": 1}], [[1]], {"name": {}}]


@pytest.mark.parametrize("value", WEIRD, ids=repr)
@pytest.mark.parametrize(
    "key", ["tasks", "input_variables", "parameters", "changelog", "version", "name", "sensitive_variables"]
)
def test_a_value_of_the_wrong_kind_is_no_traceback(key: str, value: Any) -> None:
    data = {"name": "A", "tasks": [{"name": "a", "type": "python_task", "script": "return 1"}], key: value}
    for located in load_bytes(json.dumps(data).encode(), file="a.yaml"):
        document = read(located)
        lint(Loaded(document, *examine(document)))


def test_ordinary_texts_are_no_credentials() -> None:
    texts = [
        *(
            "https://example.org/a/very/long/path/to/a/page.html",
            "process_customer_data_with_validation",
            "gpt-4o-mini",
        ),
        *("application/vnd.openxmlformats-officedocument.wordprocessingml", "2026-11-25T09:00:01.000+00:00"),
        *("thisIsAVeryLongCamelCaseIdentifierOfAFunction2", "/usr/share/lib/python3.11/site-packages/thing"),
        *("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[:30], "task-1 sk-learn scikit", "{{ env.API_KEY }}"),
    ]
    assert [text for text in texts if list(credentials_in(text))] == []


def test_no_word_of_the_shipped_pipelines_is_taken_for_a_credential() -> None:
    lines = [line for path in SHIPPED for line in path.read_text(encoding="utf-8").splitlines()]
    assert [line for line in lines if list(credentials_in(line))] == []


def test_lint_says_what_validate_says_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/production.yaml").write_text("model_strategy: {default_model: offline/echo}\n")
    file = tmp_path / "asks.yaml"
    file.write_text(
        "name: Asks\ntasks:\n  - {name: a, type: llm_task, prompt: hello}\n"
        "  - {name: b, type: python_task, script: 'import requests'}\n"
    )
    code, out = call(capsys, file)
    assert (code, "warning[default-model]" in out, "sandbox-unsaid" in out) == (0, True, False)
    code, out = call(capsys, file, "--env", "production")
    assert (code, "warning[default-model]" in out, "error[sandbox-unsaid]" in out) == (2, False, True)
