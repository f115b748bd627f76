"""Pipelines whose tasks do next to nothing: what is left is what a task costs.

A task of the kind `pass` gives on what it was given, without a sandbox; the kind exists only here. The same shapes with
`python_task` run a script that builds the same value.
"""

from __future__ import annotations

import hashlib
from typing import Any

from stream_orchestrator.kernel.effects import Answer, ScriptDone
from stream_orchestrator.kernel.kinds import Attempt, Step, Value
from stream_orchestrator.kernel.scope import outputs_of
from stream_orchestrator.plan.model import RESULT, START, Plan, TaskPlan, Variant

SHAPES = ("1", "3", "6", "join")
JOINED = {"source": (START,), "left": ("source",), "right": ("source",), "half": ("left", "right")}


class PassKind:
    """The value of the first task upstream, or the input."""

    name = "pass"
    summary = "Gives on what it was given."
    guarantees = "None of its own: it has no effects."
    example = ""

    def begin(self, attempt: Attempt) -> Step:
        """At once, without an effect."""
        outputs = outputs_of(attempt.row)
        return Value(next(iter(outputs.values())) if outputs else dict(attempt.around.values))

    def scripted(self, attempt: Attempt, done: ScriptDone) -> Step:
        raise AssertionError("a pass runs no script")

    def answered(self, attempt: Attempt, answer: Answer) -> Step:
        raise AssertionError("a pass asks no model")


def upstream_of(shape: str) -> dict[str, tuple[str, ...]]:
    """The tasks of a shape, each with its edges in."""
    if shape == "join":
        return JOINED
    names = [f"t{number}" for number in range(1, int(shape) + 1)]
    return dict(zip(names, [(START,), *((name,) for name in names)], strict=False))


def plan(shape: str, *, scripts: bool = False) -> Plan:
    """The pipeline of a shape."""
    edges = upstream_of(shape)
    kind = "python_task" if scripts else "pass"
    return Plan(
        title="Bench",
        slug="bench",
        version="1.0.0",
        hash=hashlib.sha256(f"{shape} {kind}".encode()).hexdigest(),
        tasks=tuple(_task(name, edges, kind) for name in edges),
    )


def _task(name: str, edges: dict[str, tuple[str, ...]], kind: str) -> TaskPlan:
    upstream = edges[name]
    downstream = tuple(other for other, sources in edges.items() if name in sources) or (RESULT,)
    options: dict[str, Any] = {"script": _script(upstream)} if kind == "python_task" else {}
    variant = Variant(name=name, kind=kind, options=options, timeout=60.0)
    return TaskPlan(name=name, slug=name, kind=kind, upstream=upstream, downstream=downstream, variants=(variant,))


def _script(upstream: tuple[str, ...]) -> str:
    if upstream == (START,):
        return "return {'n': n, 'text': text}"
    first, last = upstream[0], upstream[-1]
    return f"return {{'n': {first}['n'], 'text': {last}['text']}}"


def inboxes(shape: str) -> list[str]:
    """The topics that the baselines need for a shape, by their last names, `in` first and `out` last."""
    if shape == "join":
        return ["in", "left", "right", "half", "out"]
    return ["in", *(f"t{number}" for number in range(1, int(shape))), "out"]


def tasks(shape: str) -> int:
    """How many tasks every run goes through."""
    return len(upstream_of(shape))
