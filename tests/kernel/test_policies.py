"""What follows a fault: retries and their waits, fallbacks, stand-ins, the last word; and the clock behind them."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from worlds import WAYS, FakeKind, FakeModels, FakeScripts, Theatre, plan, task, variant

from stream_orchestrator.kernel import events, ids
from stream_orchestrator.kernel.effects import Answer
from stream_orchestrator.kernel.events import Reply
from stream_orchestrator.kernel.kinds import Ask, Attempt, Fault, Step
from stream_orchestrator.kernel.policies import MAX_BACKOFF, Next, Park, Settle, after_fault, backoff
from stream_orchestrator.kernel.rows import StepRow
from stream_orchestrator.kernel.telling import Telling
from stream_orchestrator.kernel.wires import decode_call
from stream_orchestrator.plan.model import RESULT, START, Plan, TaskPlan, Variant

NOW = 1_700_000_000.0


def made(*variants: Variant, **more: Any) -> TaskPlan:
    return TaskPlan(name="t", slug="t", kind="fake", upstream=(START,), downstream=(RESULT,), variants=variants, **more)


def way(**more: Any) -> Variant:
    return Variant(name="t", kind="fake", options={}, timeout=more.pop("timeout", 60.0), **more)


def row(**more: Any) -> StepRow:
    return StepRow(run_id="r", task="t", **{"attempt": 1, "variant_started_at": NOW, **more})


def verdict(task_: TaskPlan, row_: StepRow, *, now: float = NOW, deadline: float = NOW + 10**6, **fault: Any) -> Any:
    given_ = Fault(type="E", message="m", **{"passing": True, **fault})
    return after_fault(task_, row_, given_, now=now, deadline=deadline)


def test_a_fault_that_may_pass_is_tried_again_as_often_as_told_and_no_more() -> None:
    task_ = made(way(retries=2))
    assert isinstance(verdict(task_, row(attempt=1)), Park)
    assert isinstance(verdict(task_, row(attempt=2)), Park)
    assert verdict(task_, row(attempt=3)) == Settle("abort_pipeline")


def test_a_fault_that_will_not_pass_is_never_tried_again() -> None:
    assert verdict(made(way(retries=5)), row(), passing=False) == Settle("abort_pipeline")


@given(
    delay=st.floats(0, 1000),
    factor=st.floats(1, 1000),
    attempt=st.integers(1, 2000),
    run=st.text(),
)
def test_a_wait_lies_between_half_and_the_whole_of_its_exponential_and_is_the_same_after_a_crash(
    delay: float, factor: float, attempt: int, run: str
) -> None:
    chosen = way(retry_delay=delay, retry_backoff=factor)
    one = StepRow(run_id=run, task="t", attempt=attempt)
    wait = backoff(chosen, one)
    assert wait == backoff(chosen, one)
    assert 0 <= wait <= MAX_BACKOFF
    if delay == 0:
        assert wait == 0
    elif attempt == 1:
        assert min(delay, MAX_BACKOFF) / 2 <= wait <= min(delay, MAX_BACKOFF)


def test_steps_of_different_runs_do_not_wait_in_step() -> None:
    waits = {backoff(way(retry_delay=10.0), StepRow(run_id=str(number), task="t", attempt=1)) for number in range(50)}
    assert len(waits) == 50


def test_the_service_s_own_wait_is_obeyed_to_the_second() -> None:
    assert verdict(made(way(retries=1)), row(), retry_after=17.0) == Park(NOW + 17.0)


@pytest.mark.parametrize(("wait", "deadline"), [(61.0, NOW + 10**6), (60.0, NOW + 10**6), (20.0, NOW + 20)])
def test_a_wait_beyond_the_variant_s_time_or_the_run_s_is_not_begun(wait: float, deadline: float) -> None:
    assert verdict(made(way(retries=1)), row(), retry_after=wait, deadline=deadline) == Settle("abort_pipeline")
    assert verdict(made(way(retries=1), way()), row(), retry_after=wait, deadline=deadline) == Next()


def test_the_order_is_retry_fallback_stand_in_last_word() -> None:
    task_ = made(way(retries=1), way(), has_fallback_value=True, fallback_value=None, on_failure="skip")
    assert isinstance(verdict(task_, row()), Park)
    assert verdict(task_, row(attempt=2)) == Next()
    assert verdict(task_, row(variant=1)) == Settle("fallback_value")
    assert verdict(made(way(), on_failure="skip"), row()) == Settle("skip")


# --- played


async def played(plan_: Plan, **more: Any) -> Theatre:
    theatre = Theatre(plan_, **more)
    theatre.begin("run-1")
    await theatre.play()
    return theatre


async def result_of(plan_: Plan, **more: Any) -> dict[str, Any]:
    (result,) = (await played(plan_, **more)).results()
    return result


async def test_each_fallback_has_its_own_retries_and_the_result_says_who_answered() -> None:
    slow = (variant("second", "broken", retries=2), variant("third", "broken"), variant("fourth", "script"))
    result = await result_of(plan(task("a", does="broken", retries=1, fallbacks=slow)))
    assert result["timings"]["tasks"]["a"]["attempts"] == 2 + 3 + 1 + 1
    assert result["status"] == "degraded"
    (entry,) = result["degraded"]
    assert (entry["task"], entry["answered_by"]) == ("a", "fourth")
    assert entry["reason"] == "ScriptError: never"


@pytest.mark.parametrize("value", [None, 0, "", {"a": []}])
async def test_a_stand_in_value_is_the_output_even_when_it_is_null(value: Any) -> None:
    result = await result_of(plan(task("a", does="broken", has_fallback_value=True, fallback_value=value)))
    assert (result["status"], result["output"], result["outputs"]) == ("degraded", value, {"a": value})
    assert result["degraded"][0]["answered_by"] == "fallback_value"


@pytest.mark.parametrize(("on_failure", "answered_by"), [("skip", "skipped"), ("continue", "null")])
async def test_a_task_that_may_fail_is_null_in_the_outputs_and_told_as_degraded(
    on_failure: str, answered_by: str
) -> None:
    after = task("b", "a", "c")
    result = await result_of(plan(task("a", does="broken", on_failure=on_failure), task("c"), after))
    assert result["status"] == "degraded"
    assert result["outputs"]["a"] is None
    assert result["outputs"]["b"]["from"]["a"] is None
    assert [(each["task"], each["answered_by"]) for each in result["degraded"]] == [("a", answered_by)]


async def test_only_a_skip_skips_what_needs_nothing_else() -> None:
    skipped = await result_of(plan(task("a", does="broken", on_failure="skip"), task("b", "a")))
    went_on = await result_of(plan(task("a", does="broken", on_failure="continue"), task("b", "a")))
    assert skipped["output"] is None
    assert went_on["output"]["from"] == {"a": None}


async def test_after_an_abort_what_waits_is_cancelled_and_the_error_is_of_the_task_that_aborted() -> None:
    theatre = await played(
        plan(task("a"), task("b", "a", does="broken"), task("c", "b"), task("d", "a", does="flaky", retries=3))
    )
    (result,) = theatre.results()
    assert (result["status"], result["output"], result["error"]["task"]) == ("failed", None, "b")
    assert set(result["outputs"]) <= {"a", "d"}
    assert theatre.scripts.ran["c"] == 0


class Throttled(FakeModels):
    """Answers a call with its n-th fault, then with text."""

    faults: tuple[Answer, ...] = ()

    def receive(self, record: Any, part: Any) -> Any:
        call = decode_call(record.value)
        self.made[call.call_id] += 1
        turn = len(self.made) - 1
        answer = self.faults[turn] if turn < len(self.faults) else Answer(text="at last", model="m")
        reply = Reply(run_id=call.run_id, call_id=call.call_id, answer=answer)

        async def send() -> None:
            await part.publish(call.reply_topic, partition=0, key=None, value=events.encode(reply))

        return send()


def throttled(made_: Plan, *faults: Answer) -> Theatre:
    theatre = Theatre(made_)
    models = Throttled("calls.m")
    models.faults = faults
    theatre.world.parts[-1].app.agents["calls.m"] = models  # type: ignore[index]
    theatre.models = models
    theatre.begin("run-1")
    return theatre


async def test_a_throttled_call_is_asked_again_with_another_id_exactly_when_the_service_said() -> None:
    busy = Answer(error_type="RateLimited", message="429", retryable=True, retry_after=33.0)
    theatre = throttled(plan(task("a", does="call", retries=1)), busy)
    begun = theatre.clock()
    await theatre.play()
    assert theatre.clock() - begun == 33.0
    assert theatre.results()[0]["output"] == "at last"
    assert list(theatre.models.made.values()) == [1, 1]


async def test_a_service_that_asks_for_more_time_than_there_is_is_not_waited_for() -> None:
    busy = Answer(error_type="RateLimited", message="429", retryable=True, retry_after=3600.0)
    theatre = throttled(plan(task("a", does="call", retries=5, has_fallback_value=True, fallback_value=1)), busy)
    begun = theatre.clock()
    await theatre.play()
    assert theatre.clock() == begun
    assert theatre.results()[0]["status"] == "degraded"


async def test_an_answer_of_a_call_that_was_given_up_changes_nothing() -> None:
    theatre = await silent(plan(task("a", does="call", retries=1, timeout=200.0)))
    call = decode_call(theatre.world.topics["calls.m"][0].value)
    late = Reply(run_id="run-1", call_id=call.call_id, answer=Answer(text="late"))
    theatre.world.append(call.reply_topic, None, events.encode(late))
    await theatre.play()
    assert theatre.results()[0]["status"] == "failed"
    assert theatre.letters()[0]["dlq-reason"] == b"timeout"


@pytest.mark.parametrize(("on_ambiguous", "calls"), [("retry", 3), ("fail", 1)])
async def test_a_call_without_an_answer_is_asked_again_unless_doubt_forbids_it(on_ambiguous: str, calls: int) -> None:
    class Short(FakeKind):
        def begin(self, attempt: Attempt) -> Step:
            asked = super().begin(attempt)
            assert isinstance(asked, Ask)
            return replace(asked, request=replace(asked.request, deadline=attempt.now + 1))

    made_ = plan(task("a", does="call", retries=2, timeout=1000.0))
    object.__setattr__(made_.tasks[0].variants[0], "on_ambiguous", on_ambiguous)
    theatre = await silent(made_, kinds={"fake": Short()}, wait=True)
    assert len(theatre.world.topics["calls.m"]) == calls


async def silent(made_: Plan, *, wait: bool = False, **more: Any) -> Theatre:
    """A run whose calls nobody answers, until its first is given up (or, with `wait`, until it ends)."""
    theatre = Theatre(made_, **more)
    theatre.world.parts.pop()
    theatre.begin("run-1")
    if wait:
        await theatre.play()
    else:
        begun = theatre.clock()
        await theatre.world.run(until=lambda: theatre.clock() > begun)
    return theatre


# --- the end of a run, in every state it can be in

STATES = {
    "calling": plan(task("a"), task("b", "a", does="call"), task("c", "b"), timeout=50.0),
    "parked": plan(task("a"), task("b", "a", does="broken", retries=9, retry_delay=40.0, timeout=10**6), timeout=50.0),
    "join": plan(task("a"), task("b", does="call"), task("c", "a", "b"), timeout=50.0),
    "asking": plan(task("a", does="ask"), timeout=50.0),
    "last": plan(task("a"), task("b", does="call"), timeout=50.0),
}


@pytest.mark.parametrize(
    ("state", "how"),
    # no attempt is parked beyond its run's deadline, so no run expires there
    [each for each in itertools.product(STATES, ["expired", "cancelled"]) if each != ("parked", "expired")],
)
async def test_a_run_ends_whatever_its_steps_wait_for(state: str, how: str) -> None:
    theatre = Theatre(STATES[state])
    theatre.world.parts.pop()  # no call is ever answered
    theatre.begin("run-1")
    theatre.begin("run-2")
    if how == "cancelled":
        begun = theatre.clock()
        await theatre.world.run(until=lambda: settled(theatre) or theatre.clock() > begun)
        for run in ("run-1", "run-2"):
            work = theatre.engine.cancel(theatre.part, run)
            assert work is not None
            theatre.world.spawn(work)
            assert theatre.engine.cancel(theatre.part, run) is None  # once is enough
    await theatre.play()
    results = theatre.results()
    assert sorted(result["run_id"] for result in results) == ["run-1", "run-2"]
    assert {letter["dlq-reason"] for letter in theatre.letters()} == {how.encode()}
    assert all(result["status"] == "failed" and result["output"] is None for result in results)
    finished = set() if state == "asking" else {"a"}
    assert all(set(result["outputs"]) == finished for result in results)
    assert len(theatre.part.rows) == 2
    assert len(theatre.part.durable) == 2


def settled(theatre: Theatre) -> bool:
    world = theatre.world
    waiting = any(world._seen[topic] < len(world.topics[topic]) for topic in theatre.part.app.agents)
    return not waiting and not world._works


async def test_tokens_that_arrive_after_the_end_change_nothing() -> None:
    theatre = Theatre(plan(task("a", does="call"), task("b", "a"), timeout=50.0))
    held = theatre.world.parts.pop()
    theatre.begin("run-1")
    await theatre.play()
    theatre.world.parts.append(held)  # the answer comes now
    await theatre.play()
    assert len(theatre.results()) == 1
    assert len(theatre.part.rows) == 1


@pytest.mark.parametrize("crash_at", range(1, 12))
async def test_a_run_that_expires_while_its_process_is_down_ends_when_it_is_back(crash_at: int) -> None:
    theatre = Theatre(plan(task("a"), task("b", "a"), timeout=50.0))
    theatre.begin("run-1")

    def down(number: int) -> bool:
        if number == crash_at:
            theatre.clock.jump(theatre.clock() + 100)
        return number == crash_at

    await theatre.play(crash_at=down)
    records = {record.value for record in theatre.world.topics["made.results"]}
    assert len(records) == 1
    assert len(theatre.part.rows) == 1


async def test_a_fan_out_of_two_hundred_and_its_join_end() -> None:
    names = [f"t{number}" for number in range(200)]
    theatre = await played(plan(task("a"), *(task(name, "a") for name in names), task("z", *names)))
    (result,) = theatre.results()
    assert len(result["output"]["from"]) == 200
    assert len(theatre.part.rows) == 1


@pytest.mark.parametrize(
    "tasks",
    [[task("a")], [task("a", does="value"), task("b", "a")], [task("a", condition="false"), task("b", "a")]],
    ids=["first", "second", "after one that is skipped"],
)
async def test_no_script_that_would_wait_runs_in_the_slot_that_a_run_begins_with(tasks: list[dict[str, Any]]) -> None:
    """Scripts wait for one another; runs that wait in start slots would leave no slot for timers and cancels."""
    theatre = Theatre(plan(*tasks), scripts=Hung(), way=WAYS[1])
    theatre.begin("run-1")
    start = theatre.wires.inbox(START)
    await theatre.world.run(until=lambda: bool(theatre.world._acked[start]))
    assert theatre.world._acked[start] == 1
    await theatre.world.stop()


async def test_a_script_that_should_have_been_quick_and_hangs_lets_its_run_be_seen_and_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stream_orchestrator.kernel.steps.QUIET_SECONDS", 0.0)
    theatre = Theatre(plan(task("a")), scripts=Hung(), way=WAYS[0])
    theatre.begin("run-1")
    serving = asyncio.create_task(theatre.world.run())
    while ids.run_key("run-1") not in theatre.part.durable or not theatre.world.topics["audit"]:
        await asyncio.sleep(0)
    serving.cancel()
    assert not theatre.world._acked[theatre.wires.inbox(START)]
    assert ("a", "started", 1) in theatre.transitions()
    theatre.world.append(theatre.wires.inbox(START), b"run-1", events.encode(events.Cancel(run_id="run-1")))
    await theatre.world.run(until=lambda: bool(theatre.world.topics["made.results"]))
    assert theatre.results()[0]["error"]["type"] == "Cancelled"
    await theatre.world.stop()


async def test_a_slot_whose_audit_cannot_be_told_while_its_script_runs_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_orchestrator.kernel.steps.QUIET_SECONDS", 0.0)
    theatre = Theatre(plan(task("a")), scripts=Slow())

    def refuses(*_: Any, **__: Any) -> None:
        raise RuntimeError("the producer refuses")

    monkeypatch.setattr(Telling, "audit", refuses)
    theatre.begin("run-1")
    with pytest.raises(RuntimeError, match="refuses"):
        await theatre.world.run()
    await theatre.world.stop()


class Slow(FakeScripts):
    """They take some turns of the loop."""

    async def run(self, job: Any) -> Any:
        for _ in range(6):
            await asyncio.sleep(0)
        return await super().run(job)


class Hung(FakeScripts):
    """They never end."""

    async def run(self, job: Any) -> Any:
        await asyncio.Event().wait()
