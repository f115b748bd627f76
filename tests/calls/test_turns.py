"""Turns: never more attempts than there may be, and not all of them in one moment."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from stream_orchestrator.calls.turns import BURST, MANY, Turns


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@given(most=st.integers(MANY, 2000), pauses=st.lists(st.floats(0, 2), min_size=1, max_size=300))
def test_in_no_second_begin_more_attempts_than_a_tenth_over_the_bound(most: int, pauses: list[float]) -> None:
    clock = Clock()
    turns = Turns(most, clock=clock)
    begun = []
    for pause in pauses:
        clock.now += pause
        begun.append(clock.now + turns.wait())
    begun.sort()
    allowed = 1.1 * most * (1 + BURST) + 2
    assert all(sum(1 for at in begun if start <= at < start + 1) <= allowed for start in begun)


@given(most=st.integers(MANY, 2000))
def test_a_small_burst_begins_at_once_and_a_whole_bound_within_a_second(most: int) -> None:
    turns = Turns(most, clock=Clock())
    waits = [turns.wait() for _ in range(most)]
    assert waits[0] == 0.0
    assert waits[round(most * BURST) - 1] == 0.0
    assert waits == sorted(waits)
    assert waits[-1] <= 1.0


@given(most=st.integers(1, MANY - 1), calls=st.integers(1, 500))
def test_few_attempts_at_once_are_never_held_back(most: int, calls: int) -> None:
    turns = Turns(most, clock=Clock())
    assert all(turns.wait() == 0.0 for _ in range(calls))


async def test_no_more_attempts_than_there_may_be_are_under_way() -> None:
    turns, under_way, most = Turns(2, clock=Clock()), 0, 0

    async def attempt() -> None:
        nonlocal under_way, most
        async with turns.turn(None):
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0)
            under_way -= 1

    turns._pace = 0.0
    await asyncio.gather(*(attempt() for _ in range(20)))
    assert most == 2


async def test_who_has_no_patience_left_goes_on_without_a_turn() -> None:
    turns = Turns(1)
    async with turns.turn(None), turns.turn(0.0):
        pass
    async with turns.turn(0.01):
        pass
