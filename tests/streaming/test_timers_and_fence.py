"""Due times by key, and the silence of a member that may have been replaced."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from stream_orchestrator.streaming.core.fence import Fence
from stream_orchestrator.streaming.core.timers import Timers


def popped(timers: Timers, now: float) -> list[bytes]:
    keys = []
    while (key := timers.pop(now)) is not None:
        keys.append(key)
    return keys


def test_keys_are_given_out_when_they_are_due_earliest_first_and_once() -> None:
    timers = Timers()
    for key, due in ((b"c", 3.0), (b"a", 1.0), (b"b", 2.0)):
        timers.arm(key, due)
    assert popped(timers, 0.5) == []
    assert popped(timers, 2.0) == [b"a", b"b"]
    assert popped(timers, 9.0) == [b"c"]
    assert popped(timers, 9.0) == []


def test_the_last_arming_counts_and_none_disarms() -> None:
    timers = Timers()
    timers.arm(b"a", 1.0)
    timers.arm(b"a", 5.0)
    assert timers.next_due() == 5.0
    timers.arm(b"a", None)
    assert timers.next_due() is None


def test_a_key_armed_back_and_forth_fires_once() -> None:
    timers = Timers()
    for due in (1.0, 2.0, 1.0):
        timers.arm(b"a", due)
    assert popped(timers, 3.0) == [b"a"]


keys = st.binary(min_size=1, max_size=1)


@given(st.lists(st.one_of(st.tuples(keys, st.none() | st.integers(0, 20)), st.integers(0, 20))))
def test_any_sequence_of_armings_and_looks_agrees_with_a_plain_map(steps: list[object]) -> None:
    timers, model = Timers(), {}
    for step in steps:
        if isinstance(step, tuple):
            key, due = step
            timers.arm(key, due)
            model.pop(key, None)
            if due is not None:
                model[key] = due
        else:
            due_now = {key for key, due in model.items() if due <= step}
            given_out = popped(timers, step)
            assert [model[key] for key in given_out] == sorted(model[key] for key in due_now)
            assert set(given_out) == due_now
            for key in given_out:
                del model[key]
        assert timers.next_due() == min(model.values(), default=None)
        assert len(timers) == len(model)


def test_the_heap_does_not_grow_with_rearming() -> None:
    timers = Timers()
    for due in range(10_000):
        timers.arm(b"a", float(due))
    assert len(timers._heap) <= 65
    assert popped(timers, 1e9) == [b"a"]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_a_member_that_was_not_heard_for_half_a_session_sends_nothing_until_it_is() -> None:
    clock = Clock()
    fence = Fence(10.0, clock=clock)
    assert not fence.open
    fence.heard(clock.now)
    assert fence.open
    clock.now += 5.0
    assert not fence.open
    waiting = asyncio.create_task(fence.opened())
    await asyncio.sleep(0)
    assert not waiting.done()
    fence.heard(clock.now - 6.0)  # an answer to a question asked before the silence says nothing about now
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    fence.heard(clock.now - 0.1)
    await waiting
    assert fence.open
