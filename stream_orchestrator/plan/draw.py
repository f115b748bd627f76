"""The graph of a plan, for people: in the terminal, as Mermaid, as DOT.

Promises
  * Every task is one row or node, and every edge of a chart one line, however the graph looks.
  * The terminal's drawing needs no colour, and puts the tasks in the order in which they can run. An edge that a longer
    way implies is not drawn there (it would hide the others); `after` names them all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from stream_orchestrator.plan import graph
from stream_orchestrator.plan.model import START, Plan, TaskPlan

# what a lane shows, by whether a line leaves it upwards, downwards, to the left, to the right
_JOINTS = {
    (1, 1, 0, 1): "├",
    (1, 1, 1, 0): "┤",
    (1, 1, 1, 1): "┼",
    (1, 1, 0, 0): "│",
    (1, 0, 1, 0): "╯",
    (1, 0, 1, 1): "┴",
    (0, 1, 1, 0): "╮",
    (0, 1, 1, 1): "┬",
    (0, 0, 1, 1): "─",
}


def terminal(plan: Plan) -> str:
    """One row a task. A line leads from each task down to those that wait for it.

    ```
    ● split            python_task
    ├─╮
    ● │ left           llm_task      after split
    │ ● right          llm_task      after split
    ├─╯
    ● join             python_task   after left, right
    ```

    Below it the inside of each container, in the same way.
    """
    inside = (_titled(task, number, plan) for task in plan.tasks for number in range(len(task.bodies)))
    return "\n\n".join([_graph(plan), *inside])


def _titled(task: TaskPlan, number: int, plan: Plan) -> str:
    """The inside of a container, below what it is."""
    body = task.bodies[number]
    inner = terminal(replace(plan, tasks=body.tasks)) if body.tasks else "  (its tasks arrive with the run)"
    which = f", {number + 1} of {len(task.bodies)}" if len(task.bodies) > 1 else ""
    return f"inside {task.name} ({task.kind}{which}):\n{inner}"


def _graph(plan: Plan) -> str:
    lanes = _Lanes(_needed(plan))
    rows = [row for task in plan.tasks for row in lanes.rows(task)]
    width = max(len(drawn) + len(label) for drawn, label, _ in rows)
    kinds = max(len(task.kind) for task in plan.tasks)
    lines = []
    for drawn, label, task in rows:
        told = f"{(drawn + label).ljust(width)}  {task.kind.ljust(kinds)}  {_told(task)}" if task else drawn
        lines.append(told.rstrip())
    return "\n".join(lines)


def mermaid(plan: Plan) -> str:
    """A Mermaid flow chart, from `input` to `results`."""
    ids = {task.name: f"t{number}" for number, task in enumerate(plan.tasks)}
    lines = [
        "flowchart TD",
        f'  start(["{_mermaid(plan.slug)}.input"])',
        f'  result(["{_mermaid(plan.slug)}.results"])',
    ]
    for task in plan.tasks:
        lines += _mermaid_node(task, ids[task.name], plan, indent="  ")
    lines += [f"  {ids.get(one, 'start')} --> {ids.get(other, 'result')}" for one, other in edges(plan)]
    return "\n".join(lines)


def _mermaid_node(task: TaskPlan, name: str, plan: Plan, indent: str) -> list[str]:
    """A task; a container is a box around what it runs."""
    label = f"{_mermaid(task.name)}<br/>{task.kind}"
    inner = [
        (f"{name}_{place}_{number}", each)
        for place, body in enumerate(task.bodies)
        for number, each in enumerate(body.tasks)
    ]
    if not inner:
        return [f'{indent}{name}["{label}"]']
    lines = [f'{indent}subgraph {name}["{label}"]']
    for identity, each in inner:
        lines += _mermaid_node(each, identity, plan, indent + "  ")
    for place, body in enumerate(task.bodies):
        ids = {each.name: f"{name}_{place}_{number}" for number, each in enumerate(body.tasks)}
        lines += [
            f"{indent}  {ids[one]} --> {ids[other]}"
            for one, other in edges(replace(plan, tasks=body.tasks))
            if one in ids and other in ids
        ]
    return [*lines, f"{indent}end"]


def dot(plan: Plan) -> str:
    """The graph in Graphviz' language."""
    quoted = {task.name: _dot(task.name) for task in plan.tasks}
    first, last = _dot(f"{plan.slug}.input"), _dot(f"{plan.slug}.results")
    lines = [
        f"digraph {_dot(plan.slug)} {{",
        "  node [shape=box];",
        f"  {first} [shape=oval];",
        f"  {last} [shape=oval];",
    ]
    lines += [f"  {quoted[task.name]} [label={_label(task)}];" for task in plan.tasks]
    lines += [line for task in plan.tasks for line in _dot_inside(task, task.name)]
    lines += [f"  {quoted.get(one, first)} -> {quoted.get(other, last)};" for one, other in edges(plan)]
    return "\n".join([*lines, "}"])


def _dot_inside(task: TaskPlan, path: str) -> Iterator[str]:
    """What a container runs: dashed lines lead to the first of it."""
    for body in task.bodies:
        ids = {each.name: f"{path}/{each.name}" for each in body.tasks}
        for each in body.tasks:
            yield f"  {_dot(ids[each.name])} [label={_label(each)} style=rounded];"
            yield from _dot_inside(each, ids[each.name])
            for other in each.upstream:
                source, style = (path, " [style=dashed]") if other == START else (ids[other], "")
                yield f"  {_dot(source)} -> {_dot(ids[each.name])}{style};"


def edges(plan: Plan) -> Iterator[tuple[str, str]]:
    """Every edge, those from `START` and to `RESULT` included."""
    for task in plan.tasks:
        if task.upstream == (START,):
            yield START, task.name
        for other in task.downstream:
            yield task.name, other


class _Lanes:
    """Columns, each of which leads to a task or is free (None)."""

    def __init__(self, needed: dict[str, list[str]]) -> None:
        self.needed = needed
        self.targets: list[str | None] = []

    def rows(self, task: TaskPlan) -> Iterator[tuple[str, str, TaskPlan | None]]:
        arriving = [column for column, target in enumerate(self.targets) if target == task.name]
        own = arriving[0] if arriving else self._free()
        if len(arriving) > 1:
            ends = set(arriving[1:])
            yield self._joined(own, ends, up=ends, down=set()), "", None
            for column in ends:
                self.targets[column] = None
        self.targets[own] = task.name
        while self.targets[-1] is None:
            self.targets.pop()
        cells = ["●" if column == own else "│" if target else " " for column, target in enumerate(self.targets)]
        yield f"{' '.join(cells)} ", " ".join(task.name.split()), task
        waiting = self.needed[task.name]
        self.targets[own] = waiting[0] if waiting else None
        opened = set()
        for name in waiting[1:]:
            opened.add(column := self._free())
            self.targets[column] = name
        if opened:
            yield self._joined(own, opened, up=set(), down=opened), "", None

    def _free(self) -> int:
        for column, target in enumerate(self.targets):
            if target is None:
                return column
        self.targets.append(None)
        return len(self.targets) - 1

    def _joined(self, own: int, ends: set[int], *, up: set[int], down: set[int]) -> str:
        """A row with a line from the task's column to each of `ends`, which begin or stop there."""
        first, last = min(own, *ends), max(own, *ends)
        drawn = ""
        for column, target in enumerate(self.targets):
            through = target is not None and column not in ends
            above, below = through or column in up, through or column in down
            left, right = first < column <= last, first <= column < last
            drawn += _JOINTS.get((above, below, left, right), "╰" if above else "╭" if below else " ")
            drawn += "─" if right else " "
        return drawn.rstrip()


def _needed(plan: Plan) -> dict[str, list[str]]:
    """The edges down from each task that no longer way implies."""
    upward = {task.name: frozenset(task.upstream) - {START} for task in plan.tasks}
    above = {name: graph.ancestors(upward, name) for name in upward}
    implied = {name: frozenset().union(*(above[source] for source in upward[name])) for name in upward}
    return graph.downstream({name: upward[name] - implied[name] for name in upward})


def _told(task: TaskPlan) -> str:
    parts = [] if task.upstream == (START,) else [f"after {', '.join(task.upstream)}"]
    if task.condition is not None:
        parts.append(f"if {' '.join(task.condition.split())}")
    if len(task.variants) > 1:
        parts.append(f"else {', '.join(variant.name for variant in task.variants[1:])}")
    return "; ".join(parts)


def _mermaid(text: str) -> str:
    escaped = {'"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;", "\n": " "}
    return "".join(escaped.get(letter, letter) for letter in text)


def _dot(text: str) -> str:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{quoted}"'


def _label(task: TaskPlan) -> str:
    return _dot(f"{task.name}\n{task.kind}")
