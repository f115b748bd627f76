"""Runs in flight, where each of them is, and which of them nothing will move: by topics and tables alone.

Promises
  * A run is `stuck` when it is older than `STUCK_AFTER` and has no open wait: no record of it that its worker has not
    acked, no call that may still be answered, no time it is parked for. Nobody will touch it before its deadline.
  * That is said only of a run that was so in two looks, and had not changed in between: a run on its way between two
    tasks is never called stuck.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from stream_orchestrator.kernel import events, ids, rows
from stream_orchestrator.kernel.events import Cancel
from stream_orchestrator.kernel.rows import RunRow, StepRow, Stub
from stream_orchestrator.plan import names
from stream_orchestrator.plan.model import RESULT, START, Plan, ways
from stream_orchestrator.streaming.acked import unacked
from stream_orchestrator.streaming.client import Outgoing, produce
from stream_orchestrator.streaming.deployments import Deployment
from stream_orchestrator.streaming.history import Kept, begins, event_of, table
from stream_orchestrator.streaming.records import Record
from stream_orchestrator.streaming.settings import StreamSettings

STUCK_AFTER = 600.0  # seconds: longer than any pause between two steps, shorter than anybody's patience
GRACE = 60.0  # seconds in which a timer that is due, or a reply, may still come: a rebalance takes no longer
SECOND_LOOK = 2.0
AGAIN = 0.5

Status = Literal["running", "calling", "parked", "waiting"]
PRECEDENCE: tuple[Status, ...] = ("running", "calling", "parked", "waiting")


@dataclass(frozen=True, slots=True, kw_only=True)
class Flight:
    """A run in flight: at which task, in which state, since when; and the partition that is its home.

    running: a record of it is in that task's inbox, or its work is under way. calling: that task waits for an answer.
    parked: it waits for a time. waiting: it waits for other tasks, or (at `start`) to begin.
    """

    run_id: str
    plan: Plan
    status: Status
    task: str
    accepted_at: float
    home: int
    idle: bool = False  # nothing is open that would move it
    mark: bytes = b""  # of all that its table has of it: equal marks, nothing moved

    def age(self, now: float) -> float:
        """Seconds since it was accepted."""
        return max(0.0, now - self.accepted_at)


@dataclass(slots=True)
class _Trace:
    """What topics and table have of one run."""

    home: int
    accepted_at: float
    ended: bool = False
    begun: bool = False
    places: dict[str, Status] = field(default_factory=dict)  # slug → the state there
    done: set[str] = field(default_factory=set)
    open: bool = False
    rows: list[bytes] = field(default_factory=list)

    def at(self, slug: str, status: Status) -> None:
        known = self.places.get(slug, "waiting")
        self.places[slug] = min(known, status, key=PRECEDENCE.index)


async def flights(settings: StreamSettings, prefix: str, deployed: Iterable[Deployment]) -> list[Flight]:
    """Every run in flight of these versions, oldest first."""
    now = time.time()
    found = [flight for each in deployed for flight in await _look(settings, prefix, each.plan, now=now)]
    return sorted(found, key=lambda flight: (flight.accepted_at, flight.run_id))


async def stuck(settings: StreamSettings, prefix: str, deployed: Sequence[Deployment]) -> list[Flight]:
    """Those of them that nothing will move."""
    before = _idle(await flights(settings, prefix, deployed), time.time())
    if not before:
        return []
    await asyncio.sleep(SECOND_LOOK)
    after = _idle(await flights(settings, prefix, deployed), time.time())
    return [flight for key, flight in after.items() if key in before and before[key].mark == flight.mark]


async def cancel(settings: StreamSettings, prefix: str, chosen: Iterable[Flight]) -> None:
    """Ask the homes of these runs to end them; returns when the broker has the request. Asking twice is asking once."""
    orders: dict[str, list[Outgoing]] = defaultdict(list)
    for flight in chosen:
        value = events.encode(Cancel(run_id=flight.run_id))
        headers = (("run-id", flight.run_id.encode()),)
        order = Outgoing(value, key=flight.run_id.encode(), headers=headers, partition=flight.home)
        orders[names.inbox(prefix, flight.plan, START)].append(order)
    for inbox, records in orders.items():
        await produce(settings, inbox, records)


async def going_on(settings: StreamSettings, prefix: str, chosen: Sequence[Flight], *, timeout: float) -> set[str]:
    """Wait until these runs have ended; the ids of those that have not in that time."""
    plans = {names.version_id(flight.plan): flight.plan for flight in chosen}
    left = {flight.run_id for flight in chosen}
    give_up = time.monotonic() + timeout
    while left:
        found = [flight for plan in plans.values() for flight in await _look(settings, prefix, plan, now=time.time())]
        left &= {flight.run_id for flight in found}
        if not left or time.monotonic() > give_up:
            break
        await asyncio.sleep(AGAIN)
    return left


def _idle(found: Iterable[Flight], now: float) -> dict[tuple[str, str], Flight]:
    return {
        (names.version_id(flight.plan), flight.run_id): flight
        for flight in found
        if flight.idle and flight.age(now) >= STUCK_AFTER
    }


async def _look(settings: StreamSettings, prefix: str, plan: Plan, *, now: float) -> list[Flight]:
    """Inboxes first: what was acked by then has its rows in the table that is read after them."""
    inboxes = {names.inbox(prefix, plan, slug): slug for slug in (START, *(t.slug for t in plan.tasks), RESULT)}
    records = await unacked(settings, names.app_id(prefix, plan), *inboxes)
    kept = await table(settings, names.table_topic(prefix, plan))
    return observe(plan, [(inboxes[record.topic], record) for record in records], kept, now=now)


def observe(plan: Plan, records: Sequence[tuple[str, Record]], kept: Sequence[Kept], *, now: float) -> list[Flight]:
    """The runs that these unacked records (with the slug of their inbox) and these rows tell of."""
    traces: dict[str, _Trace] = {}
    read = [(each, rows.decode(each.value)) for each in kept]
    over = {each.key for each, row in read if isinstance(row, Stub)}
    for home, begin in begins(record for slug, record in records if slug == START):
        if ids.run_key(begin.run_id) in over:
            continue  # what it began with is not acked: its slot waits for a script, or answers a copy
        traces.setdefault(begin.run_id, _Trace(home, begin.accepted_at, open=True)).at(START, "waiting")
    steps = [(row, each.value) for each, row in read if isinstance(row, StepRow)]
    for each, row in read:
        if isinstance(row, RunRow) and row.nest is None:
            _see_run(traces, each, row)
    for step, value in steps:
        if (trace := traces.get(step.run_id)) is not None:
            trace.rows.append(value)
            _see_step(trace, plan, step, now=now)
    for slug, record in records:
        event = event_of(record)
        trace = traces.get(event.run_id) if event is not None else None
        if trace is not None and slug != START:
            trace.open = True
            trace.at(slug, "running")
    return [_flight(plan, run_id, trace) for run_id, trace in traces.items()]


def _see_run(traces: dict[str, _Trace], kept: Kept, run: RunRow) -> None:
    trace = traces.setdefault(run.run_id, _Trace(kept.partition, run.accepted_at))
    trace.begun = True
    trace.ended = run.state == "ended"
    trace.rows.append(kept.value)


def _see_step(trace: _Trace, plan: Plan, step: StepRow, *, now: float) -> None:
    task = next((each for each in plan.tasks if each.name == step.task), None)
    slug = task.slug if task is not None else step.task
    if step.state == "done":
        trace.done.add(slug)
        return
    trace.at(slug, "running" if step.state == "gathering" else step.state)
    if step.due is not None:
        # What a timer began leaves its row as it was: the attempt may take as long as it is allowed to.
        # What it gives on is taken by other tasks at once, so it may be any of them that runs.
        attempt = max((way.timeout for way in ways(plan.tasks)), default=0.0)
        trace.open |= step.due + attempt + GRACE > now


def _flight(plan: Plan, run_id: str, trace: _Trace) -> Flight:
    status, slug = _whereabouts(plan, trace)
    return Flight(
        run_id=run_id,
        plan=plan,
        status=status,
        task=_name(plan, slug),
        accepted_at=trace.accepted_at,
        home=trace.home,
        idle=not trace.open,
        mark=ids.digest(*sorted(trace.rows)),
    )


def _whereabouts(plan: Plan, trace: _Trace) -> tuple[Status, str]:
    """The place that says most: where something runs, else what is waited for; among equals the first of the plan."""
    if trace.ended:
        return "running", RESULT
    if not trace.begun:
        return "waiting", START
    if not trace.places:
        return "waiting", _after(plan, trace.done)
    if set(trace.places) == {START}:  # it has begun, and goes on in the slot that it began in
        return "running", next(task.slug for task in plan.tasks if task.upstream == (START,))
    order = (START, *(task.slug for task in plan.tasks), RESULT)
    slug = min(trace.places, key=lambda each: (PRECEDENCE.index(trace.places[each]), order.index(each)))
    return trace.places[slug], slug


def _after(plan: Plan, done: set[str]) -> str:
    """What should come after the last task that is known to be done."""
    last = [task for task in plan.tasks if task.slug in done]
    following = last[-1].downstream[0] if last else START
    return next((task.slug for task in plan.tasks if task.name == following), following)


def _name(plan: Plan, slug: str) -> str:
    return next((each.name for each in plan.tasks if each.slug == slug), slug.strip(":"))
