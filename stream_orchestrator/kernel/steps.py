"""The tasks' inboxes: tokens and replies go through `apply`, and what it asks for is carried out.

The synchronous half changes the row, before anybody else can look; what it returns is the waiting.
"""

from __future__ import annotations

from asyncio import Future
from dataclasses import dataclass
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from stream_orchestrator.kernel import events, ids
from stream_orchestrator.kernel.apply import Decision
from stream_orchestrator.kernel.events import Reply, Token
from stream_orchestrator.kernel.inbox import Handle, Work, ended_by, together
from stream_orchestrator.kernel.lifecycle import Lifecycle
from stream_orchestrator.kernel.limits import MAX_RECORD
from stream_orchestrator.kernel.ports import Arrived, Part
from stream_orchestrator.kernel.rows import RunRow, StepRow, hollow
from stream_orchestrator.kernel.site import Site, live
from stream_orchestrator.kernel.telling import Telling
from stream_orchestrator.kernel.wires import CallRecord, call_record
from stream_orchestrator.plan.model import TaskPlan


class Parcel(Struct, frozen=True):
    """What a decision publishes, as bytes: the one token of all its edges, and its call."""

    token: bytes | None
    call: CallRecord | None

    def weight(self, row: StepRow) -> int:
        """The largest record that comes of it: the row holds all that arrived, and the step's own report."""
        return max(row.size + len(self.token or b""), len(self.call.value) if self.call else 0)


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps of one version's runs."""

    site: Site
    runs: Lifecycle
    telling: Telling

    def inbox_of(self, task: TaskPlan) -> Handle:
        """What a task's inbox does with an event."""
        return lambda event, record, part: self.receive(task, event, record, part)

    def receive(self, task: TaskPlan, event: events.Event, record: Arrived, part: Part) -> Work | None:
        """A token or a reply in a task's inbox."""
        run = live(part, event.run_id)
        decision = None if run is None else self._decide(task, run, event, record=record, part=part)
        if run is None or decision is None or decision.duplicate:
            self.telling.late(event)
            return None
        return self._carry(part, task, ids.step_key(run.run_id, task.slug), decision)

    def _decide(
        self, task: TaskPlan, run: RunRow, event: events.Event, *, record: Arrived, part: Part
    ) -> Decision | None:
        row: StepRow | None = part.get(ids.step_key(run.run_id, task.slug))
        stepper, size = self.site.stepper(task, run, part), len(record.value or b"")
        match event:
            case Token() if event.source in task.upstream:
                return stepper.on_token(row, event, record.position, size=size)
            case Reply():
                return stepper.on_reply(row, event, record.position, size=size)
        return None

    def on_due(self, part: Part, key: bytes, row: StepRow) -> Work | None:
        """A step's time has come."""
        if row.due is None or row.due > part.now():
            return None
        run = live(part, row.run_id)
        if run is None:
            return ended_by(part.delete(key))
        task = self.site.plan.task(row.task)
        decision = self.site.stepper(task, run, part).on_due(row)
        return None if decision.duplicate else self._carry(part, task, key, decision)

    def resume(self, part: Part, key: bytes, row: StepRow) -> Work | None:
        """What a timer began before a crash: no record will come again for it."""
        run = live(part, row.run_id)
        if run is None or row.at or row.state not in {"calling", "done"}:
            return None
        task = self.site.plan.task(row.task)
        return self._carry(part, task, key, self.site.stepper(task, run, part).emit(row))

    # --- effects -------------------------------------------------------------------------------------------------

    def _carry(self, part: Part, task: TaskPlan, key: bytes, decision: Decision) -> Work:
        self._settle(part, key, decision)
        return self._effects(part, task, key, decision)

    def _settle(self, part: Part, key: bytes, decision: Decision) -> None:
        part.set(key, decision.row)
        if decision.abort:
            self._abort(part, decision.row)

    async def _effects(self, part: Part, task: TaskPlan, key: bytes, decision: Decision) -> None:
        told = list(decision.transitions)
        while decision.script is not None:
            done = await self.site.scripts.run(decision.script)
            told.extend(self.telling.heard(task, decision.script, done))
            run, row = live(part, decision.row.run_id), part.get(key)
            if run is None or row is None:
                return  # the run ended while the script ran: nobody waits for it
            decision = self.site.stepper(task, run, part).on_script(row, done)
            told.extend(decision.transitions)
            self._settle(part, key, decision)
        run = live(part, decision.row.run_id)
        if run is None:
            return
        parcel = self._parcel(part, task, run, decision)
        if parcel.weight(decision.row) > MAX_RECORD:
            await self.runs.overflow(part, run, task, decision.row)
            return
        if decision.first:
            await together(part.write(key), part.write(ids.run_key(run.run_id)) if decision.abort else None)
        await together(
            *(self.site.send(part, self.site.slug(name), token, parcel.token) for name, token in decision.edges(task)),
            _ask(part, parcel.call),
            part.write(key) if decision.durable and not decision.first else None,
            self.telling.audit(part, run, task.name, decision.row.at, told),
        )
        if decision.row.state == "done":
            await self._ended(part, run, task, key, decision)

    async def _ended(self, part: Part, run: RunRow, task: TaskPlan, key: bytes, decision: Decision) -> None:
        if decision.transitions:
            self.telling.step_ended(run, task, decision.row)
        if part.get(key) is not decision.row:
            return  # the run has ended meanwhile, and its rows are gone
        if decision.hollow:
            part.set(key, hollow(decision.row))
            await part.write(key)
        elif not decision.durable:
            part.delete(key)

    def _parcel(self, part: Part, task: TaskPlan, run: RunRow, decision: Decision) -> Parcel:
        token = events.encode(decision.tokens[0]) if decision.tokens else None
        call = None if decision.call is None else call_record(self.site.wires, part.number, task, run, decision.call)
        return Parcel(token, call)

    def _abort(self, part: Part, row: StepRow) -> None:
        """The run takes no new steps; the parked ones wake at once, to pass on that they are cancelled."""
        run = live(part, row.run_id)
        if run is None or run.aborted_by:
            return
        part.set(ids.run_key(row.run_id), replace(run, aborted_by=row.task))
        for task in self.site.plan.tasks:
            key = ids.step_key(row.run_id, task.slug)
            step = part.get(key)
            if isinstance(step, StepRow) and step.state == "parked":
                part.set(key, replace(step, due=part.now()))


def _ask(part: Part, call: CallRecord | None) -> Future[Any] | None:
    if call is None:
        return None
    return part.publish(call.topic, partition=call.partition, key=call.key, value=call.value, headers=call.headers)
