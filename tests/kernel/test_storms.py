"""The same promises where effects land late, out of step, and are lost in crashes; where acks lag behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_crash_points import ALL_WAYS, PLANS, assert_sound, expired, outcome, shared
from test_generated_graphs import graphs
from worlds import WAYS, FakeScripts, StormyWorld, Theatre, Way, plan, task

from stream_orchestrator.kernel.effects import RunScript, ScriptDone
from stream_orchestrator.plan.model import Plan

pytestmark = pytest.mark.timeout(600)  # many plays: minutes on a machine that is busy with other things

CRASHES = st.frozensets(st.integers(1, 150), max_size=6)


@given(made=graphs(most=10), seed=st.integers(0, 2**32), crashes=CRASHES, way=st.sampled_from(WAYS))
@settings(max_examples=200)
def test_every_run_ends_once_however_its_effects_land(made: Plan, seed: int, crashes: frozenset[int], way: Way) -> None:
    theatre = asyncio.run(stormy(made, seed, crashes, way))
    by_run: dict[str, set[bytes]] = {}
    for record, result in zip(theatre.world.topics["made.results"], theatre.results(), strict=True):
        by_run.setdefault(result["run_id"], set()).add(record.value)
    assert sorted(by_run) == ["run-1", "run-2"]
    assert not expired(theatre)
    assert all(len(copies) == 1 for copies in by_run.values())
    assert max(theatre.models.made.values(), default=1) == 1
    assert theatre.models.steadfast
    assert len(theatre.part.rows) == 2, [*theatre.part.rows.values()]
    assert len(theatre.part.durable) == 2


@given(made=graphs(most=10), seed=st.integers(0, 2**32), crashes=CRASHES, way=st.sampled_from(WAYS))
@settings(max_examples=150)
def test_every_task_saw_the_outputs_that_the_result_tells(
    made: Plan, seed: int, crashes: frozenset[int], way: Way
) -> None:
    theatre = asyncio.run(stormy(made, seed, crashes, way))
    for result in theatre.results():
        outputs = result["outputs"]
        for name, output in outputs.items():
            seen = output.get("from", {}) if isinstance(output, dict) else {}
            for source, value in seen.items():
                assert outputs.get(source) == value, f"{name} saw another output of {source}"


class RowsFirst(StormyWorld):
    """The tables land before anything that was published beside them."""

    def choose(self, moves: list[Callable[[], None]]) -> Callable[[], None]:
        if self.lanes.get("table"):
            return lambda: self._land(self.lanes["table"])
        return moves[0]


class RowsLast(StormyWorld):
    """What was published lands, and is read, before the tables do."""

    def choose(self, moves: list[Callable[[], None]]) -> Callable[[], None]:
        table = bool(self.lanes.get("table"))
        place = [name for name, lane in self.lanes.items() if lane].index("table") if table else None
        others = [move for number, move in enumerate(moves) if number != place]
        return (others or moves)[0]


@ALL_WAYS
@pytest.mark.parametrize("order", [RowsFirst, RowsLast])
@pytest.mark.parametrize("make", PLANS, ids=lambda make: make.__name__)
async def test_a_run_ends_once_wherever_the_process_dies_whichever_lands_first(
    make: Any, order: type[StormyWorld], way: Way
) -> None:
    calm = await one_run(make(), order(0), way)
    for crash_at in range(1, calm.world.moves + 1):  # type: ignore[attr-defined]
        theatre = await one_run(make(), order(0, frozenset({crash_at}), 0), way)
        assert_sound(theatre, f"crash before move {crash_at}")


async def test_what_another_slot_tells_lands_before_the_row_that_says_that_the_run_has_ended() -> None:
    calm = await one_run(shared(), RowsFirst(0), WAYS[0])
    for crash_at in range(1, calm.world.moves + 1):  # type: ignore[attr-defined]
        theatre = await one_run(shared(), RowsFirst(0, frozenset({crash_at}), 0), WAYS[0])
        told = {(task, kind) for task, kind, _ in theatre.transitions()}
        assert {(leaf, "finished") for leaf in "de"} <= told, f"crash before move {crash_at}"


class Lengthy(FakeScripts):
    """Scripts that take many turns of the loop, in which answers may come."""

    async def run(self, job: RunScript) -> ScriptDone:
        for _ in range(40):
            await asyncio.sleep(0)
        return await super().run(job)


@ALL_WAYS
@pytest.mark.parametrize("order", [StormyWorld, RowsFirst, RowsLast])
async def test_an_answer_that_comes_while_its_script_runs_again_to_ask_for_it_is_waited_with(
    order: type[StormyWorld], way: Way
) -> None:
    """The service has told it for the last time: nobody would tell it again."""
    asking = plan(task("a"), task("b", "a", does="ask"), task("c", "b"))
    calm = await one_run(asking, order(0), way, scripts=Lengthy())
    for crash_at in range(1, calm.world.moves + 1):  # type: ignore[attr-defined]
        theatre = await one_run(asking, order(0, frozenset({crash_at}), 0), way, scripts=Lengthy())
        assert_sound(theatre, f"crash before move {crash_at}")
        assert outcome(theatre) == ("succeeded", None), f"crash before move {crash_at}"


async def one_run(made: Plan, world: StormyWorld, way: Way, **more: Any) -> Theatre:
    theatre = Theatre(made, world=world, way=way, **more)
    theatre.begin("run-1")
    await theatre.play()
    return theatre


async def stormy(made: Plan, seed: int, crashes: frozenset[int], way: Way) -> Theatre:
    theatre = Theatre(made, world=StormyWorld(seed, crashes), way=way)
    theatre.begin("run-1")
    theatre.begin("run-2")
    theatre.begin("run-1")  # a copy
    await theatre.play()
    return theatre
