"""Any graph ends every run exactly once, crash or no crash, and nothing is left of it but a stub."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_crash_points import expired
from worlds import WAYS, Theatre, Way, plan, task, variant

from stream_orchestrator.plan.model import Plan

pytestmark = pytest.mark.timeout(600)  # many plays: minutes on a machine that is busy with other things

KINDS = ["script", "call", "value", "flaky", "broken", "bad_call", "ask"]
FAILURES = ["abort_pipeline", "skip", "continue"]


@st.composite
def graphs(draw: st.DrawFn, most: int = 30) -> Plan:
    """Up to `most` tasks, each after some of the earlier ones, with conditions, failures, retries and fallbacks."""
    made: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, most))):
        earlier = [each["name"] for each in made]
        upstream = draw(st.lists(st.sampled_from(earlier), max_size=3, unique=True)) if earlier else []
        ways = draw(st.lists(st.sampled_from(KINDS), max_size=2))
        made.append(
            task(
                f"t{number}",
                *sorted(upstream),
                does=draw(st.sampled_from(KINDS)),
                retries=draw(st.integers(0, 2)),
                retry_delay=draw(st.sampled_from([0.1, 5.0])),
                fallbacks=tuple(variant(f"t{number}-{way}", does) for way, does in enumerate(ways)),
                condition=draw(st.sampled_from([None, None, None, "true", "false"])),
                on_failure=draw(st.sampled_from(FAILURES)),
                **draw(st.sampled_from([{}, {}, {"has_fallback_value": True, "fallback_value": "stand-in"}])),
            )
        )
    return plan(*made)


@given(made=graphs(), crashes=st.sets(st.integers(1, 150), max_size=5), way=st.sampled_from(WAYS))
@settings(max_examples=200)
def test_every_run_of_any_graph_ends_once_and_leaves_a_stub(made: Plan, crashes: set[int], way: Way) -> None:
    theatre = asyncio.run(played(made, crashes, way))
    records = theatre.world.topics["made.results"]
    assert {record.key for record in records} == {None}
    by_run: dict[str, set[bytes]] = {}
    for record, result in zip(records, theatre.results(), strict=True):
        by_run.setdefault(result["run_id"], set()).add(record.value)
    assert sorted(by_run) == ["run-1", "run-2"]
    assert not expired(theatre)
    assert all(len(copies) == 1 for copies in by_run.values())
    assert max(theatre.models.made.values(), default=1) == 1
    assert theatre.models.steadfast
    assert len(theatre.part.rows) == 2
    assert all(row.status in {"succeeded", "degraded", "failed"} for row in theatre.part.rows.values())


@given(made=graphs(most=12))
@settings(max_examples=60)
def test_once_their_stubs_expire_the_table_is_empty(made: Plan) -> None:
    async def scenario() -> Theatre:
        theatre = Theatre(made)
        theatre.begin("run-1")
        await theatre.play(until_empty=True)
        return theatre

    theatre = asyncio.run(scenario())
    assert theatre.part.rows == {}
    assert theatre.part.durable == {}


@given(made=graphs(most=12), way=st.sampled_from(WAYS[:-1]))
@settings(max_examples=200)
def test_tokens_that_are_passed_and_tokens_that_are_sent_give_the_same(made: Plan, way: Way) -> None:
    passed, sent = asyncio.run(played(made, set(), way)), asyncio.run(played(made, set(), WAYS[-1]))
    assert _told(passed) == _told(sent)
    if _settled(passed)["status"] != "failed":  # how far other branches came when one aborts is a matter of time
        assert _settled(passed) == _settled(sent)
        assert sorted(_transitions(passed)) == sorted(_transitions(sent))


@given(made=graphs(most=12), crash_at=st.integers(1, 60), way=st.sampled_from(WAYS[:-1]))
@settings(max_examples=120)
def test_a_crash_changes_no_status_and_no_deterministic_output(made: Plan, crash_at: int, way: Way) -> None:
    calm, shaken = asyncio.run(played(made, set(), WAYS[-1])), asyncio.run(played(made, {crash_at}, way))
    for theatre in (calm, shaken):
        assert theatre.results()[0]["pipeline"] == "made"
    first, second = _settled(calm), _settled(shaken)
    if first["status"] != "failed" and second["status"] != "failed":
        assert first == second


def _settled(theatre: Theatre) -> dict[str, Any]:
    result = next(each for each in theatre.results() if each["run_id"] == "run-1")
    degraded = sorted((entry["task"], entry["answered_by"]) for entry in result["degraded"])
    return {"status": result["status"], "outputs": sorted(result["outputs"]), "degraded": degraded}


def _told(theatre: Theatre) -> list[tuple[str, str]]:
    return sorted((each["run_id"], each["status"]) for each in theatre.results())


def _transitions(theatre: Theatre) -> list[tuple[str, str, str, int]]:
    records = [orjson.loads(record.value) for record in theatre.world.topics["audit"]]
    return [
        (record["run_id"], each["task"], each["kind"], each["attempt"])
        for record in records
        for each in record["transitions"]
    ]


async def played(made: Plan, crashes: set[int], way: Way) -> Theatre:
    theatre = Theatre(made, way=way)
    theatre.begin("run-1")
    theatre.begin("run-2")
    theatre.begin("run-1")  # a copy
    await theatre.play(crash_at=lambda n: n in crashes)
    return theatre
