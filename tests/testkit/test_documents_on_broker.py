"""Suites on a broker: the same document, the same outcomes, mocks across processes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stream_orchestrator.cli.main import main

Write = Callable[[str, str], Path]

PIPELINE = """\
name: Sentiment
input_variables: {text: {type: string, validation: {min_length: 5}}}
tasks:
  - name: words
    type: python_task
    script: |
      return lookup(text)
  - name: score
    type: llm_task
    model: gpt-6-luna
    prompt: "Score {{ words }}"
    error_handling:
      retry_count: 0
      fallback: {name: other, type: llm_task, model: claude-haiku-5-5, prompt: "{{ text }}"}
output: {words: "{{ words }}", score: "{{ score }}"}
"""

SUITE = """\
name: Sentiment Tests
type: test_suite
mocks: {gpt-6-luna: good, claude-haiku-5-5: fair, lookup: 3}
tests:
  - {name: plain, input: {text: long enough}, expected_output: {score: good, words: 3}}
  - name: away
    input: {text: long enough}
    mocks: {gpt-6-luna: {error: gone, type: overloaded}}
    expected_status: degraded
    expected_output: {score: fair}
  - {name: again, input: {text: long enough}, expected_output: {score: good}}
  - {name: other_helper, input: {text: long enough}, mocks: {lookup: [4]}, expected_output: {words: [4]}}
  - {name: raises, input: {text: long enough}, mocks: {lookup: {raises: no table}}, error_message: no table}
  - {name: refused, input: {text: no}, expected_error: ValidationError}
  - {name: wrong, input: {text: long enough}, expected_output: {score: bad}}
"""


def play(capfd: pytest.CaptureFixture[str], path: Path, *options: str) -> tuple[int, Any, str]:
    capfd.readouterr()
    code = main(["test", str(path), "--json", *options])
    out, err = capfd.readouterr()
    return code, json.loads(out) if out else None, err


@pytest.mark.embedded
def test_a_suite_ends_on_a_broker_as_it_does_in_memory(
    write: Write, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-real-key-that-stays-here")
    write("sentiment.yaml", PIPELINE)
    path = write("test_sentiment.yaml", SUITE)
    in_memory, on_broker = play(capfd, path), play(capfd, path, "--broker", "embedded")
    ended, also = (
        {test["name"]: test["status"] for test in found["documents"][0]["tests"]}
        for _, found, _ in (in_memory, on_broker)
    )
    assert ended == also == {**dict.fromkeys(ended, "passed"), "wrong": "failed"}, (in_memory, on_broker)
    assert in_memory[0] == on_broker[0] == 1


@pytest.mark.parametrize(
    ("model", "mocks", "said"),
    [
        ("gpt-6-luna", "{lookup: {in_turn: [1, 2]}, gpt-6-luna: x}", "`lookup` cannot answer in turn"),
        ("offline/echo", "{lookup: 1, offline/echo: x}", "`offline/echo` is built in"),
    ],
)
def test_what_cannot_be_mocked_across_processes_is_refused_before_anything_runs(
    write: Write, capfd: pytest.CaptureFixture[str], model: str, mocks: str, said: str
) -> None:
    write("sentiment.yaml", PIPELINE.replace("gpt-6-luna", model))
    test = f"{{name: a, input: {{text: long enough}}, mocks: {mocks}}}"
    suite = f"name: Sentiment Tests\ntype: test_suite\nmocks: {{claude-haiku-5-5: x}}\ntests: [{test}]\n"
    code, found, err = play(capfd, write("test_sentiment.yaml", suite), "--broker", "embedded")
    assert (code, found) == (2, None)
    assert said in err
