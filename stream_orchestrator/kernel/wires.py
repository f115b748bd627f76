"""Where things go: the topics of a version, and the headers of what leaves it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from stream_orchestrator.kernel import ids
from stream_orchestrator.kernel.decision import Call
from stream_orchestrator.kernel.effects import NOTHING, CallRequest, Request
from stream_orchestrator.kernel.events import Undecodable
from stream_orchestrator.kernel.rows import RunRow
from stream_orchestrator.plan.model import RESULT, SHARED, START, TaskPlan

TO = "to"
OWN_HEADERS = frozenset({"run-id", "status", "traceparent", "content-type", "redrive-of"})
Headers = tuple[tuple[str, bytes], ...]


class Wires(Struct, frozen=True, kw_only=True):
    """The topics of one version. `inbox_prefix` ends in a dot; `route` names the service of a model, `calls` its topic,
    `shards` the partition count of that topic, `partitions` that of the inboxes. `inputs` are the input topics of other
    pipelines, by slug. `state` is the topic of what outlives
    runs.
    """

    inbox_prefix: str
    results: str
    dlq: str
    audit: str
    internal_dlq: str
    route: Callable[[str], str]
    calls: Mapping[str, str] = {}
    shards: Mapping[str, int] = {}
    state: str = ""
    state_shards: int = 1
    partitions: int = 1
    inputs: Mapping[str, str] = {}

    def inbox(self, slug: str) -> str:
        """The inbox of a task (or of `start` and `result`)."""
        return self.inbox_prefix + slug.strip(":")

    def inside(self, slug: str, body: int) -> Wires:
        """The topics of a container's body: inboxes of its own, all else as here."""
        return replace(self, inbox_prefix=f"{self.inbox_prefix}{slug}.{body}.")

    def to(self, slug: str) -> Headers:
        """The headers that a token to a task needs beside its own."""
        return ()

    def service_of(self, request: Request) -> str:
        """Who answers a request."""
        return self.route(request.model) if isinstance(request, CallRequest) else request.service

    def reaches(self, request: Request) -> bool:
        """Whether this version has a way to the service of a request."""
        return self.service_of(request) in self.calls


class Shared(Wires, frozen=True, kw_only=True):
    """The topics of an open body: all its tasks have one inbox, and a header says which of them is meant."""

    def inbox(self, slug: str) -> str:
        """`start`, `result`, or the one of all tasks."""
        return self.inbox_prefix + (slug.strip(":") if slug in {START, RESULT} else SHARED)

    def to(self, slug: str) -> Headers:
        """The task that is meant."""
        return ((TO, slug.encode()),)


class CallRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A call on its way: where it goes, and the record itself."""

    topic: str
    partition: int
    key: bytes
    value: bytes
    headers: Headers


class CallEvent(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A call as its agent reads it. `reply_topic`, `reply_partition`: the inbox of the task that asks."""

    call_id: str
    run_id: str
    task: str
    reply_topic: str
    reply_partition: int
    request: Request
    expires: float = NOTHING
    traceparent: str = ""


class _Envelope(Struct, frozen=True, kw_only=True):
    format: int = 1
    call: CallEvent


_encoder, _decoder = msgspec.json.Encoder(), msgspec.json.Decoder(_Envelope)


def encode_call(event: CallEvent) -> bytes:
    """A call as the value of its record."""
    return _encoder.encode(_Envelope(format=1, call=event))


def decode_call(data: bytes | None) -> CallEvent:
    """The call of a record; anything else is `Undecodable`."""
    try:
        return _decoder.decode(data or b"").call
    except (ValueError, RecursionError) as error:
        older = _older(data)
        if older is None:
            raise Undecodable(f"not a call: {error}") from error
        return older


def of_a_model(holder: Any) -> bool:
    """Say of the `request` that a map holds that it asks a model, if it does not say whom. Whether that was missing:
    before there were other services nobody said it, and such a call may still be on its way when a worker is renewed.
    """
    request = holder.get("request") if isinstance(holder, dict) else None
    if not isinstance(request, dict) or "kind" in request:
        return False
    request["kind"] = "model"
    return True


def _older(data: bytes | None) -> CallEvent | None:
    try:
        found = msgspec.json.decode(data or b"")
        call = found.get("call") if isinstance(found, dict) else None
        return msgspec.convert(found, _Envelope).call if of_a_model(call) else None
    except (ValueError, RecursionError):
        return None


def result_headers(
    pipeline: str, run_id: str, status: str, *, trace_id: str, carried: Sequence[tuple[str, str]]
) -> Headers:
    """The headers of a result: ours, then the producer's own."""
    span = ids.span_of(pipeline, run_id, "publish")
    own = (
        ("run-id", run_id.encode()),
        ("status", status.encode()),
        ("traceparent", ids.traceparent(trace_id, span).encode()),
        ("content-type", b"application/json"),
    )
    return (*own, *((name, value.encode("latin-1")) for name, value in carried if name.lower() not in OWN_HEADERS))


def letter_headers(
    run_id: str, position: str, original: Sequence[tuple[str, str]], letter: Mapping[str, str]
) -> Headers:
    """The headers of a dead letter: the original ones untouched, then what went wrong and where the record stood.

    A `run-id` of the producer's that is not the run's (a conflict, an id that no run can have) stays before ours.
    """
    topic, partition, offset = position.rsplit("/", 2)
    kept = tuple((name, value.encode("latin-1")) for name, value in original)
    place = (("dlq-topic", topic), ("dlq-partition", partition), ("dlq-offset", offset), ("run-id", run_id))
    told = tuple((name, value.encode("utf-8", "replace")) for name, value in (*letter.items(), *place))
    return (*(item for item in kept if item != told[-1]), *told)


def call_record(wires: Wires, home: int, task: TaskPlan, run: RunRow, call: Call) -> CallRecord:
    """The record that asks a service; its reply comes to this task's inbox, at the run's home."""
    service = wires.service_of(call.request)
    event = CallEvent(
        call_id=call.call_id,
        run_id=run.run_id,
        task=task.name,
        reply_topic=wires.inbox(task.slug),
        reply_partition=home,
        request=call.request,
        expires=run.deadline,
        traceparent=call.traceparent,
    )
    return CallRecord(
        topic=wires.calls[service],
        partition=ids.partition_of(call.call_id, wires.shards[service]),
        key=call.call_id.encode(),
        value=encode_call(event),
        headers=(("traceparent", call.traceparent.encode()),),
    )
