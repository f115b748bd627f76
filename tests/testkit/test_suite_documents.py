"""`test_suite` and `integration_test` through the command: what is reported, and with which exit code."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stream_orchestrator.cli.main import main

Write = Callable[[str, str], Path]

PIPELINE = """\
name: Sentiment
version: 1.2.0
input_variables:
  text: {type: string, validation: {min_length: 10}}
tasks:
  - name: words
    type: python_task
    script: |
      if "boom" in text:
          raise ValueError("it went boom")
      return lookup(text)
  - name: score
    type: llm_task
    model: gpt-6-luna
    prompt: "Score {{ words }}"
    output_schema: {type: object, properties: {score: {type: number}}, required: [score]}
    error_handling: {retry_count: 0}
output: {words: "{{ words }}", score: "{{ score.score }}"}
"""

SUITE = """\
name: Sentiment Tests
type: test_suite
mocks:
  models: {gpt-6-luna: {score: 0.8}}
  functions: {lookup: 3}
tests:
"""


@pytest.fixture
def play(write: Write, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes a document beside the pipeline and runs it: the exit code, its JSON, and what was said."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    write("pipelines/sentiment-v1.2.0.yaml", PIPELINE)

    def run(text: str, *options: str, name: str = "tests/test_sentiment.yaml") -> tuple[int, Any, str]:
        path = write(name, text)
        code = main(["test", str(path), "--json", *options])
        out, err = capfd.readouterr()
        return code, json.loads(out) if out else None, err

    return run


def failures(found: Any) -> dict[str, list[str]]:
    return {test["name"]: test["failures"] for test in found["documents"][0]["tests"]}


def test_a_suite_passes_when_all_is_as_expected(play: Any) -> None:
    code, found, _ = play(
        SUITE
        + """\
  - name: fine
    input: {text: "long enough"}
    expected_output: {score: ">= 0.7", words: 3}
    validation: {response_time: "< 60 seconds", memory_usage: "< 8GB"}
  - name: refused
    input: {text: short}
    expected_error: ValidationError
    error_message: at least 10
  - name: raises
    input: {text: "it goes boom now"}
    expected_error: ValueError
    error_message: went boom
"""
    )
    assert (code, found["passed"], found["failed"], found["errors"]) == (0, 3, 0, 0)
    document = found["documents"][0]
    assert (document["kind"], document["pipeline"], document["ok"]) == ("test_suite", "sentiment 1.2.0", True)
    assert document["tests"][0]["measures"]["calls"] == 1
    assert document["tests"][0]["measures"]["peak_bytes"] > 1_000_000


def test_a_suite_fails_with_every_difference(play: Any) -> None:
    code, found, _ = play(
        SUITE
        + """\
  - {name: value, input: {text: long enough}, expected_output: {score: "> 0.9", words: 4, more: 1}}
  - {name: ends, input: {text: short}, expected_output: {score: 1}}
  - {name: ends_well, input: {text: long enough}, expected_error: ValueError}
  - {name: other_error, input: {text: it goes boom now}, expected_error: KeyError, error_message: bang}
  - {name: slow, input: {text: long enough}, validation: {response_time: "< 0 seconds", memory_usage: "< 1kB"}}
  - {name: status, input: {text: long enough}, expected_status: degraded}
"""
    )
    told = failures(found)
    assert (code, found["failed"]) == (1, 6)
    assert told["value"] == [
        "output.score: expected > 0.9, got 0.8",
        "output.words: expected 4, got 3",
        "output.more: is not there (there is: words, score)",
    ]
    assert told["ends"][0].startswith("the run was rejected: InvalidInput: `text`")
    assert told["ends_well"] == ["expected an error (ValueError), but the run succeeded"]
    assert [line.split(":")[0] for line in told["other_error"]] == ["error", "error message"]
    assert [line.split(":")[0] for line in told["slow"]] == ["response_time", "memory_usage"]
    assert told["status"] == ["status: expected degraded, got succeeded"]


def test_mocks_of_a_test_win_answer_in_turn_and_may_fail(play: Any) -> None:
    code, found, _ = play(
        SUITE
        + """\
  - name: own
    input: &event {text: long enough}
    mocks: {gpt-6-luna: {score: 0.1}, lookup: [1]}
    expected_output: {score: 0.1, words: [1]}
  - {name: again, input: *event, expected_output: {score: 0.8, words: 3}}
  - {name: away, input: *event, mocks: {gpt-6-luna: {error: gone, type: overloaded}}, expected_error: overloaded}
  - {name: raises, input: *event, mocks: {lookup: {raises: no table}}, error_message: no table}
  - {name: returns, input: *event, mocks: {lookup: {returns: {raises: x}}}, expected_output: {words: {raises: x}}}
"""
    )
    assert failures(found) == {name: [] for name in ("own", "again", "away", "raises", "returns")}
    assert code == 0


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (SUITE.replace("lookup: 3", "lookop: 3") + "  - {name: a}\n", 2, "did you mean `lookup`?"),
        (SUITE.replace("  functions: {lookup: 3}\n", "") + "  - {name: a}\n", 3, "`lookup`"),
        (SUITE.replace("  models: {gpt-6-luna: {score: 0.8}}\n", "") + "  - {name: a}\n", 3, "OPENAI_API_KEY"),
        (SUITE + "  - {name: a, input: {text: \"{{ load_test_data('x.txt') }}\"}}\n", 2, "no test data `x.txt`"),
        (SUITE + '  - {name: a, input: "{{ [1] }}"}\n', 2, "an event is a map"),
        (SUITE.replace("tests:", "pipeline: sentiments\ntests:") + "  - {name: a}\n", 2, "did you mean"),
        (SUITE + "  - {name: a, expected: 1}\n", 2, "unknown key `expected`"),
        (SUITE.replace("tests:", f"pipeline: {'s' * 5_000}\ntests:") + "  - {name: a}\n", 2, "there is no pipeline"),
        (SUITE.replace("tests:", 'pipeline: "s\\0.yaml"\ntests:') + "  - {name: a}\n", 2, "there is no pipeline"),
        (
            SUITE + f"  - {{name: a, input: {{text: \"{{{{ load_test_data('{'a' * 5_000}') }}}}\"}}}}\n",
            2,
            "no test data",
        ),
        (SUITE + "  - {name: a, input: {text: \"{{ load_test_data('a\\0b') }}\"}}\n", 2, "no NUL"),
        (PIPELINE, 2, "has no test"),
    ],
)
def test_nothing_runs_when_a_document_is_wrong_or_something_is_missing(
    play: Any, text: str, code: int, said: str
) -> None:
    found = play(text)
    assert (found[0], found[1]) == (code, None)
    assert said in found[2]


def test_models_that_no_test_mocks_are_answered_offline_when_that_is_asked_for(play: Any) -> None:
    text = SUITE.replace("  models: {gpt-6-luna: {score: 0.8}}\n", "") + "  - {name: a, input: {text: long enough}}\n"
    code, found, _ = play(text, "--offline")
    assert (code, found["passed"]) == (0, 1)


def test_outcomes_are_written_as_junit_xml(play: Any, tmp_path: Path) -> None:
    text = SUITE + '  - {name: good, input: {text: long enough}}\n  - {name: "b<d\\u0001", input: {text: short}}\n'
    code, _, _ = play(text, "--junit", str(tmp_path / "out.xml"))
    (suite,) = ElementTree.parse(tmp_path / "out.xml").getroot()
    assert code == 1
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "0")
    bad = suite.findall("testcase")[1]
    assert bad.get("name") == "b<d\N{REPLACEMENT CHARACTER}"
    assert "was rejected" in (bad.find("failure").get("message") or "")  # type: ignore[union-attr]


def test_a_report_that_cannot_be_written_is_a_wrong_command_line(play: Any) -> None:
    code, _, said = play(SUITE + "  - {name: a, input: {text: long enough}}\n", "--junit", "/no/such/folder/out.xml")
    assert code == 2
    assert "/no/such/folder/out.xml" in said


def test_services_are_mocked_by_name_in_turn_and_may_fail(play: Any, write: Write) -> None:
    write(
        "pipelines/reader-v1.0.0.yaml",
        "name: Reader\nversion: 1.0.0\ninput_variables: {page_url: {type: string}}\ntasks:\n"
        "  - {name: page, type: web_scraping_task, error_handling: {retry_count: 1, retry_delay: 0}}\n"
        "  - {name: size, type: python_task, script: \"return len(page['text'])\"}\n",
    )
    suite = """\
name: Reader Tests
type: test_suite
mocks: {services: {web: {text: four}}}
tests:
  - {name: read, input: &page {page_url: "http://nowhere.invalid/a"}, expected_output: 4}
  - name: again
    input: *page
    mocks: {web: {in_turn: [{error: away, type: timeout, retryable: true}, {text: ab}]}}
    expected_output: 2
  - {name: gone, input: *page, mocks: {web: {error: no such page, type: not_found}}, expected_error: not_found}
"""
    code, found, said = play(suite, name="tests/test_reader.yaml")
    assert (code, failures(found)) == (0, {"read": [], "again": [], "gone": []}), said


def test_a_service_that_the_pipeline_does_not_ask_is_no_mock(play: Any) -> None:
    code, _, said = play(SUITE + "  - {name: a, input: {text: long enough}, mocks: {services: {web: {}}}}\n")
    assert code == 2
    assert "`web` is no model, no service and no helper" in said


def test_a_pipeline_is_tested_as_it_stands_in_the_environment(play: Any, write: Write) -> None:
    write("config/staging.yaml", "model_strategy: {default_model: offline/echo}\ntrust: {network: deny}\n")
    write(
        "pipelines/caller-v1.0.0.yaml",
        "name: Caller\nversion: 1.0.0\ntasks:\n"
        "  - {name: said, type: llm_task, prompt: hello}\n"
        "  - name: reached\n    type: python_task\n    sandbox: {network: true}\n    script: |\n"
        "      import socket\n"
        "      socket.create_connection(('127.0.0.1', 9), 0.1)\n",
    )
    suite = """\
name: Caller Tests
type: test_suite
tests:
  - {name: denied, expected_error: PermissionError}
"""
    code, _, said = play(suite, name="tests/test_caller.yaml")
    assert (code, "OPENAI_API_KEY must be set" in said) == (3, True)
    code, found, said = play(suite, "--env", "staging", name="tests/test_caller.yaml")
    assert (code, failures(found)) == (0, {"denied": []}), said
