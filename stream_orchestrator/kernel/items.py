"""The items of containers: begun as runs of their own, at most so many at once, gathered when all have ended.

Promises
  * An item is begun by a record in the first inbox of its body, and tells its end to the inbox of its container. Both
    may come twice: whoever gets them knows the item.
  * What an item gave is durable (a `MemberRow`) before its end is acked. An item that has ended is not run again.
  * Items begin in order, each when one before it ends, so which are under way follows from which have ended: at most
    `limit` of a container's are, after a crash too.

What is kept beside the rows (`Gathering`) is computed from them, and computed again after a crash.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from stream_orchestrator.kernel import events, ids, outside
from stream_orchestrator.kernel.decision import Decision
from stream_orchestrator.kernel.events import Begin, Cancel, Ended, Nest, Report
from stream_orchestrator.kernel.kinds import Item, Spread
from stream_orchestrator.kernel.limits import MAX_RECORD
from stream_orchestrator.kernel.ports import Part
from stream_orchestrator.kernel.results import dumps
from stream_orchestrator.kernel.rows import MemberRow, RunRow, StepRow
from stream_orchestrator.kernel.scope import Surroundings, outputs_of
from stream_orchestrator.kernel.site import Site
from stream_orchestrator.plan.model import EVERYTHING, START, Body, TaskPlan
from stream_orchestrator.plan.templates import SKIPPED


@dataclass(slots=True)
class Gathering:
    """A container's wave under way: its items, and how many have ended. `begun` counts from the wave's first."""

    attempt: int
    wave: int
    spread: Spread
    reports: dict[int, Report] = field(default_factory=dict)
    seen: dict[int, dict[str, Any]] = field(default_factory=dict)  # by body, what all its items see alike

    @property
    def begun(self) -> int:
        """How many items have been begun: always the first ones."""
        return min(len(self.spread.items), len(self.reports) + self.spread.limit)

    @property
    def complete(self) -> bool:
        """Whether all have ended."""
        return len(self.reports) == len(self.spread.items)

    def failure(self) -> Report | None:
        """The first item that has failed, if one has."""
        return next((report for report in self.in_order() if report.kind == "failed"), None)

    def under_way(self) -> Iterator[int]:
        """The places of the items that run."""
        return (place for place in range(self.begun) if place not in self.reports)

    def in_order(self) -> tuple[Report, ...]:
        """What has ended, in the order of the items."""
        return tuple(self.reports[place] for place in sorted(self.reports))


@dataclass(frozen=True, slots=True)
class Items:
    """The items of one site's containers."""

    site: Site

    def gathering(
        self, part: Part, run: RunRow, task: TaskPlan, row: StepRow, spread: Spread | None = None
    ) -> Gathering:
        """The wave that a row is in; from the rows, unless it is known."""
        key = ids.step_key(run.run_id, task.slug)
        here = self.site.gatherings.setdefault(part, {})
        known: Gathering | None = here.get(key)
        if known is not None and (known.attempt, known.wave) == (row.attempts, row.wave):
            return known
        if spread is None:
            spread = self.site.stepper(task, run, part).emit(row).spread or Spread(items=(), limit=1)
        found = Gathering(row.attempts, row.wave, spread)
        for place in range(len(spread.items)):
            member = part.get(ids.member_key(run.run_id, task.slug, row.attempts, row.wave + place))
            if member is not None:
                found.reports[place] = member.report
        here[key] = found
        return found

    def begin(self, part: Part, run: RunRow, task: TaskPlan, decision: Decision) -> list[Future[Any] | None]:
        """Begin all that may run, or begin it once more: who has it knows it."""
        if decision.spread is None:
            return []
        row, now = decision.row, part.get(ids.step_key(run.run_id, task.slug))
        if not isinstance(now, StepRow) or not same_wave(row, now):
            return []  # it was given up while its row was written
        found = self.gathering(part, run, task, row, decision.spread)
        around = self.site.around(run)
        # The wave before: those before it went with the ones after them.
        over = self._forget(part, run, task, row.attempts, range(max(0, row.wave - 1), row.wave))
        return [self._begin(part, around, task, row, found, place) for place in found.under_way()] + over

    def keep(self, part: Part, run: RunRow, task: TaskPlan, row: StepRow, event: Ended) -> Future[Any] | None:
        """Write down what an item gave. None: it is known, or of another wave."""
        found = self.gathering(part, run, task, row)
        place = event.index - row.wave
        mine = event.item == ids.item_id(run.run_id, task.slug, row.attempts, event.index)
        if not mine or place in found.reports or not 0 <= place < len(found.spread.items):
            return None
        key = ids.member_key(run.run_id, task.slug, row.attempts, event.index)
        found.reports[place] = event.report
        part.set(key, MemberRow(run_id=run.run_id, task=task.name, index=event.index, report=event.report))
        return part.write(key)

    def next(self, part: Part, run: RunRow, task: TaskPlan, row: StepRow) -> Future[Any] | None:
        """Begin the item whose turn it is, now that one has ended."""
        found = self.gathering(part, run, task, row)
        place = found.begun - 1
        if len(found.reports) + found.spread.limit > len(found.spread.items):
            return None
        return self._begin(part, self.site.around(run), task, row, found, place)

    def drop(self, part: Part, run: RunRow, task: TaskPlan, row: StepRow) -> list[Future[Any] | None]:
        """Nobody waits for the items of this row's wave any more: those under way are cancelled, and those that may be:
        when a crash has taken what an item gave, the one that had begun in its stead is not known to us.
        """
        found = self.gathering(part, run, task, row)
        self._close(part, run, task)
        places = range(min(len(found.spread.items), found.begun + found.spread.limit))
        return [self._cancel(part, run, task, row, found, place) for place in places if place not in found.reports]

    def over(self, part: Part, run: RunRow, task: TaskPlan, row: StepRow) -> list[Future[Any] | None]:
        """The container has its outcome: what its items gave is in it, or is not needed."""
        self._close(part, run, task)
        attempts = range(1, row.attempts + 1)
        return [each for attempt in attempts for each in self._forget(part, run, task, attempt, range(row.members))]

    def _close(self, part: Part, run: RunRow, task: TaskPlan) -> None:
        here = self.site.gatherings.get(part, {})
        here.pop(ids.step_key(run.run_id, task.slug), None)

    def cut(self, part: Part, run: RunRow) -> list[Future[Any] | None]:
        """The run ends: all its items that are under way are cancelled."""
        rows = list(self._rows(part, run))
        return [each for task, row in rows if row.state == "gathering" for each in self.drop(part, run, task, row)]

    def left(self, part: Part, run: RunRow) -> list[Future[Any] | None]:
        """The run has ended: what its items gave goes."""
        return [each for task, row in self._rows(part, run) for each in self.over(part, run, task, row)]

    def _rows(self, part: Part, run: RunRow) -> Iterator[tuple[TaskPlan, StepRow]]:
        for task in self.site.containers:
            row = part.get(ids.step_key(run.run_id, task.slug))
            if isinstance(row, StepRow):
                yield task, row

    # --- records -------------------------------------------------------------------------------------------------

    def _begin(
        self, part: Part, around: Surroundings, task: TaskPlan, row: StepRow, found: Gathering, place: int
    ) -> Future[Any]:
        run, item, index = around.run, found.spread.items[place], row.wave + place
        item_id = ids.item_id(run.run_id, task.slug, row.attempts, index)
        if item.pipeline:
            return self._send_outside(part, around, task, item, item_id, index)
        home = self._home(part, item, item_id)
        now = part.now()
        deadline = run.deadline if found.spread.timeout is None else min(run.deadline, now + found.spread.timeout)
        traceparent = ids.traceparent(run.trace_id, ids.span_of(around.plan.slug, run.run_id, task.name))
        nest = Nest(
            parent=run.run_id,
            root=run.root,
            inbox=self.site.wires.inbox(task.slug),
            partition=part.number,
            path=(*self.site.path, f"{task.slug}.{item.body}"),
            index=index,
            label=f"{f'{run.nest.label}/' if run.nest else ''}{task.name}[{index}]",
            traceparent=traceparent,
            tasks=item.tasks,
            depth=outside.depth_of(run),
            until=outside.until_of(run),
            **_seen(found, around, row, task.bodies[item.body], item),
        )
        begin = Begin(
            run_id=item_id,
            payload="{}",
            key=run.key,
            headers=(),
            position=run.position,
            accepted_at=round(now, 6),
            deadline=deadline,
            trace_id=run.trace_id,
            nest=nest,
        )
        topic, value = self.site.wires.inside(task.slug, item.body).inbox(START), events.encode(begin)
        if len(value) > MAX_RECORD:
            return self._refuse(part, run, item_id, index=index, label=nest.label, inbox=nest.inbox)
        return part.publish(topic, partition=home, key=run.root.encode(), value=value)

    def _refuse(self, part: Part, run: RunRow, item_id: str, *, index: int, label: str, inbox: str) -> Future[Any]:
        """An item that no record can hold has failed before it began."""
        message = f"what it is given is larger than a record may be ({MAX_RECORD:,} bytes)"
        error = {"type": "TooLarge", "message": message, "reason": "too_large"}
        report = Report(task=label, kind="failed", error=error)
        ended = Ended(run_id=run.run_id, item=item_id, index=index, report=report)
        return part.publish(inbox, partition=part.number, key=run.root.encode(), value=events.encode(ended))

    def _send_outside(
        self, part: Part, around: Surroundings, task: TaskPlan, item: Item, item_id: str, index: int
    ) -> Future[Any]:
        """An event for another pipeline. Its result comes back by the way that the event carries along."""
        run, inbox = around.run, self.site.wires.inbox(task.slug)
        label = f"{task.name}[{item.name or item.pipeline}]"
        way = outside.Way(
            inbox=inbox,
            partition=part.number,
            run_id=run.run_id,
            item=item_id,
            index=index,
            label=label,
            depth=outside.depth_of(run) + 1,
            until=outside.until_of(run),
        )
        run_id = outside.run_id(around.plan.slug, item_id)
        trace = ids.traceparent(run.trace_id, ids.span_of(around.plan.slug, run.run_id, task.name))
        headers = (("run-id", run_id.encode()), ("traceparent", trace.encode()), (outside.WAY, outside.encode(way)))
        topic, value = self.site.wires.inputs[item.pipeline], dumps(item.values)
        if len(value) > MAX_RECORD:
            return self._refuse(part, run, item_id, index=index, label=label, inbox=inbox)
        return part.publish(topic, partition=None, key=run_id.encode(), value=value, headers=headers)

    def _cancel(
        self, part: Part, run: RunRow, task: TaskPlan, row: StepRow, found: Gathering, place: int
    ) -> Future[Any] | None:
        item = found.spread.items[place]
        if item.pipeline:
            return None  # the run of another pipeline is its own: it ends as it would have
        item_id = ids.item_id(run.run_id, task.slug, row.attempts, row.wave + place)
        topic = self.site.wires.inside(task.slug, item.body).inbox(START)
        value = events.encode(Cancel(run_id=item_id))
        return part.publish(topic, partition=self._home(part, item, item_id), key=run.root.encode(), value=value)

    def _home(self, part: Part, item: Item, item_id: str) -> int:
        return ids.partition_of(item_id, self.site.wires.partitions) if item.spread else part.number

    def _forget(
        self, part: Part, run: RunRow, task: TaskPlan, attempt: int, indices: range
    ) -> list[Future[Any] | None]:
        keys = (ids.member_key(run.run_id, task.slug, attempt, index) for index in indices)
        return [part.delete(key) for key in keys if part.get(key) is not None]


def same_wave(before: StepRow, after: StepRow) -> bool:
    """Whether a container waits for the same items as before."""
    same = (before.attempts, before.wave) == (after.attempts, after.wave)
    return same and after.state == "gathering"


def _seen(found: Gathering, around: Surroundings, row: StepRow, body: Body, item: Item) -> dict[str, Any]:
    """What an item sees of the scope around it, and what it alone sees."""
    alike = found.seen.get(item.body)
    if alike is None:
        alike = found.seen[item.body] = _alike(around, row, body)
    return {**alike, "values": {**alike["values"], **item.values}, "names": {**alike["names"], **item.names}}


def _alike(around: Surroundings, row: StepRow, body: Body) -> dict[str, Any]:
    """What all items of a body see of the scope around them: only what its texts name."""
    outputs = {**around.outputs, **outputs_of(row, skipped=SKIPPED)}
    reads = (*around.names, *around.values, *outputs) if EVERYTHING in body.reads else body.reads
    named = {name: outputs[name] for name in reads if name in outputs}
    names = {name: around.names[name] for name in reads if name in around.names and name not in around.values}
    return {
        "values": {name: around.values[name] for name in reads if name in around.values},
        "outputs": {name: value for name, value in named.items() if value is not SKIPPED},
        "names": names,
        "skipped": tuple(name for name, value in named.items() if value is SKIPPED),
    }
