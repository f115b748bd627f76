from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_orchestrator.plan import draw
from stream_orchestrator.plan.compile import compile_document
from stream_orchestrator.plan.model import RESULT, START, Plan, TaskPlan, Variant
from stream_orchestrator.spec.loader import load_text


def planned(edges: dict[str, list[str]]) -> Plan:
    tasks = tuple(
        TaskPlan(
            name=name,
            slug=name,
            kind="python_task",
            upstream=tuple(sources) or (START,),
            downstream=tuple(other for other in edges if name in edges[other]) or (RESULT,),
            variants=(Variant(name=name, kind="python_task", options={}, timeout=1),),
        )
        for name, sources in edges.items()
    )
    return Plan(title="Orders", slug="orders", version="1.0.0", tasks=tasks)


@st.composite
def graphs(draw_from: st.DrawFn) -> dict[str, list[str]]:
    names = [f"t{number}" for number in range(draw_from(st.integers(1, 10)))]
    return {
        name: sorted(draw_from(st.sets(st.sampled_from(names[:at])))) if at else [] for at, name in enumerate(names)
    }


FAN_OUT_AND_JOIN = """\
● split    python_task
├─╮
● │ left   python_task  after split
│ ● right  python_task  after split
├─╯
● join     python_task  after left, right"""


def test_a_fan_out_and_a_join_are_seen_at_a_glance():
    plan = planned({"split": [], "left": ["split"], "right": ["split"], "join": ["left", "right"]})
    assert draw.terminal(plan) == FAN_OUT_AND_JOIN


def test_an_edge_that_a_longer_way_implies_is_named_and_not_drawn():
    plan = planned({"a": [], "b": ["a"], "c": ["a", "b"]})
    assert draw.terminal(plan).split("\n") == [
        "● a  python_task",
        "● b  python_task  after a",
        "● c  python_task  after a, b",
    ]


@given(graphs())
def test_every_edge_can_be_followed_in_the_terminal_from_its_task_down_to_the_other(edges):
    rows = draw.terminal(planned(edges)).split("\n")
    grid = [re.split(r"  \w+_task|t\d", row)[0] for row in rows]
    place = {
        re.search(r"t\d+", row)[0]: (number, row.index("●"))  # type: ignore[index]
        for number, row in enumerate(rows)
        if "●" in row
    }
    assert list(place) == list(edges)
    for name, sources in edges.items():
        for source in sources:
            assert place[name] in _reached(grid, place[source]), f"{source} -> {name}\n" + "\n".join(rows)


_OPEN = {
    "│": "ud", "├": "udr", "┤": "udl", "┼": "udlr", "╯": "ul", "╮": "dl", "┬": "dlr", "┴": "ulr", "─": "lr", "●": "ud",
    "╰": "ur", "╭": "dr",
}  # fmt: skip
_STEPS = {"u": (-1, 0, "d"), "d": (1, 0, "u"), "l": (0, -1, "r"), "r": (0, 1, "l")}


def _reached(grid: list[str], start: tuple[int, int]) -> set[tuple[int, int]]:
    """Every cell that lines lead to, downwards and sideways."""
    seen, todo = {start}, [start]
    while todo:
        row, column = todo.pop()
        for way in _OPEN.get(grid[row][column], ""):
            down, right, entry = _STEPS[way]
            cell = (row + down, column + right)
            inside = way != "u" and 0 <= cell[0] < len(grid) and 0 <= cell[1] < len(grid[cell[0]])
            if inside and cell not in seen and entry in _OPEN.get(grid[cell[0]][cell[1]], ""):
                seen.add(cell)
                todo.append(cell)
    return seen


@pytest.mark.parametrize("form", [draw.mermaid, draw.dot])
@given(edges=graphs())
def test_charts_hold_every_edge_once(form, edges):
    lines = form(planned(edges)).split("\n")
    leaves = [name for name in edges if not any(name in sources for sources in edges.values())]
    roots = [name for name, sources in edges.items() if not sources]
    assert sum("->" in line or "-->" in line for line in lines) == sum(map(len, edges.values())) + len(leaves) + len(
        roots
    )


def test_names_cannot_break_out_of_a_chart():
    plan = planned({'a"] --> b; "<script>\n': []})
    assert '"a#quot;] --#gt; b; #quot;#lt;script#gt; <br/>python_task"' in draw.mermaid(plan)
    assert r'"a\"] --> b; \"<script>\n" [label=' in draw.dot(plan)
    assert len(draw.terminal(plan).split("\n")) == 1


def test_the_inside_of_containers_is_drawn_too():
    text = (
        "name: Made\ninput_variables: {ns: {type: array}}\ntasks:\n"
        "  - name: loop\n    type: for_loop\n    iterate_over: '{{ ns }}'\n    tasks:\n"
        "      - {name: up, type: python_task, script: 'return 1'}\n"
        "      - {name: down, type: python_task, script: 'return up'}\n"
        "  - name: work\n    type: dynamic_task_group\n    tasks: '{{ ns }}'\n"
    )
    made = compile_document(load_text(text)[0])
    drawn = draw.terminal(made)
    assert "inside loop (for_loop):\n● up    python_task\n● down  python_task  after up" in drawn
    assert "inside work (dynamic_task_group):\n  (its tasks arrive with the run)" in drawn
    assert 'subgraph t0["loop<br/>for_loop"]' in draw.mermaid(made)
    assert "t0_0_0 --> t0_0_1" in draw.mermaid(made)
    assert '"loop" -> "loop/up" [style=dashed];' in draw.dot(made)
