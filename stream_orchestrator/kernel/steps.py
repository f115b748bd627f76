"""The tasks' inboxes: tokens and replies go through `apply`, and what it asks for is carried out.

The synchronous half changes the row, before anybody else can look; what it returns is the waiting.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from dataclasses import dataclass
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from stream_orchestrator.kernel import events, ids
from stream_orchestrator.kernel.decision import Decision
from stream_orchestrator.kernel.effects import RunScript, ScriptDone
from stream_orchestrator.kernel.events import Ended, Reply, Report, Token
from stream_orchestrator.kernel.inbox import Handle, ended_by, together
from stream_orchestrator.kernel.items import Items, same_wave
from stream_orchestrator.kernel.lifecycle import Lifecycle
from stream_orchestrator.kernel.limits import MAX_RECORD
from stream_orchestrator.kernel.ports import Arrived, Part, Work
from stream_orchestrator.kernel.results import dumps
from stream_orchestrator.kernel.rows import RunRow, StepRow, Transition, hollow
from stream_orchestrator.kernel.site import Site
from stream_orchestrator.kernel.slot import DUE, QUIET_SECONDS, Passed, Slot
from stream_orchestrator.kernel.telling import Telling
from stream_orchestrator.kernel.wires import CallRecord, call_record
from stream_orchestrator.plan.model import RESULT, START, TaskPlan

ASKS_SOON = 0.02  # seconds between looks whether a script that runs again has asked: only after a crash


class Parcel(Struct, frozen=True):
    """What a decision publishes, as bytes: the one token of all its edges, and its call."""

    token: bytes | None
    call: CallRecord | None

    def weight(self, row: StepRow) -> int:
        """The largest record that comes of it: the row holds all that arrived, and the step's own report, or what it
        keeps until then.
        """
        kept = 0 if row.carry is None else len(dumps(row.carry))
        return max(row.size + kept + len(self.token or b""), len(self.call.value) if self.call else 0)


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps of one version's runs."""

    site: Site
    runs: Lifecycle
    telling: Telling
    items: Items

    def on_begin(self, event: events.Event, record: Arrived, part: Part) -> Work | None:
        """A run arrives at its home, or a copy of it, or somebody who cancels it."""
        begun = self.runs.on_begin(event, record, part)
        return self._open(part, begun, record.position) if isinstance(begun, RunRow) else begun

    def inbox_of(self, task: TaskPlan) -> Handle:
        """What a task's inbox does with an event."""
        return lambda event, record, part: self.receive(task, event, record, part)

    def receive(self, task: TaskPlan, event: events.Event, record: Arrived, part: Part) -> Work | None:
        """A token or a reply in a task's inbox."""
        run, size = self.site.live(part, event.run_id), len(record.value or b"")
        key, decision = ids.step_key(event.run_id, task.slug), None
        match event:
            case Token() if run is not None and event.source in task.upstream:
                task, key, decision = self._taken(part, task, run, event, at=record.position, size=size)
            case Ended() if run is not None:
                return self._item_ended(part, run, task, event, record)
            case Reply() if run is not None and _asks_again(part.get(key), event):
                return self._once_asked(task, event, record, part)
            case Reply() if run is not None:
                stepper = self.site.stepper(task, run, part)
                decision = stepper.on_reply(part.get(key), event, record.position, size=size)
        if decision is None or decision.duplicate:
            self.telling.late(event)
            return None
        return self._carry(part, task, key, decision=decision, slot=Slot(at=record.position))

    async def _once_asked(self, task: TaskPlan, event: Reply, record: Arrived, part: Part) -> None:
        """After a crash a script runs again in order to ask again, and meanwhile the answer comes. It waits for the
        question: the service has told it for the last time, and takes the question for a copy.
        """
        key = ids.step_key(event.run_id, task.slug)
        while self.site.live(part, event.run_id) and _asks_again(part.get(key), event):
            await asyncio.sleep(ASKS_SOON)
        work = self.receive(task, event, record, part)
        if work is not None:
            await work

    def _taken(
        self, part: Part, task: TaskPlan, run: RunRow, token: Token, *, at: str, size: int = 0
    ) -> tuple[TaskPlan, bytes, Decision]:
        """Who takes a token, and what it decides. A step whose own token was passed before a crash is not run again:
        the one that has it goes on.
        """
        key = ids.step_key(run.run_id, task.slug)
        row: StepRow | None = part.get(key)
        ahead = self._ahead(part, run, task) if row is None else None
        if ahead is None:
            return task, key, self.site.stepper(task, run, part).on_token(row, token, at, size=size)
        task, row = ahead
        return task, ids.step_key(run.run_id, task.slug), self.site.stepper(task, run, part).again(row, at)

    def _ahead(self, part: Part, run: RunRow, task: TaskPlan) -> tuple[TaskPlan, StepRow] | None:
        """The step down the line that has this one's token already, or the token of one that it was passed through."""
        while self.site.passing and len(task.downstream) == 1 and task.downstream[0] != RESULT:
            following = self.site.plan.task(task.downstream[0])
            row = part.get(ids.step_key(run.run_id, following.slug))
            if isinstance(row, StepRow):
                return (following, row) if task.name in row.tokens or row.state == "done" else None
            if len(following.upstream) > 1:
                return None
            task = following
        return None

    def _item_ended(self, part: Part, run: RunRow, task: TaskPlan, event: Ended, record: Arrived) -> Work | None:
        """An item of a container has ended: the next begins, or the container goes on."""
        key = ids.step_key(run.run_id, task.slug)
        row: StepRow | None = part.get(key)
        if row is not None and row.state != "gathering" and row.at == record.position:
            again = self.site.stepper(task, run, part).emit(row)
            return None if again.duplicate else self._carry(part, task, key, decision=again, slot=Slot(at=row.at))
        gathering = row is not None and row.state == "gathering"
        kept = self.items.keep(part, run, task, row, event) if row is not None and gathering else None
        if row is None or kept is None:
            self.telling.late(event)
            return None
        slot = Slot(at=record.position, early=[kept])
        decision = self._gathered(part, run, task, row, failed=event.report)
        if decision is None:
            return ended_by(kept, self.items.next(part, run, task, row))
        return self._carry(part, task, key, decision=_at(decision, record.position), slot=slot)

    def _gathered(
        self, part: Part, run: RunRow, task: TaskPlan, row: StepRow, *, failed: Report | None = None
    ) -> Decision | None:
        """What follows for a container from the items that have ended; None while others are to come."""
        found = self.items.gathering(part, run, task, row)
        failure = failed if failed and failed.kind == "failed" else None if failed else found.failure()
        if failure is None and not found.complete:
            return None
        reports, stepper = found.in_order(), self.site.stepper(task, run, part)
        if not found.spread.items:
            return stepper.emit(row)  # asked again, it wants none: something outside has changed since it began
        if failure is not None:
            return stepper.on_failed_item(row, failure, reports)
        return stepper.on_items(row, reports)

    def _ended_items(self, part: Part, run: RunRow, task: TaskPlan, row: StepRow) -> tuple[Report, ...]:
        return self.items.gathering(part, run, task, row).in_order() if row.state == "gathering" else ()

    def on_due(self, part: Part, key: bytes, row: StepRow) -> Work | None:
        """A step's time has come."""
        if row.due is None or row.due > part.now():
            return None
        run = self.site.live(part, row.run_id)
        if run is None:
            return ended_by(part.delete(key))
        task, slot = self.site.plan.task(row.task), Slot(at=f"{DUE}{row.task}/{row.attempts}")
        ahead = self._ahead(part, run, task)
        if ahead is None:
            decision = self.site.stepper(task, run, part).on_due(row, self._ended_items(part, run, task, row))
        else:  # it had ended, and was passed on, when a crash took that
            part.set(key, hollow(row))
            task, row = ahead
            key = ids.step_key(run.run_id, task.slug)
            decision = self.site.stepper(task, run, part).again(row, slot.at)
        return None if decision.duplicate else self._carry(part, task, key, decision=decision, slot=slot)

    def resume(self, part: Part, key: bytes, row: StepRow) -> Work | None:
        """What a timer began before a crash: no record will come again for it."""
        run = self.site.live(part, row.run_id)
        begun_by_timer = not row.at and row.state in {"calling", "done"}
        if run is None or not (begun_by_timer or row.state == "gathering"):
            return None
        task = self.site.plan.task(row.task)
        if row.state == "gathering" and run.aborted_by:
            # That it is to end at once was in memory only.
            over = self.site.stepper(task, run, part).on_due(row, self._ended_items(part, run, task, row))
            return self._carry(part, task, key, decision=over, slot=Slot(at="again"))
        if row.state == "gathering" and (gathered := self._gathered(part, run, task, row)) is not None:
            return self._carry(part, task, key, decision=_at(gathered, ""), slot=Slot(at="again"))
        decision = self.site.stepper(task, run, part).emit(row)
        return self._carry(part, task, key, decision=decision, slot=Slot(at="again"))

    # --- effects -------------------------------------------------------------------------------------------------

    def _carry(self, part: Part, task: TaskPlan, key: bytes, *, decision: Decision, slot: Slot) -> Work:
        self._settle(part, key, decision, slot)
        return self._go_on(part, task, key, decision=decision, slot=slot)

    def _settle(self, part: Part, key: bytes, decision: Decision, slot: Slot) -> None:
        before, row = part.get(key), decision.row
        if isinstance(before, StepRow) and before.state == "gathering" and not same_wave(before, row):
            self._drop(part, before, slot)
        part.set(key, row)
        if decision.abort:
            self._abort(part, row)

    def _drop(self, part: Part, row: StepRow, slot: Slot) -> None:
        """A container waits no more for the items that it waited for."""
        run = self.site.live(part, row.run_id)
        if run is not None:
            orders = [each for each in self.items.drop(part, run, self.site.plan.task(row.task), row) if each]
            slot.orders += orders
            slot.early += orders

    async def _open(self, part: Part, run: RunRow, at: str) -> None:
        """A run begins: its one first task takes the token here, several find it in their inboxes."""
        slot = Slot(at=at, opening=True)
        if run.nest is None:
            slot.tell(START, [Transition("accepted", run.attempt, {"position": run.position})], now=part.now())
        first = self.runs.first(run)
        roots = [task for task in self.site.plan.tasks if task.upstream == (START,)]
        self.telling.began(run)
        if len(roots) == 1 and self.site.passing:
            task, key, decision = self._taken(part, roots[0], run, first, at=at)
            if not self._must_wait(slot, decision):
                await self._carry(part, task, key, decision=decision, slot=slot)
                return
        told = self.telling.audit(part, run, at, slot.take_told())
        await together(told, part.write(ids.run_key(run.run_id)))
        await together(*(self.site.send(part, task.slug, first) for task in roots))

    async def _go_on(self, part: Part, task: TaskPlan, key: bytes, *, decision: Decision, slot: Slot) -> None:
        """From task to task while a token can be taken here; then everything that others wait for goes out."""
        while True:
            run, done = await self._scripted(part, task, key, decision=decision, slot=slot)
            if run is None:
                await self._over(part, decision.row.run_id, slot)
                return
            decision, parcel = done, self._parcel(part, task, run, done)
            if parcel.weight(decision.row) > MAX_RECORD:
                await self.runs.overflow(part, run, task, row=decision.row, slot=slot)
                return
            following = self._next(part, run, task, decision=decision, parcel=parcel, slot=slot)
            if following is None:
                await self._send(part, run, task, key, decision=decision, parcel=parcel, slot=slot)
                break
            slot.passed.append(Passed(task, key, decision))
            if isinstance(following, str):
                size = len(parcel.token or b"")
                await self.runs.arrived(part, run, decision.tokens[0], size=size, slot=slot)
                break
            task, key, decision = following
            self._settle(part, key, decision, slot)
            if decision.duplicate:
                # Another slot goes on from here, and only that one knows when what was passed is durable.
                self.telling.late(slot.passed[-1].decision.tokens[0])
                slot.passed.clear()
        for each in slot.passed:
            await self._ended(part, run, each.task, each.key, each.decision)

    def _next(
        self, part: Part, run: RunRow, task: TaskPlan, *, decision: Decision, parcel: Parcel, slot: Slot
    ) -> tuple[TaskPlan, bytes, Decision] | str | None:
        """Who takes the one token here, and what it decides, or that it is the result. None: it has to be sent."""
        if parcel.token is None or part.leaving or not (self.site.passing and slot.may_pass(decision)):
            return None
        (name,), (token, *_) = task.downstream, decision.tokens
        if name == RESULT:
            return RESULT
        task = self.site.plan.task(name)
        key = ids.step_key(run.run_id, task.slug)
        taken = self.site.stepper(task, run, part).on_token(part.get(key), token, slot.at, size=len(parcel.token))
        return None if self._must_wait(slot, taken) else (task, key, taken)

    def _must_wait(self, slot: Slot, decision: Decision) -> bool:
        """Runs come as they please. A script that others come before, or that takes its time, waits in an inbox: slots
        that runs begin in are for timers and cancels, too.
        """
        return slot.opening and decision.script is not None and not self.site.scripts.prompt(decision.script)

    async def _over(self, part: Part, run_id: str, slot: Slot) -> None:
        """The run ended meanwhile, and nobody waits for this; but a crash may take its end, and then this is needed."""
        await together(*slot.early)
        key = ids.run_key(run_id)
        if part.get(key) is not None:
            await part.write(key)  # behind the row that the end wrote, in its lane

    async def _scripted(
        self, part: Part, task: TaskPlan, key: bytes, *, decision: Decision, slot: Slot
    ) -> tuple[RunRow | None, Decision]:
        """Run what the decision wants to have run, until it wants something else; and the run, if it still goes on."""
        slot.tell(task.name, decision.transitions, now=part.now())
        slot.early += self.site.keep(part, decision.signals)
        before = self.site.live(part, decision.row.run_id)
        while decision.script is not None:
            done = await self._patiently(part, decision.row, decision.script, slot=slot)
            slot.seconds += done.seconds
            slot.tell(task.name, self.telling.heard(task, decision.script, done), now=part.now())
            slot.early += self.site.keep(part, done.events)
            run, row = self.site.live(part, decision.row.run_id), part.get(key)
            if run is None or row is None:
                told = None if before is None else self.telling.audit(part, before, slot.at, slot.take_told())
                await together(told, *slot.early)
                return None, decision
            decision = self.site.stepper(task, run, part).on_script(row, done)
            slot.tell(task.name, decision.transitions, now=part.now())
            slot.early += self.site.keep(part, decision.signals)
            self._settle(part, key, decision, slot)
        return self.site.live(part, decision.row.run_id), decision

    async def _patiently(self, part: Part, row: StepRow, script: RunScript, *, slot: Slot) -> ScriptDone:
        """Run a script. When it is a slow one, who looks for the run reads what has happened so far."""
        trouble: list[Exception] = []

        def tell() -> None:
            run = self.site.live(part, row.run_id)
            try:
                if run is not None:
                    opened = part.write(ids.run_key(run.run_id)) if slot.opening else None
                    slot.early += filter(None, [self.telling.audit(part, run, slot.at, slot.take_told()), opened])
            except Exception as error:  # nobody waits for a callback: the slot fails with it
                trouble.append(error)

        quiet = asyncio.get_running_loop().call_later(QUIET_SECONDS, tell)
        try:
            done = await self.site.scripts.run(script)
        finally:
            quiet.cancel()
        if trouble:
            raise trouble[0]
        return done

    async def _send(
        self, part: Part, run: RunRow, task: TaskPlan, key: bytes, *, decision: Decision, parcel: Parcel, slot: Slot
    ) -> None:
        """Everything that is kept goes out at once, as it was decided; what others see waits for it where it must."""
        if slot.orders:
            # A row that waits for its items no more would hide, after a crash, that some are not cancelled.
            await together(*slot.orders)
            if self.site.live(part, run.run_id) is None:
                await self._over(part, run.run_id, slot)
                return
        kept = self._kept(part, run, key, decision=decision, slot=slot)
        rests = parcel.call is not None and self._rests_on_rows(task, decision, slot)
        if decision.first or rests or slot.opening:
            await together(*kept)
            kept = []
            if self.site.live(part, run.run_id) is None:
                await self._over(part, run.run_id, slot)
                return
        await together(
            *(self.site.send(part, self.site.slug(name), token, parcel.token) for name, token in decision.edges(task)),
            _ask(part, parcel.call),
            *self.items.begin(part, run, task, decision),
            *kept,
        )
        if decision.row.state == "done":
            await self._ended(part, run, task, key, decision)

    def _kept(self, part: Part, run: RunRow, key: bytes, *, decision: Decision, slot: Slot) -> list[Future[Any] | None]:
        """The slot's audit, and its rows in the order in which a crash may cut them off."""
        told = self.telling.audit(part, run, slot.at, slot.take_told())
        run_key = ids.run_key(run.run_id)
        if decision.abort:
            # Why it aborts before that it does: who finds only the second would have no error to tell.
            return [told, *slot.early, part.write(key), part.write(run_key)]
        opened = part.write(run_key) if slot.opening else None
        row = part.write(key) if decision.durable and not decision.duplicate else None
        return [told, *slot.early, opened, row]

    def _rests_on_rows(self, task: TaskPlan, decision: Decision, slot: Slot) -> bool:
        """Whether a call is made of what a crash might make otherwise, unless the step's row keeps it.

        What was passed, here or to a join from another slot, is durable in no token; a script that asks may ask another
        thing; and what a timer began is done again by the timer.
        """
        passed = bool(slot.passed) or (self.site.passing and len(task.upstream) > 1)
        return passed or decision.row.call_number > 0 or slot.timed

    async def _ended(self, part: Part, run: RunRow, task: TaskPlan, key: bytes, decision: Decision) -> None:
        if decision.transitions:
            self.telling.step_ended(run, task, decision.row)
        if part.get(key) is not decision.row:
            return  # the run has ended meanwhile, and its rows are gone
        await self._let_go(part, run, task, key, decision)

    async def _let_go(self, part: Part, run: RunRow, task: TaskPlan, key: bytes, decision: Decision) -> None:
        """A step is over, and whoever waits for it has its token: its row goes, or what is needed of it stays."""
        if decision.hollow:
            part.set(key, hollow(decision.row))
            await part.write(key)
        elif not decision.durable:
            part.delete(key)
        if task.gathers:
            await together(*self.items.over(part, run, task, decision.row))

    def _parcel(self, part: Part, task: TaskPlan, run: RunRow, decision: Decision) -> Parcel:
        token = events.encode(decision.tokens[0]) if decision.tokens else None
        call = None if decision.call is None else call_record(self.site.wires, part.number, task, run, decision.call)
        return Parcel(token, call)

    def _abort(self, part: Part, row: StepRow) -> None:
        """The run takes no new steps; the parked ones wake at once, to pass on that they are cancelled."""
        run = self.site.live(part, row.run_id)
        if run is None or run.aborted_by:
            return
        part.set(ids.run_key(row.run_id), replace(run, aborted_by=row.task))
        for task in self.site.plan.tasks:
            key = ids.step_key(row.run_id, task.slug)
            step = part.get(key)
            if isinstance(step, StepRow) and step.state in {"parked", "gathering"}:
                part.set(key, replace(step, due=part.now()))


def _at(decision: Decision, position: str) -> Decision:
    return replace(decision, row=replace(decision.row, at=position))


def _asks_again(row: StepRow | None, reply: Reply) -> bool:
    """Whether this is the answer to what the script that runs is about to ask once more."""
    if row is None or row.state != "running" or not row.call_number:
        return False
    return row.call_id == reply.call_id and str(row.call_number) not in row.journal


def _ask(part: Part, call: CallRecord | None) -> Future[Any] | None:
    if call is None:
        return None
    return part.publish(call.topic, partition=call.partition, key=call.key, value=call.value, headers=call.headers)
