"""Documents that somebody damaged: never a traceback, always a place and a hint."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_orchestrator.spec.documents import read
from stream_orchestrator.spec.inputs import InputRules
from stream_orchestrator.spec.loader import load_bytes, load_text
from stream_orchestrator.spec.problems import render

HERE = Path(__file__).parent
SOURCES = {path.name: path.read_text() for path in sorted((HERE / "accepted").rglob("*.yaml"))}
SOURCES |= {path.name: path.read_text() for path in sorted((HERE.parents[1] / "pipelines").rglob("*.yaml"))}
VALUES = [
    "3",
    "-1",
    "true",
    "null",
    "[]",
    "{}",
    "text",
    "'{{ x }}'",
    "1e400",
    "[[1]]",
    "{a: {b: c}}",
    "*x",
    "!x y",
    "yes",
    "''",
]


def drop_line(lines: list[str], dice: random.Random) -> None:
    del lines[dice.randrange(len(lines))]


def double_line(lines: list[str], dice: random.Random) -> None:
    at = dice.randrange(len(lines))
    lines.insert(at, lines[at])


def swap_lines(lines: list[str], dice: random.Random) -> None:
    one, other = dice.randrange(len(lines)), dice.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]


def shift_line(lines: list[str], dice: random.Random) -> None:
    at = dice.randrange(len(lines))
    lines[at] = dice.choice(["  ", " ", "\t"]) + lines[at] if dice.random() < 0.5 else lines[at].removeprefix("  ")


def change_value(lines: list[str], dice: random.Random) -> None:
    at = dice.choice([n for n, line in enumerate(lines) if ":" in line])
    lines[at] = f"{lines[at].split(':', 1)[0]}: {dice.choice(VALUES)}"


def misspell_key(lines: list[str], dice: random.Random) -> None:
    at = dice.choice([n for n, line in enumerate(lines) if ":" in line])
    key, rest = lines[at].split(":", 1)
    letter = dice.randrange(len(key)) if key else 0
    lines[at] = f"{key[:letter]}{dice.choice('xyz')}{key[letter + 1 :]}:{rest}"


def cut_text(lines: list[str], dice: random.Random) -> None:
    text = "\n".join(lines)
    lines[:] = text[: dice.randrange(1, len(text))].split("\n")


def insert_character(lines: list[str], dice: random.Random) -> None:
    at = dice.randrange(len(lines))
    place = dice.randrange(len(lines[at]) + 1)
    lines[at] = lines[at][:place] + dice.choice("[]{}:'\"&*!|>%@`\t\x00#-?,é\u2028") + lines[at][place:]


OPERATORS: list[Callable[[list[str], random.Random], None]] = [
    drop_line,
    double_line,
    swap_lines,
    shift_line,
    change_value,
    misspell_key,
    cut_text,
    insert_character,
]


def check(raw: bytes) -> int:
    errors = 0
    for located in load_bytes(raw, file="mutant.yaml"):
        document = read(located)
        assert document.ok or document.problems
        for problem in document.problems:
            assert problem.line >= 1
            assert problem.column >= 1
            assert problem.hint or problem.label
            assert problem.message
            assert "pydantic" not in problem.message
            assert "function-" not in problem.message
            assert "Input should" not in problem.message
            assert render(problem).startswith(f"{problem.severity}: ")
            assert problem.to_json()["hint"]
            errors += problem.severity == "error"
        if document.ok and document.kind == "pipeline":
            data = located.data
            InputRules.from_plan(data.get("input_variables") or {}, data.get("input_validation") or {})
    return errors


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.__name__)
def test_a_damaged_document_gives_problems_and_never_a_traceback(operator, name):
    refused = 0
    for seed in range(12):
        lines = SOURCES[name].split("\n")
        dice = random.Random(f"{name} {operator.__name__} {seed}")
        for _ in range(1 + seed % 3):
            operator(lines, dice)
        refused += check("\n".join(lines).encode()) > 0
    if operator in (change_value, insert_character):
        assert refused, "twelve of these and none is noticed: the checks are asleep"


@pytest.mark.parametrize("name", SOURCES)
def test_a_misspelt_key_at_the_top_is_always_noticed(name):
    for number, line in enumerate(SOURCES[name].split("\n")):
        if line[:1].isalpha() and ":" in line:
            lines = SOURCES[name].split("\n")
            lines[number] = f"q{line}"
            problems = [problem for located in load_text("\n".join(lines)) for problem in read(located).problems]
            assert any(problem.line == number + 1 and problem.severity == "error" for problem in problems), line


WORDS = (
    "name type tasks script prompt error_handling fallback depends_on input_variables validation version timeout "
    "options default sandbox strategy tests alerts extends x-a regex schema python_task llm_task later circuit_breaker "
    "security optimization_strategies setup changelog min_length"
)
KEYS = st.sampled_from(WORDS.split())
LEAVES = st.sampled_from(
    ["python_task", "llm_task", "string", "object", "component", "test_suite", "deployment", "{{ x }}", ""]
)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False, allow_infinity=False) | LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=25,
)


@settings(max_examples=200)
@given(st.dictionaries(KEYS, TREES, max_size=6))
def test_any_tree_of_our_own_words_gives_problems_and_never_a_traceback(tree):
    import json

    check(json.dumps(tree).encode())
