"""Where runs begin, go on and end: the pipeline itself, and the bodies of its containers.

Most bodies are known with the plan, and each of their tasks has an inbox. Those of an open body come with each item:
its tasks share one inbox, and what to do with a record is looked up in the plan that the item brought.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from stream_orchestrator.kernel import events, ids
from stream_orchestrator.kernel.events import Begin, Reply, Undecodable
from stream_orchestrator.kernel.inbox import Handle, Inbox
from stream_orchestrator.kernel.items import Items
from stream_orchestrator.kernel.lifecycle import Lifecycle
from stream_orchestrator.kernel.ports import Arrived, Part, Work
from stream_orchestrator.kernel.rows import RunRow, StepRow
from stream_orchestrator.kernel.site import Site
from stream_orchestrator.kernel.steps import Steps
from stream_orchestrator.kernel.telling import Telling
from stream_orchestrator.kernel.wires import TO, Shared
from stream_orchestrator.plan.codec import tasks_from_json
from stream_orchestrator.plan.model import RESULT, SHARED, START, TaskPlan

KNOWN_PLANS = 256  # of open bodies, kept in memory; one more is read again


@dataclass(frozen=True, slots=True)
class Room:
    """The runs of one site."""

    site: Site
    runs: Lifecycle
    steps: Steps

    def agents(self) -> Iterator[Inbox]:
        """One agent per task, and `start` and `result`."""
        yield _inbox(self.site, START, self.steps.on_begin)
        for task in self.site.plan.tasks:
            yield _inbox(self.site, task.slug, self.steps.inbox_of(task))
        yield _inbox(self.site, RESULT, self.runs.on_last)

    def of(self, run: RunRow) -> Room:
        """Where a run of this site is at home: here."""
        return self


@dataclass(frozen=True, slots=True)
class OpenRoom:
    """The runs of an open body, each with tasks of its own."""

    site: Site
    _rooms: OrderedDict[str, Room] = field(default_factory=OrderedDict)

    def agents(self) -> Iterator[Inbox]:
        """`start`, `result`, and one for all tasks."""
        yield _inbox(self.site, START, self._on_begin)
        yield Inbox(self.site.wires.inbox(SHARED), self.site.wires.internal_dlq, self._on_task)
        yield _inbox(self.site, RESULT, self._on_last)

    def of(self, run: RunRow) -> Room:
        """The room of the tasks that a run brought."""
        return self._room(run.nest.tasks if run.nest else "[]")

    def _room(self, tasks: str) -> Room:
        known = self._rooms.get(tasks)
        if known is None:
            wires = Shared(**{each: getattr(self.site.wires, each) for each in self.site.wires.__struct_fields__})
            plan = replace(self.site.plan, tasks=tasks_from_json(tasks))
            # All tasks share an inbox, so a position does not tell whose record it was: tokens travel.
            known = self._rooms[tasks] = room(self.site.with_its_own(plan=plan, wires=wires, passing=False))
            if len(self._rooms) > KNOWN_PLANS:
                self._rooms.popitem(last=False)
        return known

    def _on_begin(self, event: events.Event, record: Arrived, part: Part) -> Work | None:
        if isinstance(event, Begin):
            return self._brought(event).steps.on_begin(event, record, part)
        found = self._of(part, event)
        return None if found is None else found.steps.on_begin(event, record, part)

    def _brought(self, event: Begin) -> Room:
        try:
            return self._room(event.nest.tasks if event.nest else "[]")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Undecodable(f"the run {event.run_id} brings tasks that cannot be read: {error}") from error

    def _on_task(self, event: events.Event, record: Arrived, part: Part) -> Work | None:
        found = self._of(part, event)
        task = None if found is None else _meant(found, event, record, part)
        if found is None or task is None:
            return None
        return found.steps.receive(task, event, record, part)

    def _on_last(self, event: events.Event, record: Arrived, part: Part) -> Work | None:
        found = self._of(part, event)
        return None if found is None else found.runs.on_last(event, record, part)

    def _of(self, part: Part, event: events.Event) -> Room | None:
        run = part.get(ids.run_key(event.run_id))
        if isinstance(run, RunRow) and self.site.holds(run.nest):
            return self.of(run)
        Telling(self.site).late(event)
        return None


def room(site: Site) -> Room:
    """The room of a site."""
    telling, items = Telling(site), Items(site)
    runs = Lifecycle(site, telling, items)
    return Room(site, runs, Steps(site, runs, telling, items))


def _meant(found: Room, event: events.Event, record: Arrived, part: Part) -> TaskPlan | None:
    """The task that a record of the shared inbox is for: a token says it, an answer is known by its call."""
    slug = (record.header(TO) or b"").decode(errors="replace")
    for task in found.site.plan.tasks:
        if isinstance(event, Reply):
            row = part.get(ids.step_key(event.run_id, task.slug))
            if isinstance(row, StepRow) and row.call_id == event.call_id:
                return task
        elif task.slug == slug:
            return task
    return None


def _inbox(site: Site, slug: str, handle: Handle) -> Inbox:
    return Inbox(site.wires.inbox(slug), site.wires.internal_dlq, handle)
