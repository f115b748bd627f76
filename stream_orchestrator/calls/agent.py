"""The agent of a service's call topic: it carries out what `calls.rows` decides.

Promises
  * A call's `sent` row is durable before its one attempt begins; its answer row before its reply is sent.
  * An attempt outlives the partition: when the partition moves, the attempt goes on, and its answer follows it as an
    event. It writes no row there. Answers have an inbox of their own, so that no backlog of calls stands before them.
  * A call made again after a crash is counted (`calls_repeated`) and logged with its id: never paid twice unseen.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import Struct

from stream_orchestrator.calls import rows
from stream_orchestrator.calls.routing import service_of
from stream_orchestrator.calls.rows import CallRow, Decision
from stream_orchestrator.calls.turns import Turns
from stream_orchestrator.errors import OrchestratorError
from stream_orchestrator.kernel import events, ids
from stream_orchestrator.kernel.effects import Answer, CallRequest, Request
from stream_orchestrator.kernel.events import Reply, Undecodable
from stream_orchestrator.kernel.inbox import internal_letter
from stream_orchestrator.kernel.ports import Arrived, Part
from stream_orchestrator.kernel.watch import Blind, SpanRecord, Watch
from stream_orchestrator.kernel.wires import decode_call

MOST_ATTEMPTS = 1000

log = logging.getLogger(__name__)

Work = Coroutine[Any, Any, None]
Attempt = Callable[[Request, str], Awaitable[Answer]]
Send = Callable[[str, int, bytes, bytes], Awaitable[Any]]


class Codec:
    """The table's view of call rows."""

    encode = staticmethod(rows.encode)
    decode = staticmethod(rows.decode)
    due = staticmethod(rows.due)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallAgent:
    """One service's calls. `attempt(request, call_id)` asks once; `send(topic, partition, key, value)` publishes
    without a partition of our own: the way out for an answer whose partition has moved. `turns` bounds the attempts:
    who waits for one has not asked, and nothing durable says that it may have.
    """

    topic: str
    answers: str
    letters: str
    attempt: Attempt
    send: Send
    instance: str = ""
    watch: Watch = field(default_factory=Blind)
    contiguous: bool = True
    turns: Turns = field(default_factory=lambda: Turns(MOST_ATTEMPTS))
    _taken: set[tuple[int, bytes]] = field(default_factory=set)  # by this process, from its record to its answer
    _under_way: set[tuple[int, bytes]] = field(default_factory=set)  # of these, what may have been asked
    _orphans: dict[tuple[int, bytes], asyncio.Task[Any]] = field(default_factory=dict)

    def receive(self, record: Arrived, part: Part) -> Work | None:
        """A call."""
        try:
            event = decode_call(record.value)
        except Undecodable as error:
            return internal_letter(self.letters, record, part, error)
        key = event.call_id.encode()
        decision = rows.on_call(
            part.get(key),
            event,
            position=record.position,
            now=part.now(),
            running=self._running(part, key),
            instance=self.instance,
        )
        return self._follow(part, key, decision)

    @property
    def moved_answers(self) -> MovedAnswers:
        """The agent of the answers that old owners send on."""
        return MovedAnswers(self, self.answers)

    def on_due(self, part: Part, key: bytes) -> Work | None:
        """A row's time has come."""
        decision = rows.on_due(part.get(key), now=part.now(), running=self._running(part, key))
        return self._follow(part, key, decision)

    def on_recovered(self, part: Part) -> Work | None:
        """Rows that no record will come for again go on by themselves."""
        for key in list(part.keys()):
            row = part.get(key)
            if row is None:
                continue
            running = self._running(part, key)
            decision = rows.on_recovered(row, now=part.now(), running=running, instance=self.instance)
            if (work := self._follow(part, key, decision)) is not None:
                part.spawn(work)
        return None

    def on_revoking(self, part: Part) -> Work | None:
        """The partition may leave: say of every attempt under way where it is, and until when."""
        marked = []
        for owner, key in list(self._under_way):
            row = part.get(key) if owner == id(part) else None
            if row is None:
                continue
            decision = rows.on_revoking(row, instance=self.instance, until=row.deadline or part.now() + rows.GRACE)
            if decision.write:
                part.set(key, decision.row)
                marked.append(part.write(key))
        return _all(marked) if marked else None

    async def moved(self, budget: float) -> bool:
        """Wait for the calls whose partitions went away under them, at most `budget` seconds. False: some were cut."""
        _, cut = await asyncio.wait(self._orphans.values(), timeout=budget) if self._orphans else ((), ())
        return not cut

    # --- steps ---------------------------------------------------------------------------------------------------

    def _follow(self, part: Part, key: bytes, decision: Decision) -> Work | None:
        """The synchronous half of a decision: the row. What it returns is the waiting."""
        for name in decision.counts:
            self.watch.count(f"{name}_total", service=self.topic.rsplit(".", 1)[-1])
        if "calls_repeated" in decision.counts and decision.row is not None:
            log.warning("call %s is made again: nobody knows how its last attempt ended", decision.row.call_id)
        if decision.do == "delete":
            gone = part.delete(key)
            return None if gone is None else _all([gone])
        if decision.row is not None and decision.do != "drop":
            part.set(key, decision.row)
        if decision.do == "attempt":
            self._taken.add((id(part), key))
            return self._attempt(part, key, decision)
        if decision.do == "reply":
            return self._reply(part, key, decision.write)
        return _all([part.write(key)]) if decision.write else None

    async def _attempt(self, part: Part, key: bytes, decision: Decision) -> None:
        row, request, where = decision.row, decision.request, (id(part), key)
        assert row is not None
        assert request is not None
        asking: asyncio.Future[Answer] | None = None
        try:
            patience = max(0.0, request.deadline - part.now()) if request.deadline else None
            async with self.turns.turn(patience):  # past its deadline the service refuses it, turn or no turn
                if not _unanswered(part, key):
                    return  # while it waited, an old owner's answer came
                self._under_way.add(where)
                await part.write(key)
                if not _unanswered(part, key):
                    return
                asking = asyncio.ensure_future(self._ask(row, request, part.now))
                answer = await asyncio.shield(asking)
            self._forget(where)
            work = self._follow(part, key, rows.on_answer(part.get(key), answer, now=part.now()))
            if work is not None:
                await work
        except BaseException:  # raised again: the slot stays open; only the attempt's way differs
            if asking is not None and not getattr(part, "owned", True):
                self._send_on(part.number, row, asking)
            elif asking is not None:
                asking.cancel()
            raise
        finally:
            self._forget(where)

    def _forget(self, where: tuple[int, bytes]) -> None:
        self._taken.discard(where)
        self._under_way.discard(where)

    async def _reply(self, part: Part, key: bytes, write: bool) -> None:
        if write:
            await part.write(key)
        row: CallRow | None = part.get(key)
        if row is None or row.answer is None:
            return
        reply = events.encode(Reply(run_id=row.run_id, call_id=row.call_id, answer=row.answer))
        headers = (("traceparent", row.traceparent.encode()),)
        await part.publish(
            row.reply_topic, partition=row.reply_partition, key=row.run_id.encode(), value=reply, headers=headers
        )
        decision = rows.on_replied(part.get(key))
        if decision.write:
            part.set(key, decision.row)
            await part.write(key)

    async def _ask(self, row: CallRow, request: Request, now: Callable[[], float]) -> Answer:
        started = now()
        answer = await self.attempt(request, row.call_id)
        self._seen(row, request, answer, started=started, ended=now())
        return answer

    def _send_on(self, partition: int, row: CallRow, asking: asyncio.Future[Answer]) -> None:
        """The partition has moved: the answer follows it, as an event."""

        async def follow() -> None:
            answer = await asking
            value = _encoder.encode(_Moved(answer=_Told(call_id=row.call_id, answer=answer)))
            try:
                await self.send(self.answers, partition, row.call_id.encode(), value)
            except OrchestratorError as error:  # the new owner makes the call again when its mark ends, and says so
                log.error("the answer to call %s could not follow its partition: %s", row.call_id, error)
            else:
                self.watch.count("calls_answered_after_move_total")

        where = (partition, row.call_id.encode())
        self._orphans[where] = task = asyncio.ensure_future(follow())
        # A while longer: its answer is on its way to whoever has the partition now, and that may be us.
        loop = asyncio.get_running_loop()
        task.add_done_callback(lambda _: loop.call_later(rows.GRACE, self._orphans.pop, where, None))

    def _running(self, part: Part, key: bytes) -> bool:
        """Whether the call is under way in this process; one whose partition went away and came back is, too."""
        return (id(part), key) in self._taken or (part.number, key) in self._orphans

    def _seen(self, row: CallRow, request: Request, answer: Answer, *, started: float, ended: float) -> None:
        about, label = ("chat ", "model") if isinstance(request, CallRequest) else ("call ", "service")
        labels = {label: request.asks, "outcome": answer.error_type or "answered"}
        self.watch.count("calls_total", **labels)
        self.watch.observe("call_seconds", ended - started, **{label: request.asks})
        if answer.usd:
            self.watch.count("cost_usd_total", answer.usd, model=request.asks)
        parts = row.traceparent.split("-")
        trace_id, parent = (parts[1], parts[2]) if len(parts) == 4 else (ids.trace_of(None, "", row.run_id)[0], "")
        self.watch.span(
            SpanRecord(
                name=about + request.asks,
                trace_id=trace_id,
                span_id=ids.span_of("", row.run_id, f"call {row.call_id}/{row.attempts}"),
                parent_span_id=parent,
                started_at=started,
                ended_at=ended,
                ok=not answer.error_type,
                attributes=_attributes(row, request, answer),
            )
        )


def _attributes(row: CallRow, request: Request, answer: Answer) -> dict[str, str | int | float | bool]:
    """What a span says of a call: whom it asked and how it went; of a model, what OpenTelemetry's conventions want."""
    found: dict[str, str | int | float | bool] = {}
    if isinstance(request, CallRequest):
        found = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": service_of(request.model),
            "gen_ai.request.model": request.model,
            "gen_ai.response.model": answer.model,
            "gen_ai.usage.input_tokens": answer.input_tokens,
            "gen_ai.usage.output_tokens": answer.output_tokens,
        }
    else:
        found = {"call.service": request.service, "call.operation": request.operation}
    found |= {"run.id": row.run_id, "call.id": row.call_id, "call.attempt": row.attempts}
    return found | ({"error.type": answer.error_type} if answer.error_type else {})


def _unanswered(part: Part, key: bytes) -> bool:
    row: CallRow | None = part.get(key)
    return row is not None and row.status == "sent"


@dataclass(frozen=True, slots=True)
class MovedAnswers:
    """What old owners answered after their partition had moved: taken as our own attempt's answer would be."""

    calls: CallAgent
    topic: str
    contiguous: bool = True

    def receive(self, record: Arrived, part: Part) -> Work | None:
        """An answer."""
        try:
            told = _moved.decode(record.value or b"").answer
        except (ValueError, RecursionError) as error:
            return internal_letter(self.calls.letters, record, part, Undecodable(f"not an answer: {error}"))
        key = told.call_id.encode()
        row: CallRow | None = part.get(key)
        return self.calls._follow(part, key, rows.on_foreign_answer(row, told.answer, now=part.now()))


class _Told(Struct, frozen=True, kw_only=True):
    call_id: str
    answer: Answer


class _Moved(Struct, frozen=True, kw_only=True):
    format: int = 1
    answer: _Told


_moved, _encoder = msgspec.json.Decoder(_Moved), msgspec.json.Encoder()


async def _all(waits: list[Any]) -> None:
    await asyncio.gather(*waits)
