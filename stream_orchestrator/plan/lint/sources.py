"""Where labelled values come from: credentials, and the texts of models."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from stream_orchestrator.plan.lint.credentials import credentials_in, is_secret_name, name_of
from stream_orchestrator.plan.lint.values import NOTHING, Labels, dotted
from stream_orchestrator.plan.readings import pattern_of as asked_name

_SECRET: Labels = frozenset({"secret"})
_TEXT: Labels = frozenset({"text"})
_TEXTS = ("string", "text")


@dataclass(frozen=True, slots=True)
class ScriptSources:
    """The sources of a script of a document: `texts` are regexes of the tasks whose output is text."""

    texts: tuple[str, ...] = ()
    sensitive: frozenset[str] = frozenset()

    def of(self, node: ast.expr) -> Labels:
        """The labels that an expression has by itself."""
        match node:
            case ast.Constant(value=str(value)):
                return _SECRET if any(found.sure for found in credentials_in(value)) else NOTHING
            case ast.Call(func=func, args=args):
                return self._of_call(dotted(func), args)
            case ast.Subscript(value=holder, slice=key):
                return self._of_key(dotted(holder), key)
            case _:
                return NOTHING

    def of_name(self, name: str) -> Labels:
        """The labels of a name that comes from outside: a variable, or a task."""
        labels = _SECRET if name in self.sensitive else NOTHING
        return labels | (_TEXT if self._is_text(re.escape(name), name) else NOTHING)

    def of_assignment(self, target: ast.expr, value: ast.expr) -> Labels:
        """`password = "admin123"` makes a credential of a text by its name."""
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            return _SECRET if any(found.sure for found in credentials_in(value.value, name_of(target))) else NOTHING
        return NOTHING

    def _of_call(self, name: str, args: list[ast.expr]) -> Labels:
        first = args[0] if args else None
        literal = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""
        if name.endswith("get_secret"):
            return _SECRET
        if name.endswith(("getenv", "environ.get", "environ.pop")):
            return _SECRET if is_secret_name(literal) else NOTHING
        if name.endswith("get_variable"):
            return _SECRET if literal in self.sensitive else NOTHING
        if name.endswith("get_task_output") or name == "tasks.get":
            return self._of_task(first)
        return NOTHING

    def _of_key(self, holder: str, key: ast.expr) -> Labels:
        literal = key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else ""
        if holder.endswith("environ"):
            return _SECRET if is_secret_name(literal) else NOTHING
        if holder == "inputs":
            return _SECRET if literal in self.sensitive else NOTHING
        return self._of_task(key) if holder == "tasks" else NOTHING

    def _of_task(self, asked: ast.expr | None) -> Labels:
        found = asked_name(asked)
        if isinstance(found, str):
            return self.of_name(found)
        return _TEXT if any(found) and self._is_text(".*".join(map(re.escape, found)), "") else NOTHING

    def _is_text(self, pattern: str, name: str) -> bool:
        """Whether a task of that name gives text; both sides may be patterns."""
        return any(re.fullmatch(text, name) or text == pattern for text in self.texts)


def texts_of(tasks: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    """Patterns of the names of all tasks whose output is a model's text. `chunk_{{ item.index }}` is `chunk_.*`."""
    return tuple(pattern_of(task["name"]) for task in tasks if isinstance(task.get("name"), str) and gives_text(task))


def gives_text(task: dict[str, Any]) -> bool:
    """Whether the output of a task is a model's text."""
    typed = task.get("output_schema") is not None or task.get("output_type", "text") not in _TEXTS
    return task.get("type") == "llm_task" and not typed and "script" not in task


def pattern_of(name: str) -> str:
    """A name with templates as a regex."""
    return ".*".join(map(re.escape, re.split(r"\{\{.*?\}\}", name)))
