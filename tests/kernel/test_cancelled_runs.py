"""A cancel ends a run wherever the run is, once, whatever dies meanwhile."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import Theatre, plan, task

from stream_orchestrator.kernel import events
from stream_orchestrator.kernel.events import Begin, Cancel
from stream_orchestrator.kernel.rows import Stub
from stream_orchestrator.plan.model import START, Plan


def diamond() -> Plan:
    return plan(
        task("a"), task("left", "a", does="call"), task("right", "a", does="ask"), task("join", "left", "right")
    )


async def test_a_cancelled_run_fails_with_that_reason_and_its_input_is_a_dead_letter() -> None:
    theatre = Theatre(plan(task("a", does="fault", retries=3, retry_delay=1000, timeout=80_000), task("b", "a")))
    theatre.begin("run-1", payload='{"name": "Ada"}')
    await theatre.world.run(
        until=lambda: any(getattr(row, "state", "") == "parked" for row in theatre.part.rows.values())
    )
    cancel(theatre, "run-1")
    await theatre.play()
    (result,) = theatre.results()
    (letter,) = theatre.letters()
    assert (result["status"], result["error"]["type"], result["output"]) == ("failed", "Cancelled", None)
    assert (letter["dlq-reason"], letter["run-id"]) == (b"cancelled", b"run-1")
    assert theatre.world.topics["made.dlq"][0].value == b'{"name": "Ada"}'
    assert [type(row) for row in theatre.part.rows.values()] == [Stub]


async def test_a_cancel_of_a_run_that_is_over_or_was_never_here_changes_nothing() -> None:
    theatre = Theatre(plan(task("a")))
    theatre.begin("run-1")
    await theatre.play()
    before = list(theatre.world.topics["made.results"])
    cancel(theatre, "run-1")
    cancel(theatre, "nobody")
    await theatre.play()
    assert theatre.world.topics["made.results"] == before
    assert theatre.letters() == []


async def test_cancelling_twice_is_cancelling_once() -> None:
    theatre = Theatre(diamond())
    theatre.begin("run-1")
    cancel(theatre, "run-1")
    cancel(theatre, "run-1")
    await theatre.play()
    assert [result["error"]["type"] for result in theatre.results()] == ["Cancelled"]


async def test_one_run_is_cancelled_and_its_neighbour_goes_on() -> None:
    theatre = Theatre(diamond())
    theatre.begin("run-1")
    theatre.begin("run-2")
    cancel(theatre, "run-1")
    await theatre.play()
    assert {result["run_id"]: result["status"] for result in theatre.results()} == {
        "run-1": "failed",
        "run-2": "succeeded",
    }


async def test_a_cancel_at_any_moment_ends_the_run_once_wherever_the_process_dies() -> None:
    whole = Theatre(diamond())
    whole.begin("run-1")
    effects = await whole.play()
    cancelled = 0
    for cancel_at, crash_at in itertools.product(range(1, effects + 1), range(1, effects + 8)):
        theatre = Theatre(diamond())
        theatre.begin("run-1")
        await theatre.play(crash_at=moments(theatre, cancel_at, crash_at))
        where = f"cancelled at effect {cancel_at}, died at {crash_at}"
        assert len({record.value for record in theatre.world.topics["made.results"]}) == 1, where
        assert [type(row) for row in theatre.part.rows.values()] == [Stub], where
        result = theatre.results()[0]
        assert result["status"] == "succeeded" or result["error"]["type"] == "Cancelled", where
        cancelled += result["status"] == "failed"
    assert cancelled > effects  # else the cancels came too late to prove anything


def moments(theatre: Theatre, cancel_at: int, crash_at: int) -> Callable[[int], bool]:
    def at(effect: int) -> bool:
        if effect == cancel_at:
            cancel(theatre, "run-1")
        return effect == crash_at

    return at


def cancel(theatre: Theatre, run_id: str) -> None:
    theatre.world.append(theatre.wires.inbox(START), run_id.encode(), events.encode(Cancel(run_id=run_id)))


@given(st.text())
def test_a_cancel_reads_back_as_it_was(run_id: str) -> None:
    try:
        run_id.encode()
    except UnicodeEncodeError:
        return
    assert events.decode(events.encode(Cancel(run_id=run_id))) == Cancel(run_id=run_id)


def test_a_cancel_without_a_run_is_undecodable_and_no_run_begins_of_it() -> None:
    with pytest.raises(events.Undecodable):
        events.decode(b'{"format":1,"cancel":{}}')
    assert not isinstance(events.decode(b'{"format":1,"cancel":{"run_id":"x","newer":1}}'), Begin)
