"""The engine of one pipeline version: an agent per task, and what they share.

Promises
  * An agent decides synchronously, on the rows of its partition, and returns what is left to wait for; when that has
    ended, all that it published and wrote is acknowledged, and the record may be acked.
  * A record of a run that is over, or unknown here, changes nothing and is counted.
  * Whatever a crash left half done is done again from the rows (`on_recovered`), with the same ids and bytes.

It knows no broker: `ports` is all it needs of one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stream_orchestrator.kernel import audit, events, ids, results, rows
from stream_orchestrator.kernel.apply import Decision, Stepper, Transition, trail_of
from stream_orchestrator.kernel.effects import RunScript, ScriptDone
from stream_orchestrator.kernel.events import Begin, Report, Reply, Token, Undecodable
from stream_orchestrator.kernel.identity import payload_of
from stream_orchestrator.kernel.kinds import TaskKind
from stream_orchestrator.kernel.ports import Arrived, Part, Scripts
from stream_orchestrator.kernel.rows import RunRow, StepRow, Stub
from stream_orchestrator.kernel.scope import Surroundings
from stream_orchestrator.kernel.watch import Blind, SpanRecord, Watch
from stream_orchestrator.kernel.wires import Wires, call_record, letter_headers, result_headers
from stream_orchestrator.plan.model import RESULT, START, Plan, TaskPlan
from stream_orchestrator.spec.inputs import InputRules

log = logging.getLogger(__name__)

STUB_SECONDS = 86_400.0  # a day: a late token of a run that is over is looked up for as long
HORIZON_SECONDS = 7 * 86_400.0  # how long copies of an event with an id of its own are answered
KNOWN_INPUTS = 4096  # parsed inputs kept in memory; one more is parsed again

Work = Coroutine[Any, Any, None]
Handle = Callable[[events.Event, Arrived, Part], Work | None]
Fetch = Callable[[str, int, int], Awaitable[bytes | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One version's agents. `fetch` re-reads a result record by its position, for copies of ended runs."""

    plan: Plan
    wires: Wires
    kinds: Mapping[str, TaskKind]
    scripts: Scripts
    rules: InputRules
    fetch: Fetch
    watch: Watch = field(default_factory=Blind)
    env: Mapping[str, str] = field(default_factory=dict)
    stub_seconds: float = STUB_SECONDS
    horizon_seconds: float = HORIZON_SECONDS
    _inputs: OrderedDict[str, tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=OrderedDict)

    def agents(self) -> tuple[Inbox, ...]:
        """One agent per task, and the implicit first and last: `start` and `result`."""
        return (
            self._inbox(START, self._start),
            *(self._inbox(task.slug, _step(self, task)) for task in self.plan.tasks),
            self._inbox(RESULT, self._result),
        )

    def _inbox(self, slug: str, handle: Handle) -> Inbox:
        return Inbox(self.wires.inbox(slug), self.wires.internal_dlq, handle)

    # --- start ---------------------------------------------------------------------------------------------------

    def _start(self, event: events.Event, record: Arrived, part: Part) -> Work | None:
        if not isinstance(event, Begin):
            return self._late(event)
        key = ids.run_key(event.run_id)
        match part.get(key):
            case None:
                run = _run_row(event, record.position)
                part.set(key, run)
                return self._open(part, key, run)
            case RunRow(at=record.position, state="running") as run:
                return self._open(part, key, run)
            case Stub() as stub:
                self.watch.count("duplicates_total", pipeline=self.plan.slug)
                return self._answer_again(part, event, stub)
            case _:
                self.watch.count("duplicates_total", pipeline=self.plan.slug)
                return None

    async def _open(self, part: Part, key: bytes, run: RunRow) -> None:
        """The run's row first: every agent drops tokens of a run it does not know."""
        await part.write(key)
        first = Token(
            run_id=run.run_id,
            source=START,
            report=Report(task=START, kind="value"),
            traceparent=ids.traceparent(run.trace_id, ids.span_of(run.run_id, "ingest")),
        )
        roots = [task for task in self.plan.tasks if task.upstream == (START,)]
        started = (Transition("accepted", run.attempt, {"position": run.position}),)
        await _all(
            *(self._send(part, task.slug, first) for task in roots),
            self._audit(part, run, START, run.at, started),
        )
        self.watch.count("runs_started_total", pipeline=self.plan.slug, version=self.plan.version)

    async def _answer_again(self, part: Part, event: Begin, stub: Stub) -> None:
        value = await self.fetch(self.wires.results, stub.partition, stub.offset)
        if value is None:
            log.warning("run %s: its result is gone from %s; the copy is dropped", event.run_id, self.wires.results)
            return
        headers = result_headers(event.run_id, stub.status, event.trace_id, event.headers)
        await part.publish(self.wires.results, partition=None, key=_bytes(event.key), value=value, headers=headers)

    # --- tasks ---------------------------------------------------------------------------------------------------

    def receive(self, task: TaskPlan, event: events.Event, record: Arrived, part: Part) -> Work | None:
        """A token or a reply in a task's inbox."""
        run = part.get(ids.run_key(event.run_id))
        if not isinstance(run, RunRow) or run.state != "running":
            return self._late(event)
        key = ids.step_key(run.run_id, task.slug)
        row: StepRow | None = part.get(key)
        stepper = self._stepper(task, run, part)
        decision: Decision | None = None
        if isinstance(event, Token):
            decision = stepper.on_token(row, event, record.position)
        elif isinstance(event, Reply):
            decision = stepper.on_reply(row, event.call_id, event.answer, record.position)
        if decision is None or decision.duplicate:
            return self._late(event)
        return self._carry(part, task, key, decision)

    def _carry(self, part: Part, task: TaskPlan, key: bytes, decision: Decision) -> Work:
        """The synchronous half: the row is changed before anybody else can look. What it returns is the waiting."""
        part.set(key, decision.row)
        if decision.abort:
            self._abort(part, decision.row)
        return self._effects(part, task, key, decision)

    async def _effects(self, part: Part, task: TaskPlan, key: bytes, decision: Decision) -> None:
        told = list(decision.transitions)
        while decision.script is not None:
            done = await self.scripts.run(decision.script)
            told.extend(self._heard(task, decision.script, done))
            run, row = part.get(ids.run_key(decision.row.run_id)), part.get(key)
            if not isinstance(run, RunRow) or run.state != "running" or row is None:
                return  # the run ended while the script ran: nobody waits for it
            decision = self._stepper(task, run, part).on_script(row, done)
            told.extend(decision.transitions)
            part.set(key, decision.row)
            if decision.abort:
                self._abort(part, decision.row)
        run = part.get(ids.run_key(decision.row.run_id))
        if not isinstance(run, RunRow):
            return
        if decision.first:
            await _all(part.write(key), *([part.write(ids.run_key(run.run_id))] if decision.abort else []))
        await _all(
            *(self._send(part, self._slug(name), token) for name, token in zip(task.downstream, decision.tokens, strict=False)),
            self._call(part, task, run, decision),
            part.write(key) if decision.durable and not decision.first else None,
            self._audit(part, run, task.name, decision.row.at, told),
        )
        if decision.row.state == "done":
            self._ended(run, task, decision.row, told)
            if not decision.durable:
                part.delete(key)

    def _abort(self, part: Part, row: StepRow) -> None:
        """The run takes no new steps; the parked ones wake at once, to pass on that they are cancelled."""
        key = ids.run_key(row.run_id)
        run = part.get(key)
        if not isinstance(run, RunRow) or run.aborted_by or run.state != "running":
            return
        part.set(key, replace(run, aborted_by=row.task))
        for task in self.plan.tasks:
            step = part.get(ids.step_key(row.run_id, task.slug))
            if isinstance(step, StepRow) and step.state == "parked":
                part.set(ids.step_key(row.run_id, task.slug), replace(step, due=part.now()))

    def _call(self, part: Part, task: TaskPlan, run: RunRow, decision: Decision) -> Awaitable[Any] | None:
        if decision.call is None:
            return None
        request = call_record(self.wires, part.number, task, run, decision.call)
        return part.publish(
            request.topic, partition=request.partition, key=request.key, value=request.value, headers=request.headers
        )

    def _send(self, part: Part, slug: str, token: Token) -> Awaitable[Any]:
        headers = (("run-id", token.run_id.encode()), ("traceparent", token.traceparent.encode()))
        return part.publish(
            self.wires.inbox(slug),
            partition=part.number,
            key=token.run_id.encode(),
            value=events.encode(token),
            headers=headers,
        )

    # --- result --------------------------------------------------------------------------------------------------

    def _result(self, event: events.Event, record: Arrived, part: Part) -> Work | None:
        run_key = ids.run_key(event.run_id)
        run = part.get(run_key)
        if isinstance(run, RunRow) and run.state == "ended" and run.at == record.position:
            return self._publish_result(part, run_key, run)
        if not isinstance(run, RunRow) or run.state != "running" or not isinstance(event, Token):
            return self._late(event)
        key = ids.step_key(run.run_id, RESULT)
        row: StepRow = part.get(key) or StepRow(run_id=run.run_id, task=RESULT, started_at=part.now())
        if event.source in row.tokens:
            return None
        row = replace(row, tokens={**row.tokens, event.source: event})
        part.set(key, row)
        leaves = sum(1 for task in self.plan.tasks if task.downstream == (RESULT,))
        if len(row.tokens) < leaves:
            return _ended_by(part.write(key))
        outcome = results.build(self._around(run), self._reports(part, row), part.now())
        return self._finish(part, run_key, run, outcome, record.position)

    def _reports(self, part: Part, last: StepRow) -> dict[str, Report]:
        """Every task's report: from the tokens and their trails, and from the rows of this partition."""
        found = {report.task: report for report in trail_of(last)}
        for task in self.plan.tasks:
            row = part.get(ids.step_key(last.run_id, task.slug))
            if isinstance(row, StepRow):
                for report in (*trail_of(row), *([row.report] if row.report else [])):
                    found.setdefault(report.task, report)
        return found

    def _finish(self, part: Part, key: bytes, run: RunRow, outcome: results.Outcome, at: str) -> Work:
        run = replace(
            run, state="ended", status=outcome.status, result=outcome.result, letter=outcome.letter, at=at
        )
        part.set(key, run)
        return self._end(part, key, run)

    async def _end(self, part: Part, key: bytes, run: RunRow) -> None:
        """The whole result is in the row before it is published: copies are equal, whoever publishes them."""
        await part.write(key)
        await self._publish_result(part, key, run)

    async def _publish_result(self, part: Part, key: bytes, run: RunRow) -> None:
        headers = result_headers(run.run_id, run.status, run.trace_id, run.headers)
        told = (Transition("result", run.attempt, {"status": run.status}),)
        letter = self._letter(part, run)
        told = (*told, Transition("dead_lettered", run.attempt, {"reason": (run.letter or {})["dlq-reason"]})) if letter else told
        published, *_ = await _all(
            part.publish(self.wires.results, partition=None, key=_bytes(run.key), value=run.result.encode(), headers=headers),
            letter,
            self._audit(part, run, RESULT, run.at, told),
        )
        self._closed(run, part.now())
        lifetime = self.horizon_seconds if run.supplied else self.stub_seconds
        part.set(key, Stub(run.status, published.partition, published.offset, part.now() + lifetime))
        gone = [part.delete(ids.step_key(run.run_id, slug)) for slug in (RESULT, *(task.slug for task in self.plan.tasks))]
        await _all(part.write(key), *gone)

    def _letter(self, part: Part, run: RunRow) -> Awaitable[Any] | None:
        if run.letter is None:
            return None
        headers = letter_headers(run.run_id, run.position, run.headers, run.letter)
        return part.publish(
            self.wires.dlq, partition=None, key=_bytes(run.key), value=run.payload.encode(), headers=headers
        )

    # --- time, recovery ------------------------------------------------------------------------------------------

    def on_due(self, part: Part, key: bytes) -> Work | None:
        """A row's time has come."""
        row = part.get(key)
        if isinstance(row, Stub):
            return _ended_by(part.delete(key))
        if isinstance(row, RunRow):
            return self._expire(part, key, row) if row.state == "running" else None
        if not isinstance(row, StepRow) or row.due is None or row.due > part.now():
            return None
        run = part.get(ids.run_key(row.run_id))
        if not isinstance(run, RunRow) or run.state != "running":
            return _ended_by(part.delete(key))
        task = self.plan.task(row.task)
        decision = self._stepper(task, run, part).on_due(row)
        return None if decision.duplicate else self._carry(part, task, key, decision)

    def on_recovered(self, part: Part) -> Work | None:
        """What a crash may have left half done: results not seen to be published, effects that a timer began."""
        works = [work for key in list(part.keys()) if (work := self._resume(part, key)) is not None]
        for work in works:
            part.spawn(work)
        return None

    def _resume(self, part: Part, key: bytes) -> Work | None:
        row = part.get(key)
        if isinstance(row, RunRow) and row.state == "ended":
            return self._publish_result(part, key, row)
        if isinstance(row, StepRow) and row.at == "" and row.state in {"calling", "done"}:
            run = part.get(ids.run_key(row.run_id))
            if isinstance(run, RunRow) and run.state == "running":
                task = self.plan.task(row.task)
                return self._carry(part, task, key, self._stepper(task, run, part).emit(row))
        return None

    def cancel(self, part: Part, run_id: str) -> Work | None:
        """End a run now, as cancelled."""
        key = ids.run_key(run_id)
        run = part.get(key)
        if not isinstance(run, RunRow) or run.state != "running":
            return None
        return self._early(part, key, run, results.ended("cancelled", "Cancelled", "the run was cancelled"))

    def _expire(self, part: Part, key: bytes, run: RunRow) -> Work | None:
        if run.deadline > part.now():
            return None
        seconds = run.deadline - run.accepted_at
        return self._early(part, key, run, results.ended("expired", "Expired", f"not finished within {seconds:g} s"))

    def _early(self, part: Part, key: bytes, run: RunRow, error: dict[str, Any]) -> Work:
        empty = StepRow(run_id=run.run_id, task=RESULT)
        last = part.get(ids.step_key(run.run_id, RESULT)) or empty
        outcome = results.build(self._around(run), self._reports(part, last), part.now(), error=error)
        return self._finish(part, key, run, outcome, "")

    # --- what is seen --------------------------------------------------------------------------------------------

    def _audit(
        self, part: Part, run: RunRow, task: str, at: str, transitions: Sequence[Transition]
    ) -> Awaitable[Any] | None:
        if not transitions:
            return None
        value = audit.record(self.plan, run, task, at, now=part.now(), transitions=transitions)
        return part.publish(self.wires.audit, partition=None, key=run.run_id.encode(), value=value)

    def _heard(self, task: TaskPlan, script: RunScript, done: ScriptDone) -> list[Transition]:
        told = []
        for report in done.reports:
            match report.get("kind"):
                case "audit":
                    told.append(Transition("noted", int(script.info.get("attempt", 0)), {"entry": report.get("entry")}))
                case "metric":
                    self.watch.gauge(
                        f"custom_{report['name']}", float(report["value"]), pipeline=self.plan.slug, task=task.name
                    )
                case _:
                    level = logging.getLevelName(str(report.get("level", "info")).upper())
                    text = report.get("message", "")
                    log.log(level if isinstance(level, int) else logging.INFO, "%s/%s: %s", self.plan.slug, task.name, text)
        return told

    def _ended(self, run: RunRow, task: TaskPlan, row: StepRow, told: Sequence[Transition]) -> None:
        report = row.report
        if report is None or not told:
            return
        self.watch.count("steps_total", pipeline=self.plan.slug, task=task.name, outcome=report.kind)
        self.watch.observe("step_seconds", report.seconds, pipeline=self.plan.slug, task=task.name)
        parents = [token.traceparent.split("-")[2] for token in row.tokens.values() if token.traceparent.count("-") == 3]
        self.watch.span(
            SpanRecord(
                name=f"task {task.name}",
                trace_id=run.trace_id,
                span_id=ids.span_of(run.run_id, task.name),
                parent_span_id=parents[0] if parents else "",
                started_at=report.started_at,
                ended_at=report.started_at + report.seconds,
                ok=report.kind != "failed",
                attributes=_attributes(self.plan, run, report),
                links=tuple((run.trace_id, parent) for parent in parents[1:]),
            )
        )

    def _closed(self, run: RunRow, now: float) -> None:
        self._inputs.pop(run.run_id, None)
        self.watch.count("runs_total", pipeline=self.plan.slug, version=self.plan.version, status=run.status)
        self.watch.observe("run_seconds", now - run.accepted_at, pipeline=self.plan.slug)
        span = ids.span_of(run.run_id, "result")
        about: dict[str, str | int | float | bool] = {"run.id": run.run_id, "run.status": run.status}
        shared: dict[str, Any] = {"trace_id": run.trace_id, "started_at": now, "ended_at": now, "attributes": about}
        parent = ids.span_of(run.run_id, "ingest")
        self.watch.span(SpanRecord(name=f"result {self.plan.slug}", span_id=span, parent_span_id=parent, **shared))
        publish = ids.span_of(run.run_id, "publish")
        self.watch.span(SpanRecord(name=f"publish {self.wires.results}", span_id=publish, parent_span_id=span, **shared))

    def _late(self, event: events.Event) -> None:
        """A copy, or a token of a run that is over: nothing happens, and it is counted."""
        self.watch.count("late_events_total", pipeline=self.plan.slug, kind=type(event).__name__.lower())

    # --- small things --------------------------------------------------------------------------------------------

    def _stepper(self, task: TaskPlan, run: RunRow, part: Part) -> Stepper:
        return Stepper(task, self._around(run), self.kinds, part.now())

    def _around(self, run: RunRow) -> Surroundings:
        known = self._inputs.get(run.run_id)
        if known is None:
            payload = payload_of(run.payload.encode())
            values = self.rules.check(payload)
            known = self._inputs[run.run_id] = (values, self.rules.scope_of(values, payload))
            if len(self._inputs) > KNOWN_INPUTS:
                self._inputs.popitem(last=False)
        return Surroundings(self.plan, run, known[0], known[1], self.env)

    def _slug(self, name: str) -> str:
        return RESULT if name == RESULT else self.plan.task(name).slug


@dataclass(frozen=True, slots=True)
class Inbox:
    """One agent: a topic and what is done with its records."""

    topic: str
    letters: str
    handle: Handle
    contiguous: bool = True

    def receive(self, record: Arrived, part: Part) -> Work | None:
        """Decide on a record. One that is not ours goes to the internal dead letters, and the inbox goes on."""
        try:
            event = events.decode(record.value)
        except Undecodable as error:
            return internal_letter(self.letters, record, part, error)
        return self.handle(event, record, part)


def _step(engine: Engine, task: TaskPlan) -> Handle:
    return lambda event, record, part: engine.receive(task, event, record, part)


async def internal_letter(topic: str, record: Arrived, part: Part, error: Exception) -> None:
    """An internal record that cannot be read is kept, with its position, and never stops its inbox."""
    log.error("%s: %s; it goes to %s", record.position, error, topic)
    told = (("dlq-reason", b"internal"), ("dlq-message", str(error).encode()[:500]))
    headers = (*record.headers, *told, ("dlq-position", record.position.encode()))
    await part.publish(topic, partition=None, key=record.key, value=record.value, headers=headers)


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
    )


def _attributes(plan: Plan, run: RunRow, report: Report) -> dict[str, str | int | float | bool]:
    found: dict[str, str | int | float | bool] = {
        "pipeline": plan.slug,
        "pipeline.version": plan.version,
        "run.id": run.run_id,
        "task.name": report.task,
        "task.outcome": report.kind,
        "task.attempts": report.attempts,
    }
    if report.degraded:
        found["task.degraded"] = True
    return found


async def _all(*waits: Awaitable[Any] | None) -> list[Any]:
    """Wait for all that there is to wait for, in one wait; None stands for nothing."""
    return await asyncio.gather(*(wait for wait in waits if wait is not None))


async def _ended_by(wait: Awaitable[Any] | None) -> None:
    if wait is not None:
        await wait


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode("latin-1")
