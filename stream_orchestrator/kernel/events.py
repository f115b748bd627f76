"""What steps tell each other: reports, tokens, replies, cancels; and their bytes on an inbox.

Promises
  * Every edge carries exactly one token per run. A token's report is its source's whole story, its trail the stories
    that no row holds yet.
  * `decode(encode(event))` is the event. Bytes that are not an event raise `Undecodable`, never anything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import orjson

from stream_orchestrator.errors import OrchestratorError
from stream_orchestrator.kernel.effects import Answer
from stream_orchestrator.kernel.reading import lean, read

TokenKind = Literal["value", "skipped", "failed", "cancelled"]
TOKEN_KINDS = frozenset(get_args(TokenKind))
FORMAT = 1


class Undecodable(OrchestratorError):
    """An internal record is not one of ours; it goes to the internal dead letters with its position."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How a step ended. `seconds` counts from its first token to its outcome, waits included."""

    task: str
    kind: TokenKind
    output: Any = None
    error: dict[str, Any] | None = None
    degraded: tuple[dict[str, Any], ...] = ()
    usd: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    calls: int = 0
    started_at: float = 0.0
    seconds: float = 0.0
    attempts: int = 0
    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer to one call, back in the inbox of the task that asked."""

    run_id: str
    call_id: str
    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """A run arrives at its home. `payload` is the input's bytes as text, `headers` and `key` as they came (latin-1)."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Somebody wants a run to end now. It comes to the start inbox of the run's home, behind the run itself."""

    run_id: str


Event = Token | Reply | Begin | Cancel


def report_from(data: dict[str, Any]) -> Report:
    """A report read back from its row or token."""
    if data["kind"] not in TOKEN_KINDS:
        raise ValueError(f"no such kind of token: {data['kind']!r}")
    return read(Report, data, degraded=tuple(data.get("degraded", ())))


def token_data(token: Token) -> dict[str, Any]:
    """A token as JSON."""
    data: dict[str, Any] = {"run_id": token.run_id, "source": token.source, "report": lean(token.report)}
    if token.trail:
        data["trail"] = [lean(report) for report in token.trail]
    if token.traceparent:
        data["traceparent"] = token.traceparent
    return data


def token_from(data: dict[str, Any]) -> Token:
    """A token read back."""
    trail = tuple(report_from(item) for item in data.get("trail", ()))
    return read(Token, data, report=report_from(data["report"]), trail=trail)


def encode(event: Event) -> bytes:
    """An event as the value of an inbox record."""
    body: dict[str, Any]
    match event:
        case Token():
            body = {"token": token_data(event)}
        case Reply():
            body = {"reply": {"run_id": event.run_id, "call_id": event.call_id, "answer": event.answer}}
        case Begin():
            body = {"begin": lean(event)}
        case Cancel():
            body = {"cancel": event}
    return orjson.dumps({"format": FORMAT, **body})


def decode(data: bytes | None) -> Event:
    """The event of an inbox record; unknown fields are ignored, anything else that is wrong is `Undecodable`."""
    try:
        body = orjson.loads(data or b"")
        if body["format"] != FORMAT:
            raise Undecodable(f"format {body['format']} is not {FORMAT}")
        if "token" in body:
            return token_from(body["token"])
        if "reply" in body:
            return read(Reply, body["reply"], answer=read(Answer, body["reply"]["answer"]))
        if "cancel" in body:
            return read(Cancel, body["cancel"])
        begin = body["begin"]
        return read(Begin, begin, headers=tuple((str(name), str(value)) for name, value in begin["headers"]))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise Undecodable(f"not an inbox record: {error}") from error
