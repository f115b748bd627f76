"""`# lint: allow RULE` silences advice where it stands, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_orchestrator.plan.compile import examine
from stream_orchestrator.plan.lint import lint
from stream_orchestrator.plan.lint.catalog import RULES
from stream_orchestrator.plan.loading import Loaded
from stream_orchestrator.spec.documents import read
from stream_orchestrator.spec.loader import load_text
from tests.lint.test_lint_rules import HEADER

TASK = """tasks:
  - name: SortOrders{end}
    type: python_task
    description: d
    script: |
      {above}
      password = "admin123"{line}
      return 1
"""


def open_rules(text: str) -> list[str]:
    found = []
    for located in load_text(text, file="orders.yaml"):
        document = read(located)
        found += [each.rule for each in lint(Loaded(document, *examine(document))) if not each.allowed]
    return found


def made(*, top: str = "", end: str = "", above: str = "", line: str = "") -> str:
    return top + HEADER + TASK.format(end=end, above=above or "x = 1", line=line)


def test_without_a_comment_both_are_said() -> None:
    assert open_rules(made()) == ["task-name", "hard-coded-credential"]


@pytest.mark.parametrize(
    ("place", "left"),
    [
        ({"end": "  # lint: allow task-name"}, ["hard-coded-credential"]),
        ({"line": "  # made up; lint: allow x"}, ["task-name", "hard-coded-credential"]),
        ({"line": "  # lint: allow hard-coded-credential"}, ["task-name"]),
        ({"above": "# lint: allow hard-coded-credential"}, ["task-name"]),
        ({"top": "# lint: allow hard-coded-credential, task-name\n\n"}, []),
    ],
)
def test_a_comment_silences_the_rules_that_it_names_where_it_stands(place: dict[str, str], left: list[str]) -> None:
    assert open_rules(made(**place)) == left


def test_a_comment_on_another_line_silences_nothing_and_is_reported() -> None:
    assert open_rules(made(end="  # lint: allow hard-coded-credential")) == [
        "task-name",
        "useless-allow",
        "hard-coded-credential",
    ]


def test_a_document_does_not_allow_for_the_next_one() -> None:
    allowing = made(top="# lint: allow hard-coded-credential, task-name\n")
    text = f"{allowing}---\n{made()}"
    assert open_rules(text) == ["task-name", "hard-coded-credential"]


def test_an_error_of_validate_cannot_be_allowed() -> None:
    text = made() + "outptu: 1  # lint: allow unknown-key\n"
    assert "unknown-key" in open_rules(text)


def test_a_warning_of_validate_can() -> None:
    line = "      nobody_defines_me()  # lint: allow unknown-helper\n"
    text = made().replace("      return 1\n", f"{line}      return 1\n")
    assert "unknown-helper" not in open_rules(text)


@settings(max_examples=200)
@given(st.text(max_size=60), st.sampled_from([rule.id for rule in RULES]))
def test_any_comment_is_read_without_a_traceback(text: str, rule: str) -> None:
    line = text.replace("\n", " ").replace("\r", " ")
    for each in load_text(f"# lint: allow {rule} {line}\n{made()}", file="orders.yaml"):
        document = read(each)
        lint(Loaded(document, *examine(document)))
