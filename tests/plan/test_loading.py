from __future__ import annotations

import os

import pytest

from stream_orchestrator.errors import SpecError, UsageError
from stream_orchestrator.plan.loading import load_path, load_plan

GOOD = "name: Good\ntasks:\n  - {name: a, type: python_task, script: 'return 1'}\n"
BAD = "name: Bad\ntasks:\n  - {name: a, type: python_task, script: 'return ('}\n"


def test_a_folder_gives_every_document_of_its_yaml_files_in_order(tmp_path):
    (tmp_path / "b.yaml").write_text(GOOD + "---\n" + BAD)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "c.yml").write_text("type: component\n" + GOOD)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "d.yaml").write_text(BAD)
    (tmp_path / "notes.txt").write_text("no: document")
    loaded = load_path(tmp_path)
    assert [(each.kind, each.located.index, each.ok, each.plan is not None) for each in loaded] == [
        ("component", 0, True, False),
        ("pipeline", 0, True, True),
        ("pipeline", 1, False, False),
    ]


def test_a_plan_comes_with_its_warnings(tmp_path):
    (tmp_path / "p.yaml").write_text("name: P\ntasks:\n  - {name: a, type: python_task, script: 'helper()'}\n")
    (loaded,) = load_path(tmp_path / "p.yaml")
    assert loaded.plan is not None
    assert loaded.ok
    assert [problem.rule for problem in loaded.problems] == ["unknown-helper"]


def test_a_path_that_is_not_there_and_a_folder_without_documents_are_said(tmp_path):
    with pytest.raises(UsageError, match="not there"):
        load_path(tmp_path / "nope.yaml")
    with pytest.raises(UsageError, match="too long"):
        load_path(tmp_path / ("a" * 5_000))
    with pytest.raises(UsageError, match="no YAML file"):
        load_path(tmp_path)
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(UsageError, match="no plain file"):
        load_path(tmp_path / "pipe.yaml")


def test_one_pipeline_is_loaded_as_its_plan(tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text(GOOD)
    assert load_plan(file).slug == "good"
    file.write_text(BAD)
    with pytest.raises(SpecError) as caught:
        load_plan(file)
    assert [problem.rule for problem in caught.value.problems] == ["bad-script"]
    file.write_text(GOOD + "---\n" + GOOD.replace("Good", "Better"))
    with pytest.raises(UsageError, match="2 pipelines"):
        load_plan(file)
