"""A `replay_test`: recorded events on the version under test, beside what they gave then.

Promises
  * The recorded topics are only read; the runs go through a broker of the test's own.
  * Every recorded event is told: compared, without a recorded result, or without a new one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import orjson

from stream_orchestrator.spec.config import Configuration
from stream_orchestrator.spec.measures import Duration, Money, Share
from stream_orchestrator.spec.testing import ReplayTest, ReplayValidation
from stream_orchestrator.streaming.records import Record
from stream_orchestrator.testkit.changes import change
from stream_orchestrator.testkit.comparing import bound
from stream_orchestrator.testkit.finding import find_pipeline
from stream_orchestrator.testkit.latency import Latencies
from stream_orchestrator.testkit.mocks import Mocks
from stream_orchestrator.testkit.outcome import Outcome
from stream_orchestrator.testkit.recorded import Recorded, recorded_file
from stream_orchestrator.testkit.records import Result, ended_well, response_time
from stream_orchestrator.testkit.running import Subject

EVENTS = 100
AT_ONCE = 8  # enough to be quick, few enough that a run's time is its own
PATIENCE = 600.0  # seconds for one run, unless --timeout says otherwise


class Target(Protocol):
    """A pipeline that is served on a broker."""

    async def ask(
        self, value: bytes, *, key: bytes | None = None, run_id: str = "", headers: tuple[tuple[str, bytes], ...] = ()
    ) -> Record:
        """Send an event; the record of its result."""
        ...


@dataclass(frozen=True, slots=True)
class Pair:
    """A run then and now; either may have no result."""

    run_id: str
    then: Result | None
    now: Result | None
    changes: tuple[str, ...]

    @property
    def comparable(self) -> bool:
        """Whether there is a result on both sides."""
        return self.then is not None and self.now is not None

    @property
    def same_status(self) -> bool:
        """Whether it ended as it did."""
        return self.then is not None and self.now is not None and self.then.status == self.now.status

    @property
    def same_output(self) -> bool:
        """Whether it gave what it gave."""
        return self.comparable and not self.changes

    @property
    def is_worse(self) -> bool:
        """Whether it ended well then and does not now."""
        return self.then is not None and ended_well(self.then) and (self.now is None or not ended_well(self.now))

    def to_json(self) -> dict[str, Any]:
        """Both sides, and where they differ."""
        return {"run_id": self.run_id, "then": _side(self.then), "now": _side(self.now), "changes": list(self.changes)}


class ReplayRun:
    """A replay that is ready to be played, once it `took` the recorded runs."""

    def __init__(
        self,
        test: ReplayTest,
        document: Path,
        *,
        title: str,
        functions: Sequence[str],
        offline: bool,
        patience: float = PATIENCE,
        config: Configuration | None = None,
    ) -> None:
        self.subject = Subject.load(find_pipeline(document, named=test.pipeline, title=title), functions, config)
        self.subject.refuse_incomplete(Mocks(), offline=offline)
        self.last = test.events or EVENTS
        self.recorded = None if test.runs is None else recorded_file(document.parent / test.runs)
        self.pairs: list[Pair] = []
        self._test, self._patience = test, patience
        self._ignored = frozenset(test.ignore or ())
        Latencies()  # what is not installed is said before anything starts

    @property
    def pipeline(self) -> str:
        """What is tested."""
        return self.subject.title

    @property
    def names(self) -> list[str]:
        """One test: all runs together."""
        return ["replay"]

    async def open(self, target: Target) -> list[str]:
        """Nothing has to be set up, but there must be something to run."""
        return [] if self.recorded else ["the input topic has no events"]

    async def play(self, index: int, target: Target) -> Outcome:
        """Run every recorded event again."""
        started, lanes = time.monotonic(), asyncio.Semaphore(AT_ONCE)
        tasks = [asyncio.create_task(self._again(each, target, lanes)) for each in self.recorded or ()]
        try:
            self.pairs = list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()  # one that cannot be sent ends all: the worker or the broker is gone
        measured = told(self.pairs)
        failures = judge(self.pairs, self._test.validation, measured)
        runs = [pair.to_json() for pair in self.pairs]
        return Outcome.of("replay", failures, seconds=time.monotonic() - started, **measured, runs=runs)

    async def close(self) -> list[str]:
        """Nothing has to be torn down."""
        return []

    async def _again(self, recorded: Recorded, target: Target, lanes: asyncio.Semaphore) -> Pair:
        async with lanes:
            try:
                async with asyncio.timeout(self._patience):
                    record = await target.ask(
                        recorded.value, key=recorded.key, run_id=recorded.run_id, headers=recorded.headers
                    )
            except TimeoutError:
                return Pair(recorded.run_id, recorded.result, None, ())
        then, now = recorded.result, Result(**orjson.loads(record.value or b""))
        changes = () if then is None else tuple(change(then.output, now.output, "", self._ignored))
        return Pair(recorded.run_id, then, now, changes)


def told(pairs: Sequence[Pair]) -> dict[str, Any]:
    """All runs together, then and now."""
    both = [pair for pair in pairs if pair.comparable]
    return {
        "events": len(pairs),
        "unrecorded": sum(pair.then is None for pair in pairs),
        "missing": sum(pair.now is None for pair in pairs),
        "same_status": _share([pair.same_status for pair in both]),
        "same_output": _share([pair.same_output for pair in both]),
        "then": _summed([pair.then for pair in pairs]),
        "now": _summed([pair.now for pair in pairs]),
    }


def judge(pairs: Sequence[Pair], limits: ReplayValidation | None, measured: dict[str, Any]) -> list[str]:
    """What is out of bounds. Without a bound for errors, no run may end worse than it did."""
    limits = limits or ReplayValidation()
    found = bound(limits.same_status, measured["same_status"], "same_status", Share)
    found += bound(limits.same_output, measured["same_output"], "same_output", Share)
    found += bound(limits.response_time_p95, measured["now"]["p95"], "response_time_p95", Duration)
    found += bound(limits.cost, measured["now"]["cost_usd"], "cost", Money)
    bad = sum(pair.now is None or not ended_well(pair.now) for pair in pairs)
    found += bound(limits.error_rate, bad / len(pairs) if pairs else 0.0, "error_rate", Share)
    if limits.error_rate is None:
        found += [_worse(pair) for pair in pairs if pair.is_worse]
    if not any(pair.comparable for pair in pairs):
        found.append("nothing could be compared: no event has both a recorded result and a new one")
    return found


def _worse(pair: Pair) -> str:
    if pair.now is None:
        return f"{pair.run_id}: has no result in time, and {_ended(pair.then)} then"
    said = f": {(pair.now.error or {}).get('type')}: {(pair.now.error or {}).get('message')}"
    return f"{pair.run_id}: {_ended(pair.now)}, and {_ended(pair.then)} then{said}"


def _ended(result: Result | None) -> str:
    return {"degraded": "was degraded", "rejected": "was rejected"}.get(result.status, result.status) if result else "-"


def _share(held: list[bool]) -> float:
    return sum(held) / len(held) if held else 0.0


def _summed(results: Sequence[Result | None]) -> dict[str, Any]:
    latencies, there = Latencies(), [result for result in results if result is not None]
    for result in there:
        latencies.add(response_time(result))
    return {
        "errors": sum(not ended_well(result) for result in there),
        "cost_usd": round(sum(result.cost.get("usd", 0.0) for result in there), 10),
        "calls": sum(result.usage.get("calls", 0) for result in there),
        "p50": latencies.percentile(50.0),
        "p95": latencies.percentile(95.0),
    }


def _side(result: Result | None) -> dict[str, Any] | None:
    if result is None:
        return None
    return {
        "version": result.version,
        "status": result.status,
        "output": result.output,
        "cost_usd": result.cost.get("usd", 0.0),
        "seconds": response_time(result),
    }
