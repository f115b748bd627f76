"""Crash between every two effects of a run, enumerated: it ends once, with one result."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from worlds import Theatre, plan, task, variant

from stream_orchestrator.plan.model import Plan

pytestmark = pytest.mark.timeout(600)  # many plays: minutes on a machine that is busy with other things


def chain() -> Plan:
    return plan(task("a"), task("b", "a", does="call"), task("c", "b"))


def diamond() -> Plan:
    return plan(task("a"), task("left", "a"), task("right", "a"), task("join", "left", "right"))


def wide() -> Plan:
    return plan(task("a"), task("b", "a", does="call"), task("c", "a", does="ask"), task("d", "b", "c"), task("e", "a"))


def troubled() -> Plan:
    slow = (variant("second", "bad_call", retries=1), variant("third", "script"))
    return plan(
        task("a", does="flaky", retries=2),
        task("b", "a", does="bad_call", retries=1, fallbacks=slow),
        task("c", "a", does="broken", has_fallback_value=True, fallback_value=7),
        task("d", "b", "c"),
    )


def aborted() -> Plan:
    return plan(
        task("a"), task("b", "a", does="flaky"), task("c", "a", does="call"), task("d", "b", "c"), task("e", "c")
    )


def shared() -> Plan:
    return plan(task("a", does="call"), task("b", "a"), task("c", "a", does="ask"), task("d", "b", "c"), task("e", "c"))


def skipping() -> Plan:
    return plan(
        task("a"),
        task("b", "a", condition="false"),
        task("c", "b"),
        task("d", "a", "c", does="broken", on_failure="continue"),
    )


PLANS = [chain, diamond, wide, troubled, aborted, skipping, shared]


PASSING = pytest.mark.parametrize("passing", [True, False], ids=["tokens passed", "tokens sent"])


@PASSING
@pytest.mark.parametrize("make", PLANS, ids=lambda make: make.__name__)
async def test_a_run_ends_once_with_one_result_wherever_the_process_dies(make: Any, passing: bool) -> None:
    effects = await whole(make(), passing).play()
    for crash_at in range(1, effects + 1):
        theatre = whole(make(), passing)
        await theatre.play(crash_at=lambda n, at=crash_at: n == at)
        assert_sound(theatre, f"crash before effect {crash_at} of {effects}")


@PASSING
@pytest.mark.parametrize("make", PLANS, ids=lambda make: make.__name__)
async def test_a_run_ends_once_whatever_two_places_the_process_dies_in(make: Any, passing: bool) -> None:
    effects = await whole(make(), passing).play()
    for first, second in itertools.combinations(range(1, effects + 6), 2):
        theatre = whole(make(), passing)
        await theatre.play(crash_at=lambda n, at=(first, second): n in at)
        assert_sound(theatre, f"crashes before effects {first} and {second}")


def whole(made: Plan, passing: bool) -> Theatre:
    theatre = Theatre(made, passing=passing)
    theatre.begin("run-1")
    return theatre


def assert_sound(theatre: Theatre, where: str) -> None:
    records = theatre.world.topics["made.results"]
    assert records, f"{where}: the run was lost"
    assert not expired(theatre), f"{where}: the run stood still until its deadline"
    assert len({record.value for record in records}) == 1, f"{where}: copies differ"
    assert max(theatre.models.made.values(), default=1) == 1, f"{where}: a call was made twice"
    assert theatre.models.steadfast, f"{where}: one call id was asked two things"
    assert len(theatre.part.rows) == 1, f"{where}: rows are left: {list(theatre.part.rows)}"
    result = theatre.results()[0]
    outputs = result["outputs"]
    for name, output in outputs.items():
        if isinstance(output, dict) and "from" in output:
            for source, value in output["from"].items():
                assert outputs.get(source) == value, (
                    f"{where}: {name} saw another output of {source} than the result has"
                )


def expired(theatre: Theatre) -> list[str]:
    """Runs that nobody went on with: what is lost on the way ends like this, a day later."""
    return [each["run_id"] for each in theatre.results() if (each["error"] or {}).get("type") == "Expired"]
