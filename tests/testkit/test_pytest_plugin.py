"""The pytest plugin, in a project of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[[str, str], Path]

PIPELINE = "name: Greet\ntasks: [{name: greeted, type: llm_task, model: gpt-6-luna, prompt: 'Hi {{ who }}'}]\n"
SUITE = """\
name: Greet Tests
type: test_suite
tests:
  - {name: offline, input: {who: Ada}, validation: {response_time: "< 60 seconds"}}
  - {name: wrong, input: {who: Ada}, mocks: {gpt-6-luna: Hello}, expected_output: Bye}
---
name: Greet with Services
type: integration_test
functions: [steps.py]
setup: [begin]
tests: [{name: inside, inputs: {who: Bob}, validate: [begun]}]
teardown: [end]
"""
STEPS = """\
import pathlib
MARK = pathlib.Path(__file__).with_name("mark.txt")
def begin(): MARK.write_text("begun")
def begun(result): return MARK.read_text() == "begun"
def end(): MARK.write_text("ended")
"""


@pytest.fixture
def project(write: Write, tmp_path: Path) -> Path:
    write("pyproject.toml", "[tool.pytest.ini_options]\n")
    write("greet.yaml", PIPELINE)
    write("test_greet.yaml", SUITE)
    write("steps.py", STEPS)
    write("test_other.yaml", "just: [data, of, somebody]\n")
    write("test_broken.yaml", "just: [\n")
    write("test_load.yaml", "type: load_test\ntest_scenarios: [{name: a, concurrent_users: 1, duration: 1s}]\n")
    return tmp_path


def run(project: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v", *options]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=100)


def test_without_being_asked_it_collects_nothing(project: Path) -> None:
    done = run(project)
    assert "no tests ran" in done.stdout
    assert done.returncode == 5


def test_tests_of_documents_are_tests_like_any_other(project: Path) -> None:
    done = run(project, "--stream-orchestrator")
    assert "2 passed, 1 failed" in done.stdout.replace("1 failed, 2 passed", "2 passed, 1 failed"), done.stdout
    assert 'output: expected "Bye", got "Hello"' in done.stdout
    assert "Traceback" not in done.stdout
    assert "plugin.py" not in done.stdout
    assert (project / "mark.txt").read_text() == "ended"


def test_one_test_can_be_chosen_and_a_project_asks_once(project: Path, write: Write) -> None:
    write("pyproject.toml", "[tool.pytest.ini_options]\nstream_orchestrator = true\n")
    done = run(project, "-k", "offline")
    assert "1 passed" in done.stdout, done.stdout
    assert done.returncode == 0


def test_a_wrong_document_is_told_in_words(project: Path, write: Write) -> None:
    write("test_greet.yaml", SUITE.replace("expected_output: Bye", "expected: Bye"))
    done = run(project, "--stream-orchestrator")
    assert "unknown key `expected`" in done.stdout
    assert "test_greet.yaml:5" in done.stdout
    assert done.returncode == 2


def test_the_plugin_loads_nothing_of_ours_until_it_is_needed() -> None:
    code = "import sys, stream_orchestrator.testkit.plugin as p; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"faust", "aiokafka", "httpx", "rich", "typer"} & set(loaded)
