"""`fmt` gives a document its one form, and changes nothing that it says."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_orchestrator.cli.main import main
from stream_orchestrator.plan.compile import compile_document
from stream_orchestrator.plan.fmt import Unformattable, formatted
from stream_orchestrator.spec.loader import load_text
from tests.support.mutations import STRUCTURAL

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*(ROOT / "pipelines").rglob("*.yaml"), *(ROOT / "tests/spec/accepted").rglob("*.yaml")])

UNTIDY = """\
# The file says what it is.
# On two lines.

tasks:
- type: python_task   # the kind
  # about the name
  name: first


  script: "x = 1\\nreturn x\\n"  # short
  description: >-
      Folded
      text
# before the second
- {name: second, type: python_task, script: return first}
    # a word at the end of the second

# about the header
version: '1.0.0'
x-own: 1
name:   Untidy
"""
TIDY = """\
# The file says what it is.
# On two lines.

name:   Untidy

# about the header
version: '1.0.0'
x-own: 1

tasks:
  # about the name
  - name: first
    type: python_task   # the kind
    description: >-
        Folded
        text

    script: |  # short
      x = 1
      return x

  # before the second
  - {name: second, type: python_task, script: return first}
    # a word at the end of the second
"""


def test_an_untidy_document_gets_its_one_form() -> None:
    assert formatted(UNTIDY, file="untidy.yaml") == TIDY
    assert formatted(TIDY, file="untidy.yaml") == TIDY


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("name: a\r\ntasks: []\r\n", "name: a\ntasks: []\n"),
        ("name: a\n\n\n\nversion: 1.0.0", "name: a\n\nversion: 1.0.0\n"),
        ("\ufeffname: a\n", "name: a\n"),
        ("version: 1.0.0   \nname: a  # b  \n", "name: a  # b\nversion: 1.0.0\n"),
        ("---\nversion: 1.0.0\nname: a\n---\nversion: 1.0.0\nname: b\n...\n",
         "---\nname: a\nversion: 1.0.0\n---\nname: b\nversion: 1.0.0\n...\n"),
        ("tasks:\n  - type: llm_task\n    prompt: a\n    <<: &d {model: x}\n    name: b\nname: c\n",
         "name: c\n\ntasks:\n  - name: b\n    type: llm_task\n    prompt: a\n    <<: &d {model: x}\n"),
        ("x-d: &d\n  a: 1\nname: *d\n", "x-d: &d\n  a: 1\n\nname: *d\n"),
        ("tasks:\n- name: a\n  script: |+\n    x\n\n  type: python_task\nname: b\n",
         "name: b\n\ntasks:\n  - name: a\n    type: python_task\n    script: |+\n      x\n\n"),
        ("tasks:\n  -\n    type: python_task\n    name: a\n", "tasks:\n  - name: a\n    type: python_task\n"),
        ("description: 'a\n\n  b'\nname: c\n", "name: c\ndescription: 'a\n\n  b'\n"),
        ("tasks:\n    - name: a\n      script: |2\n           deep\n          x\n      type: python_task\n",
         "tasks:\n  - name: a\n    type: python_task\n    script: |2\n         deep\n        x\n"),
        ("? name\n: a\n", "? name\n: a\n"),
        ("- version\n- name\n", "- version\n- name\n"),
        ("input_variables:\n  z: {type: string}\n  a:\n    default: 1\n    type: integer\n",
         "input_variables:\n  z: {type: string}\n  a:\n    type: integer\n    default: 1\n"),
    ],
)  # fmt: skip
def test_what_changes_and_what_stays(before: str, after: str) -> None:
    assert formatted(before, file="a.yaml") == after
    assert formatted(after, file="a.yaml") == after


def test_a_text_of_several_files_stays_one() -> None:
    text = "# config/base.yaml\nlogging: {level: INFO}\nname: a\n\n# config/dev.yaml\ncache: {}\nextends: base.yaml\n"
    made = formatted(text, file="config.yaml")
    assert made.startswith("# config/base.yaml\nname: a\n")
    assert [each.part for each in load_text(made)] == ["config/base.yaml", "config/dev.yaml"]
    assert formatted(made, file="config.yaml") == made


def test_a_broken_document_is_refused_with_its_problems() -> None:
    with pytest.raises(Unformattable) as caught:
        formatted("name: a\nname: b\n", file="a.yaml")
    assert [problem.rule for problem in caught.value.problems] == ["duplicate-key"]  # type: ignore[attr-defined]
    with pytest.raises(Unformattable):
        formatted("name: [\n", file="a.yaml")


def test_a_text_that_would_not_stay_the_same_is_refused() -> None:
    # the block at the very end has no line end, and would have one in its new place
    with pytest.raises(Unformattable, match="would not be the same"):
        formatted("tasks:\n  - error_handling: {retry_count: 1}\n    script: |\n      x", file="a.yaml")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_shipped_and_accepted_documents_compile_to_the_same_plan(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    made = formatted(text, file=str(path))
    assert formatted(made, file=str(path)) == made
    for before, after in zip(load_text(text, file=str(path)), load_text(made, file=str(path)), strict=True):
        if "tasks" in before.data and "parameters" not in before.data:
            assert compile_document(before).hash == compile_document(after).hash


# --- generated: any way of writing -----------------------------------------------------------------------------------

WORDS = st.sampled_from(
    ["a b", "x: 1", "# no comment", "it's", 'a "b"', "line\nline", "l\n\n  l\n", " s", "", "1", "é"]
)
SCRIPTS = st.sampled_from(["return 1", "x = 1\nreturn x\n", "if 1:\n    return 2", "# why\n\nreturn '#'\n"])


@st.composite
def tasks(draw: Any, number: int, depth: int = 0) -> dict[str, Any]:
    task: dict[str, Any] = {"name": f"task_{depth}_{number}", "type": "python_task", "script": draw(SCRIPTS)}
    if draw(st.booleans()):
        task["description"] = draw(WORDS)
    if draw(st.booleans()):
        task["timeout"] = draw(st.integers(1, 9))
    if depth < 1 and draw(st.integers(0, 2)) == 0:
        task["error_handling"] = {
            "fallback": [draw(tasks(10 * number + each, depth + 1)) for each in range(draw(st.integers(1, 2)))],
            "retry_count": 1,
        }
    return task


@st.composite
def documents(draw: Any) -> dict[str, Any]:
    data: dict[str, Any] = {"name": "Made", "tasks": [draw(tasks(each)) for each in range(draw(st.integers(1, 3)))]}
    if draw(st.booleans()):
        data["input_variables"] = {"z": {"type": "string", "default": draw(WORDS)}, "a": {"type": "integer"}}
    if draw(st.booleans()):
        data["changelog"] = [{"version": "1.0.0", "changes": [draw(SCRIPTS), draw(SCRIPTS)]}]
    if draw(st.booleans()):
        data["x-own"] = {"b": [[1, 2], [], {}], "a": draw(WORDS)}
    data["version"] = "1.0.0"
    return data


class Scribe:
    """Writes data as somebody without habits does: any order, any indentation, any style, comments anywhere."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.count = 0

    def above(self, indent: int, about: str) -> list[str]:
        lines = [""] * self.dice.choice((0, 0, 0, 1, 2))
        if self.dice.random() < 0.3:
            self.count += 1
            lines.append(f"{' ' * indent}# above {about} {self.count}")
        return lines

    def beside(self) -> str:
        if self.dice.random() < 0.2:
            self.count += 1
            return f"  # beside {self.count}"
        return self.dice.choice(("", "", "  "))

    def scalar(self, value: Any, indent: int) -> list[str]:
        if not isinstance(value, str):
            return [json.dumps(value) + self.beside()]
        lines = value.removesuffix("\n").split("\n")
        blocky = value.strip() and not value.startswith((" ", "\n")) and not value.endswith("\n\n")
        if blocky and self.dice.random() < 0.5:
            pad = " " * (indent + self.dice.randint(1, 4))
            chomp = "" if value.endswith("\n") else "-"
            return [f"|{chomp}{self.beside()}", *(pad + line if line else "" for line in lines)]
        if len(lines) == 1 and "\n" not in value and self.dice.random() < 0.4:
            return ["'" + value.replace("'", "''") + "'" + self.beside()]
        return [json.dumps(value, ensure_ascii=self.dice.random() < 0.5) + self.beside()]

    def map(self, data: dict[str, Any], indent: int) -> list[str]:
        keys = list(data)
        self.dice.shuffle(keys)
        lines: list[str] = []
        for key in keys:
            lines += self.above(indent, key)
            lines += self.entry(f"{' ' * indent}{key}:", data[key], indent)
        return lines

    def entry(self, head: str, value: Any, indent: int, least: int = 0) -> list[str]:
        if isinstance(value, dict | list) and (not value or self.dice.random() < 0.1):
            return [f"{head} {json.dumps(value)}{self.beside()}"]
        if isinstance(value, dict):
            return [head + self.beside(), *self.map(value, indent + self.dice.randint(1, 4))]
        if isinstance(value, list):
            return [head + self.beside(), *self.list(value, indent + self.dice.randint(least, 3))]
        first, *rest = self.scalar(value, indent)
        return [f"{head} {first}", *rest]

    def list(self, data: list[Any], indent: int) -> list[str]:
        lines: list[str] = []
        for each in data:
            lines += self.above(indent, each["name"] if isinstance(each, dict) and "name" in each else "item")
            dash = "-" + " " * self.dice.randint(1, 3)
            if isinstance(each, dict) and each:
                inner = indent + len(dash)
                made = self.map(each, inner)
                while not made[0].strip() or made[0].lstrip().startswith("#"):
                    made.pop(0)
                lines += [" " * indent + dash + made[0][inner:], *made[1:]]
            else:
                lines += self.entry(" " * indent + dash.rstrip(), each, indent, 1)
        return lines


@settings(max_examples=250)
@given(documents(), st.integers(0, 2**32))
def test_however_it_is_written_it_says_the_same_afterwards(data: dict[str, Any], seed: int) -> None:
    text = "\n".join(Scribe(random.Random(seed)).map(data, 0)) + "\n"
    assert yaml.safe_load(text) == data, "the scribe made a mistake"
    made = formatted(text, file="made.yaml")
    assert yaml.safe_load(made) == data
    assert formatted(made, file="made.yaml") == made
    told = re.compile(r"# (?:above|beside) .*?\d+")
    assert sorted(told.findall(made)) == sorted(told.findall(text))
    before, after = (compile_document(load_text(each, file="made.yaml")[0]) for each in (text, made))
    assert before.hash == after.hash
    _comments_stand_where_they_stood(made)
    assert next(key for key in yaml.safe_load(made) if not key.startswith("x-")) == "name"
    assert all(list(task)[:2] == ["name", "type"] for task in yaml.safe_load(made)["tasks"])


def _comments_stand_where_they_stood(made: str) -> None:
    """`# above KEY` is followed by KEY, or by other comments above it."""
    lines = made.split("\n")
    for number, line in enumerate(lines):
        found = re.match(r"\s*# above (\S+) \d+$", line)
        if found and found[1] not in ("item", "tasks") and number > 2:
            below = [each.strip() for each in lines[number + 1 :] if each.strip() and not each.lstrip().startswith("#")]
            window = below[:2]  # what stood above a key that is first now stands above its item
            assert any(found[1] in each for each in window), (line, window)


@pytest.mark.parametrize("operator", STRUCTURAL)
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_a_damaged_document_is_formatted_or_refused_and_never_a_traceback(path: Path, operator: str) -> None:
    dice = random.Random(f"{path.name}{operator}")
    for _ in range(3):
        damaged = STRUCTURAL[operator](path.read_text(encoding="utf-8"), dice).decode("utf-8", "replace")
        try:
            made = formatted(damaged, file=path.name)
        except Unformattable:
            continue
        assert formatted(made, file=path.name) == made


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_formats_in_place_and_check_only_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, tidy = tmp_path / "untidy.yaml", tmp_path / "tidy.yaml"
    file.write_text(UNTIDY)
    tidy.write_text(TIDY)
    assert main(["fmt", "--check", str(tmp_path)]) == 1
    assert capsys.readouterr().out == f"{file}\n"
    assert file.read_text() == UNTIDY
    assert main(["fmt", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{file}\n"
    assert file.read_text() == TIDY
    assert main(["fmt", "--check", str(tmp_path)]) == 0
    assert capsys.readouterr().out == ""


def test_a_broken_file_is_left_alone_and_the_others_are_formatted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text("name: [\n")
    (tmp_path / "b.yaml").write_text(UNTIDY)
    assert main(["fmt", str(tmp_path)]) == 2
    assert (tmp_path / "a.yaml").read_text() == "name: [\n"
    assert (tmp_path / "b.yaml").read_text() == TIDY
    assert "a.yaml:" in capsys.readouterr().err


def test_shipped_pipelines_have_their_one_form() -> None:
    assert main(["fmt", "--check", str(ROOT / "pipelines")]) == 0
