"""The service `api`: one HTTP request, as an `api_task` wants it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import orjson

from stream_orchestrator.calls import faults
from stream_orchestrator.calls.fetch import Fetcher, Page, refuse_plain
from stream_orchestrator.calls.provider import Job, ServiceFault
from stream_orchestrator.calls.reading import charset_of
from stream_orchestrator.calls.service_settings import ServiceSettings
from stream_orchestrator.spec.scalars import holds_large_integer

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
IDEMPOTENCY_HEADER = "Idempotency-Key"
CONFLICT = 409  # of a model it passes; of an API it is what it says


class Api:
    """Asks HTTP APIs. No redirect is followed: it would carry credentials, or a body, to another place."""

    def __init__(self, settings: ServiceSettings, *, fetcher: Fetcher | None = None) -> None:
        self._fetcher = fetcher or Fetcher(settings.guard, connect_timeout=settings.connect_timeout)

    async def do(self, job: Job) -> Any:
        """Send it. A status that is not expected is a fault; 5xx, 429 and such may pass."""
        options, method = job.options, job.operation
        body, content_type = _body(options)
        headers = _headers(options, job, content_type)
        refuse_plain(str(options["url"]), job)
        page = await self._fetcher.send(
            method,
            str(options["url"]),
            max_size=job.max_size,
            headers=headers,
            query=_pairs(options.get("query") or {}),
            body=body,
        )
        if not _expected(page.status, options.get("expected_status")):
            raise _of_status(page, job)
        return _value(page, again=method in SAFE)

    async def close(self) -> None:
        """Close every connection."""
        await self._fetcher.close()


def _headers(options: Mapping[str, Any], job: Job, content_type: str) -> dict[str, str]:
    given = {str(name): _text(value) for name, value in (options.get("headers") or {}).items()}
    names = {name.lower() for name in given}
    if content_type and "content-type" not in names:
        given["Content-Type"] = content_type
    if authorization := _authorization(options.get("auth") or {}):
        given = {name: value for name, value in given.items() if name.lower() != "authorization"}
        given["Authorization"] = authorization
    header = str(options.get("idempotency_header") or IDEMPOTENCY_HEADER)
    if job.operation not in SAFE and header.lower() not in names:
        given[header] = job.key
    return given


def _authorization(auth: Mapping[str, Any]) -> str:
    if auth.get("bearer"):
        return f"Bearer {auth['bearer']}"
    if auth.get("username") is None:
        return ""
    pair = f"{auth['username']}:{auth.get('password', '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def _body(options: Mapping[str, Any]) -> tuple[bytes | None, str]:
    if options.get("json") is not None:
        return orjson.dumps(options["json"]), "application/json"
    if options.get("body") is not None:
        said = options["body"]
        return (said.encode(), "text/plain; charset=utf-8") if isinstance(said, str) else (orjson.dumps(said), "")
    return None, ""


def _pairs(query: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values; a list gives its name several times, null gives none."""
    found = []
    for name, value in query.items():
        for each in value if isinstance(value, list) else [value]:
            if each is not None:
                found.append((name, _text(each)))
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _expected(status: int, wanted: int | list[int] | None) -> bool:
    if wanted is None:
        return 200 <= status < 300
    return status in ([wanted] if isinstance(wanted, int) else wanted)


def _of_status(page: Page, job: Job) -> ServiceFault:
    # Masked before a message takes its start of it: what is cut in two is not known for a secret any more.
    body = job.masker.text(page.body[:65_536].decode(errors="replace")).encode(errors="replace")
    reply = faults.Reply(page.status, page.headers, body)
    answer = faults.of_status(reply, service="the API", now=job.wall)
    return ServiceFault(
        answer.error_type,
        answer.message,
        retryable=answer.retryable and page.status != CONFLICT,
        ambiguous=answer.ambiguous,
        retry_after=answer.retry_after,
    )


def _value(page: Page, *, again: bool) -> dict[str, Any]:
    """The output: `json` or `body`, and the other is null; bytes that are no text are base64, and `encoding` says so.

    `again`: asking once more does no harm, should the answer be broken.
    """
    value: dict[str, Any] = {"status": page.status, "headers": page.headers, "json": None, "body": None}
    try:
        text = page.body.decode(charset_of(page.headers) or "utf-8")
    except (UnicodeDecodeError, LookupError):
        return {**value, "body": base64.b64encode(page.body).decode(), "encoding": "base64"}
    if "json" in page.headers.get("content-type", "").lower() and text.strip():
        try:
            found = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise ServiceFault(
                "bad_answer", f"the API says that it answers JSON, and does not: {error}", retryable=again
            ) from error
        if holds_large_integer(text):
            said = "the API answers with an integer of more than 64 bits, and no record holds it exactly"
            raise ServiceFault("bad_answer", said, retryable=again)
        return {**value, "json": found}
    return {**value, "body": text}
