"""A document as rules look at it: every task wherever it stands, and every script with the flow of its values.

Promises
  * Tasks are found by their shape, so those of constructs that are not known here are found too.
  * A script or template that cannot be compiled is passed over: `validate` has said what is wrong with it.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator
from typing import Any

from stream_orchestrator.errors import OrchestratorError
from stream_orchestrator.plan import templates
from stream_orchestrator.plan.lint.flow import uses_of
from stream_orchestrator.plan.lint.model import ScriptView, Subject, TaskView, Tree
from stream_orchestrator.plan.lint.sources import ScriptSources, texts_of
from stream_orchestrator.plan.scripts import Script, trees
from stream_orchestrator.spec.bodies import ELSE, THEN
from stream_orchestrator.spec.located import Located, Path
from stream_orchestrator.spec.tasks import BUILT_TASK_TYPES

TASK_TYPES = frozenset(BUILT_TASK_TYPES)
HOLDERS = frozenset(("tasks", "fallback", "steps", "children", *THEN, *ELSE))
MAX_DEPTH = 150  # a level costs up to four calls of ours, of the thousand that Python allows; people stay below 20
_OURS = frozenset(("context", "logger", "process_with_llm", "inputs", "tasks", "item", "run", "env", "input_data"))
_KNOWN = frozenset(dir(builtins)) | _OURS


def subject_of(located: Located, kind: str, name: str) -> Subject:
    """The document with its tasks; one that is no map, or has none, is there without."""
    data = located.data if isinstance(located.data, dict) else {}
    found = [(path, task) for path, task in tasks_in(data.get("tasks"), ("tasks",))]
    texts = texts_of(task for _, task in found)
    sensitive = frozenset(_words(data.get("sensitive_variables")))
    names = {str(task.get("name", "")) for _, task in found}
    inputs = data.get("input_variables") or data.get("parameters")
    given = names | (set(inputs) if isinstance(inputs, dict) else set())
    views = tuple(_view(path, task, ScriptSources(texts, sensitive), given) for path, task in found)
    return Subject(located, kind, name, views)


def tasks_in(value: Any, path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every task below a value that holds tasks, in the order of the file."""
    if isinstance(value, dict) and _is_task(value, path):
        yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        if isinstance(child, dict | list):
            yield from tasks_in(child, (*path, key))


def _is_task(value: dict[str, Any], path: Path) -> bool:
    kind = value.get("type")
    if isinstance(kind, str) and kind in TASK_TYPES:
        return True
    holder = next((part for part in reversed(path) if isinstance(part, str)), "")
    return holder in HOLDERS and isinstance(kind, str) and isinstance(value.get("name"), str)


def _view(path: Path, task: dict[str, Any], sources: ScriptSources, given: set[str]) -> TaskView:
    text = task.get("script")
    local = task.get("inputs")
    known = given | (set(local) if isinstance(local, dict) else set())
    script = _script((*path, "script"), text, sources, known) if isinstance(text, str) else None
    reads, computed = _reads(task)
    waits = frozenset(_words(task.get("depends_on")))
    name, kind = task.get("name"), task.get("type")
    return TaskView(
        path,
        task,
        name if isinstance(name, str) else "",
        kind if isinstance(kind, str) else "",
        script,
        reads | waits,
        computed,
        waits,
    )


def _script(path: Path, text: str, sources: ScriptSources, given: set[str]) -> ScriptView | None:
    try:
        parsed = Script.parse(text)
        bodies = [(body, line) for body, line in trees(text) if _depth(body) <= MAX_DEPTH]
    except OrchestratorError:
        return None
    found = tuple(Tree(body, line, uses_of(body, sources)) for body, line in bodies)
    return ScriptView(path, text, found, parsed.called_names & parsed.free_names - _KNOWN - given)


def _depth(body: Iterable[ast.AST]) -> int:
    """How deep a script's nodes are nested; an `elif` is one level more."""
    depth, level = 0, list(body)
    while level:
        depth += 1
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return depth


def _reads(task: dict[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
    """The names that all texts of a task read, and the patterns of names that its scripts compute."""
    names, computed = set[str](), set[str]()
    for key, text in _texts(task, ""):
        try:
            if key == "script":
                script = Script.parse(text)
                names |= script.free_names | script.task_outputs | script.template_names
                names |= {each for holder, each in script.template_references if holder == "tasks" and each}
                computed |= script.dynamic_task_outputs
            else:
                names |= templates.names_in_test(text) if key == "condition" else templates.names_in(text)
                names |= {each for holder, each in templates.references(text) if holder == "tasks" and each}
        except OrchestratorError:
            continue
    return frozenset(names), frozenset(computed)


def _texts(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, child in value.items():
            yield from _texts(child, name)
    elif isinstance(value, list):
        for child in value:
            yield from _texts(child, key)


def _words(value: Any) -> list[str]:
    """A text, or a list of texts, as a list."""
    given = [value] if isinstance(value, str) else value
    return [each for each in given if isinstance(each, str)] if isinstance(given, list) else []
