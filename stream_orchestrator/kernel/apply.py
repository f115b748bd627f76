"""`apply`: one step's row, one event, the time; out come the new row and its effects. Pure.

Promises
  * Every edge gets exactly one token per run, whatever arrives twice and in whatever order.
  * The same position again gives the same effects again; the same event from another position gives none.
  * An outcome that is used more than once (several edges, or an abort) is durable before its first use (`first`).
  * After an abort, steps that have not begun pass `cancelled` without running.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import asdict, replace

from stream_orchestrator.errors import RunError
from stream_orchestrator.kernel import ids
from stream_orchestrator.kernel.breaker import Signal
from stream_orchestrator.kernel.decision import Call, Decision
from stream_orchestrator.kernel.effects import Answer, CallRequest, Request, RunScript, ScriptDone
from stream_orchestrator.kernel.events import Reply, Report, Token, TokenKind
from stream_orchestrator.kernel.gate import (
    ASK_SECONDS,
    Breakers,
    Shut,
    after_open,
    gate_of,
    open_fault,
    outcome_of,
    passage,
    probe_of,
    signal,
)
from stream_orchestrator.kernel.kinds import Again, Ask, Attempt, Fault, Gathered, Spread, Step, TaskKind, Value
from stream_orchestrator.kernel.limits import claimed, excerpt, misfit
from stream_orchestrator.kernel.outcomes import (
    afresh,
    fatal,
    fault_of,
    inside_of,
    journaled,
    lacking,
    told_by_item,
    told_of,
    trail_of,
    with_items,
)
from stream_orchestrator.kernel.policies import Next, Park, Settle, after_fault
from stream_orchestrator.kernel.rows import StepRow, Transition
from stream_orchestrator.kernel.scope import Surroundings, of_step
from stream_orchestrator.plan import templates
from stream_orchestrator.plan.model import TaskPlan

CALL_GRACE = 60.0  # seconds past a call's deadline before its asker gives up: the call service always answers sooner


class Stepper(Struct, frozen=True):
    """Applies events to the rows of one task in one run. Holds no state: made where it is needed.

    `reaches` says whether this version has a way to a service: a model may be known only when a run computes it.
    """

    task: TaskPlan
    around: Surroundings
    kinds: Mapping[str, TaskKind]
    now: float
    reaches: Callable[[Request], bool] = lambda request: True
    breakers: Breakers | None = None

    # --- events, in the order of a step's life -------------------------------------------------------------------

    def on_token(self, row: StepRow | None, token: Token, position: str, *, size: int = 0) -> Decision:
        """An upstream task has ended. `size` is that of the token's record."""
        row = row or StepRow(run_id=token.run_id, task=self.task.name)
        if token.source in row.tokens or row.state == "done":
            return self.again(row, position)
        row = replace(
            row,
            tokens={**row.tokens, token.source: token},
            at=position,
            started_at=row.started_at or self.now,
            size=row.size + size,
        )
        if len(row.tokens) < len(self.task.upstream):
            return Decision(row=row)
        # In the order of the document, whatever came first: a call made again after a crash has the same text.
        return self._ready(replace(row, tokens={source: row.tokens[source] for source in self.task.upstream}))

    def again(self, row: StepRow, position: str) -> Decision:
        """A token that the row has came again. Its effects too, if this record made the row's last transition, or may
        have: what another inbox's record, or a timer, had begun may have been cut short, and come here the next time.
        Whatever is emitted twice is known by whom it reaches.
        """
        elsewhere = row.state in {"done", "calling"} and _inbox(row.at) != _inbox(position)
        return self.emit(row) if row.at == position or elsewhere else self._nothing(row)

    def on_reply(self, row: StepRow | None, reply: Reply, position: str, *, size: int = 0) -> Decision | None:
        """A call was answered. None: nobody here asked."""
        if row is None:
            return None
        if row.at == position:
            return self.emit(row)
        if row.state != "calling" or row.call_id != reply.call_id:
            return self._nothing(row)
        answer = reply.answer
        row = replace(
            row,
            at=position,
            due=None,
            size=row.size + size,
            usd=row.usd + answer.usd,
            input_tokens=row.input_tokens + answer.input_tokens,
            output_tokens=row.output_tokens + answer.output_tokens,
            calls=row.calls + 1,
            model=answer.model or row.model,
        )
        return self._answered(row, answer)

    def on_script(self, row: StepRow, done: ScriptDone) -> Decision:
        """The script of this row's attempt has ended."""
        if row.state != "running":
            return self._nothing(row)
        return self._go(row, lambda kind, attempt: kind.scripted(attempt, done))

    def on_items(self, row: StepRow, reports: Sequence[Report]) -> Decision:
        """All items of a container's wave have ended, and none has failed."""
        return self._go(with_items(row, reports), lambda kind, attempt: kind.gathered(attempt, reports))

    def on_failed_item(self, row: StepRow, failed: Report, reports: Sequence[Report]) -> Decision:
        """An item of a container has failed, and with it this attempt; `reports` are all that have ended."""
        error = failed.error or {}
        fault = Fault(
            type=str(error.get("type", "Failed")),
            message=told_by_item(failed, error),
            passing=bool(error.get("retryable")),
            reason=str(error.get("reason", "task_failed")),
        )
        return self._fault(with_items(row, reports), fault)

    def on_due(self, row: StepRow, reports: Sequence[Report] = ()) -> Decision:
        """The row's time has come: a parked attempt begins again, an unanswered call is given up, and so is a wave of
        items; `reports` are those that have ended.
        """
        row = replace(row, at="", due=None)
        if row.state == "parked":
            return self._cancelled(row) if self.around.run.aborted_by else self._begin(row)
        if row.state == "gathering":
            row = with_items(row, reports)
            fault = Fault(type="Timeout", message="its items did not end in time", passing=True, reason="timeout")
            return self._cancelled(row) if self.around.run.aborted_by else self._fault(row, fault)
        if row.state == "calling":
            # It may have been carried out all the same: whoever forbids to ask twice forbids it here too.
            again = self.task.variants[row.variant].on_ambiguous != "fail"
            return self._fault(row, Fault(type="Timeout", message="no answer came", passing=again, reason="timeout"))
        return self._nothing(row)

    def emit(self, row: StepRow) -> Decision:
        """The effects of the row's last transition once more: after a crash, nobody knows whether they were seen."""
        match row.state:
            case "done":
                return self._nothing(row) if row.report is None else self._publish(row)
            case "running" | "calling":
                return self._again(row)
            case "gathering":
                return self._go(row, lambda kind, attempt: kind.spread(attempt))
            case _:
                return Decision(row=row)

    # --- steps ---------------------------------------------------------------------------------------------------

    def _ready(self, row: StepRow) -> Decision:
        kinds = {token.kind for token in row.tokens.values()}
        if self.around.run.aborted_by or kinds & {"failed", "cancelled"}:
            return self._cancelled(row)
        if kinds == {"skipped"}:
            return self._end(row, "skipped", transition="skipped")
        try:
            if self.task.condition is not None and not templates.test(self.task.condition, self._scope(row)):
                return self._end(row, "skipped", transition="skipped")
        except templates.SkippedReference:
            return self._end(row, "skipped", transition="skipped")
        except RunError as error:
            return self._fault(replace(row, attempt=1, attempts=1), fatal(error))
        return self._begin(replace(row, variant_started_at=self.now))

    def _begin(self, row: StepRow) -> Decision:
        if (held := self._held(row)) is not None:
            return held
        row = replace(row, attempt=row.attempt + 1, attempts=row.attempts + 1, journal={}, call_number=0)
        row = self._on_time(afresh(row) if self.task.gathers else row)
        decision = self._go(row, lambda kind, attempt: kind.begin(attempt))
        started = Transition("started" if row.attempts == 1 else "retried", row.attempts)
        return replace(decision, transitions=(replace(started, at=self.now), *decision.transitions))

    def _held(self, row: StepRow) -> Decision | None:
        """What its breaker makes of an attempt that would begin; None: it may."""
        gate = gate_of(self.task.variants[row.variant])
        if gate is None or self.breakers is None:
            return None
        slug = self.around.plan.slug
        known = self.breakers.breaker(slug, gate.name)
        match passage(known, row.probe, self.now):
            case Shut(until):
                assert known is not None
                return self._shut(replace(row, probe=""), open_fault(gate, known, self.now), until)
            case "ask":
                row = replace(row, probe=probe_of(slug, row, self.now), state="parked", due=self.now + ASK_SECONDS)
                asked = signal(gate, slug, row, "probe", number=f"probe {row.probe}", until=self._patience(row))
                return Decision(row=row, signals=(asked,))
        return None

    def _shut(self, row: StepRow, fault: Fault, until: float) -> Decision:
        told = Transition("held", row.attempts, {"type": fault.type, "message": fault.message})
        match after_open(self.task, row, until, deadline=self.around.run.deadline):
            case Park(due):
                told_now = () if row.state == "parked" else (told,)  # once, however often it looks again
                return Decision(row=replace(row, state="parked", due=due), transitions=told_now)
            case Next():
                decision = self._fall_back(row, fault)
            case Settle(how):
                decision = self._settle(row, fault, how)
        return replace(decision, transitions=(told, *decision.transitions))

    def _outcome(self, row: StepRow, what: Literal["success", "failure"]) -> tuple[Signal, ...]:
        """What the breaker of an attempt hears of its end."""
        gate, slug = gate_of(self.task.variants[row.variant]), self.around.plan.slug
        if gate is None or self.breakers is None:
            return ()
        if not self.breakers.noted(slug, gate.name, failure=what == "failure"):
            return ()
        return (signal(gate, slug, row, what, number="outcome"),)

    def _patience(self, row: StepRow) -> float:
        """Until when an attempt that begins in a moment may take."""
        return min(self.now + self.task.variants[row.variant].timeout, self.around.run.deadline)

    def _again(self, row: StepRow) -> Decision:
        """The attempt as it stands, asked for once more; rendering is deterministic, so it asks for the same."""
        if row.state == "calling" and row.call_number:  # the script asked: running it again asks with the same id
            row = replace(row, state="running")
        return self._go(self._on_time(row), lambda kind, attempt: kind.begin(attempt))

    def _go(self, row: StepRow, step: Any) -> Decision:
        try:
            attempt = self._attempt(row)
            return self._follow(row, step(self.kinds[attempt.variant.kind], attempt), attempt.deadline)
        except templates.SkippedReference:
            return self._end(row, "skipped", transition="skipped")
        except RunError as error:
            return self._fault(row, fatal(error))

    def _follow(self, row: StepRow, outcome: Step, deadline: float) -> Decision:
        match outcome:
            case Value(value):
                fault, heard = misfit(value) or lacking(self.task, value), self._outcome(row, "success")
                decision = self._end(row, "value", output=value) if fault is None else self._fault(row, fault)
                return replace(decision, signals=(*heard, *decision.signals))
            case Fault():
                return self._fault(row, outcome)
            case RunScript():
                return Decision(row=replace(row, state="running", due=None), script=outcome, durable=False)
            case Spread(items=items):
                if not items:
                    return self._go(row, lambda kind, attempt: kind.gathered(attempt, ()))
                due = min(deadline, self.around.run.deadline)
                row = replace(row, state="gathering", due=due, members=max(row.members, row.wave + len(items)))
                return Decision(row=row, spread=outcome, first=True)
            case Again(carry):
                row = replace(row, wave=row.wave + 1, carry=carry)
                return self._go(row, lambda kind, attempt: kind.spread(attempt))
            case Gathered():
                fault = misfit([outcome.value, outcome.shown]) or lacking(self.task, outcome.value)
                if fault is not None:
                    return self._fault(row, fault)
                return self._end(row, "skipped" if outcome.skipped else "value", output=outcome.value, inside=outcome)
            case Ask(request, number):
                return self._ask(row, request, number, deadline=deadline)

    def _ask(self, row: StepRow, request: Request, number: int, *, deadline: float) -> Decision:
        fault = misfit(asdict(request), "the request") or claimed(asdict(request), "what the request holds")
        if fault is None and not self.reaches(request):
            what = "model" if isinstance(request, CallRequest) else "request"
            message = f"{what} {request.asks!r} is answered by a service that this version was not deployed with"
            fault = Fault(type="UnknownModel" if what == "model" else "UnknownService", message=message)
        if fault is not None:
            return self._fault(row, fault)
        call_id = ids.call_id(
            self.around.plan.slug,
            row.run_id,
            self.task.name,
            variant=row.variant,
            attempt=row.attempt,
            number=number,
        )
        request = replace(request, deadline=min(request.deadline or deadline, deadline))
        due = max(request.deadline, self.now) + CALL_GRACE
        row = replace(row, state="calling", call_id=call_id, call_number=number, due=due)
        called = Transition("called", row.attempts, told_of(request, call_id))
        return Decision(row=row, call=Call(call_id, request, self.traceparent), transitions=(called,))

    def _answered(self, row: StepRow, answer: Answer) -> Decision:
        if row.call_number:
            journal = {**row.journal, str(row.call_number): journaled(answer)}
            row = replace(row, state="running", journal=journal)
            return self._go(row, lambda kind, attempt: kind.begin(attempt))
        if answer.error_type:
            return self._fault(row, fault_of(answer))
        return self._go(row, lambda kind, attempt: kind.answered(attempt, answer))

    def _fault(self, row: StepRow, fault: Fault) -> Decision:
        told = Transition("failed", row.attempts, {"type": fault.type, "message": excerpt(fault.message, 500)})
        heard = self._outcome(row, outcome_of(fault)) if fault.passing else ()
        row = replace(row, probe="")
        match after_fault(self.task, row, fault, now=self.now, deadline=self.around.run.deadline):
            case Park(until):
                return Decision(row=replace(row, state="parked", due=until), transitions=(told,), signals=heard)
            case Next():
                decision = self._fall_back(row, fault)
            case Settle(how):
                decision = self._settle(row, fault, how)
        both = {"transitions": (told, *decision.transitions), "signals": (*heard, *decision.signals)}
        return replace(decision, **both)

    def _fall_back(self, row: StepRow, fault: Fault) -> Decision:
        answering = self.task.variants[row.variant + 1].name
        row = replace(row, variant=row.variant + 1, attempt=0, variant_started_at=self.now)
        row = replace(row, degraded=(self._degraded(row, fault, answering),))
        decision = self._begin(row)
        return replace(decision, transitions=(Transition("fell_back", row.attempts), *decision.transitions))

    def _settle(self, row: StepRow, fault: Fault, how: str) -> Decision:
        match how:
            case "fallback_value":
                row = replace(row, degraded=(self._degraded(row, fault, "fallback_value"),))
                return self._end(row, "value", output=self.task.fallback_value)
            case "continue":
                row = replace(row, degraded=(self._degraded(row, fault, "null"),))
                return self._end(row, "value", output=None)
            case "skip":
                row = replace(row, degraded=(self._degraded(row, fault, "skipped"),))
                return self._end(row, "skipped", transition="skipped")
            case _:
                return self._end(row, "failed", error=self._error(row, fault))

    def _cancelled(self, row: StepRow) -> Decision:
        return self._end(row, "cancelled", transition="cancelled")

    def _end(
        self,
        row: StepRow,
        kind: TokenKind,
        *,
        output: Any = None,
        error: dict[str, Any] | None = None,
        transition: str = "",
        inside: Gathered | None = None,
    ) -> Decision:
        shown, hidden = inside_of(self.task, kind, output, inside)
        report = Report(
            task=self.task.name,
            kind=kind,
            output=output,
            error=error,
            degraded=row.degraded if kind in {"value", "skipped"} else (),
            usd=row.usd,
            input_tokens=row.input_tokens,
            output_tokens=row.output_tokens,
            calls=row.calls,
            started_at=round(row.started_at, 6),
            seconds=round(max(0.0, self.now - row.started_at), 6),
            attempts=row.attempts,
            model=row.model,
            names=inside.names if inside else (),
            shown=shown,
            hidden=hidden,
        )
        decision = self._publish(replace(row, state="done", due=None, journal={}, carry=None, report=report))
        told = () if kind == "failed" else (Transition(transition or "finished", row.attempts),)
        return replace(decision, transitions=told)

    def _publish(self, row: StepRow) -> Decision:
        assert row.report is not None
        several = len(self.task.downstream) > 1
        abort = row.report.kind == "failed"
        token = Token(
            run_id=row.run_id,
            source=self.task.name,
            report=row.report,
            trail=() if several else trail_of(row),
            traceparent=self.traceparent,
        )
        first = several or abort
        known = len(self.task.upstream) > 1 or row.attempts > 1 or row.calls > 0 or self.task.gathers
        tokens = (token,) * len(self.task.downstream)
        return Decision(row=row, tokens=tokens, first=first, durable=first, hollow=known and not first, abort=abort)

    # --- small things --------------------------------------------------------------------------------------------

    @property
    def traceparent(self) -> str:
        """The span of this step, for whoever is told of its outcome."""
        run = self.around.run
        return ids.traceparent(run.trace_id, ids.span_of(self.around.plan.slug, run.run_id, self.task.name))

    def _attempt(self, row: StepRow) -> Attempt:
        variant = self.task.variants[row.variant]
        deadline = min(row.variant_started_at + variant.timeout, self.around.run.deadline)
        scope = self._scope(row)
        return Attempt(self.task, variant, row, self.around, scope, deadline, self.now)

    def _scope(self, row: StepRow) -> Mapping[str, Any]:
        scope = of_step(self.around, row)
        if self.task.inputs:
            scope.update(templates.render(self.task.inputs, scope))
        return scope

    def _on_time(self, row: StepRow) -> StepRow:
        """Downtime is not the task's fault: an attempt that begins after its deadline has its whole time again."""
        over = self.now >= row.variant_started_at + self.task.variants[row.variant].timeout
        return replace(row, variant_started_at=self.now) if over else row

    def _nothing(self, row: StepRow) -> Decision:
        return Decision(row=row, duplicate=True)

    def _degraded(self, row: StepRow, fault: Fault, answered_by: str) -> dict[str, Any]:
        return {
            "task": self.task.name,
            "reason": excerpt(f"{fault.type}: {fault.message}", 500),
            "answered_by": answered_by,
        }

    def _error(self, row: StepRow, fault: Fault) -> dict[str, Any]:
        return {
            "type": fault.type,
            "message": excerpt(fault.message),
            "task": self.task.name,
            "attempts": row.attempts,
            "retryable": fault.passing,
            "reason": fault.reason,
        }


def _inbox(position: str) -> str:
    return position.rsplit("/", 2)[0]
