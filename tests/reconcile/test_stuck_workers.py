"""Assigned, lag, but no progress: not ready. Work that takes its time: ready."""

from __future__ import annotations

import asyncio

import pytest

from stream_orchestrator.streaming.chores import Chores
from stream_orchestrator.streaming.core.model import AppStatistics
from stream_orchestrator.streaming.pulse import Pulse
from stream_orchestrator.streaming.worker import STUCK_AFTER, is_stuck

PLACE = ("inbox", 0)


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_records_that_nobody_takes_are_a_stuck_partition(clock: Clock) -> None:
    pulse = Pulse(clock)
    pulse.saw({PLACE: 5}, {PLACE: 9})
    clock.time = 61.0
    pulse.saw({PLACE: 5}, {PLACE: 12})
    assert pulse.stuck(60.0) == ["inbox/0"]


@pytest.mark.parametrize(
    ("standing", "end"),
    [({PLACE: 6}, 12), ({PLACE: 5}, 5), ({}, 12)],
    ids=["it moved", "nothing is left to take", "it may take nothing now"],
)
def test_one_that_moves_or_has_nothing_to_take_or_may_not_is_not(
    clock: Clock, standing: dict[tuple[str, int], int], end: int
) -> None:
    pulse = Pulse(clock)
    pulse.saw({PLACE: 5}, {PLACE: 9})
    clock.time = 50.0
    pulse.saw(standing, {PLACE: end})
    clock.time = 100.0
    assert pulse.stuck(60.0) == []


def test_a_second_partition_that_moves_does_not_hide_the_one_that_stands_still(clock: Clock) -> None:
    pulse = Pulse(clock)
    for turn in range(10):
        clock.time = turn * 15.0
        pulse.saw({PLACE: 5, ("inbox", 1): turn}, {PLACE: 9, ("inbox", 1): 100})
    assert pulse.stuck(60.0) == ["inbox/0"]


def seen(stuck_for: float, *, open_slots: int) -> AppStatistics:
    return AppStatistics(id="a", assigned=(0,), lag=3, stuck_for=stuck_for, open_slots=open_slots)


def test_an_app_with_lag_and_nothing_in_flight_is_stuck_after_a_minute() -> None:
    assert not is_stuck(seen(STUCK_AFTER, open_slots=0), longest_slot=300)
    assert is_stuck(seen(STUCK_AFTER + 1, open_slots=0), longest_slot=300)


def test_a_long_script_is_no_stuck_worker_but_one_beyond_its_time_is() -> None:
    assert not is_stuck(seen(STUCK_AFTER + 300, open_slots=1), longest_slot=300)
    assert is_stuck(seen(STUCK_AFTER + 301, open_slots=1), longest_slot=300)


async def test_a_chore_that_fails_is_heard_and_one_that_has_nothing_to_do_is_not() -> None:
    chores, release = Chores(), asyncio.Event()

    async def idle() -> None:
        return None

    async def broken() -> None:
        await release.wait()
        raise ValueError("broken")

    chores.start(idle(), broken())
    waiting = asyncio.create_task(chores.first_of(asyncio.Future()))
    await asyncio.sleep(0)
    assert not waiting.done()
    release.set()
    assert str(await asyncio.wait_for(waiting, 5)) == "broken"
    await chores.end()
