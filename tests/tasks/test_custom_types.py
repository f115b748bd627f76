"""Task types that an installed package brings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_orchestrator import load
from stream_orchestrator.errors import RunError, SpecError
from stream_orchestrator.spec.custom import installed
from stream_orchestrator.tasks import KINDS
from stream_orchestrator.tasks.custom import unknown_kinds

MODULE = """
import os
from stream_orchestrator.kernel.kinds import Value

def shout(options, inputs):
    return {"said": inputs["text"].upper() * options.get("times", 1), "pid": os.getpid()}

async def later(options, inputs):
    return [options, inputs]

class Echo:
    name = "echo_task"
    summary = guarantees = example = "echo"
    def begin(self, attempt): return Value(attempt.variant.options["options"])
    def answered(self, attempt, answer): raise AssertionError
    def scripted(self, attempt, done): raise AssertionError

nothing = 5
"""
POINTS = """[stream_orchestrator.task_types]
shout_task = made_types:shout
later_task = made_types:later
echo_task = made_types:Echo
wrong_task = made_types:nothing
broken_task = made_types_that_are_not_there:any
python_task = made_types:shout
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package with task types, installed."""
    (tmp_path / "made_types.py").write_text(MODULE)
    info = tmp_path / "made_types-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: made-types\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(tmp_path)
    known = set(KINDS)
    installed.cache_clear()
    yield
    for name in set(KINDS) - known:
        del KINDS[name]
    installed.cache_clear()


def write(folder: Path, tasks: str) -> Path:
    path = folder / "p.yaml"
    path.write_text(f"name: P\ninput_variables:\n  text: {{type: string}}\ntasks:\n{tasks}")
    return path


async def test_a_function_of_a_package_runs_in_the_sandbox(package: None, tmp_path: Path) -> None:
    import os

    path = write(
        tmp_path,
        """\
  - {name: a, type: shout_task, options: {times: "{{ 1 + 1 }}"}}
  - {name: b, type: later_task, inputs: {of: "{{ a.said }}"}, options: {x: [1]}}
""",
    )
    result = await load(path).run({"text": "hi"}, models="none")
    assert result.error is None
    assert result.outputs["a"]["said"] == "HIHI"
    assert result.outputs["a"]["pid"] != os.getpid()
    assert result.outputs["b"] == [{"x": [1]}, {"of": "HIHI"}]


async def test_a_whole_kind_of_a_package_is_asked_as_ours_are(package: None, tmp_path: Path) -> None:
    path = write(tmp_path, "  - {name: a, type: echo_task, options: {x: 1}}\n")
    assert (await load(path).run({"text": "hi"}, models="none")).output == {"x": 1}


@pytest.mark.parametrize("kind", ["wrong_task", "broken_task"])
async def test_a_type_that_is_none_fails_its_task_and_says_why(package: None, tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, f"  - {{name: a, type: {kind}}}\n")
    result = await load(path).run({"text": "hi"}, models="none")
    assert result.error is not None
    assert kind in result.error["message"]
    assert result.error["retryable"] is False


def test_a_package_cannot_take_the_place_of_a_built_in_type(package: None, tmp_path: Path) -> None:
    path = write(tmp_path, "  - {name: a, type: python_task, script: return 1}\n")
    assert load(path).plan.tasks[0].variants[0].options["script"] == "return 1"


def test_an_unknown_type_names_the_nearest_of_all_that_are_installed(package: None, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load(write(tmp_path, "  - {name: a, type: shot_task}\n"))
    (problem,) = caught.value.problems
    assert "shout_task" in problem.hint  # type: ignore[attr-defined]


def test_an_unknown_key_of_an_installed_type_is_an_error(package: None, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="optons"):
        load(write(tmp_path, "  - {name: a, type: shout_task, optons: {}}\n"))


def test_a_type_that_is_not_installed_here_says_what_to_do() -> None:
    with pytest.raises(RunError, match="install"):
        KINDS["shout_task"]


def test_a_worker_is_told_of_types_that_do_not_load_before_it_starts(package: None, tmp_path: Path) -> None:
    good = load(write(tmp_path, "  - {name: a, type: shout_task}\n")).plan
    bad = load(write(tmp_path, "  - {name: a, type: broken_task}\n")).plan
    ((title, name, why),) = unknown_kinds([good, bad])
    assert (title, name) == ("P", "broken_task")
    assert "made_types_that_are_not_there" in why
