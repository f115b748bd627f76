"""What a document says of containers that cannot be meant, or has one meaning only."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from stream_orchestrator import load
from stream_orchestrator.errors import SpecError
from stream_orchestrator.plan.compile import examine
from stream_orchestrator.spec.documents import read
from stream_orchestrator.spec.loader import load_text
from stream_orchestrator.spec.problems import Problem

COMPONENT = """
type: component
name: Cut
version: 1.0.0
parameters: {most: {type: integer}, mark: {type: string, default: "."}}
inputs: {text: {type: string}, note: {type: string, required: false}}
tasks:
  - {name: cut, type: python_task, script: "return text[:most] + mark + str(note)"}
"""


def problems(tasks: str, head: str = "input_variables: {rows: {type: array}}") -> list[Problem]:
    """All that is said of a pipeline with these tasks."""
    text = f"name: Names\n{head}\ntasks:\n{dedent(tasks)}"
    return list(examine(read(load_text(text)[0]))[1])


def said(found: list[Problem]) -> list[tuple[str, str]]:
    return [(each.rule, each.hint) for each in found if each.severity == "error"]


@pytest.mark.parametrize("written", ["rows", "rows[:2]", "rows | list", "'{{ rows }}'"])
def test_what_is_gone_through_may_be_written_without_braces(written: str) -> None:
    assert not problems(
        f"""
        - name: loop
          type: for_loop
          iterate_over: {written}
          tasks: [{{name: one, type: python_task, script: "return item['value']"}}]
        - name: each
          type: python_task
          for_each: {written}
          script: return item['value']
        """
    )


def test_a_name_that_is_gone_through_must_be_known() -> None:
    ((rule, hint),) = said(problems("- {name: a, type: python_task, for_each: rowz, script: return 1}"))
    assert (rule, hint) == ("unknown-name", "did you mean `rows`?")


@pytest.mark.parametrize("reads", ["{script: return a}", "{script: \"return context.get_task_output('a')\"}"])
def test_a_name_deep_inside_is_told_with_the_task_that_can_be_read(reads: str) -> None:
    found = problems(
        f"""
        - name: g
          type: parallel_group
          for_each: rows
          tasks: [{{name: a, type: python_task, script: return 1}}]
        - {{name: end, type: python_task, {reads.strip("{}")}}}
        """
    )
    assert [hint for _, hint in said(found)] == ["`a` stands inside `g`, and is not seen from here: read `g`"]


def test_what_iterations_hand_on_goes_through_the_state_of_their_loop() -> None:
    found = problems(
        """
        - name: w
          type: while_loop
          condition: "{{ draft | default('') | length < 3 }}"
          tasks: [{name: draft, type: python_task, script: "return context.get_task_output('draft') + 'x'"}]
        """
    )
    assert [rule for rule, _ in said(found)] == ["self-reference"]
    assert "`loop_state`" in found[0].hint


def test_a_repeated_task_without_a_group_has_a_plain_name() -> None:
    found = problems('- {name: "a_{{ item.index }}", type: python_task, for_each: rows, script: return 1}')
    assert [rule for rule, _ in said(found)] == ["templated-name"]
    assert "`parallel_group`" in found[0].hint


def test_one_repeated_task_in_a_branch_or_a_loop_is_a_container_of_its_own() -> None:
    assert not problems(
        """
        - name: c
          type: condition
          condition: rows
          then: {name: a, type: python_task, for_each: rows, script: return 1}
        - name: l
          type: for_loop
          iterate_over: rows
          item_variable: row
          tasks:
            - {name: b, type: python_task, for_each: "{{ row }}", script: return 1}
            - {name: d, type: python_task, script: return b}
        """
    )


async def given_to_a_component(folder: Path, given: str) -> object:
    (folder / "cut.yaml").write_text(COMPONENT)
    (folder / "use.yaml").write_text(f"name: Use\ntasks: [{{name: c, type: component, component: cut.yaml, {given}}}]")
    result = await load(folder / "use.yaml").run({})
    assert result.error is None
    return result.output


async def test_a_component_has_the_defaults_of_its_parameters_and_null_for_inputs_that_may_be_left_out(
    tmp_path: Path,
) -> None:
    assert await given_to_a_component(tmp_path, "parameters: {most: 2}, inputs: {text: abc}") == "ab.None"
    assert await given_to_a_component(tmp_path, "parameters: {most: 1, mark: '!', note: n, text: xy}") == "x!n"


@pytest.mark.parametrize(
    ("given", "rule", "hint"),
    [
        ("inputs: {text: abc}", "missing-parameter", "give it under `parameters:`"),
        ("parameters: {most: 1}", "missing-parameter", "give it under `inputs:`"),
        ("parameters: {most: 1, marc: x}, inputs: {text: a}", "unknown-parameter", "did you mean `mark`?"),
    ],
)
async def test_what_a_component_needs_and_does_not_know_is_told_when_compiling(
    tmp_path: Path, given: str, rule: str, hint: str
) -> None:
    with pytest.raises(SpecError) as raised:
        await given_to_a_component(tmp_path, given)
    assert [(each.rule, each.hint) for each in raised.value.problems if each.severity == "error"] == [(rule, hint)]
