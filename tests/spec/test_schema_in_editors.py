"""The published schemas, used as editors use them: by another implementation, on files as they lie there."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from stream_orchestrator.cli.templating import Answers, made, templates
from stream_orchestrator.spec.documents import read
from stream_orchestrator.spec.loader import load_text
from stream_orchestrator.spec.schema import json_schema, kinds_of_documents

ROOT = Path(__file__).parents[2]
SHIPPED = [*(ROOT / "pipelines").rglob("*.yaml"), *(ROOT / "tests/spec/accepted").rglob("*.yaml")]


def by_kind() -> dict[str, list[Path]]:
    """Files of one document each; an editor asks for the schema of a whole file."""
    found: dict[str, list[Path]] = {kind: [] for kind in kinds_of_documents()}
    for path in sorted(SHIPPED):
        documents = [read(each) for each in load_text(path.read_text(encoding="utf-8"), file=str(path))]
        if len(documents) == 1:
            found[documents[0].kind].append(path)
    return found


def checked(folder: Path, kind: str, files: list[Path]) -> subprocess.CompletedProcess[str]:
    schema = folder / f"{kind}.schema.json"
    schema.write_text(json.dumps(json_schema(kind)))
    command = [str(Path(sys.executable).with_name("check-jsonschema")), "--schemafile", str(schema), *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("kind", kinds_of_documents())
def test_every_kind_has_a_shipped_document_and_the_schema_accepts_them_all(kind: str, tmp_path: Path) -> None:
    files = by_kind()[kind]
    assert files, f"no document shows the kind {kind}"
    done = checked(tmp_path, kind, files)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_schema_accepts_new_pipelines(tmp_path: Path) -> None:
    files: dict[str, list[Path]] = {"pipeline": [], "test_suite": []}
    for template in templates():
        for name, text in made(template, Answers(template, "d", "a", "c", "u", date.today().isoformat())).items():
            if name.endswith(".yaml"):
                (tmp_path / name).write_text(text, encoding="utf-8")
                files["test_suite" if name.startswith("test_") else "pipeline"].append(tmp_path / name)
    for kind, each in files.items():
        done = checked(tmp_path, kind, each)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("kind", "text", "place"),
    [
        ("pipeline", "name: a\ntasks: [{name: b, type: python_task, scirpt: x}]\n", "tasks[0]"),
        ("pipeline", "name: a\nversion: one\ntasks: [{name: b, type: python_task, script: x}]\n", "version"),
        ("pipeline", "name: a\n", "tasks"),
        ("component", "name: a\ntasks: [{name: b, type: python_task, script: x}]\n", "type"),
        ("test_suite", "name: a\ntype: test_suite\ntests: [{input: {}}]\n", "tests[0]"),
        ("deployment", "name: a\nstrategy: purple\n", "strategy"),
    ],
)
def test_the_schema_refuses_what_we_refuse_and_says_where(kind: str, text: str, place: str, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text)
    (document,) = (read(each) for each in load_text(text, file=str(file)))
    assert document.kind != kind or not document.ok
    done = checked(tmp_path, kind, [file])
    assert done.returncode == 1
    assert place in done.stdout
