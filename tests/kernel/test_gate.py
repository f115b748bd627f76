"""Breakers of tasks: attempts that are held back, probes that are granted, and who answers meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec.structs import replace
from worlds import FakeScripts, Theatre, plan, task, variant

from stream_orchestrator.kernel import state
from stream_orchestrator.kernel.breaker import BreakerRow
from stream_orchestrator.kernel.effects import RunScript, ScriptDone
from stream_orchestrator.kernel.memory import App
from stream_orchestrator.kernel.notebook import Notebook
from stream_orchestrator.kernel.state_owner import StateOwner
from stream_orchestrator.plan.model import Plan

LIMITS = {"threshold": 3, "recovery": 100.0, "probes": 2}
BREAKER = {"breaker": {"name": "api", "limits": LIMITS}}


class Service(FakeScripts):
    """Scripts that work while `up`; `most` is how many ran at once."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.now, self.most = True, 0, 0

    async def run(self, job: RunScript) -> ScriptDone:
        self.now += 1
        self.most = max(self.most, self.now)
        for _ in range(20):
            await asyncio.sleep(0)
        self.now -= 1
        self.ran[job.source] += 1
        if self.up or job.source != "script":
            return ScriptDone(kind="value", value="fresh")
        return ScriptDone(kind="error", error_type="OSError", message="down")


class Stage:
    """A plan whose one task asks a service, its breaker, and the owner of breakers."""

    def __init__(self, made: Plan) -> None:
        self.service = Service()
        self.view: dict[bytes, Any] = {}
        self.book = Notebook(view=self)
        self.theatre = Theatre(made, scripts=self.service, notebook=self.book)
        self.book.clock = self.theatre.clock
        object.__setattr__(self.theatre.engine, "wires", replace(self.theatre.wires, state="state"))
        owner = StateOwner(topic="state", letters="letters")
        self.part = self.theatre.world.add(App({"state": owner}, state.Codec, owner.on_due, owner.on_recovered))

    def row(self, key: bytes) -> Any:
        return self.part.rows.get(key)

    def used(self, kind: str, namespace: str) -> int:
        return 0

    @property
    def breaker(self) -> BreakerRow | None:
        row: BreakerRow | None = self.part.rows.get(state.breaker_key("made", "api"))
        return row

    def play(self, *runs: str) -> dict[str, dict[str, Any]]:
        for run in runs:
            self.theatre.begin(run)
        asyncio.run(self.theatre.play())
        return {result["run_id"]: result for result in self.theatre.results()}

    def break_it(self) -> None:
        self.service.up = False
        self.play("b1", "b2", "b3")
        assert self.breaker is not None
        assert self.breaker.state(self.theatre.clock()) == "open"


def stage(**more: Any) -> Stage:
    return Stage(plan(task("t", does="script", options=BREAKER, timeout=more.pop("timeout", 1_000.0), **more)))


def test_an_open_breaker_lets_no_attempt_begin() -> None:
    on = stage(timeout=50.0)
    on.break_it()
    results = on.play(*(f"r{number}" for number in range(5)))
    assert on.service.ran["script"] == 3
    for number in range(5):
        assert results[f"r{number}"]["error"]["type"] == "CircuitOpen"
        assert "'api' is open" in results[f"r{number}"]["error"]["message"]


def test_with_time_an_attempt_waits_until_the_breaker_lets_it_through() -> None:
    on = stage()
    on.break_it()
    began, on.service.up = on.theatre.clock(), True
    results = on.play("r")
    assert results["r"]["status"] == "succeeded"
    assert 100 <= on.theatre.clock() - began < 110
    assert results["r"]["timings"]["tasks"]["t"]["attempts"] == 1
    assert on.breaker is None


def test_half_open_at_most_so_many_probe_at_once_and_the_rest_waits_for_them() -> None:
    on = stage()
    on.break_it()
    on.service.up = True
    on.service.most = 0
    results = on.play(*(f"r{number}" for number in range(30)))
    assert {results[f"r{number}"]["status"] for number in range(30)} == {"succeeded"}
    assert on.service.ran["script"] == 33


def test_probes_that_fail_keep_it_open_and_cost_two_attempts_a_time() -> None:
    on = stage(timeout=450.0)
    on.break_it()
    results = on.play(*(f"r{number}" for number in range(20)))
    assert {results[f"r{number}"]["status"] for number in range(20)} == {"failed"}
    probes = on.service.ran["script"] - 3
    assert 0 < probes <= 2 * 4  # four recoveries fit in the time, two probes each


def test_a_fallback_answers_at_once_while_it_is_open() -> None:
    on = stage(fallbacks=(variant("spare", "spare"),))
    on.break_it()
    began = on.theatre.clock()
    result = on.play("r")["r"]
    assert (result["status"], result["degraded"][0]["answered_by"]) == ("degraded", "spare")
    assert result["degraded"][0]["reason"].startswith("CircuitOpen")
    assert on.theatre.clock() == began
    assert on.service.ran["script"] == 3


def test_a_fallback_value_answers_at_once_while_it_is_open() -> None:
    on = stage(has_fallback_value=True, fallback_value=7)
    on.break_it()
    assert on.play("r")["r"]["output"] == 7
    assert on.service.ran["script"] == 3


def test_with_a_fallback_it_closes_again_when_the_service_is_back() -> None:
    on = stage(fallbacks=(variant("spare", "spare"),))
    on.break_it()
    on.service.up = True
    on.theatre.clock.jump(on.theatre.clock() + 101)
    assert on.play("r")["r"]["status"] == "succeeded"
    assert on.breaker is None


def test_a_success_in_between_starts_the_count_again() -> None:
    on = stage()
    for run, up in (("a", False), ("b", False), ("c", True), ("d", False), ("e", False)):
        on.service.up = up
        on.play(run)
    assert on.breaker is not None
    assert (on.breaker.state(on.theatre.clock()), on.breaker.failures) == ("closed", 2)


def test_a_healthy_breaker_costs_no_event() -> None:
    on = stage()
    on.play(*(f"r{number}" for number in range(5)))
    assert on.theatre.world.topics["state"] == []


def test_a_crash_anywhere_counts_a_failure_once_and_loses_no_run() -> None:
    total = _failing(crash_at=None)
    for at in range(1, total + 1):
        _failing(crash_at=at)


def _failing(crash_at: int | None) -> int:
    on = stage(has_fallback_value=True, fallback_value=0)
    on.service.up = False
    for run in ("a", "b"):
        on.theatre.begin(run)
    count = asyncio.run(on.theatre.play(crash_at=lambda n: n == crash_at))
    assert {result["run_id"] for result in on.theatre.results()} == {"a", "b"}
    assert on.breaker is not None
    assert on.breaker.failures == 2
    return count
