"""`integration_test`: steps before and after, checks by name, teardown whatever happens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from stream_orchestrator.cli.main import main
from stream_orchestrator.testkit.documents import read_tests
from stream_orchestrator.testkit.integration import IntegrationRun
from stream_orchestrator.testkit.mocks import Mocks
from stream_orchestrator.testkit.playing import play as play_document
from stream_orchestrator.testkit.records import Result
from stream_orchestrator.testkit.running import Subject

Write = Callable[[str, str], Path]

PIPELINE = """\
name: Double
tasks:
  - name: doubled
    type: python_task
    script: |
      if n < 0:
          raise ValueError("negative")
      return {"n": n * 2}
"""

STEPS = """\
import pathlib
import sys

HERE = pathlib.Path(__file__).parent
LOG = HERE / "log.txt"


def note(what):
    with LOG.open("a") as file:
        file.write(what + "\\n")


def start_database():
    note("start")
    return {"articles": {"first": {"n": 21}}, "port": 5432}


async def load(rows, **more):
    note(f"load {rows} {sorted(more)}")
    return rows


def breaks():
    raise OSError("no disk")


def seen(result):
    return result.output["n"]


def at_least(limit, result):
    return result.output["n"] >= limit


def is_even(result):
    return result.output["n"] % 2 == 0


def says_nothing(value):
    pass


def asserts(value):
    assert value == 1, "it is not one"


def stop(port):
    note(f"stop {port}")


def clean():
    note("clean")


def leaves(result):
    sys.exit(0)


async def leaves_later(result):
    raise SystemExit


def stops(result):
    raise StopIteration


def gone():
    sys.exit(0)


def interrupted():
    raise KeyboardInterrupt
"""

HEAD = """\
name: Double Integration
type: integration_test
functions: [steps.py]
"""


@pytest.fixture
def play(write: Write, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Any:
    """Runs a document; its exit code, its JSON, what was said, and what the steps noted."""
    write("double.yaml", PIPELINE)
    write("steps.py", STEPS)

    def run(text: str) -> tuple[int, Any, str, list[str]]:
        path = write("double_integration.yaml", HEAD + text)
        code = main(["test", str(path), "--json"])
        out, err = capfd.readouterr()
        log = tmp_path / "log.txt"
        noted = log.read_text().splitlines() if log.exists() else []
        return code, json.loads(out)["documents"][0] if out else None, err, noted

    return run


def test_what_setup_returns_is_read_in_inputs_checks_and_teardown(play: Any) -> None:
    code, found, _, noted = play(
        """\
setup:
  - start_database
  - load: {rows: "{{ start_database.port }}", more: 1}
tests:
  - name: by_the_step
    inputs: "{{ start_database.articles.first }}"
    validate: [{seen: 42}, {seen: ">= 42"}, {at_least: 42}, is_even, {is_even: true}]
  - name: by_its_keys
    inputs: "{{ articles.first }}"
    validate: [{processing_time: "< 60 seconds"}, {api_calls_made: 0}, {cost: "<= $0"}]
  - {name: by_setup, inputs: {n: "{{ setup.load }}"}, validate: [{seen: 10864}]}
teardown:
  - stop: "{{ start_database.port }}"
  - clean
"""
    )
    assert [test["status"] for test in found["tests"]] == ["passed"] * 3, found
    assert code == 0
    assert noted == ["start", "load 5432 ['more']", "stop 5432", "clean"]


def test_a_check_that_does_not_hold_is_told_and_so_is_one_that_says_nothing(play: Any) -> None:
    code, found, _, _ = play(
        """\
tests:
  - name: checks
    inputs: {n: 1}
    validate:
      - seen: 3
      - at_least: 3
      - is_even: false
      - says_nothing: 1
      - asserts: 2
      - processing_time: "< 0 seconds"
  - {name: fails, inputs: {n: -1}}
"""
    )
    (checks, fails) = (test["failures"] for test in found["tests"])
    assert checks[:3] == [
        "seen: expected 3, got 2",
        "at_least: does not hold for 3",
        "is_even: expected false, got true",
    ]
    assert [line.split(":")[0] for line in checks[3:]] == ["says_nothing", "asserts", "processing_time"]
    assert "it is not one" in checks[4]
    assert fails == ["the run failed in `doubled`: ValueError: line 2: negative"]
    assert code == 1


def test_a_failed_setup_runs_no_test_and_still_tears_down(play: Any) -> None:
    code, found, _, noted = play(
        "setup: [start_database, breaks]\ntests: [{name: a, inputs: {n: 1}}]\nteardown: [breaks, clean]\n"
    )
    assert code == 1
    assert [(test["name"], test["status"]) for test in found["tests"]] == [("a", "error"), ("teardown", "error")]
    assert found["tests"][0]["failures"] == ["setup: `breaks` raised OSError: no disk"]
    assert noted == ["start", "clean"]


@pytest.mark.parametrize("name", ["leaves", "leaves_later", "stops"])
def test_a_check_that_leaves_fails_its_test_and_the_others_still_run(play: Any, name: str) -> None:
    tests = f"  - {{name: one, inputs: {{n: 1}}, validate: [{name}]}}\n  - {{name: two, inputs: {{n: 1}}}}\n"
    code, found, _, noted = play(f"tests:\n{tests}teardown: [gone, clean]\n")
    assert [test["status"] for test in found["tests"]] == ["failed", "passed", "error"]
    assert found["tests"][0]["failures"][0].startswith(f"{name}: StepLeft: ")
    assert found["tests"][2]["failures"] == ["teardown: `gone` raised StepLeft: SystemExit(0)"]
    assert (code, noted) == (1, ["clean"])


def test_a_setup_that_leaves_has_failed(play: Any) -> None:
    code, found, _, noted = play("setup: [gone]\ntests: [{name: a, inputs: {n: 1}}]\nteardown: [clean]\n")
    assert found["tests"][0]["failures"] == ["setup: `gone` raised StepLeft: SystemExit(0)"]
    assert (code, noted) == (1, ["clean"])


def test_an_interrupt_in_a_teardown_step_stops_no_other_step(write: Write, tmp_path: Path) -> None:
    write("double.yaml", PIPELINE)
    write("steps.py", STEPS)
    text = HEAD + "tests: [{name: a, inputs: {n: 1}}]\nteardown: [interrupted, clean]\n"
    assert main(["test", str(write("double_integration.yaml", text))]) == 130
    assert (tmp_path / "log.txt").read_text().splitlines() == ["clean"]


def test_a_name_that_setup_did_not_give_is_an_error_of_that_test_alone(play: Any) -> None:
    code, found, _, noted = play(
        """\
tests:
  - {name: unknown, inputs: {n: "{{ articles.first }}"}}
  - {name: fine, inputs: {n: 1}}
teardown: [clean]
"""
    )
    assert [test["status"] for test in found["tests"]] == ["error", "passed"]
    assert "articles" in found["tests"][0]["failures"][0]
    assert (code, noted) == (1, ["clean"])


class Hanging:
    """A runner whose runs never end."""

    def __init__(self) -> None:
        self.runs = asyncio.Event()

    async def run(self, subject: Subject, inputs: Mapping[str, Any], mocks: Mocks) -> Result:
        self.runs.set()
        await asyncio.Event().wait()
        raise AssertionError("an event that nobody sets was set")

    async def close(self) -> None:
        pass


async def test_teardown_runs_when_a_test_is_interrupted(write: Write, tmp_path: Path) -> None:
    write("double.yaml", PIPELINE)
    write("steps.py", STEPS)
    text = "setup: [start_database]\ntests: [{name: a, inputs: {n: 1}}]\nteardown: [breaks, clean]\n"
    (document,) = read_tests(write("double_integration.yaml", HEAD + text))
    run, runner = document.prepare(offline=True), Hanging()
    assert isinstance(run, IntegrationRun)
    playing = asyncio.create_task(play_document(document, run, runner, lambda outcome: None))
    await runner.runs.wait()
    playing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await playing
    assert (tmp_path / "log.txt").read_text().splitlines() == ["start", "clean"]


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("setup: [start_databse]\ntests: [{name: a}]\n", 3, "did you mean `start_database`?"),
        ("tests: [{name: a, validate: [{rows: 3}]}]\nteardown: [sweep]\n", 3, "`rows`, `sweep`"),
        ("tests: [{name: a, validate: [cost]}]\n", 2, "the check `cost` has no bound"),
        ("tests: [{name: a, pipeline: triple.yaml}]\n", 2, "there is no pipeline `triple.yaml`"),
    ],
)
def test_nothing_is_set_up_when_a_step_or_a_pipeline_is_not_there(play: Any, text: str, code: int, said: str) -> None:
    found = play("setup: [start_database]\n" + text if "setup" not in text else text)
    assert (found[0], found[1], found[3]) == (code, None, [])
    assert said in found[2]


def test_a_functions_list_in_the_same_file_serves_too(play: Any, write: Write) -> None:
    write("more.py", "def is_four(result):\n    return result.output['n'] == 4\n")
    code, found, _, _ = play(
        "tests: [{name: a, inputs: {n: 2}, validate: [is_four, is_even]}]\n---\nfunctions: [more.py]\n"
    )
    assert (code, found["ok"]) == (0, True)
