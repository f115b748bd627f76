"""Containers whose items live in other partitions than their run: they end once, wherever they are and move to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from partitions import spread
from test_containers import WHOLE, InProcess, made, result
from worlds import StormyWorld, Theatre

from stream_orchestrator.kernel import events
from stream_orchestrator.kernel.events import Cancel
from stream_orchestrator.kernel.memory import World
from stream_orchestrator.tasks import KINDS

pytestmark = pytest.mark.timeout(600)
SPREAD, STORMY = spread(World), spread(StormyWorld)


def theatre(tasks: str, ns: str = "[1, 2, 3]", *, world: Any = None, **more: Any) -> Theatre:
    found = Theatre(made(tasks), kinds=KINDS, scripts=InProcess(), world=world or SPREAD(), partitions=3, **more)
    found.begin("run-1", f'{{"ns": {ns}}}')
    return found


def left_of(played: Theatre) -> list[Any]:
    return [row for part in played.parts for row in part.rows.values() if type(row).__name__ != "Stub"]


async def test_items_live_in_every_partition() -> None:
    played = theatre(WHOLE["group"][0], str(list(range(12))))
    await played.play()
    assert all(part.rows for part in played.parts), "the items are at one place"


@pytest.mark.parametrize("name", WHOLE)
async def test_items_elsewhere_end_once_wherever_the_process_dies(name: str) -> None:
    tasks, expected = WHOLE[name]
    calm = theatre(tasks)
    effects, scripts = await calm.play(), sum(calm.scripts.ran.values())
    assert result(calm)["output"] == expected
    assert not left_of(calm)
    for crash_at in range(1, effects + 1):
        played = theatre(tasks)
        await played.play(crash_at=lambda n, at=crash_at: n == at)
        where = f"crash before effect {crash_at} of {effects}"
        assert result(played)["output"] == expected, where
        assert not left_of(played), where
        assert sum(played.scripts.ran.values()) <= scripts + 3, where


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("name", ["group", "nested", "failing", "tried again"])
async def test_items_elsewhere_end_once_when_a_partition_moves(name: str, number: int) -> None:
    tasks, expected = WHOLE[name]
    effects = await theatre(tasks).play()
    for move_at in range(1, effects + 1):
        played = theatre(tasks)
        await play_with_a_move(played, number, move_at)
        assert result(played)["output"] == expected, f"moved at effect {move_at} of {effects}"
        assert not left_of(played), f"moved at effect {move_at} of {effects}"


async def play_with_a_move(played: Theatre, number: int, at: int) -> None:
    """Run to the end; a partition moves when there were so many effects."""
    count = 0

    def before(_: str) -> None:
        nonlocal count
        count += 1

    played.world.before_effect = before
    await played.world.run(until=lambda: count >= at or played.quiet())
    await played.world.move(played.parts[number])
    await played.world.run(until=played.quiet)


@given(
    seed=st.integers(0, 10**6), crashes=st.frozensets(st.integers(5, 220), max_size=3), name=st.sampled_from([*WHOLE])
)
@settings(max_examples=60)
async def test_items_elsewhere_end_once_when_effects_land_late(seed: int, crashes: frozenset[int], name: str) -> None:
    tasks, expected = WHOLE[name]
    played = theatre(tasks, world=STORMY(seed, crashes))
    await played.play()
    assert result(played)["output"] == expected


DEEP = """
  - name: outer
    type: parallel_group
    tasks:
      - name: "row_{{ item.index }}"
        type: for_loop
        for_each: "{{ ns }}"
        iterate_over: "{{ ns }}"
        tasks:
          - name: cells
            type: python_task
            for_each: "{{ ns }}"
            timeout: 50000
            error_handling: {retry_count: 90, retry_delay: 100, retry_backoff: 1}
            script: "return 1 / 0"
"""


@pytest.mark.parametrize("crash", [None, 3, 20, 45, 60, 75, 90])
async def test_a_cancelled_run_takes_along_what_is_three_deep_and_in_every_partition(crash: int | None) -> None:
    played = theatre(DEEP)
    began = played.clock()
    await played.world.run(until=lambda: played.clock() > began)
    assert {type(row).__name__ for part in played.parts for row in part.rows.values()} == {"RunRow", "StepRow"}
    assert played.scripts.ran.total() == 3 * 3
    played.world.append("made.v.start", b"run-1", events.encode(Cancel(run_id="run-1")))
    await played.play(crash_at=lambda n: n == crash)
    assert result(played)["error"]["type"] == "Cancelled"
    assert played.clock() - began < 150, "something went on"
    assert not left_of(played)
