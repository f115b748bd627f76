"""The border to the services of models: the one module that knows httpx; another library is another import here.

Promises
  * One `post` sends at most one request: no redirects, no retries, no proxies or keys from the environment.
  * It ends by `deadline`, whatever the other side does, and reads at most `max_body` bytes.
  * When no reply came, `NoReply.sent` tells whether the request had left: only then may it have been carried out.
Cancelling closes the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from stream_orchestrator.calls.faults import Reply

Failure = Literal["unreachable", "timeout", "disconnected", "too_large", "bad_answer"]
# Idle connections are given up before most servers do (60 s and more), or a call dies on a line that was just cut.
KEEP_ALIVE = 15.0
PIECE = 256 * 1024
OURS = {"accept": "*/*", "accept-encoding": "gzip", "user-agent": "stream-orchestrator"}
_parsed = lru_cache(maxsize=64)(httpx.URL)  # of the few services there are


class NoReply(Exception):
    """No whole reply came. `sent`: the request had left, so it may have been carried out."""

    def __init__(self, failure: Failure, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.failure = failure
        self.sent = sent


@dataclass(slots=True)
class _Progress:
    """How far one request came. The connection itself tells (aiohttp's trace), in the task of its request."""

    sent: bool = False
    response: aiohttp.ClientResponse | None = None


_progress: ContextVar[_Progress] = ContextVar("progress")


class Http:
    """A pool of connections to services. Its only verb is `post`; `close` it in the loop that used it."""

    def __init__(self, *, connect_timeout: float, first_byte_timeout: float, max_body: int) -> None:
        self._connect_timeout = connect_timeout
        self._first_byte_timeout = first_byte_timeout
        self._max_body = max_body
        self._transport: AiohttpTransport | None = None

    async def post(self, url: str, *, headers: dict[str, str], body: bytes, deadline: float) -> Reply:
        """Send once and read the whole reply. `deadline` is on the loop's clock. Raises `NoReply`, and nothing else."""
        progress = _Progress()
        token = _progress.set(progress)
        complete = False
        try:
            reply = await self._exchange(url, headers, body, deadline)
            complete = True
            return reply
        except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError, ValueError) as error:
            raise _no_reply(error, progress.sent) from error
        except NoReply as error:
            error.sent = progress.sent
            raise
        finally:
            _progress.reset(token)
            # Closing politely waits for the writer, which may wait for a server that reads no more.
            if not complete and progress.response is not None:
                progress.response.close()

    async def close(self) -> None:
        """Close every connection."""
        if self._transport is not None:
            await self._transport.aclose()
            self._transport = None

    async def _exchange(self, url: str, headers: dict[str, str], body: bytes, deadline: float) -> Reply:
        # Straight to the transport: what a client of httpx adds costs as much again, and we want none of it.
        request = httpx.Request(
            "POST",
            _parsed(url),
            headers={**OURS, **headers, "content-length": str(len(body))},
            content=body if len(body) <= PIECE else _in_pieces(body),
            extensions={"timeout": {"connect": self._connect_timeout}},
        )
        first_byte = asyncio.get_running_loop().time() + self._first_byte_timeout
        received = bytearray()
        async with asyncio.timeout_at(min(first_byte, deadline)) as limit:
            response = await self._opened().handle_async_request(request)
            limit.reschedule(deadline)
            async for chunk in response.aiter_bytes():
                received += chunk
                if len(received) > self._max_body:
                    raise NoReply("too_large", f"the answer is larger than {self._max_body} bytes", sent=True)
            await response.aclose()
        return Reply(response.status_code, _lower(response.headers.raw), bytes(received))

    def _opened(self) -> AiohttpTransport:
        if self._transport is None:
            self._transport = AiohttpTransport(client=_session, trust_env=False)
        return self._transport


def _lower(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by their names in lower case; one that came several times has all its values."""
    found: dict[str, str] = {}
    for name, value in headers:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


async def _in_pieces(body: bytes) -> AsyncIterator[bytes]:
    """A prompt of megabytes written at once holds up the loop (aiohttp warns of it)."""
    for start in range(0, len(body), PIECE):
        yield body[start : start + PIECE]


def _session() -> aiohttp.ClientSession:
    """No limit on connections (the service has one on calls), and no cookies from one call to the next."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        trace_configs=[_tracing()],
    )


def _tracing() -> aiohttp.TraceConfig:
    async def on_sent(*_: Any) -> None:
        _progress.get().sent = True

    async def on_response(_session: Any, _context: Any, ended: aiohttp.TraceRequestEndParams) -> None:
        _progress.get().response = ended.response

    config = aiohttp.TraceConfig()
    config.on_request_headers_sent.append(on_sent)
    config.on_request_end.append(on_response)
    return config


def _no_reply(error: Exception, sent: bool) -> NoReply:
    if isinstance(error, (TimeoutError, httpx.TimeoutException)) and not isinstance(error.__cause__, _LOST):
        failure: Failure = "timeout" if sent or isinstance(error, TimeoutError) else "unreachable"
        return NoReply(failure, "no answer in time" if sent else "no connection in time", sent=sent)
    if isinstance(error, httpx.DecodingError):
        return NoReply("bad_answer", "its compressed body is broken", sent=sent)
    said = " ".join(str(error).split()) or type(error).__name__
    if sent and isinstance(error, ValueError):  # the client stumbles over it: a reason phrase that is not UTF-8
        return NoReply("bad_answer", f"an answer that cannot be read: {said}", sent=sent)
    return NoReply("disconnected" if sent else "unreachable", said, sent=sent)


# httpx-aiohttp calls a cut connection a connect time-out; what lies beneath says what it is.
_LOST = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientConnectionResetError)
