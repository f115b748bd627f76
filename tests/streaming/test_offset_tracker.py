"""Acks in offset order, whatever finishes first; and nothing dropped on the way goes unnoticed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_orchestrator.errors import HouseError
from stream_orchestrator.streaming.core.tracker import OffsetTracker


def tracker(start: int = 0, *, contiguous: bool = True, span: int = 1000) -> OffsetTracker:
    return OffsetTracker(start, contiguous=contiguous, span=span, where="inbox/0")


@given(st.integers(0, 50), st.permutations(range(30)))
def test_whatever_finishes_first_nothing_is_ackable_past_an_open_slot(start: int, order: list[int]) -> None:
    one = tracker(start)
    for offset in range(start, start + 30):
        assert one.enter(offset)
    left = set(range(start, start + 30))
    for step in order:
        one.finish(start + step)
        left.discard(start + step)
        assert one.ackable == min(left, default=start + 30)
    assert one.open == 0


@given(st.lists(st.one_of(st.just("enter"), st.integers(0, 10), st.tuples(st.just("rewind"), st.integers(0, 10)))))
def test_entering_finishing_and_seeking_back_in_any_order_agrees_with_the_definition(steps: list[object]) -> None:
    one, seen, finished, position = tracker(), 0, set(), 0
    for step in steps:
        if step == "enter":
            assert one.enter(position) == (position >= seen)
            position += 1
            seen = max(seen, position)
        elif isinstance(step, int):
            unfinished = sorted(set(range(seen)) - finished)
            if step < len(unfinished):
                one.finish(unfinished[step])
                finished.add(unfinished[step])
        else:
            # a rebalance: what was committed is read again
            position = min(one.ackable, step[1])
            one.arrive(position)
        assert one.ackable == min(set(range(seen)) - finished, default=seen)
        assert one.open == seen - len(finished)


def test_with_nothing_open_what_was_only_seen_is_not_ackable() -> None:
    one = tracker(5)
    assert one.ackable == 5
    one.enter(5)
    assert one.ackable == 5
    one.finish(5)
    assert one.ackable == 6


def test_a_jump_on_our_own_topic_means_a_dropped_record_and_raises() -> None:
    one = tracker(3)
    one.enter(3)
    with pytest.raises(HouseError, match="record 5 of inbox/0 came where 4 was expected"):
        one.enter(5)


def test_a_chunk_that_starts_too_late_raises_on_any_topic() -> None:
    one = tracker(3, contiguous=False)
    one.arrive(3)
    with pytest.raises(HouseError, match="records 3 to 6 of inbox/0 were dropped"):
        one.arrive(7)


def test_holes_of_a_users_topic_cost_nothing_and_markers_at_the_end_are_acked() -> None:
    one = tracker(0, contiguous=False)
    for offset in (2, 9):
        one.enter(offset)
        one.finish(offset)
    one.pass_to(12)
    assert one.ackable == 12


def test_passing_on_never_moves_past_an_open_slot() -> None:
    one = tracker(0, contiguous=False)
    one.enter(4)
    one.pass_to(10)
    assert one.ackable == 4


def test_a_record_that_comes_again_stands_in_its_old_slot_running_or_finished() -> None:
    one = tracker(0)
    one.enter(0)
    one.enter(1)
    one.finish(0)
    assert not one.enter(0)
    assert not one.enter(1)
    one.finish(1)
    assert one.ackable == 2


def test_a_slot_finished_twice_is_our_bug_and_raises() -> None:
    one = tracker(0)
    one.enter(0)
    one.finish(0)
    with pytest.raises(KeyError):
        one.finish(0)


def test_one_old_open_slot_holds_up_the_others_only_when_the_span_is_used_up() -> None:
    one = tracker(0, span=10)
    one.enter(0)
    for offset in range(1, 10):
        assert not one.full
        one.enter(offset)
        one.finish(offset)
    assert one.full
    one.finish(0)
    assert not one.full
