"""How a problem is told."""

from __future__ import annotations

import pytest

from stream_orchestrator.errors import SpecError
from stream_orchestrator.spec.problems import Problem, Problems, raise_errors, render


def some(**changes) -> Problem:
    known = {
        "rule": "unknown-key",
        "message": "unknown key `retires` in task `score`",
        "hint": "did you mean `retry`?",
        "line": 14,
        "column": 7,
        "path": "tasks[2].retires",
        "label": "an `llm` task has: model, prompt, retry, timeout, cache",
        "file": "pipelines/production/orders.yaml",
        "source": "      retires: 3",
        "width": 7,
    }
    return Problem(**{**known, **changes})


def test_a_problem_is_rendered_as_the_house_style_shows():
    assert render(some()) == (
        "error: unknown key `retires` in task `score`\n"
        "  --> pipelines/production/orders.yaml:14:7\n"
        "   14 |       retires: 3\n"
        "      |       ^^^^^^^ an `llm` task has: model, prompt, retry, timeout, cache\n"
        "\n"
        "hint: did you mean `retry`?"
    )


def test_a_tab_before_the_place_does_not_shift_the_underline():
    assert render(some(source="\tb: 1", column=2, width=1, label="")).splitlines()[2:4] == [
        "   14 | \tb: 1",
        "      | \t^",
    ]


def test_a_line_of_a_megabyte_is_shown_around_its_place():
    shown = render(some(source="x" * 1_000_000, column=500_000, label=""))
    assert len(shown) < 1_000
    assert "^^^^^^^" in shown


def test_a_file_without_text_shows_no_source():
    assert render(some(source="", label="")).splitlines()[:3] == [
        "error: unknown key `retires` in task `score`",
        "  --> pipelines/production/orders.yaml:14:7",
        "",
    ]


def test_json_has_exactly_the_public_keys_and_the_label_in_the_hint():
    assert some(severity="warning").to_json() == {
        "rule": "unknown-key",
        "severity": "warning",
        "message": "unknown key `retires` in task `score`",
        "hint": "did you mean `retry`?; an `llm` task has: model, prompt, retry, timeout, cache",
        "line": 14,
        "column": 7,
        "path": "tasks[2].retires",
    }


def test_problems_come_in_the_order_of_the_file_each_once():
    problems = Problems()
    problems.extend([some(line=9), some(line=3, column=5), some(line=3, column=2), some(line=9)])
    assert [(each.line, each.column) for each in problems] == [(3, 2), (3, 5), (9, 7)]


def test_errors_are_raised_with_every_problem_and_warnings_are_not():
    warning, error = some(severity="warning", line=1), some()
    raise_errors((warning,))
    with pytest.raises(SpecError, match="unknown key `retires`") as raised:
        raise_errors((warning, error))
    assert raised.value.problems == (warning, error)
    assert raised.value.hint == error.hint
