"""Containers compiled: scopes, edges, names that are read outside, components in their own files."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_orchestrator.plan.codec import from_json, to_json
from stream_orchestrator.plan.compile import compile_document, examine
from stream_orchestrator.plan.model import EVERYTHING, Plan
from stream_orchestrator.plan.names import inboxes
from stream_orchestrator.spec.loader import load_file, load_text

HEAD = "name: Made\ninput_variables: {ns: {type: array}}\ntasks:\n"


def plan(tasks: str) -> Plan:
    return compile_document(load_text(HEAD + tasks)[0])


def problems(tasks: str, head: str = HEAD) -> list[tuple[str, str]]:
    _, found = examine(load_text(head + tasks, file="made.yaml")[0])
    return [(each.rule, each.message) for each in found if each.severity == "error"]


def one(tasks: str, head: str = HEAD) -> tuple[str, str]:
    (found,) = problems(tasks, head)
    return found


SCRIPT = "type: python_task, script: "
GROUP = (
    "  - {name: first, type: python_task, script: 'return 3'}\n"
    "  - name: g\n    type: parallel_group\n    max_concurrency: '{{ first }}'\n    tasks:\n"
    "      - {name: 'c_{{ item.index }}', type: python_task, for_each: '{{ ns }}', script: \"return item['value']\"}\n"
)


def test_what_a_group_and_its_children_read_is_an_edge_of_the_group():
    made = plan(GROUP)
    assert made.task("g").upstream == ("first",)
    (body,) = made.task("g").bodies
    assert [task.name for task in body.tasks] == ["c"], "a computed name is told without what changes"
    assert body.name == "", "nobody reads a child by its name"


@pytest.mark.parametrize(
    "script",
    [
        "return context.get_task_output('c_3')",
        "return [context.get_task_output(f'c_{i}') for i in range(2)]",
        "return tasks['c_0']",
        "return c_1",
    ],
)
def test_a_child_is_read_by_its_name_however_that_is_written(script):
    made = plan(GROUP + f'  - {{name: end, type: python_task, script: "{script}"}}\n')
    assert made.task("end").upstream == ("g",)
    assert made.task("g").bodies[0].name == "c_{{ item.index }}"


def test_a_plan_with_containers_is_the_same_when_it_is_read_back():
    made = plan(GROUP)
    assert from_json(to_json(made)) == made
    assert [name.split(".", 2)[-1] for name in inboxes("", made)] == [
        *("start", "first", "g", "result"),
        *("g.0.start", "g.0.c", "g.0.result"),
    ]


def test_a_body_takes_along_what_it_reads_and_nothing_else():
    made = plan(
        "  - {name: a, type: python_task, script: 'return 1'}\n  - {name: b, type: python_task, script: 'return 2'}\n"
        "  - name: l\n    type: for_loop\n    iterate_over: '{{ ns }}'\n    item_variable: n\n    tasks:\n"
        "      - {name: x, type: python_task, script: 'return n + a'}\n"
    )
    (body,) = made.task("l").bodies
    assert body.reads == ("a",)
    assert made.task("l").upstream == ("a",)
    assert made.task("b").downstream == (":result",)


def test_a_body_that_computes_what_it_asks_for_takes_everything_along():
    made = plan(
        "  - name: l\n    type: for_loop\n    iterate_over: '{{ ns }}'\n    tasks:\n"
        "      - {name: x, type: python_task, script: \"return context.get_variable(str(item['value']))\"}\n"
    )
    assert EVERYTHING in made.task("l").bodies[0].reads


def test_tasks_inside_depend_on_each_other_and_on_tasks_outside():
    made = plan(
        "  - {name: a, type: python_task, script: 'return 1'}\n"
        "  - name: l\n    type: for_loop\n    iterate_over: '{{ ns }}'\n    tasks:\n"
        "      - {name: y, type: python_task, script: 'return 1', depends_on: [x]}\n"
        "      - {name: x, type: python_task, script: 'return 1', depends_on: [a]}\n"
    )
    assert made.task("l").upstream == ("a",)
    assert [task.name for task in made.task("l").bodies[0].tasks] == ["x", "y"]


LOOP = "  - name: l\n    type: for_loop\n    iterate_over: '{{ ns }}'\n    tasks:\n"


@pytest.mark.parametrize(
    ("tasks", "rule", "says"),
    [
        (LOOP + "      - {name: x, type: python_task, script: 'return {{ y }}'}\n", "unknown-name", "`y`"),
        (LOOP + "      - {name: x, type: python_task, script: 'return 1', depends_on: [z]}\n", "unknown-task", "`z`"),
        (LOOP + "      - {name: l, type: python_task, script: 'return 1'}\n", "duplicate-task", "`l`"),
        (LOOP + "      - {name: ns, type: python_task, script: 'return 1'}\n", "name-clash", "`ns`"),
        (
            LOOP.replace("    tasks", "    item_variable: n\n    tasks")
            + "      - {name: n, type: python_task, script: 'return 1'}\n",
            "name-clash",
            "loop",
        ),
        (
            LOOP + "      - {name: a, type: python_task, script: 'return b'}\n"
            "      - {name: b, type: python_task, script: 'return a'}\n",
            "cycle",
            "wait for each other",
        ),
        (
            "  - name: g\n    type: parallel_group\n    tasks:\n"
            "      - {name: a, type: python_task, script: 'return 1'}\n"
            "      - {name: b, type: python_task, script: 'return a'}\n",
            "needs-sibling",
            "side by side",
        ),
        (
            "  - {name: 'x_{{ ns }}', type: python_task, script: 'return 1'}\n",
            "templated-name",
            "cannot be a template",
        ),
        (
            "  - {name: c, type: condition, condition: 'true', then: [], if_true: []}\n",
            "conflicting-keys",
            "say the same",
        ),
        ("  - {name: c, type: condition}\n", "missing-key", "`condition`"),
        ("  - {name: l, type: for_loop, tasks: []}\n", "missing-key", "`iterate_over`"),
        ("  - {name: w, type: while_loop, condition: 'true'}\n", "missing-key", "`tasks`"),
        ("  - {name: d, type: dynamic_task_group}\n", "missing-key", "`tasks`"),
        ("  - {name: p, type: pipeline_group}\n", "missing-key", "`pipeline`"),
        ("  - {name: p, type: pipeline_group, pipeline: gone.yaml}\n", "unknown-pipeline", "gone.yaml"),
        ("  - {name: c, type: component, component: components/gone.yaml}\n", "unknown-component", "gone.yaml"),
        (f"  - {{name: c, type: component, component: {'a' * 5_000}}}\n", "unknown-component", "aaaa"),
        ('  - {name: c, type: component, component: "a\\0b"}\n', "unknown-component", "there is no"),
        (
            "  - name: a\n    type: python_task\n    script: '1'\n    error_handling:\n      fallback:\n"
            "        - {name: l, type: for_loop, iterate_over: [1],"
            " tasks: [{name: x, type: python_task, script: '1'}]}\n",
            "fallback-container",
            "cannot be a group",
        ),
    ],
)
def test_what_is_wrong_inside_a_container_is_told_at_its_place(tasks, rule, says):
    found = problems(tasks)
    assert any(each[0] == rule and says in each[1] for each in found), found


# --- components --------------------------------------------------------------------------------------------------

COMPONENT = """
name: Adds
type: component
parameters:
  by: {type: integer, default: 1}
tasks:
  - {name: add, type: python_task, script: "return number + by"}
"""
USES = """
name: Uses
input_variables: {n: {type: integer}}
tasks:
  - {name: plus, type: component, component: components/adds.yaml, parameters: {by: 2}, inputs: {number: "{{ n }}"}}
"""


def files(tmp_path: Path, **texts: str) -> Path:
    (tmp_path / "components").mkdir()
    for name, text in texts.items():
        folder = tmp_path if name == "main" else tmp_path / "components"
        (folder / f"{name}.yaml").write_text(text)
    return tmp_path / "main.yaml"


def examined(path: Path) -> tuple[Plan | None, list[tuple[str, str]]]:
    made, found = examine(load_file(path)[0])
    return made, [(each.rule, each.message) for each in found if each.severity == "error"]


def test_a_component_sees_its_parameters_and_inputs_and_nothing_else(tmp_path):
    made, found = examined(files(tmp_path, main=USES, adds=COMPONENT))
    assert not found
    assert made is not None
    assert made.task("plus").bodies[0].reads == ()
    (tmp_path / "x").mkdir()
    _, found = examined(files(tmp_path / "x", main=USES, adds=COMPONENT.replace("+ by", "+ {{ n }}")))
    assert [rule for rule, _ in found] == ["unknown-name"]


def test_a_component_that_uses_itself_is_refused_with_the_way_round(tmp_path):
    again = COMPONENT + "  - {name: more, type: component, component: more.yaml}\n"
    more = COMPONENT + "  - {name: adds, type: component, component: adds.yaml}\n"
    _, found = examined(files(tmp_path, main=USES, adds=again, more=more))
    assert [rule for rule, _ in found] == ["component-cycle"]
    assert "adds.yaml → more.yaml → adds.yaml" in found[0][1]


def test_a_component_that_is_misspelt_is_suggested(tmp_path):
    path = files(tmp_path, main=USES.replace("adds.yaml", "ads.yaml"), adds=COMPONENT)
    _, found = examine(load_file(path)[0])
    assert found[0].hint == "did you mean `components/adds.yaml`?"


def test_a_pipeline_that_is_named_as_a_component_is_no_component(tmp_path):
    _, found = examined(files(tmp_path, main=USES, adds=COMPONENT.replace("type: component\n", "")))
    assert [rule for rule, _ in found] == ["bad-component"]


def test_helpers_of_a_component_are_found_beside_it(tmp_path):
    text = COMPONENT.replace("parameters:", "functions: [helpers.py]\nparameters:").replace("+ by", "+ twice(by)")
    path = files(tmp_path, main=USES, adds=text)
    (tmp_path / "components" / "helpers.py").write_text("def twice(n):\n    return 2 * n\n")
    made, found = examined(path)
    assert not found
    assert made is not None
    assert made.functions == (str(tmp_path / "components" / "helpers.py"),)
    assert made.helpers == ("twice",)
