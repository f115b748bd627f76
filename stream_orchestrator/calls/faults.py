"""Turning what a service did into an `Answer` that is a fault. Pure; every kind of fault is listed here, once.

retryable   another attempt may do better: 408, 409, 429, 5xx, nobody there, an answer that makes no sense
fatal       the same request gives the same: 3xx, other 4xx, a refusal, a missing key
ambiguous   it was sent and may have been carried out (and billed), but no answer came: time-out, cut connection, 504
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from msgspec.structs import replace

from stream_orchestrator.calls.retry_after import retry_after
from stream_orchestrator.kernel.effects import Answer

MESSAGE_LIMIT = 500
RETRYABLE_STATUS = frozenset({408, 409, 425, 429})
# A gateway gave up waiting for the service behind it, which may still be working (524 is how Cloudflare says it).
AMBIGUOUS_STATUS = frozenset({504, 524})
# Codes of a 429 that waiting does not mend.
_SPENT = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
STATUS_TYPES = {
    400: "bad_request", 401: "unauthorized", 402: "quota_exhausted", 403: "forbidden", 404: "not_found", 408: "timeout",
    409: "conflict", 413: "bad_request", 422: "bad_request", 429: "rate_limited", 503: "overloaded", 529: "overloaded",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back over HTTP, whole. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class BadBody(Exception):
    """A reply with status 200 that is not what the service promised."""


def fault(error_type: str, message: str, *, retryable: bool = False, ambiguous: bool = False) -> Answer:
    """A fault with a message of bounded size."""
    if len(message) > MESSAGE_LIMIT:
        message = message[: MESSAGE_LIMIT - 1] + "…"
    return Answer(error_type=error_type, message=message, retryable=retryable, ambiguous=ambiguous)


def unrepeatable(answer: Answer) -> Answer:
    """The answer to a call that says `on_ambiguous: fail`: what may have been carried out is not tried again."""
    return replace(answer, retryable=False, retry_after=None) if answer.ambiguous else answer


def of_status(reply: Reply, *, service: str, now: float) -> Answer:
    """The fault of a reply whose status is not 2xx. `now` (UNIX seconds) is for waits that are given as a date."""
    code, said = _error_in(reply.body)
    status = reply.status
    spent = status == 429 and code in _SPENT
    filtered = status == 400 and code in {"content_filter", "content_policy_violation"}
    retryable = (status in RETRYABLE_STATUS or status >= 500) and not spent
    error_type = "quota_exhausted" if spent else "content_filter" if filtered else _type_of(status)
    base = fault(error_type, f"{service} answered {status}: {said or 'no reason given'}", retryable=retryable)
    return Answer(
        error_type=base.error_type,
        message=base.message,
        retryable=retryable,
        retry_after=retry_after(reply.headers, now=now, limited=status == 429) if retryable else None,
        ambiguous=status in AMBIGUOUS_STATUS,
    )


def bad_answer(service: str, reason: str) -> Answer:
    """A whole answer that cannot be used."""
    return fault("bad_answer", f"{service} answered with something unusable: {reason}", retryable=True)


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body; `BadBody` when there is none."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadBody(f"not JSON ({_start_of(body)!r})") from error
    if not isinstance(document, dict):
        raise BadBody(f"JSON, but a {type(document).__name__} where an object was expected")
    return document


def count(usage: object, *names: str) -> int:
    """The sum of some token counts in a usage object; whatever is not a count is 0, since usage is a courtesy."""
    if not isinstance(usage, dict):
        return 0
    values = (usage.get(name) for name in names)
    return sum(value for value in values if isinstance(value, int) and not isinstance(value, bool) and value > 0)


def _type_of(status: int) -> str:
    if status in STATUS_TYPES:
        return STATUS_TYPES[status]
    if status >= 500:
        return "server_error"
    return "redirected" if 300 <= status < 400 else "bad_request"


def _error_in(body: bytes) -> tuple[str, str]:
    """(code, message) from an error body; both wire formats nest them under `error`, and others come as they are."""
    try:
        error = json_object(body[:65_536]).get("error")
    except BadBody:
        return "", _start_of(body)
    if not isinstance(error, dict):
        return "", str(error or "") or _start_of(body)
    code = error.get("code") or error.get("type") or ""
    return str(code), str(error.get("message") or "") or _start_of(body)


def _start_of(body: bytes) -> str:
    return " ".join(body[: 4 * MESSAGE_LIMIT].decode(errors="replace").split())[:MESSAGE_LIMIT]
