"""What a call agent decides, and the row that it remembers a call by. Pure: no clock, no I/O, nothing awaited.

    nothing ──call──> sent ──answer──> answered ──reply acknowledged──> stub ──run's deadline──> nothing
                       │ └─crash─> ambiguous: once more (same call id), or a fault, as `on_ambiguous` says
                       └─partition moves─> marked `running at <instance> until <t>`: the new owner parks it until then

Promises
  * A call id that was answered is never attempted again; its reply is sent again until it is acknowledged.
  * An attempt is made only after its `sent` row is durable, so at most one attempt per crash goes unrecorded, and each
    one made again is counted (`calls_repeated`).
  * The first answer wins: every copy of the reply has the same bytes.
  * A reply comes always, unless the run is over: whatever a crash leaves is in a row or in a record that is not acked.
How to use it: carry a `Decision` out in order; with `write` its `row` must be durable before `do` begins. A record's
slot is done when its `do` is: an `attempt` with the decision on its answer, a `reply` with that of `on_replied`.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal

import msgspec
import orjson
from msgspec import Struct
from msgspec.structs import asdict, replace

from stream_orchestrator.calls.faults import fault, unrepeatable
from stream_orchestrator.errors import HouseError
from stream_orchestrator.kernel.effects import NOTHING, Answer, Request
from stream_orchestrator.kernel.wires import CallEvent, of_a_model

Status = Literal["sent", "answered", "stub"]
Do = Literal["attempt", "reply", "park", "wait", "drop", "delete"]
# An old owner's answer may be this much later than its attempt's deadline: 5 % of overrun, and the way to the inbox.
GRACE = 5.0
# For a call that says neither when its run ends nor when it must be answered.
DAY = 86_400.0


class BadRow(HouseError):
    """Bytes in the table of calls that are no row of ours."""


class CallRow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call. `request` is kept only while its record is acked and unanswered (parked); `answer` until it is a stub.

    `at` is the position of the record that asked. `instance` and `until` are the mark of an owner that gave the
    partition away with the attempt under way; an instance is a process, so its id changes with every start.
    """

    status: Status
    call_id: str = ""
    run_id: str = ""
    task: str = ""
    digest: str = ""
    reply_topic: str = ""
    reply_partition: int = 0
    traceparent: str = ""
    at: str = ""
    sent_at: float = NOTHING
    deadline: float = NOTHING
    expires: float = NOTHING
    on_ambiguous: Literal["retry", "fail"] = "retry"
    attempts: int = 1
    instance: str = ""
    until: float = NOTHING
    request: Request | None = None
    answer: Answer | None = None

    @property
    def repeated(self) -> int:
        """How often the call was attempted again because nobody knew how the last attempt ended."""
        return self.attempts - 1


class Decision(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The row as it is now, and what to do.

    attempt  ask the service with `request`, then `on_answer`         park   nothing now; `due(row)` wakes it
    reply    send `row.answer` to the asker, then `on_replied`        wait   nothing: what is under way will go on
    delete   remove the row                                           drop   nothing: a copy, or too late

    `counts` are the counters to add one to.
    """

    row: CallRow | None
    do: Do
    write: bool = False
    request: Request | None = None
    counts: tuple[str, ...] = ()


# --- the life of a call, in order


def on_call(
    row: CallRow | None, event: CallEvent, *, position: str, now: float, running: bool = False, instance: str = ""
) -> Decision:
    """A record asks. `running`: this process has the call's attempt under way; `instance`: who we are."""
    if row is None:
        return Decision(row=_sent(event, position, now), do="attempt", write=True, request=event.request)
    counts = ("calls_conflicting",) if row.digest and row.digest != digest(event.request) else ()
    match row.status:
        case "answered":
            return Decision(row=row, do="reply", counts=counts)
        case "stub":
            return Decision(row=row, do="drop", counts=("calls_dropped",))
    if running:
        if position != row.at:
            return Decision(row=row, do="drop", counts=(*counts, "calls_dropped"))
        kept = replace(
            row, request=event.request
        )  # this slot may be done before the attempt is: the row must be enough
        return Decision(row=kept, do="wait", write=kept != row, counts=counts)
    if _elsewhere(row, now, instance):
        parked = replace(row, request=event.request)
        return Decision(row=parked, do="park", write=parked != row, counts=counts)
    decision = _ambiguous(row, event.request, now)
    return replace(decision, counts=counts + decision.counts)


def on_answer(row: CallRow | None, answer: Answer, *, now: float) -> Decision:
    """Our attempt ended. If another answer was first (an old owner's), that one holds."""
    if row is None or row.status != "sent":
        return Decision(row=row, do="drop", counts=("calls_answered_late",))
    return _settled(row, answer)


def on_foreign_answer(row: CallRow | None, answer: Answer, *, now: float) -> Decision:
    """An answer came as an event, from an owner that lost the partition with the attempt under way."""
    if row is not None and row.status == "answered":
        return Decision(
            row=row, do="reply"
        )  # the event again: its slot may have died before the reply was acknowledged
    return on_answer(row, answer, now=now)


def on_replied(row: CallRow | None) -> Decision:
    """The reply is acknowledged: the asker has the answer; only the fact is kept, so that a copy is known as one."""
    if row is None or row.status != "answered":
        return Decision(row=row, do="drop")
    return Decision(row=CallRow(status="stub", expires=row.expires), do="wait", write=True)


def on_due(row: CallRow | None, *, now: float, running: bool = False) -> Decision:
    """The row's time has come: a parked call is ambiguous now, and what outlived its run goes."""
    if row is None:
        return Decision(row=None, do="drop")
    if running:
        # In memory only: it wakes again, and not at once.
        later = replace(row, until=max(row.until, now + GRACE), expires=max(row.expires, now + GRACE))
        return Decision(row=later, do="wait")
    if due(row) > now:
        return Decision(row=row, do="wait")
    if row.expires <= now:
        return Decision(row=None, do="delete", write=True)
    if row.request is None:
        return Decision(row=row, do="wait")
    return _ambiguous(row, row.request, now)


def on_recovered(row: CallRow, *, now: float, running: bool = False, instance: str = "") -> Decision:
    """The partition is ours, before its first record: whatever no record will come for again goes on by itself.

    `running`: it was ours before, and our attempt is still under way; its answer comes as an event.
    """
    if row.expires <= now:
        return Decision(row=None, do="delete", write=True)
    if row.status == "answered":
        return Decision(row=row, do="reply")
    if row.status == "stub" or row.request is None or running:
        return Decision(row=row, do="wait")  # `sent` without its request: its record is not acked, and comes again
    if _elsewhere(row, now, instance):
        return Decision(row=row, do="park")
    return _ambiguous(row, row.request, now)


def on_revoking(row: CallRow, *, instance: str, until: float) -> Decision:
    """The partition may leave while our attempt for this row is under way (ask for no other row)."""
    if row.status != "sent":
        return Decision(row=row, do="wait")
    marked = replace(row, instance=instance, until=until + GRACE)
    return Decision(row=marked, do="wait", write=marked != row)


# --- the private steps


def _sent(event: CallEvent, position: str, now: float) -> CallRow:
    request = event.request
    return CallRow(
        status="sent",
        call_id=event.call_id,
        run_id=event.run_id,
        task=event.task,
        digest=digest(request),
        reply_topic=event.reply_topic,
        reply_partition=event.reply_partition,
        traceparent=event.traceparent,
        at=position,
        sent_at=now,
        deadline=request.deadline,
        expires=max(event.expires or now + DAY, request.deadline + GRACE),
        on_ambiguous=request.on_ambiguous,
    )


def _elsewhere(row: CallRow, now: float, instance: str) -> bool:
    """Whether another owner may still be at it. Our own mark without an attempt under way is a crash of ours."""
    return bool(row.instance) and row.instance != instance and now < row.until


def _ambiguous(row: CallRow, request: Request, now: float) -> Decision:
    """It was sent, and nobody knows what came of it."""
    late = bool(row.deadline) and row.deadline <= now
    if late or row.on_ambiguous == "fail":
        why = "its deadline has passed" if late else "`on_ambiguous: fail` forbids to ask again"
        message = f"it was sent, no answer was recorded, and {why}"
        answer = fault("timeout" if late else "ambiguous", message, retryable=True, ambiguous=True)
        return replace(_settled(row, answer), counts=("calls_ambiguous",))
    again = replace(row, attempts=row.attempts + 1, sent_at=now, instance="", until=0.0)
    return Decision(row=again, do="attempt", write=True, request=request, counts=("calls_repeated",))


def _settled(row: CallRow, answer: Answer) -> Decision:
    answer = unrepeatable(answer) if row.on_ambiguous == "fail" else answer
    answered = replace(row, status="answered", answer=answer, request=None, instance="", until=0.0)
    return Decision(row=answered, do="reply", write=True)


# --- rows as bytes

_encoder, _decoder = msgspec.json.Encoder(), msgspec.json.Decoder(CallRow)


def digest(request: Request) -> str:
    """Names what is asked: 16 hex digits of everything but the deadline, which a copy may compute anew."""
    content = asdict(replace(request, deadline=0.0))
    return blake2b(orjson.dumps(content, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()


def due(row: CallRow) -> float:
    """When the row wants to be woken: a parked one when its mark ends, any other when its run is over."""
    return min(row.until, row.expires) if row.status == "sent" and row.request and row.until else row.expires


def encode(row: CallRow) -> bytes:
    """The row as JSON, without what has its default: a stub has some 35 bytes."""
    return _encoder.encode(row)


def decode(data: bytes) -> CallRow:
    """The row again. Raises `BadRow` for anything else."""
    try:
        return _decoder.decode(data)
    except (ValueError, RecursionError) as error:
        older = _older(data)
        if older is None:
            raise BadRow(f"not the row of a call: {error}") from error
        return older


def _older(data: bytes) -> CallRow | None:
    """A row of a time when every call was a model's, and did not say so."""
    try:
        found = msgspec.json.decode(data)
        return msgspec.convert(found, CallRow) if of_a_model(found) else None
    except (ValueError, RecursionError):
        return None
