"""What a rule is, what it looks at, and what it finds."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from stream_orchestrator.plan.lint.flow import Use
from stream_orchestrator.spec.located import Located, Mark, Path
from stream_orchestrator.spec.problems import Problem, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A published rule. `summary` says what it finds, `why` what goes wrong, `instead` what to write.

    `fixable`: `lint --fix` mends it where the text allows it.
    """

    id: str
    severity: Severity
    summary: str
    why: str
    instead: str
    fixable: bool = False


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of one line of a file: `old` at `column` (from 1) becomes `new`, if it stands there."""

    line: int
    column: int
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem; `edit` mends it, and `allowed` says that the document allows it by a comment."""

    problem: Problem
    edit: Edit | None = None
    allowed: bool = False

    @property
    def rule(self) -> str:
        """The id of its rule."""
        return self.problem.rule

    def allow(self) -> Finding:
        """The same, allowed."""
        return replace(self, allowed=True)


@dataclass(frozen=True, slots=True)
class Tree:
    """A script as one branch of its templates has it: statements, how values flow, where its lines are."""

    body: tuple[ast.stmt, ...]
    line: Callable[[int], int]
    uses: tuple[Use, ...]


@dataclass(frozen=True, slots=True)
class ScriptView:
    """A script that can be parsed. `helpers` are the names that it calls and neither it nor Python defines."""

    path: Path
    text: str
    trees: tuple[Tree, ...]
    helpers: frozenset[str]

    def nodes(self) -> Iterator[tuple[ast.AST, int]]:
        """Every node that has a line, with its line in the script."""
        for tree in self.trees:
            for node in (inner for statement in tree.body for inner in ast.walk(statement)):
                if hasattr(node, "lineno"):
                    yield node, tree.line(node.lineno)

    def uses(self) -> Iterator[tuple[Use, int]]:
        """Every use of a labelled value, with its line in the script."""
        for tree in self.trees:
            for use in tree.uses:
                yield use, tree.line(use.line)


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task wherever it stands: at the top, inside another one, as a fallback.

    `reads` are all names that it and what is inside of it reads, those of `depends_on` too; `computed` are patterns.
    """

    path: Path
    data: dict[str, Any]
    name: str
    type: str
    script: ScriptView | None = None
    reads: frozenset[str] = frozenset()
    computed: frozenset[str] = frozenset()
    waits_for: frozenset[str] = frozenset()

    @property
    def scope(self) -> Path:
        """The list it stands in."""
        return self.path[:-1]


@dataclass(frozen=True, slots=True)
class Subject:
    """One document, as rules look at it."""

    located: Located
    kind: str
    name: str
    tasks: tuple[TaskView, ...] = field(default=())

    @property
    def data(self) -> dict[str, Any]:
        """The document's data; nothing, when it is no map."""
        return self.located.data if isinstance(self.located.data, dict) else {}

    def scripts(self) -> Iterator[ScriptView]:
        """Every script of it."""
        yield from (task.script for task in self.tasks if task.script is not None)

    def find(self, rule: Rule, message: str, path: Path, *, hint: str = "", mark: Mark | None = None) -> Finding:
        """A finding at a key, or at a finer place."""
        hint = hint or rule.instead
        return Finding(self.located.problem(rule.id, message, path=path, hint=hint, severity=rule.severity, mark=mark))

    def find_in_script(self, rule: Rule, message: str, script: ScriptView, line: int, word: str = "") -> Finding:
        """A finding at `word` of line `line` of a script."""
        return self.find(rule, message, script.path, mark=self.place(script, line, word))

    def place(self, script: ScriptView, line: int, word: str = "") -> Mark:
        """Where a word of a line of a script is in the file; without a word, where the line begins."""
        lines = script.text.split("\n")
        text = lines[line - 1] if line <= len(lines) else ""
        column = text.find(word) if word else len(text) - len(text.lstrip())
        if column < 0:
            column, word = len(text) - len(text.lstrip()), ""
        return self.located.inside(script.path, line, column=column + 1, width=len(word or text.strip()) or 1)
