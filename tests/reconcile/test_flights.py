"""Where a run is, and when nothing will move it: told of records and rows alone."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from stream_orchestrator.kernel import events, ids, rows
from stream_orchestrator.kernel.events import Begin, Cancel, Report, Token
from stream_orchestrator.kernel.rows import RunRow, StepRow, Stub
from stream_orchestrator.plan.model import RESULT, START, Plan, TaskPlan, Variant
from stream_orchestrator.streaming.flights import GRACE, STUCK_AFTER, Flight, observe
from stream_orchestrator.streaming.history import Kept
from stream_orchestrator.streaming.records import Record

NOW = 1_000_000.0
TIMEOUT = 120.0


def task(name: str, *upstream: str, down: str = RESULT) -> TaskPlan:
    variants = (Variant(name=name, kind="python_task", options={}, timeout=TIMEOUT),)
    return TaskPlan(
        name=name, slug=name, kind="python_task", upstream=upstream or (START,), downstream=(down,), variants=variants
    )


PLAN = Plan(title="P", slug="p", version="1.0.0", tasks=(task("a", down="b"), task("b", "a")), hash="0" * 64)


def run(age: float = 5.0, **more: Any) -> Kept:
    row = RunRow(
        run_id="r", payload="", key=None, headers=(), position="in/0/0", accepted_at=NOW - age, deadline=NOW + 9, at="x"
    )
    return Kept(3, ids.run_key("r"), rows.encode(replace(row, **more)))


def step(name: str, state: str, *, due: float | None = None) -> Kept:
    row = StepRow(run_id="r", task=name, state=state, due=due)  # type: ignore[arg-type]  # the states by their words
    return Kept(3, ids.step_key("r", name), rows.encode(row))


def record(slug: str, event: events.Event, partition: int = 3) -> tuple[str, Record]:
    return slug, Record(slug, partition, 0, 0, b"r", events.encode(event), ())


def token(slug: str, source: str = "a") -> tuple[str, Record]:
    return record(slug, Token(run_id="r", source=source, report=Report(task=source, kind="value")))


BEGIN = Begin(run_id="r", payload="{}", key=None, headers=(), position="in/0/0", accepted_at=NOW - 5, deadline=NOW)


def look(*seen: tuple[str, Record] | Kept, plan: Plan = PLAN) -> Flight:
    (flight,) = look_all(*seen, plan=plan)
    return flight


def look_all(*seen: tuple[str, Record] | Kept, plan: Plan = PLAN) -> list[Flight]:
    records = [each for each in seen if isinstance(each, tuple)]
    kept = [each for each in seen if isinstance(each, Kept)]
    return observe(plan, records, kept, now=NOW)


@pytest.mark.parametrize(
    ("seen", "status", "at"),
    [
        ((record(START, BEGIN),), "waiting", "start"),
        ((record(START, BEGIN), run()), "running", "a"),
        ((run(),), "waiting", "start"),
        ((run(), token("a", START)), "running", "a"),
        ((run(), step("a", "calling", due=NOW + 9)), "calling", "a"),
        ((run(), step("a", "done"), step("b", "parked", due=NOW + 9)), "parked", "b"),
        ((run(), step("b", "waiting")), "waiting", "b"),
        ((run(), step("a", "calling", due=NOW + 9), step("b", "waiting")), "calling", "a"),
        ((run(), step("a", "parked", due=NOW + 9), token("b")), "running", "b"),
        ((run(), step("a", "done")), "waiting", "b"),
        ((run(), token(RESULT, "b")), "running", "result"),
        ((run(state="ended"),), "running", "result"),
    ],
)
def test_a_run_is_where_most_of_it_happens(seen: Any, status: str, at: str) -> None:
    flight = look(*seen)
    assert (flight.status, flight.task, flight.run_id, flight.home) == (status, at, "r", 3)
    assert flight.age(NOW) == 5


def test_what_has_ended_and_what_is_no_run_is_not_in_flight() -> None:
    stub = Kept(3, ids.run_key("s"), rows.encode(Stub("succeeded", 0, 0, 9)))
    garbage = (START, Record("s", 0, 0, 0, b"x", b"{", ()))
    assert look_all(stub, garbage, record(START, Cancel(run_id="r")), token("a"), step("a", "waiting")) == []


@pytest.mark.parametrize(
    ("seen", "idle"),
    [
        ((step("b", "waiting"),), True),
        ((), True),
        ((step("a", "done"),), True),
        ((token("b"),), False),
        ((record(START, BEGIN),), False),
        ((step("a", "calling", due=NOW + 1),), False),
        ((step("a", "parked", due=NOW + 3600), step("b", "waiting")), False),
        # a timer that was due a while ago: its attempt may still be under way
        ((step("a", "parked", due=NOW - TIMEOUT),), False),
        ((step("a", "parked", due=NOW - TIMEOUT - GRACE),), True),
        ((step("a", "calling", due=NOW - TIMEOUT - GRACE),), True),
    ],
)
def test_a_run_is_idle_when_no_record_no_call_and_no_time_will_move_it(seen: Any, idle: bool) -> None:
    assert look(run(age=STUCK_AFTER + 1), *seen).idle is idle


def test_a_run_that_moved_has_another_mark_and_one_that_did_not_has_the_same() -> None:
    before = look(run(), step("a", "calling", due=NOW))
    assert look(step("a", "calling", due=NOW), run()).mark == before.mark
    assert look(run(), step("a", "done")).mark != before.mark


def test_a_run_that_is_over_is_in_flight_no_more_though_the_slot_it_began_in_still_waits_for_its_script() -> None:
    stub = Kept(3, ids.run_key("r"), rows.encode(Stub("failed", 0, 7, NOW + 60)))
    assert look_all(record(START, BEGIN), stub) == []
