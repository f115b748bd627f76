"""The time by which rows are due goes on evenly, whatever becomes of the machine's clock."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from stream_orchestrator.streaming.core.clock import SteadyClock


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(-1e7, 1e7)), max_size=20))
def test_a_clock_that_is_set_moves_nothing_and_time_that_passes_does(turns: list[tuple[float, float]]) -> None:
    wall, passed = 1.8e9, 50.0
    clock = SteadyClock(lambda: wall, lambda: passed)
    for seconds, jump in turns:
        before = clock()
        passed, wall = passed + seconds, wall + seconds + jump
        assert abs(clock() - before - seconds) < 1e-3


def test_it_starts_with_the_time_of_the_machine() -> None:
    assert abs(SteadyClock()() - time.time()) < 5
