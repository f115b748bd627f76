"""A `load_test`: many events at once, or at a rate, and how long their results take.

Promises
  * Open loop (`target_throughput`): an event is sent when it is due, however late answers are, and its response time
    counts from when it was due. A pipeline that stalls cannot hide behind a sender that waits for it.
  * Closed loop: each user sends its next event when the result of its last one is there.
  * An event without a result is an error with the response time that it has had so far, never left out.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import orjson

from stream_orchestrator.errors import UsageError
from stream_orchestrator.spec.config import Configuration
from stream_orchestrator.spec.measures import Duration, Share, Size
from stream_orchestrator.spec.testing import LoadTest, LoadValidation, Scenario
from stream_orchestrator.streaming.records import Record
from stream_orchestrator.testkit.arrivals import arrivals, joins
from stream_orchestrator.testkit.comparing import bound
from stream_orchestrator.testkit.data import TestData
from stream_orchestrator.testkit.finding import find_pipeline
from stream_orchestrator.testkit.latency import Latencies
from stream_orchestrator.testkit.meter import Meter, Usage
from stream_orchestrator.testkit.mocks import Mocks
from stream_orchestrator.testkit.outcome import Outcome
from stream_orchestrator.testkit.running import Subject
from stream_orchestrator.testkit.samples import sample_event

BAD = ("failed", "rejected")
PATIENCE = 60.0  # seconds for results after the last event, unless --timeout says otherwise
TICK = 0.25
TellLoad = Callable[["Load"], None]


class Target(Protocol):
    """A pipeline that is served on a broker."""

    @property
    def pid(self) -> int:
        """The process whose tree is measured."""
        ...

    async def ask(self, value: bytes, *, key: bytes | None = None) -> Record:
        """Send an event; the record of its result."""
        ...


@dataclass(slots=True)
class Load:
    """One scenario while it runs, and what it came to."""

    scenario: Scenario
    duration: float
    latencies: Latencies = field(default_factory=Latencies)
    statuses: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    missing: int = 0
    lag: float = 0.0  # the most that the sender was late
    seconds: float = 0.0
    usage: Usage | None = None

    @property
    def errors(self) -> int:
        """Runs that failed, were refused, or have no result."""
        return sum(self.statuses[status] for status in BAD) + self.missing

    @property
    def error_rate(self) -> float:
        """Of what was sent."""
        return self.errors / self.sent if self.sent else 0.0

    def to_json(self) -> dict[str, Any]:
        """What the report tells."""
        used = self.usage or Usage(0, 0.0)
        return {
            "sent": self.sent,
            **{status: self.statuses[status] for status in ("succeeded", "degraded", *BAD)},
            "missing": self.missing,
            "error_rate": round(self.error_rate, 6),
            "throughput": round(self.latencies_of_results() / self.seconds, 3) if self.seconds else 0.0,
            "response_time": self.latencies.to_json(),
            "most_in_flight": self.most_in_flight,
            "sender_lag": round(self.lag, 6),
            "memory_bytes": used.peak_bytes,
            "cpu_share": round(used.cpu_share, 4),
        }

    def latencies_of_results(self) -> int:
        """How many results there are."""
        return self.statuses.total()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """How loads are put on.

    `time_scale`: durations are multiplied by it, rates are not. `patience`: seconds for the results that are not there
    when the last event was sent. `run_patience`: the same for one run of a replay. `tell` is called now and then.
    """

    time_scale: float = 1.0
    patience: float = PATIENCE
    run_patience: float = 600.0
    tell: TellLoad = lambda load: None


LOAD = LoadOptions()


class LoadRun:
    """A load test that is ready to be played."""

    def __init__(
        self,
        test: LoadTest,
        document: Path,
        *,
        title: str,
        functions: Sequence[str],
        offline: bool,
        load: LoadOptions = LOAD,
        config: Configuration | None = None,
    ) -> None:
        self.subject = Subject.load(find_pipeline(document, named=test.pipeline, title=title), functions, config)
        self.subject.refuse_incomplete(Mocks(), offline=offline)
        self.loads: list[Load] = []
        self._test, self._options = test, load
        self._events = [orjson.dumps(event) for event in _events(test, TestData(document), self.subject)]
        Latencies()  # what is not installed is said before anything starts

    @property
    def pipeline(self) -> str:
        """What is tested."""
        return self.subject.title

    @property
    def names(self) -> list[str]:
        """The scenarios."""
        return [scenario.name for scenario in self._test.test_scenarios]

    async def open(self, target: Target) -> list[str]:
        """Nothing has to be set up."""
        return []

    async def play(self, index: int, target: Target) -> Outcome:
        """Put one load on the target."""
        scenario = self._test.test_scenarios[index]
        load = Load(scenario, scenario.duration * self._options.time_scale)
        self.loads.append(load)
        started = time.monotonic()
        with Meter(target.pid) as meter:
            await self._run(load, target)
        load.usage = meter.usage()
        seconds = time.monotonic() - started
        return Outcome.of(scenario.name, judge(load, self._test.validation), seconds=seconds, **load.to_json())

    async def close(self) -> list[str]:
        """Nothing has to be torn down."""
        return []

    async def _run(self, load: Load, target: Target) -> None:
        ramp = (load.scenario.ramp_up_time or 0.0) * self._options.time_scale
        driver = Driver(load, target, self._events, patience=self._options.patience)
        telling = asyncio.create_task(self._keep_telling(load))
        try:
            if load.scenario.target_throughput is not None:
                await driver.open_loop(load.scenario.target_throughput.base, ramp_up=ramp)
            else:
                await driver.closed_loop(load.scenario.concurrent_users, ramp_up=ramp)
        finally:
            telling.cancel()
            self._options.tell(load)

    async def _keep_telling(self, load: Load) -> None:
        started = time.monotonic()
        while True:
            load.seconds = time.monotonic() - started
            self._options.tell(load)
            await asyncio.sleep(TICK)


class Driver:
    """Sends events at their times, and takes note of what becomes of them. Its clock is the event loop's."""

    def __init__(self, load: Load, target: Target, events: Sequence[bytes], *, patience: float) -> None:
        self._load, self._target, self._patience = load, target, patience
        self._events = itertools.cycle(events)
        self._keys = self._users(load.scenario.concurrent_users)
        self._loop = asyncio.get_running_loop()
        self._trouble: BaseException | None = None  # why an event could not even be sent

    async def open_loop(self, rate: float, *, ramp_up: float) -> None:
        """Events at their times, answered or not."""
        began, running = self._loop.time(), set[asyncio.Task[None]]()
        for at in arrivals(rate, duration=self._load.duration, ramp_up=ramp_up):
            due = began + at
            if (wait := due - self._loop.time()) > 0:
                await asyncio.sleep(wait)
            elif not self._load.sent % 100:
                await asyncio.sleep(0)  # behind the schedule: results must get a turn all the same
            self._load.lag = max(self._load.lag, self._loop.time() - due)
            task = asyncio.create_task(self._one(due, next(self._keys)))
            running.add(task)
            task.add_done_callback(partial(self._ended, running))
            if self._trouble is not None:
                break
        await self._rest(began, running)

    async def closed_loop(self, users: int, *, ramp_up: float) -> None:
        """So many users, each with one event at a time."""
        began = self._loop.time()
        starts = joins(users, ramp_up=min(ramp_up, self._load.duration))
        tasks = {asyncio.create_task(self._user(began, start, next(self._keys))) for start in starts}
        await self._rest(began, tasks)

    async def _user(self, began: float, start: float, key: bytes) -> None:
        await asyncio.sleep(began + start - self._loop.time())
        while self._loop.time() < began + self._load.duration:
            await self._one(self._loop.time(), key)

    async def _one(self, due: float, key: bytes) -> None:
        load = self._load
        load.sent += 1
        load.in_flight += 1
        load.most_in_flight = max(load.most_in_flight, load.in_flight)
        try:
            record = await self._target.ask(next(self._events), key=key)
            load.statuses[(record.header("status") or b"").decode()] += 1
        except asyncio.CancelledError:
            load.missing += 1  # its result did not come in time
            raise
        finally:
            load.in_flight -= 1
            load.latencies.add(self._loop.time() - due)

    def _ended(self, running: set[asyncio.Task[None]], task: asyncio.Task[None]) -> None:
        running.discard(task)
        if not task.cancelled() and (trouble := task.exception()) is not None:
            self._trouble = trouble

    async def _rest(self, began: float, tasks: set[asyncio.Task[None]]) -> None:
        """Wait for what is in flight until the patience is over; what failed to be sent is raised."""
        try:
            until = max(self._loop.time(), began + self._load.duration) + self._patience
            done, late = await asyncio.wait(tasks, timeout=until - self._loop.time()) if tasks else (set(), set())
        except asyncio.CancelledError:
            await _cancelled(tasks)
            raise
        self._load.seconds = self._loop.time() - began
        await _cancelled(late)
        for task in done:
            task.result()
        if self._trouble is not None:
            raise self._trouble

    @staticmethod
    def _users(count: int) -> Iterator[bytes]:
        return itertools.cycle([f"user-{number}".encode() for number in range(1, count + 1)])


async def _cancelled(tasks: set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def judge(load: Load, limits: LoadValidation | None) -> list[str]:
    """What a load came to, beside its bounds. Without a bound for errors, an event without a result fails the test."""
    limits = limits or LoadValidation()
    errors = load.scenario.acceptable_error_rate or limits.error_rate
    used = load.usage or Usage(0, 0.0)
    found = bound(limits.response_time_p95, load.latencies.percentile(95.0), "response_time_p95", Duration)
    found += bound(errors, load.error_rate, "error_rate", Share)
    found += bound(limits.memory_usage, used.peak_bytes, "memory_usage", Size)
    found += bound(limits.cpu_usage, used.cpu_share, "cpu_usage", Share)
    if not load.sent:
        found.append("nothing was sent: the duration is too short for the rate; try a larger --time-scale")
    if load.missing and errors is None:
        found.append(f"{load.missing} of {load.sent} events have no result; --timeout waits longer for them")
    return found


def _events(test: LoadTest, data: TestData, subject: Subject) -> list[dict[str, Any]]:
    given = data.render(test.inputs)
    events = [sample_event(subject.plan)] if given is None else given if isinstance(given, list) else [given]
    if not events or not all(isinstance(event, dict) for event in events):
        raise UsageError("`inputs` of a load test must be an event or a list of events", hint="an event is a map")
    return events
