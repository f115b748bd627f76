"""Loads: when events are due, how long results take, and what is reported. On a clock that jumps."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_orchestrator.errors import MissingError, UsageError
from stream_orchestrator.plan.loading import load_plan
from stream_orchestrator.spec.testing import LoadValidation, Scenario
from stream_orchestrator.streaming.records import Record
from stream_orchestrator.testkit.arrivals import arrivals, joins
from stream_orchestrator.testkit.latency import Latencies
from stream_orchestrator.testkit.load import Driver, Load, judge
from stream_orchestrator.testkit.meter import Meter, Usage
from stream_orchestrator.testkit.samples import sample_event

Write = Callable[[str, str], Path]
RATES = st.floats(min_value=0.1, max_value=200)
TIMES = st.floats(min_value=0.1, max_value=20)


@given(RATES, TIMES, st.floats(min_value=0, max_value=30))
def test_events_are_due_in_order_within_the_time_and_as_many_as_the_rate_adds_up_to(
    rate: float, duration: float, ramp: float
) -> None:
    due = list(arrivals(rate, duration=duration, ramp_up=ramp))
    area = rate * duration**2 / (2 * ramp) if ramp > duration else rate * (duration - ramp / 2)
    assert due == sorted(due)
    assert all(0 <= at < duration for at in due)
    assert abs(len(due) - area) <= 1 + area * 1e-9


def test_without_a_ramp_events_are_evenly_spaced() -> None:
    assert list(arrivals(4, duration=1)) == [0, 0.25, 0.5, 0.75]


def test_during_the_ramp_the_rate_grows_evenly() -> None:
    due = list(arrivals(10, duration=10, ramp_up=10))
    halves = [sum(at < 5 for at in due), sum(at >= 5 for at in due)]
    assert halves == [13, 37]  # a quarter of all, and three quarters


def test_users_join_one_after_the_other() -> None:
    assert joins(4, ramp_up=8) == [0, 2, 4, 6]


class JumpingLoop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next thing that is due instead of waiting for it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        select = self._selector.select  # type: ignore[attr-defined]

        def jump(timeout: float | None = None) -> Any:
            found = select(0)
            if not found and timeout:
                self.now += timeout
            return found

        self._selector.select = jump  # type: ignore[attr-defined]

    def time(self) -> float:
        return self.now


def on_a_jumping_clock(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(work)


class Answering:
    """Answers after `delay`; from `stalls_at` on for `stall` seconds nothing is answered at all."""

    pid = os.getpid()

    def __init__(
        self, delay: float, *, stalls_at: float = 1e9, stall: float = 0.0, status: bytes = b"succeeded"
    ) -> None:
        self._delay, self._stalls_at, self._stall, self._status = delay, stalls_at, stall, status
        self.keys: set[bytes | None] = set()
        self.values: list[bytes] = []

    async def ask(self, value: bytes, *, key: bytes | None = None) -> Record:
        self.keys.add(key)
        self.values.append(value)
        now = asyncio.get_running_loop().time()
        if self._stalls_at <= now < self._stalls_at + self._stall:
            await asyncio.sleep(self._stalls_at + self._stall - now)
        await asyncio.sleep(self._delay)
        return Record("r", 0, 0, 0, None, b"{}", (("status", self._status),))


def scenario(users: int = 5, duration: float = 10.0) -> Scenario:
    return Scenario.model_validate({"name": "s", "concurrent_users": users, "duration": duration})


def opened(target: Answering, *, rate: float = 10, duration: float = 10.0, patience: float = 60.0) -> Load:
    load = Load(scenario(duration=duration), duration)

    async def work() -> None:
        await Driver(load, target, [b"1", b"2"], patience=patience).open_loop(rate, ramp_up=0)

    on_a_jumping_clock(work())
    return load


def test_an_open_loop_sends_at_its_rate_whether_answers_come_or_not() -> None:
    target = Answering(3.0)
    load = opened(target)
    assert (load.sent, load.statuses["succeeded"], load.missing) == (100, 100, 0)
    assert load.most_in_flight == 30
    assert load.latencies.percentile(50) == pytest.approx(3.0, rel=0.01)
    assert load.seconds == pytest.approx(12.9)
    assert target.values[:3] == [b"1", b"2", b"1"]
    assert target.keys == {f"user-{n}".encode() for n in range(1, 6)}


def test_a_stall_is_in_the_response_times_of_all_that_were_due_meanwhile() -> None:
    load = opened(Answering(0.01, stalls_at=2.0, stall=5.0))
    assert load.latencies.percentile(99) == pytest.approx(4.95, rel=0.02)
    assert load.latencies.percentile(50) == pytest.approx(0.01, rel=0.1)
    assert load.latencies.percentile(75) == pytest.approx(
        2.51, rel=0.05
    )  # half of the five seconds' events waited longer


class Blocking(Answering):
    """Its first event holds up everything for two seconds, the sender too."""

    async def ask(self, value: bytes, *, key: bytes | None = None) -> Record:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, JumpingLoop)
        if not self.values:
            loop.now += 2.0
        return await super().ask(value, key=key)


def test_an_event_that_was_sent_late_counts_from_when_it_was_due() -> None:
    load = opened(Blocking(0.0), rate=10, duration=4.0)
    assert load.sent == 40
    assert load.lag == pytest.approx(1.9, rel=0.1)
    assert load.latencies.percentile(100) == pytest.approx(2.0, rel=0.05)
    assert load.latencies.percentile(25) == pytest.approx(0.0, abs=0.001)
    assert load.latencies.percentile(75) == pytest.approx(1.0, abs=0.15)  # 20 of 40 were due meanwhile


def test_a_closed_loop_has_one_event_a_user_in_flight() -> None:
    load = Load(scenario(users=4, duration=10.0), 10.0)
    target = Answering(1.0)

    async def work() -> None:
        await Driver(load, target, [b"1"], patience=60).closed_loop(4, ramp_up=4.0)

    on_a_jumping_clock(work())
    assert load.most_in_flight == 4
    assert load.sent == 10 + 9 + 8 + 7
    assert load.latencies.percentile(100) == pytest.approx(1.0, rel=0.01)


def test_an_event_without_a_result_is_an_error_with_the_time_that_it_has_had() -> None:
    load = opened(Answering(1e6), rate=1, duration=2.0, patience=30.0)
    assert (load.sent, load.missing, load.error_rate) == (2, 2, 1.0)
    assert load.latencies.percentile(100) == pytest.approx(32.0, rel=0.01)


class Refusing(Answering):
    """The broker goes away after three events."""

    async def ask(self, value: bytes, *, key: bytes | None = None) -> Record:
        if len(self.values) >= 3:
            raise MissingError("the broker is away")
        return await super().ask(value, key=key)


def test_a_load_ends_when_nothing_can_be_sent_any_more() -> None:
    with pytest.raises(MissingError, match="the broker is away"):
        opened(Refusing(0.5), duration=1000.0)


def judged(load: Load, **limits: str) -> list[str]:
    return [line.split(":")[0] for line in judge(load, LoadValidation.model_validate(limits))]


def test_a_load_is_judged_by_its_bounds() -> None:
    load = opened(Answering(2.0, status=b"failed"))
    load.usage = Usage(3 * 10**9, 0.9)
    strict = {"response_time_p95": "< 1 second", "error_rate": "< 1%", "memory_usage": "< 2GB", "cpu_usage": "< 80%"}
    assert judged(load, **strict) == ["response_time_p95", "error_rate", "memory_usage", "cpu_usage"]
    lax = {"response_time_p95": "< 3 seconds", "error_rate": "<= 100%", "memory_usage": "< 4GB", "cpu_usage": "< 95%"}
    assert judged(load, **lax) == []


def test_what_a_scenario_accepts_stands_for_the_bound_of_the_whole_test() -> None:
    accepting = Scenario.model_validate(
        {"name": "s", "concurrent_users": 1, "duration": 1, "acceptable_error_rate": "<= 100%"}
    )
    load = Load(accepting, 1.0, sent=2)
    load.statuses["failed"] = 2
    assert judged(load, error_rate="< 1%") == []


def test_nothing_sent_and_nothing_came_back_are_failures_without_any_bound() -> None:
    load = Load(scenario(), 1.0)
    assert "nothing was sent" in judge(load, None)[0]
    load.sent, load.missing = 3, 1
    assert "1 of 3 events have no result" in judge(load, None)[0]


@given(st.lists(st.floats(min_value=1e-6, max_value=3600), min_size=1, max_size=200))
def test_percentiles_are_exact_to_three_digits(seconds: list[float]) -> None:
    latencies = Latencies()
    for each in seconds:
        latencies.add(each)
    ordered = sorted(seconds)
    assert latencies.percentile(100) == pytest.approx(ordered[-1], rel=2e-3, abs=2e-6)
    assert len(latencies) == len(seconds)


def test_a_meter_counts_children_and_their_processor_time() -> None:
    burn = "import time\nx = bytearray(60_000_000)\nend = time.monotonic() + 0.6\nwhile time.monotonic() < end: pass"
    with Meter(interval=0.02) as meter:
        subprocess.run([sys.executable, "-c", burn], check=True)
    alone = Meter()
    with alone:
        time.sleep(0.01)
    assert meter.usage().peak_bytes > alone.usage().peak_bytes + 50_000_000
    assert meter.usage().cpu_share * (os.cpu_count() or 1) > 0.1


def test_a_meter_of_a_process_that_is_gone_measures_nothing() -> None:
    with Meter(2**22 - 1) as meter:
        pass
    assert meter.usage() == Usage(0, 0.0)


@pytest.mark.parametrize(("module", "make"), [("psutil", Meter), ("hdrh.histogram", Latencies)])
def test_what_is_not_installed_is_named_with_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, module: str, make: Callable[[], object]
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingError) as missing:
        make()
    assert "stream-orchestrator[testing]" in missing.value.hint


def plan_with(write: Write, variables: dict[str, Any]) -> Any:
    tasks = [{"name": "a", "type": "python_task", "script": "return 1"}]
    return load_plan(write("sampled.yaml", json.dumps({"name": "S", "input_variables": variables, "tasks": tasks})))


def test_an_event_is_made_of_what_the_variables_say(write: Write) -> None:
    variables = {
        "text": {"type": "string", "validation": {"min_length": 100, "max_length": 120}},
        "id": {"type": "string", "validation": "T-[0-9]+", "example": "T-7"},
        "mood": {"type": "string", "validation": {"min_length": 3}, "example": "ok"},
        "features": {"type": "array", "options": ["a", "b"]},
        "depth": {"type": "string", "options": ["shallow", "deep"]},
        "count": {"type": "integer", "validation": {"minimum": 5}},
        "kind": {"type": "string", "default": "x"},
        "flag": {"type": "boolean"},
    }
    event = sample_event(plan_with(write, variables))
    assert 100 <= len(event.pop("text")) <= 120
    assert event == {
        "id": "T-7",
        "mood": "The quick brown fox jumps over the lazy dog.",
        "features": ["a"],
        "depth": "shallow",
        "count": 5,
        "flag": True,
    }


def test_what_cannot_be_made_is_asked_for(write: Write) -> None:
    with pytest.raises(UsageError) as wrong:
        sample_event(plan_with(write, {"id": {"type": "string", "validation": "T-[0-9]+"}}))
    assert "`inputs:`" in wrong.value.hint
