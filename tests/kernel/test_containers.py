"""Groups, loops, conditions and components: their items end once, in order, at most so many at once, crashes or not."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import WAYS, StormyWorld, Theatre, Way

from stream_orchestrator.kernel.limits import MAX_RECORD
from stream_orchestrator.kernel.memory import MemoryPart
from stream_orchestrator.kernel.rows import MemberRow
from stream_orchestrator.plan.compile import compile_document
from stream_orchestrator.plan.model import Plan
from stream_orchestrator.spec.loader import load_text
from stream_orchestrator.tasks import KINDS

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from in_process import InProcess

pytestmark = pytest.mark.timeout(600)  # many plays: minutes on a machine that is busy with other things

GROUP = """
  - name: squares
    type: parallel_group
    max_concurrency: 2
    tasks:
      - {name: "square_{{ item.index }}", type: python_task, for_each: "{{ ns }}", script: "return item['value'] ** 2"}
  - {name: total, type: python_task, script: "return [sum(squares), context.get_task_output('square_1')]"}
"""
FIXED = """
  - name: both
    type: parallel_group
    tasks:
      - {name: least, type: python_task, script: "return min(ns)"}
      - {name: most, type: python_task, script: "return max(ns)"}
  - {name: span, type: python_task, script: "return most - least"}
"""
CONDITION = """
  - {name: size, type: python_task, script: "return len(ns)"}
  - name: choice
    type: condition
    condition: "{{ size > 2 }}"
    then:
      - {name: many, type: python_task, script: "return ['many', size]"}
    else:
      - {name: few, type: python_task, script: "return ['few', size]"}
  - {name: told, type: python_task, script: "return [choice, many, few]"}
"""
FOR_LOOP = """
  - name: each
    type: for_loop
    iterate_over: "{{ ns }}"
    item_variable: n
    tasks:
      - {name: double, type: python_task, script: "return n * 2"}
      - {name: add, type: python_task, script: "return double + loop['index']"}
  - {name: joined, type: python_task, script: "return [each, double]"}
"""
WHILE_LOOP = """
  - name: down
    type: while_loop
    condition: "{{ loop_state.left > 0 }}"
    max_iterations: 10
    loop_state: {left: "{{ ns | length }}", seen: []}
    tasks:
      - name: step
        type: python_task
        script: "return {'left': left - 1, 'seen': seen + [left], 'last': left == 1}"
  - {name: out, type: python_task, script: "return down"}
"""
NESTED = """
  - name: rows
    type: parallel_group
    max_concurrency: 2
    tasks:
      - name: "row_{{ item.index }}"
        type: for_loop
        for_each: "{{ ns }}"
        iterate_over: "{{ item.value }}"
        item_variable: column
        tasks:
          - {name: cell, type: python_task, script: "return column * len(ns)"}
  - {name: end, type: python_task, script: "return rows"}
"""
RETRIED = """
  - name: group
    type: parallel_group
    max_concurrency: 2
    error_handling: {retry_count: 1, retry_delay: 0}
    tasks:
      - name: "child_{{ item.index }}"
        type: python_task
        for_each: "{{ ns }}"
        error_handling: {on_failure: continue}
        script: |
          if item['value'] == 2:
              raise ValueError('two')
          return item['value']
  - {name: end, type: python_task, script: "return group"}
"""
FAILING = """
  - name: group
    type: parallel_group
    max_concurrency: 2
    error_handling: {fallback_value: [0]}
    tasks:
      - name: "child_{{ item.index }}"
        type: python_task
        for_each: "{{ ns }}"
        script: |
          if item['value'] == 2:
              raise ValueError('two')
          return item['value']
  - {name: end, type: python_task, script: "return group"}
"""
TRIED_AGAIN = """
  - name: loop
    type: for_loop
    iterate_over: "{{ ns }}"
    error_handling: {retry_count: 1, retry_delay: 0, fallback_value: [0]}
    tasks:
      - name: one
        type: python_task
        script: |
          if item['value'] == 2:
              raise ValueError('two')
          return item['value']
  - {name: end, type: python_task, script: "return loop"}
"""
WHOLE = {
    "group": (GROUP, [1 + 4 + 9, 4]),
    "fixed": (FIXED, 2),
    "condition": (CONDITION, [["many", 3], ["many", 3], None]),
    "for_loop": (FOR_LOOP, [[2, 5, 8], 6]),
    "while_loop": (WHILE_LOOP, {"left": 0, "seen": [3, 2, 1], "last": True}),
    "nested": (NESTED, [[0], [0, 3], [0, 3, 6]]),
    "retried": (RETRIED, [1, None, 3]),
    "failing": (FAILING, [0]),
    "tried again": (TRIED_AGAIN, [0]),
}


def made(tasks: str) -> Plan:
    return compile_document(load_text(f"name: Made\ninput_variables: {{ns: {{type: array}}}}\ntasks:{tasks}")[0])


def theatre(tasks: str, ns: str = "[1, 2, 3]", **more: Any) -> Theatre:
    found = Theatre(made(tasks), kinds=KINDS, scripts=InProcess(), **more)
    found.begin("run-1", f'{{"ns": {ns}}}')
    return found


def result(played: Theatre) -> dict[str, Any]:
    results = played.results()
    assert results, "the run was lost"
    assert all(each == results[0] for each in results), "copies differ"
    return results[0]


def left_of(played: Theatre) -> list[Any]:
    return [row for row in played.part.rows.values() if type(row).__name__ != "Stub"]


@pytest.mark.parametrize("name", WHOLE)
async def test_a_container_gives_what_it_should_and_leaves_nothing_behind(name: str) -> None:
    tasks, expected = WHOLE[name]
    played = theatre(tasks)
    await played.play()
    assert result(played)["output"] == expected
    assert not left_of(played)
    assert not any(played.engine.gatherings.values())


async def test_the_audit_tells_of_what_is_inside() -> None:
    played = theatre(NESTED)
    await played.play()
    cells = {f"rows[{row}]/row[{column}]/cell" for row in range(3) for column in range(row + 1)}
    everything = {"rows", "end", *(f"rows[{row}]/row" for row in range(3)), *cells}
    for kind in ("started", "finished"):
        assert {task for task, what, _ in played.transitions() if what == kind} == everything


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
@pytest.mark.parametrize("name", WHOLE)
async def test_a_container_ends_once_wherever_the_process_dies(name: str, way: Way) -> None:
    tasks, expected = WHOLE[name]
    calm = theatre(tasks, way=way)
    effects, scripts = await calm.play(), sum(calm.scripts.ran.values())
    for crash_at in range(1, effects + 1):
        played = theatre(tasks, way=way)
        await played.play(crash_at=lambda n, at=crash_at: n == at)
        where = f"crash before effect {crash_at} of {effects}"
        assert result(played)["output"] == expected, where
        assert not left_of(played), where
        assert sum(played.scripts.ran.values()) <= scripts + 3, where
        if name not in ("failing", "tried again"):  # what an attempt that is given up has begun is a matter of time
            missing = calm.transitions() - played.transitions()
            assert not missing, f"{where}: the audit lacks {missing}"


CHANGING = """
  - {name: numbers, type: python_task, script: "import time; return [time.perf_counter_ns() + n for n in ns]"}
  - name: same
    type: parallel_group
    tasks:
      - {name: "same_{{ item.index }}", type: python_task, for_each: "{{ numbers }}", script: "return item['value']"}
"""


class Backwards(StormyWorld):
    """What lands first is what was begun last: rows long after what they are meant to come before."""

    def choose(self, moves: list[Callable[[], None]]) -> Callable[[], None]:
        return moves[-1]


async def test_items_are_of_the_list_that_the_result_has_though_a_script_never_gives_the_same_twice() -> None:
    calm = theatre(CHANGING, world=Backwards(0))
    await calm.play()
    for crash_at in range(1, calm.world.moves + 1):
        played = theatre(CHANGING, world=Backwards(0, frozenset([crash_at])))
        await played.play()
        outputs = result(played)["outputs"]
        assert outputs["same"] == outputs["numbers"], f"crash before move {crash_at}"


@pytest.mark.parametrize("name", ["group", "condition", "while_loop", "failing"])
async def test_a_container_ends_once_whatever_two_places_the_process_dies_in(name: str) -> None:
    tasks, expected = WHOLE[name]
    effects = await theatre(tasks).play()
    for pair in itertools.islice(itertools.combinations(range(1, effects + 4), 2), 0, None, 3):
        played = theatre(tasks)
        await played.play(crash_at=lambda n, at=pair: n in at)
        assert result(played)["output"] == expected, f"crashes before effects {pair}"


@given(
    seed=st.integers(0, 10**6), crashes=st.frozensets(st.integers(5, 220), max_size=3), name=st.sampled_from([*WHOLE])
)
@settings(max_examples=60)
async def test_a_container_ends_once_when_effects_land_late_and_out_of_step(
    seed: int, crashes: frozenset[int], name: str
) -> None:
    tasks, expected = WHOLE[name]
    played = theatre(tasks, world=StormyWorld(seed, crashes))
    await played.play()
    assert result(played)["output"] == expected


@pytest.mark.parametrize("limit", [1, 3, 7])
async def test_at_no_time_do_more_children_run_than_the_group_allows_also_after_a_crash(limit: int) -> None:
    tasks = GROUP.replace("max_concurrency: 2", f"max_concurrency: {limit}")
    numbers = str(list(range(20)))
    effects = await theatre(tasks, numbers).play()
    for crash_at in (None, effects // 3, effects // 2):
        played = theatre(tasks, numbers)
        await played.play(crash_at=lambda n, at=crash_at: n == at)
        assert played.scripts.most <= limit
        assert result(played)["outputs"]["squares"] == [n * n for n in range(20)]


async def test_a_finished_child_is_not_run_again_after_a_crash() -> None:
    numbers = str(list(range(12)))
    effects = await theatre(GROUP, numbers).play()
    for crash_at in range(10, effects, 7):
        played = theatre(GROUP, numbers)
        await played.play(crash_at=lambda n, at=crash_at: n == at)
        again = sum(count - 1 for count in played.scripts.ran.values())
        assert again <= 3, f"crash before effect {crash_at}: {again} scripts ran again, and at most two were open"


async def test_a_failed_child_fails_its_group_and_the_others_are_cancelled() -> None:
    tasks = FAILING.replace("error_handling: {fallback_value: [0]}", "")
    played = theatre(tasks, str([1, 2, *range(3, 40)]))
    await played.play()
    told = result(played)
    assert told["status"] == "failed"
    assert told["error"]["task"] == "group"
    assert "child" in told["error"]["message"] or "two" in told["error"]["message"]
    assert sum(played.scripts.ran.values()) < 10, "children that had not begun were run"
    assert not left_of(played)


@pytest.mark.parametrize("attempts", [1, 2, 4])
async def test_a_container_whose_item_failed_is_tried_as_often_as_it_says(attempts: int) -> None:
    played = theatre(TRIED_AGAIN.replace("retry_count: 1", f"retry_count: {attempts - 1}"))
    await played.play()
    assert result(played)["timings"]["tasks"]["loop"]["attempts"] == attempts
    assert played.scripts.ran["one", 0] == played.scripts.ran["one", 1] == attempts


async def test_a_loop_that_gets_less_far_when_it_is_tried_again_leaves_nothing_behind() -> None:
    tries = itertools.count(1)
    tasks = WHILE_LOOP.replace(
        "loop_state: {left", "error_handling: {retry_count: 1, retry_delay: 0}\n    loop_state: {left"
    )
    tasks = tasks.replace(
        "\"return {'left': left - 1,", "\"return 1 / 0 if trying() == 3 else {'left': 0 if tries() else left - 1,"
    )
    numbers: list[int] = []

    def trying() -> int:
        numbers.append(next(tries))
        return numbers[-1]

    played = theatre(tasks)
    played.scripts.functions.update(trying=trying, tries=lambda: len(numbers) > 3)
    await played.play()
    assert result(played)["output"] == {"left": 0, "seen": [3], "last": False}
    assert not left_of(played)


async def test_what_children_degrade_and_cost_is_told_by_the_run() -> None:
    played = theatre(RETRIED)
    await played.play()
    told = result(played)
    assert told["status"] == "degraded"
    assert [each["task"] for each in told["degraded"]] == ["group[1]/child"]


async def test_a_run_that_expires_takes_its_items_along() -> None:
    plan = compile_document(
        load_text(
            "name: Made\ntimeout: 10\ninput_variables: {ns: {type: array}}\ntasks:\n"
            "  - name: loop\n    type: for_loop\n    iterate_over: '{{ ns }}'\n    tasks:\n"
            "      - {name: never, type: python_task, script: 'raise ValueError(1)',"
            " error_handling: {retry_count: 50, retry_delay: 8}}\n"
        )[0]
    )
    played = Theatre(plan, kinds=KINDS, scripts=InProcess())
    played.begin("run-1", '{"ns": [1, 2]}')
    await played.play()
    assert result(played)["status"] == "failed"
    assert not left_of(played)


@pytest.mark.parametrize("ns", ["[]", "[5]"])
@pytest.mark.parametrize("name", ["group", "for_loop", "while_loop"])
async def test_few_elements_are_no_special_case(name: str, ns: str) -> None:
    tasks = WHOLE[name][0].replace(", context.get_task_output('square_1')", "").replace("[each, double]", "each")
    played = theatre(tasks, ns)
    await played.play()
    count = ns.count("5")
    expected = {
        "group": [25 * count],
        "for_loop": [10] * count,
        "while_loop": {"left": 0, "seen": [1], "last": True} if count else {"left": 0, "seen": []},
    }[name]
    assert result(played)["output"] == expected


async def test_an_item_that_no_record_can_hold_fails_its_group_and_the_inbox_goes_on() -> None:
    tasks = """
  - name: group
    type: parallel_group
    tasks:
      - name: "child_{{ item.index }}"
        type: python_task
        for_each: [1]
        script: "return [len(str(first)), len(str(second))]"
"""
    first = "first: {type: string}, second: {type: string, default: ''}"
    text = f"name: Made\ninput_variables: {{{first}}}\ntasks:{tasks}"
    played = Theatre(compile_document(load_text(text)[0]), kinds=KINDS, scripts=InProcess())
    half = "x" * (MAX_RECORD * 2 // 5)
    played.begin("run-1", f'{{"first": "{half}"}}')
    played.begin("run-2", f'{{"first": "{half}", "second": "{half}{half}"}}')
    await played.play()
    told = {each["run_id"]: each for each in played.results()}
    assert told["run-1"]["output"] == [[len(half), 0]]
    assert told["run-2"]["error"]["type"] == "TooLarge"


PARTS = """
  - {name: split, type: python_task, output: whole, outputs: {least: low, most: high}, script: "return SPLIT"}
  - {name: told, type: python_task, script: "return [least, most, whole]"}
"""


async def test_an_output_and_its_parts_are_read_by_their_further_names() -> None:
    played = theatre(PARTS.replace("SPLIT", "{'low': min(ns), 'high': max(ns)}"))
    await played.play()
    assert result(played)["output"] == [1, 3, {"low": 1, "high": 3}]


@pytest.mark.parametrize("split", ["{'low': 1}", "7"])
async def test_an_output_without_a_part_that_has_a_name_is_a_fault(split: str) -> None:
    played = theatre(PARTS.replace("SPLIT", split))
    await played.play()
    error = result(played)["error"]
    assert (error["type"], error["task"]) == ("MissingOutput", "split")


async def test_a_loop_without_any_turn_gives_the_state_that_it_began_with() -> None:
    tasks = """
  - name: w
    type: while_loop
    condition: "{{ loop_state.n < 5 }}"
    loop_state: {n: 7}
    tasks:
      - {name: up, type: python_task, script: "return {'n': n + 1}"}
  - {name: told, type: python_task, script: "return w['n']"}
"""
    played = theatre(tasks)
    await played.play()
    assert result(played)["output"] == 7


def test_the_time_of_a_group_is_that_of_each_child_whose_own_policy_answers() -> None:
    tasks = """
  - name: g
    type: parallel_group
    timeout: 2
    tasks:
      - {name: quick, type: python_task, timeout: 1, script: "return 1"}
      - {name: slow, type: python_task, error_handling: {on_failure: continue}, script: "return 2"}
"""
    group = made(tasks).task("g")
    assert [body.tasks[0].variants[0].timeout for body in group.bodies] == [1, 2]
    assert "child_timeout" not in group.variants[0].options, "no deadline of the item comes before the child's own word"


async def test_the_end_of_an_item_is_not_acked_before_what_it_gave_is_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    write, held = MemoryPart.write, list[tuple[Any, bytes]]()

    def slow(part: MemoryPart, key: bytes) -> Any:
        if not key.startswith(b"m") or held:
            return write(part, key)
        held.append((asyncio.get_running_loop().create_future(), key))
        return held[0][0]

    monkeypatch.setattr(MemoryPart, "write", slow)
    played = theatre(GROUP)
    inbox, turns = "made.v.squares", iter(range(400))
    await played.world.run(until=lambda: next(turns, None) is None or len(played.scripts.ran) == 3)
    assert played.world.delivered(inbox) > 0
    assert played.world._acked[inbox] == 0, "what the first item gave would be lost by a crash now"
    durable, key = held[0]
    durable.set_result(await write(played.part, key))
    await played.play()
    assert played.world._acked[inbox] == 3
    assert result(played)["output"] == WHOLE["group"][1]


async def test_what_items_gave_goes_with_their_container_and_not_with_the_run() -> None:
    tasks = """
  - name: squares
    type: parallel_group
    tasks:
      - {name: "square_{{ item.index }}", type: python_task, for_each: "{{ ns }}", script: "return item['value'] ** 2"}
  - name: later
    type: python_task
    error_handling: {retry_count: 1, retry_delay: 50}
    script: "return 1 / (len(squares) - 3)"
"""
    played = theatre(tasks)
    rows = played.part.rows
    await played.world.run(until=lambda: any(getattr(row, "state", "") == "parked" for row in rows.values()))
    assert not [row for row in rows.values() if isinstance(row, MemberRow)]
    assert not [key for key in played.part.durable if key.startswith(b"m")]
