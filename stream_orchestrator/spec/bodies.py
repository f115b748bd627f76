"""What is inside a task: the one place that knows which keys hold tasks, in a document as written and in its model.

Promises
  * The bodies of a task as written and those of its model come in the same order.
  * A key that says the same as another comes after it; `conflicts` names a second one that is set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from stream_orchestrator.spec.located import Path

THEN = ("then", "if_true", "on_true", "true_tasks", "then_tasks", "tasks", "task")
ELSE = ("else", "if_false", "on_false", "false_tasks", "else_tasks")
ARRIVING = ("tasks", "task_source", "tasks_from", "generate_from")
KEYS: dict[str, tuple[tuple[str, ...], ...]] = {
    "parallel_group": (("tasks",),),
    "condition": (THEN, ELSE),
    "conditional_task": (THEN, ELSE),
    "for_loop": (("tasks",),),
    "while_loop": (("tasks",),),
}
Role = Literal["child", "then", "else", "loop", "each", "component"]


@dataclass(frozen=True, slots=True)
class Inside:
    """One body: what it is to its task, where it stands, and its tasks (of a document or of a model)."""

    role: Role
    path: Path
    tasks: tuple[Any, ...]


def written(task: dict[str, Any], *, repeated: bool = False) -> Iterator[Inside]:
    """The bodies of a task as it is written. `repeated`: its `for_each` is its group's business already."""
    yield from _bodies(task.get("type"), task.get, task, repeated=repeated)


def modelled(task: Any, *, repeated: bool = False) -> Iterator[Inside]:
    """The bodies of a task's model."""
    get = lambda key: getattr(task, "else_" if key == "else" else key, None)  # noqa: E731
    yield from _bodies(task.type, get, task, repeated=repeated)


def elements(given: Any) -> Any:
    """What is gone through, as a template: text is no list, so text without braces is meant as an expression."""
    bare = isinstance(given, str) and "{{" not in given and "{%" not in given
    return f"{{{{ {given} }}}}" if bare else given


def conflicts(task: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Two keys that are set and say the same."""
    for keys in KEYS.get(str(task.get("type")), ()):
        present = [key for key in keys if task.get(key) is not None]
        yield from ((present[0], other) for other in present[1:])


def _bodies(kind: Any, get: Callable[[str], Any], task: Any, *, repeated: bool) -> Iterator[Inside]:
    if get("for_each") is not None and not repeated:
        yield Inside("each", (), (task,))
        return
    for number, keys in enumerate(KEYS.get(kind, ()) if isinstance(kind, str) else ()):
        key = next((key for key in keys if get(key) is not None), None)
        if key is None:
            continue
        value = get(key)
        tasks = tuple(value) if isinstance(value, list) else (value,)
        if kind == "parallel_group":
            yield from (Inside("child", (key, place), (child,)) for place, child in enumerate(tasks))
        else:
            role: Role = "loop" if kind.endswith("loop") else "else" if number else "then"
            yield Inside(role, (key,), tasks)
