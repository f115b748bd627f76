"""What is wrong with a document: where, what, and what to do next.

Promises
  * Every problem has a place (line and column count from 1) and a hint.
  * Nothing stops at the first: a reader collects all problems of a file, and they come back in the order of the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from stream_orchestrator.errors import SpecError

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong at one place. `source` is its whole line and `width` how much of it is underlined.

    `label` stands beside the underline and says what is allowed there.
    """

    rule: str
    message: str
    hint: str = ""
    severity: Severity = "error"
    line: int = 1
    column: int = 1
    path: str = ""
    label: str = ""
    file: str = ""
    source: str = ""
    width: int = 1

    def to_json(self) -> dict[str, str | int]:
        """The public shape `P`; what the underline says is part of the hint there."""
        return {
            "rule": self.rule,
            "severity": self.severity,
            "message": self.message,
            "hint": "; ".join(part for part in (self.hint, self.label) if part),
            "line": self.line,
            "column": self.column,
            "path": self.path,
        }


@dataclass(slots=True)
class Problems:
    """Collects problems; two readers that see the same fault at the same place count once."""

    _found: dict[Problem, None] = field(default_factory=dict)

    def add(self, problem: Problem) -> None:
        """Keep a problem."""
        self._found.setdefault(problem)

    def extend(self, problems: Iterable[Problem]) -> None:
        """Keep several."""
        for problem in problems:
            self.add(problem)

    def sorted(self) -> tuple[Problem, ...]:
        """All of them, in the order of the file."""
        return tuple(sorted(self._found, key=lambda problem: (problem.file, problem.line, problem.column)))

    def raise_errors(self) -> None:
        """Raise a `SpecError` that carries every problem, if at least one is an error."""
        raise_errors(self.sorted())

    def __iter__(self) -> Iterator[Problem]:
        return iter(self.sorted())

    def __bool__(self) -> bool:
        return bool(self._found)


def errors_in(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Those that stop a document from compiling."""
    return tuple(problem for problem in problems if problem.severity == "error")


def raise_errors(problems: tuple[Problem, ...]) -> None:
    """Raise a `SpecError` that carries all of `problems`, if at least one is an error."""
    errors = errors_in(problems)
    if errors:
        first = errors[0]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        place = f"{first.file}:{first.line}:{first.column}: " if first.file else ""
        raise SpecError(f"{place}{first.message}{more}", problems=problems, hint=first.hint or first.label)


def render(problem: Problem) -> str:
    """The problem for a person: readable without colour, with its source line underlined.

    ```
    error: unknown key `retires` in task `score`
      --> orders.yaml:14:7
       14 |       retires: 3
          |       ^^^^^^^ an `llm_task` has: model, prompt

    hint: did you mean `retry`?
    ```
    """
    lines = [f"{problem.severity}: {problem.message}", f"  --> {problem.file}:{problem.line}:{problem.column}"]
    if problem.source.strip():
        lines += _underlined(problem)
    elif problem.label:
        lines.append(f"      {problem.label}")
    if problem.hint:
        lines += ["", f"hint: {problem.hint}"]
    return "\n".join(lines)


def _underlined(problem: Problem) -> list[str]:
    number = f"{problem.line:>5}"
    source, start = _window(problem.source.rstrip(), problem.column - 1)
    # A tab keeps its width under itself, so that the carets stand below what they mean.
    indent = "".join("\t" if char == "\t" else " " for char in source[:start])
    width = max(1, min(problem.width, len(source) - start))
    label = f" {problem.label}" if problem.label else ""
    return [f"{number} | {source}", f"{' ' * len(number)} | {indent}{'^' * width}{label}"]


def _window(source: str, start: int, limit: int = 160) -> tuple[str, int]:
    """A line of a megabyte is shown around its column only."""
    if len(source) <= limit:
        return source, start
    left = max(0, start - limit // 2)
    return source[left : left + limit], start - left
