"""Rules about order: the place in the file implies none."""

from __future__ import annotations

import re
from collections.abc import Iterator

from stream_orchestrator.plan.lint.model import Finding, Rule, Subject, TaskView
from stream_orchestrator.plan.lint.sources import pattern_of

BY_POSITION = Rule(
    id="order-by-position",
    severity="warning",
    summary="a task looks as if it came after an earlier one, and no edge says so",
    why="tasks without an edge run side by side: the audit may be written before the data is anonymised",
    instead="add `depends_on`, or read the earlier task's output",
)
UNDECLARED = Rule(
    id="undeclared-dependency",
    severity="warning",
    summary="a task reads others by a computed name alone",
    why="a name that is computed when the script runs gives an edge by guessing, or one from every task before",
    instead="name the tasks, or the group, under `depends_on`",
)
RULES = (BY_POSITION, UNDECLARED)

# What is done to data before anybody else may look at it, and what is done when something is over.
_GATES = re.compile(
    r"(?:^|_)(?:validat|sanitiz|sanitis|anonymi|redact|mask|authori|authenticat|verif|scrub|moderat|censor)"
)
_FOLLOWERS = re.compile(
    r"^(?:audit|log|notify|alert|report|clean_?up|tear_?down|finish|finali[sz]e|archive|publish|store|save|persist"
    r"|send|combine|merge|aggregate|collect|confirm|summari[sz]e_all|wrap_up|record)(?:_|$)"
)


def check(subject: Subject) -> Iterator[Finding]:
    """All findings of these rules."""
    scopes: dict[tuple[str | int, ...], list[TaskView]] = {}
    for task in subject.tasks:
        if "fallback" not in task.path[-2:]:
            scopes.setdefault(task.scope, []).append(task)
    for scope, tasks in scopes.items():
        if scope == ("tasks",) or not _is_parallel(subject, scope):
            yield from _by_position(subject, tasks)
    for task in subject.tasks:
        yield from _undeclared(subject, task)


def _is_parallel(subject: Subject, scope: tuple[str | int, ...]) -> bool:
    """Children of a parallel group are meant to run side by side."""
    return any(task.path == scope[:-1] and task.type == "parallel_group" for task in subject.tasks)


def _by_position(subject: Subject, tasks: list[TaskView]) -> Iterator[Finding]:
    before: dict[str, frozenset[str]] = {}
    for place, task in enumerate(tasks):
        earlier = tasks[:place]
        direct = frozenset(other.name for other in tasks if other is not task and _reads(task, other))
        before[task.name] = direct.union(*(before.get(name, frozenset()) for name in direct))
        expected = _expected(task, [other for other in earlier if other.name not in before[task.name]], bool(direct))
        if expected is not None:
            message = f"`{task.name}` looks as if it came after `{expected.name}`; nothing makes it wait"
            hint = f"add `depends_on: [{expected.name}]`, or read its output; without an edge they run side by side"
            yield subject.find(BY_POSITION, message, (*task.path, "name"), hint=hint)


def _reads(task: TaskView, other: TaskView) -> bool:
    inside = {pattern_of(name) for name in _names_inside(other)}
    return any(re.fullmatch(name, read) for name in inside for read in task.reads) or any(
        re.fullmatch(computed, name) or computed in inside
        for computed in task.computed
        for name in _names_inside(other)
    )


def _names_inside(task: TaskView) -> Iterator[str]:
    """Its name and the names of the tasks inside of it: reading a child is reading the group."""
    yield task.name
    children = task.data.get("tasks")
    for child in children if isinstance(children, list) else ():
        if isinstance(child, dict) and isinstance(child.get("name"), str):
            yield child["name"]


def _expected(task: TaskView, unrelated: list[TaskView], has_edges: bool) -> TaskView | None:
    """The earlier task that this one seems to follow: a gate, or, of one that reads nobody, the one just before."""
    gate = next((other for other in unrelated if _GATES.search(other.name) and other.type != "parallel_group"), None)
    if gate is not None and not _GATES.search(task.name):
        return gate
    if unrelated and not has_edges and not task.waits_for and _FOLLOWERS.search(task.name):
        return unrelated[-1]
    return None


def _undeclared(subject: Subject, task: TaskView) -> Iterator[Finding]:
    if task.script is None or not task.computed or task.waits_for:
        return
    said = next(iter(sorted(task.computed)))
    shown = "a computed name" if said == ".*" else f"a computed name (`{said.replace('.*', '…')}`)"
    message = f"`{task.name}` reads other tasks by {shown}, and declares no dependency"
    yield subject.find(UNDECLARED, message, task.script.path)
