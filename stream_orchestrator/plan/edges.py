"""Edges: what each task waits for, and what is wrong with that.

Edges are `depends_on`, the names read in templates and conditions, and the tasks that scripts read.
"""

from __future__ import annotations

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
    asked = set(task.waits()).union(*(text.asks() for text in task.every_text()))
    # A container reads what is inside it by itself; a name that is no task's is somebody else's.
    yield from (owner for name in asked if (owner := sketch.owner(name)) is not None)
    for text in task.every_text():
        for pattern in text.patterns() - {ANYTHING}:
            yield from sketch.owners(pattern)


def _waits_for_all(text: Text) -> bool:
    return ANYTHING in text.patterns()


def problems_of_edges(sketch: Sketch) -> Iterator[Problem]:
    """Dependencies on nothing, on oneself, and in a circle; in bodies too."""
    for task in sketch.tasks:
        yield from _depends_on(sketch, task)
        for frame in task.frames:
            yield from problems_of_edges(sketch.inside(frame))
    edges = edges_of(sketch)
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
        elif sketch.owner(name) is not None or (sketch.around is not None and sketch.around.sees(name)):
            continue
        elif name in owners:
            message, hint = f"`{name}` is a fallback", f"depend on `{owners[name]}`"
        else:
            near = nearest(name, sketch.names.keys() - {task.name})
            message = f"there is no task `{name}`"
            hint = f"did you mean `{near}`?" if near else f"the tasks are: {', '.join(sketch.names)}"
        yield sketch.located.problem("unknown-task", message, path=path, hint=hint)
