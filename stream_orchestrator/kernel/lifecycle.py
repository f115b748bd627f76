"""A run from its first record to its stub: begun at its home, ended by its last token, its deadline or a cancel.

Promises
  * The run's row is durable before its first token; its whole result is in the row before it is published.
  * When the result is out nothing is left of the run but a stub, which goes at its time.
"""

from __future__ import annotations

import logging
from asyncio import Future
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from msgspec.structs import replace

from stream_orchestrator.kernel import events, ids, results, rows
from stream_orchestrator.kernel.events import Begin, Cancel, Report, Token, Undecodable
from stream_orchestrator.kernel.inbox import ended_by, together
from stream_orchestrator.kernel.items import Items
from stream_orchestrator.kernel.limits import MAX_RECORD
from stream_orchestrator.kernel.outcomes import trail_of
from stream_orchestrator.kernel.ports import Arrived, Part, Work
from stream_orchestrator.kernel.privacy import reference
from stream_orchestrator.kernel.rows import RunRow, StepRow, Stub, Transition
from stream_orchestrator.kernel.site import Site
from stream_orchestrator.kernel.slot import Slot
from stream_orchestrator.kernel.telling import Telling
from stream_orchestrator.kernel.wires import letter_headers, result_headers
from stream_orchestrator.plan.model import RESULT, START, TaskPlan

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """The runs of one version."""

    site: Site
    telling: Telling
    items: Items

    # --- the first task ------------------------------------------------------------------------------------------

    def on_begin(self, event: events.Event, record: Arrived, part: Part) -> Work | RunRow | None:
        """A run arrives at its home; or a copy of it does; or somebody cancels it. A row: this run is to be opened."""
        if isinstance(event, Cancel) and (work := self.cancel(part, event.run_id)) is not None:
            return work
        if not isinstance(event, Begin):
            self.telling.late(event)
            return None
        if not self.site.takes(event.nest):
            raise Undecodable(f"the run {event.run_id} says that it begins elsewhere")
        key = ids.run_key(event.run_id)
        match part.get(key):
            case None:
                run = _run_row(event, record.position)
                part.set(key, run)
                return run
            case RunRow(at=record.position, state="running") as run:
                return run
            case Stub() as stub if event.supplied:
                self.telling.duplicate()
                return self._answer_again(part, event, stub)
            case _:
                # A run whose id is its position: only we can bring it twice, and its result is out.
                self.telling.duplicate()
                return None

    def first(self, run: RunRow) -> Token:
        """The token that the first tasks get."""
        return Token(
            run_id=run.run_id,
            source=START,
            report=Report(task=START, kind="value"),
            traceparent=run.nest.traceparent if run.nest else self._ingested(run),
        )

    def _ingested(self, run: RunRow) -> str:
        return ids.traceparent(run.trace_id, ids.span_of(self.site.plan.slug, run.run_id, "ingest"))

    async def _answer_again(self, part: Part, event: Begin, stub: Stub) -> None:
        results_topic = self.site.wires.results
        value = await self.site.fetch(results_topic, stub.partition, stub.offset)
        if value is None:
            log.warning("run %s: its result is gone from %s; the copy is dropped", event.run_id, results_topic)
            return
        headers = result_headers(
            self.site.plan.slug, event.run_id, stub.status, trace_id=event.trace_id, carried=event.headers
        )
        await part.publish(results_topic, partition=None, key=_bytes(event.key), value=value, headers=headers)

    # --- the last task -------------------------------------------------------------------------------------------

    def on_last(self, event: events.Event, record: Arrived, part: Part) -> Work | None:
        """A leaf has ended; with the last of them the run has."""
        run_key = ids.run_key(event.run_id)
        run = part.get(run_key)
        if isinstance(run, RunRow) and run.state == "ended" and run.at == record.position:
            return self._publish(part, run_key, run)
        run = self.site.live(part, event.run_id)
        if run is None or not isinstance(event, Token) or event.source not in self.site.leaves:
            self.telling.late(event)
            return None
        last = self._take_last(part, run, event, size=len(record.value or b""))
        return None if last is None else self._last(part, run, last, slot=Slot(at=record.position))

    async def arrived(self, part: Part, run: RunRow, token: Token, *, size: int, slot: Slot) -> None:
        """A leaf has ended in this slot."""
        last = self._take_last(part, run, token, size=size)
        if last is not None:
            await self._last(part, run, last, slot=slot)
        else:
            await together(self.telling.audit(part, run, slot.at, slot.take_told()), *slot.early)

    def _take_last(self, part: Part, run: RunRow, token: Token, *, size: int) -> StepRow | None:
        """The row of the implicit last task with this token in it; None when it has it already."""
        key = ids.step_key(run.run_id, RESULT)
        row: StepRow = part.get(key) or StepRow(run_id=run.run_id, task=RESULT, started_at=part.now())
        if token.source in row.tokens:
            return None
        row = replace(row, tokens={**row.tokens, token.source: token}, size=row.size + size)
        part.set(key, row)
        return row

    def _last(self, part: Part, run: RunRow, row: StepRow, *, slot: Slot) -> Work:
        if row.size > MAX_RECORD:
            error = _overflow(next(reversed(row.tokens)), 0, "what its last tasks gave")
            return self._finish(part, run, slot=slot, last=row, error=error)
        if len(row.tokens) == len(self.site.leaves):
            return self._finish(part, run, slot=slot, last=row)
        # Other leaves are still to come: what came is kept. Posted at once: the run may end before this is waited for.
        told = self.telling.audit(part, run, slot.at, slot.take_told())
        opened = part.write(ids.run_key(run.run_id)) if slot.opening else None
        kept = part.write(ids.step_key(run.run_id, RESULT))
        return ended_by(told, opened, kept, *slot.early)

    def _reports(self, part: Part, last: StepRow) -> dict[str, Report]:
        """Every task's report: from the tokens and their trails, and from the rows of this partition."""
        found = {report.task: report for report in trail_of(last)}
        rows = [part.get(ids.step_key(last.run_id, task.slug)) for task in self.site.plan.tasks]
        steps = [row for row in rows if isinstance(row, StepRow)]
        # What others worked with first: a step done again after a crash may have come to something else.
        for report in (
            *(told for row in steps for told in trail_of(row)),
            *(row.report for row in steps if row.report),
        ):
            found.setdefault(report.task, report)
        return found

    # --- the end -------------------------------------------------------------------------------------------------

    def _finish(
        self, part: Part, run: RunRow, *, slot: Slot, last: StepRow, error: dict[str, Any] | None = None
    ) -> Work:
        key, around, now = ids.run_key(run.run_id), self.site.around(run), part.now()
        # Of other slots, too, nothing is done again when the row is there.
        slot.early += filter(None, [self.telling.under_way(part, run), *self.items.cut(part, run)])
        reports = self._reports(part, last)
        build = partial(results.of_item, shows=self.site.shows) if run.nest else results.build
        told = slot.take_told()
        ended = _ended(run, build(around, reports, now, error=error), slot.at, told)
        if told and not _fits(ended):
            slot.early += filter(None, [self.telling.audit(part, run, slot.at, told)])
            ended, told = replace(ended, told=()), []
        if not told and not _fits(ended):
            error = error or results.first_error(run, reports.values()) or _overflow("", 0, "its result")
            ended = _ended(run, build(around, reports, now, error=error, bare=True), slot.at)
        part.set(key, ended)
        return self._end(part, key, ended, slot)

    async def _end(self, part: Part, key: bytes, run: RunRow, slot: Slot) -> None:
        """The whole result is in the row before it is published: copies are equal, whoever publishes them. So is what
        the slot has to tell, or it was told: when the row is there, nothing of this slot is done again.
        """
        await together(*slot.early)
        await part.write(key)
        await self._publish(part, key, run)

    async def _publish(self, part: Part, key: bytes, run: RunRow) -> None:
        site = self.site
        published = await (self._tell_container(part, run) if run.nest else self._result(part, run))
        site.forget(run.run_id)
        self.telling.run_ended(run, part.now())
        lifetime = site.horizon_seconds if run.supplied else site.stub_seconds
        part.set(key, Stub(run.status, published.partition, published.offset, part.now() + lifetime))
        left = self.items.left(part, run)
        slugs = (RESULT, *(task.slug for task in site.plan.tasks))
        # Steps first: they share the table's lane, so no crash leaves a step beside a stub that nobody would look at.
        gone = [part.delete(ids.step_key(run.run_id, slug)) for slug in slugs]
        await together(*left, *gone, part.write(key))

    async def _tell_container(self, part: Part, run: RunRow) -> Any:
        """An item's end is its container's business."""
        nest = run.nest
        assert nest is not None
        value = run.result.encode()
        published, *_ = await together(
            part.publish(nest.inbox, partition=nest.partition, key=nest.parent.encode(), value=value),
            self.telling.audit(part, run, run.at, run.told),
        )
        return published

    async def _result(self, part: Part, run: RunRow) -> Any:
        site = self.site
        headers = result_headers(site.plan.slug, run.run_id, run.status, trace_id=run.trace_id, carried=run.headers)
        told = [*run.told, Transition("result", run.attempt, {"status": run.status}, task=RESULT)]
        if run.letter is not None:
            told.append(Transition("dead_lettered", run.attempt, {"reason": run.letter["dlq-reason"]}, task=RESULT))
        published, *_ = await together(
            part.publish(
                site.wires.results, partition=None, key=_bytes(run.key), value=run.result.encode(), headers=headers
            ),
            self._letter(part, run),
            self.telling.audit(part, run, run.at, told),
        )
        return published

    def _letter(self, part: Part, run: RunRow) -> Future[Any] | None:
        if run.letter is None:
            return None
        private = self.site.rules.anonymize
        value = reference(run.position) if private else run.payload.encode()
        headers = letter_headers(run.run_id, run.position, () if private else run.headers, run.letter)
        return part.publish(self.site.wires.dlq, partition=None, key=_bytes(run.key), value=value, headers=headers)

    # --- ends of another kind ------------------------------------------------------------------------------------

    def on_due(self, part: Part, key: bytes, row: RunRow | Stub) -> Work | None:
        """A run has reached its deadline, or a stub its horizon."""
        if isinstance(row, Stub):
            return ended_by(part.delete(key)) if row.expires <= part.now() else None
        if row.state != "running" or row.deadline > part.now():
            return None
        seconds = round(row.deadline - row.accepted_at, 3)
        reason, kind = ("timeout", "Timeout") if row.nest else ("expired", "Expired")
        return self._early(part, row, results.ended(reason, kind, f"not finished within {seconds:g} s"))

    def resume(self, part: Part, key: bytes, run: RunRow) -> Work | None:
        """After a crash: a result that was not seen to be published is published."""
        return self._publish(part, key, run) if run.state == "ended" else None

    def cancel(self, part: Part, run_id: str) -> Work | None:
        """End a run now, as cancelled."""
        run = self.site.live(part, run_id)
        if run is None:
            return None
        return self._early(part, run, results.ended("cancelled", "Cancelled", "the run was cancelled"))

    async def overflow(self, part: Part, run: RunRow, task: TaskPlan, *, row: StepRow, slot: Slot) -> None:
        """A step's row or record would be larger than a topic takes: the run ends, and the inbox goes on."""
        what = f"what `{task.name}` gives on, with what it was given,"
        await self._early(part, run, _overflow(task.name, row.attempts, what), slot)

    def _early(self, part: Part, run: RunRow, error: dict[str, Any], slot: Slot | None = None) -> Work:
        last = part.get(ids.step_key(run.run_id, RESULT)) or StepRow(run_id=run.run_id, task=RESULT)
        return self._finish(part, run, slot=slot or Slot(at=""), last=last, error=error)


def _overflow(task: str, attempts: int, what: str) -> dict[str, Any]:
    message = f"{what} is larger than a record may be ({MAX_RECORD:,} bytes)"
    return {**results.ended("too_large", "TooLarge", message), "task": task or None, "attempts": attempts}


def _fits(row: RunRow) -> bool:
    return len(rows.encode(row)) <= MAX_RECORD


def _ended(run: RunRow, outcome: results.Outcome, at: str, told: Sequence[Transition] = ()) -> RunRow:
    payload = run.payload if outcome.letter else ""  # from here on only a dead letter needs it
    # Nothing is asked any more of what an item saw around it.
    nest = run.nest and replace(run.nest, values={}, outputs={}, names={}, skipped=())
    return replace(
        run,
        nest=nest,
        state="ended",
        status=outcome.status,
        result=outcome.result,
        letter=outcome.letter,
        told=tuple(told),
        payload=payload,
        files={},
        at=at,
    )


def _run_row(event: Begin, position: str) -> RunRow:
    return RunRow(
        run_id=event.run_id,
        payload=event.payload,
        key=event.key,
        headers=event.headers,
        position=event.position,
        accepted_at=event.accepted_at,
        deadline=event.deadline,
        at=position,
        supplied=event.supplied,
        attempt=event.attempt,
        retry_of=event.retry_of,
        trace_id=event.trace_id,
        parent_span=event.parent_span,
        nest=event.nest,
        files=event.files,
    )


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode("latin-1")
