"""Edges: what each task waits for, and what is wrong with that.

Edges are `depends_on`, the names read in templates and conditions, and the tasks that scripts read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from stream_orchestrator.plan.checks import nearest
from stream_orchestrator.plan.drafts import Draft, Sketch, Text
from stream_orchestrator.plan.graph import Edges, ancestors, cycles
from stream_orchestrator.plan.readings import ANYTHING
from stream_orchestrator.spec.problems import Problem


def edges_of(sketch: Sketch) -> Edges:
    """Task -> the tasks it waits for. Names that stand for nothing are left out; `plan.checks` reports them."""
    known = sketch.names
    edges = {name: frozenset(_direct(sketch, task)) - {name} for name, task in known.items()}
    for place, (name, task) in enumerate(known.items()):
        if any(_waits_for_all(text) for text in task.every_text()):
            earlier = (other for other in list(known)[:place] if name not in ancestors(edges, other))
            edges[name] = edges[name].union(earlier)
    return edges


def _direct(sketch: Sketch, task: Draft) -> Iterator[str]:
    known = sketch.names
    yield from (name for name, _ in task.depends_on if name in known)
    for text in task.every_text():
        yield from (name for name in _read(text) if name in known)
        for pattern in text.script.dynamic_task_outputs - {ANYTHING} if text.script else ():
            yield from (name for name in known if re.fullmatch(pattern, name))


def _read(text: Text) -> frozenset[str]:
    keyed = frozenset(key for holder, key in text.references if holder == "tasks" and key is not None)
    read = (text.names - text.local) | keyed
    if text.script is None:
        return read
    values = text.script.free_names - text.script.called_names - text.local
    return read | values | text.script.task_outputs


def _waits_for_all(text: Text) -> bool:
    keys = [key for holder, key in text.references if holder == "tasks"]
    as_a_whole = "tasks" in text.names and (not keys or None in keys)
    return as_a_whole or (text.script is not None and ANYTHING in text.script.dynamic_task_outputs)


def problems_of_edges(sketch: Sketch, edges: Edges) -> Iterator[Problem]:
    """Dependencies on nothing, on oneself, and in a circle."""
    for task in sketch.tasks:
        yield from _depends_on(sketch, task)
    for way in cycles(edges):
        path = next(
            (place for name, place in sketch.names[way[0]].depends_on if name in way), sketch.names[way[0]].path
        )
        message = f"these tasks wait for each other: {' → '.join(way)}"
        yield sketch.located.problem("cycle", message, path=path, hint="take one of the dependencies out")


def _depends_on(sketch: Sketch, task: Draft) -> Iterator[Problem]:
    owners = {fallback.name: other.name for other in sketch.tasks for fallback in other.fallbacks}
    for name, path in task.depends_on:
        if name == task.name:
            message, hint = f"the task `{name}` depends on itself", "take it out"
        elif name in sketch.names:
            continue
        elif name in owners:
            message, hint = f"`{name}` is a fallback", f"depend on `{owners[name]}`"
        else:
            near = nearest(name, sketch.names.keys() - {task.name})
            message = f"there is no task `{name}`"
            hint = f"did you mean `{near}`?" if near else f"the tasks are: {', '.join(sketch.names)}"
        yield sketch.located.problem("unknown-task", message, path=path, hint=hint)
