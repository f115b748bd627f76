"""What steps tell each other: reports, tokens, replies, cancels; and their bytes on an inbox.

Promises
  * Every edge carries exactly one token per run. A token's report is its source's whole story, its trail the stories
    that no row holds yet.
  * `decode(encode(event))` is the event. Bytes that are not an event raise `Undecodable`, never anything else.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

from stream_orchestrator.errors import OrchestratorError
from stream_orchestrator.kernel.effects import NOTHING, Answer

TokenKind = Literal["value", "skipped", "failed", "cancelled"]
FORMAT = 1


class Undecodable(OrchestratorError):
    """An internal record is not one of ours; it goes to the internal dead letters with its position."""


class Report(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a step ended. `seconds` counts from its first token to its outcome, waits included.

    Of a container: `names` are those by which the items of its output are known outside, in order; `shown` are outputs
    of its inner tasks that are read outside, by name, and `hidden` the names of those that were skipped.
    """

    task: str
    kind: TokenKind
    output: Any = None
    error: dict[str, Any] | None = None
    degraded: tuple[dict[str, Any], ...] = ()
    usd: float = NOTHING
    input_tokens: int = 0
    output_tokens: int = 0
    calls: int = 0
    started_at: float = NOTHING
    seconds: float = NOTHING
    attempts: int = 0
    model: str = ""
    names: tuple[str, ...] = ()
    shown: dict[str, Any] = {}
    hidden: tuple[str, ...] = ()


class Token(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One edge's message. `traceparent` is the span of the step it comes from."""

    run_id: str
    source: str
    report: Report
    trail: tuple[Report, ...] = ()
    traceparent: str = ""

    @property
    def kind(self) -> TokenKind:
        """What the source's outcome was."""
        return self.report.kind


class Reply(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to one call, back in the inbox of the task that asked."""

    run_id: str
    call_id: str
    answer: Answer


class Nest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a run stands that is an item of a container, and what it sees of the scope around it.

    `parent` waits for it, in `inbox` at `partition`; `root` is the run that an input event began. `path` leads to the
    body: `("<container>.<body>", ...)`. `skipped` are names whose tasks were skipped; `tasks` is
    the plan of an item that brings its own. `depth` counts the pipelines that run it, one through the other. `until`:
    when the last of the runs that wait for it is over.
    """

    parent: str
    root: str
    inbox: str
    partition: int
    path: tuple[str, ...]
    index: int
    label: str
    values: dict[str, Any] = {}
    outputs: dict[str, Any] = {}
    names: dict[str, Any] = {}
    skipped: tuple[str, ...] = ()
    traceparent: str = ""
    tasks: str = ""
    depth: int = 0
    until: float = NOTHING


class Begin(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A run arrives at its home. `payload` is the input's bytes as text, `headers` and `key` as they came (latin-1).

    `files` are those of the payload that were fetched or scanned: variable → content in base64, or "" where the payload
    has it.
    """

    run_id: str
    payload: str
    key: str | None
    headers: tuple[tuple[str, str], ...]
    position: str
    accepted_at: float
    deadline: float
    supplied: bool = False
    attempt: int = 1
    retry_of: str | None = None
    trace_id: str = ""
    parent_span: str = ""
    nest: Nest | None = None
    files: dict[str, str] = {}


class Ended(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An item has ended, back in the inbox of its container. `item` is the item's own run id."""

    run_id: str
    item: str
    index: int
    report: Report


class Cancel(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody wants a run to end now. It comes to the start inbox of the run's home, behind the run itself."""

    run_id: str


Event = Token | Reply | Begin | Cancel | Ended


class _Envelope(Struct, frozen=True, kw_only=True, omit_defaults=True):
    format: int
    token: Token | None = None
    reply: Reply | None = None
    begin: Begin | None = None
    cancel: Cancel | None = None
    ended: Ended | None = None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Envelope)


def encode(event: Event) -> bytes:
    """An event as the value of an inbox record."""
    match event:
        case Token():
            body = _Envelope(format=FORMAT, token=event)
        case Reply():
            body = _Envelope(format=FORMAT, reply=event)
        case Begin():
            body = _Envelope(format=FORMAT, begin=event)
        case Cancel():
            body = _Envelope(format=FORMAT, cancel=event)
        case Ended():
            body = _Envelope(format=FORMAT, ended=event)
    return _encoder.encode(body)


def decode(data: bytes | None) -> Event:
    """The event of an inbox record; unknown fields are ignored, anything else that is wrong is `Undecodable`."""
    try:
        body = _decoder.decode(data or b"")
    except (ValueError, RecursionError) as error:
        raise Undecodable(f"not an inbox record: {error}") from error
    if body.format != FORMAT:
        raise Undecodable(f"format {body.format} is not {FORMAT}")
    event = body.token or body.reply or body.begin or body.cancel or body.ended
    if event is None:
        raise Undecodable("not an inbox record: it holds no event")
    if isinstance(event, Token) and event.report.task != event.source:
        raise Undecodable(f"the token of {event.source!r} brings the report of {event.report.task!r}")
    return event
