"""State, breakers and the rest of `context` in the in-memory evaluator: the same rows as on a broker."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from stream_orchestrator import Pipeline, load
from stream_orchestrator.kernel.memory_state import State


def pipeline(folder: Path, *scripts: str, name: str = "Orders", state: State | None = None, top: str = "") -> Pipeline:
    """A pipeline of these scripts, one after the other."""
    lines = [f"name: {name}", dedent(top).strip(), "tasks:"]
    for number, text in enumerate(scripts):
        after = f", depends_on: t{number - 1}" if number else ""
        lines += [f"  - {{name: t{number}, type: python_task{after}, script: {script_text(text)}}}"]
    file = folder / f"{name.lower()}.yaml"
    file.write_text("\n".join(lines))
    return load(file, state=state)


def script_text(text: str) -> str:
    return json.dumps(dedent(text).strip())


async def outputs(made: Pipeline, times: int = 1, **inputs: Any) -> list[Any]:
    results = [await made.run(inputs) for _ in range(times)]
    assert [result.error for result in results] == [None] * times
    return [result.output for result in results]


COUNT = """
    n = context.get_{kind}("n", 0)
    context.set_{kind}("n", n + 1)
    return n
"""


@pytest.mark.parametrize("kind", ["global_state", "persistent_state", "shared_state", "cache", "task_cache"])
async def test_what_a_run_leaves_the_next_one_finds(tmp_path: Path, kind: str) -> None:
    made = pipeline(tmp_path, COUNT.format(kind=kind))
    assert await outputs(made, 3) == [0, 1, 2]


async def test_later_tasks_of_a_run_read_what_earlier_ones_wrote(tmp_path: Path) -> None:
    made = pipeline(tmp_path, COUNT.format(kind="global_state"), "return context.get_global_state('n')")
    assert await outputs(made, 2) == [1, 2]


async def test_pipelines_share_a_namespace_and_nothing_else(tmp_path: Path) -> None:
    state = State()
    writer = pipeline(
        tmp_path,
        """
        context.set_shared_state("n", 1)
        context.set_shared_state("n", 2, namespace="apart")
        context.set_global_state("n", 3)
        """,
        state=state,
    )
    reader = pipeline(
        tmp_path,
        """
        return [context.get_shared_state("n"), context.get_shared_state("n", namespace="apart"),
                context.get_global_state("n", "none")]
        """,
        name="Billing",
        state=state,
    )
    await outputs(writer)
    assert await outputs(reader) == [[1, 2, "none"]]


async def test_a_value_that_is_not_json_is_an_error_of_its_line(tmp_path: Path) -> None:
    made = pipeline(tmp_path, "x = 1\ncontext.set_global_state('n', {'a': object()})")
    result = await made.run({})
    assert result.error is not None
    assert "line 2" in result.error["message"]
    assert "`value of n['a']`" in result.error["message"]


async def test_what_a_script_wrote_before_it_failed_stays_written(tmp_path: Path) -> None:
    made = pipeline(tmp_path, COUNT.format(kind="global_state").replace("return n", "assert n"))
    assert [(await made.run({})).status for _ in range(2)] == ["failed", "succeeded"]


async def test_the_script_of_a_breaker_stops_asking_when_it_is_open_and_gives_what_it_cached(tmp_path: Path) -> None:
    made = pipeline(
        tmp_path,
        """
        if context.get_circuit_breaker_state("api") == "open":
            return context.get_cache("last")
        try:
            if not up:
                raise OSError("down")
            context.set_cache("last", "good", ttl=3600)
            context.record_circuit_breaker_success("api")
            return "fresh"
        except OSError:
            context.record_circuit_breaker_failure("api")
            return "failed"
        """,
        top="input_variables: {up: {type: boolean}}",
    )
    assert await outputs(made, 1, up=True) == ["fresh"]
    assert await outputs(made, 5, up=False) == ["failed"] * 5
    assert await outputs(made, 2, up=False) == ["good"] * 2


async def test_the_error_rate_is_that_of_this_pipeline(tmp_path: Path) -> None:
    state = State()
    made = pipeline(
        tmp_path,
        "assert ok, 'no'\nreturn context.get_error_rate()",
        top="input_variables: {ok: {type: boolean}}",
        state=state,
    )
    assert await outputs(made, ok=True) == [0.0]
    for _ in range(2):
        assert (await made.run({"ok": False})).status == "failed"
    assert await outputs(made, ok=True) == [pytest.approx(2 / 3)]
    assert await outputs(pipeline(tmp_path, "return context.get_error_rate()", name="Other", state=state)) == [0.0]


async def test_another_pipelines_newest_output_is_read_by_its_name(tmp_path: Path) -> None:
    state = State()
    first = pipeline(tmp_path, "return n", top="input_variables: {n: {type: integer}}", name="First One", state=state)
    second = pipeline(
        tmp_path,
        "return [context.get_pipeline_output('First One'), context.get_pipeline_output('nobody', 'none')]",
        name="Second",
        state=state,
    )
    await outputs(first, n=1)
    await outputs(first, n=2)
    assert await outputs(second) == [[2, "none"]]


async def test_outside_of_batches_the_batch_is_this_run_and_waiting_is_over_at_once(tmp_path: Path) -> None:
    made = pipeline(
        tmp_path,
        "return 5",
        """
        context.wait_for_batch_completion(timeout=30)
        (member,) = context.get_current_batch()
        return [member["n"], member["t0"]]
        """,
        top="input_variables: {n: {type: integer}}",
    )
    assert await outputs(made, n=7) == [[7, 5]]


async def test_outside_of_loops_there_is_no_loop_variable_and_no_turn(tmp_path: Path) -> None:
    made = pipeline(tmp_path, "return [context.get_loop_variable('x', 'none'), context.get_loop_iteration()]")
    assert await outputs(made) == [["none", 0]]
