"""HTTP to addresses that a pipeline names: guarded, bounded, one request at a time.

Promises
  * A connection goes to an address that the guard has seen; names are looked up anew for each connection.
  * One `send` is one request: no redirect is followed, no cookie kept, nothing taken from the environment. (What cannot
    do harm twice, as HTTP has it, goes out once more when a kept connection was closed under it.)
  * At most `max_size` bytes of a body are kept; more is `too_large`, found before it is read where the server says so.
  * `ServiceFault.ambiguous` is set when the request had left and no whole answer came.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from stream_orchestrator.calls.provider import Job, ServiceFault
from stream_orchestrator.trust.addresses import AddressGuard, BlockedAddress, is_plain

AGENT = "stream-orchestrator"
KEEP_ALIVE = 15.0
Lookup = Callable[[str, int], Awaitable[list[str]]]


@dataclass(frozen=True, slots=True)
class Page:
    """What came back, whole. Header names are lower case; the values of one that comes again are joined by commas.

    `url` is as it was asked, not as a client writes it: a secret that it is made of must be known again in it.
    """

    url: str
    status: int
    headers: dict[str, str]
    body: bytes


async def look_up(host: str, port: int) -> list[str]:
    """The addresses of a name, as the system knows them."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def refuse_plain(url: str, job: Job) -> None:
    """Refuse an address without TLS for a pipeline that wants `encryption_in_transit`."""
    if job.options.get("tls") and is_plain(url):
        said = "the address has no TLS, and the pipeline wants `encryption_in_transit`: give one with https://"
        raise ServiceFault("blocked_address", said)


class Fetcher:
    """A guarded client. Use and `close` it in one loop."""

    def __init__(self, guard: AddressGuard, *, connect_timeout: float = 10.0, lookup: Lookup = look_up) -> None:
        self._guard = guard
        self._connect_timeout = connect_timeout
        self._lookup = lookup
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self,
        method: str,
        url: str,
        *,
        max_size: int,
        headers: dict[str, str] | None = None,
        query: list[tuple[str, str]] | None = None,
        body: bytes | None = None,
    ) -> Page:
        """Send one request and read the whole answer, whatever its status. Raises `ServiceFault`, and nothing else."""
        target = self._checked(url, query or [])
        progress = _Progress()
        try:
            async with self._opened().request(
                method,
                target,
                headers={"user-agent": AGENT, **(headers or {})},
                data=body,
                allow_redirects=False,
                trace_request_ctx=progress,
            ) as response:
                found = await _read(response, max_size)
                return Page(url, response.status, _headers(response), found)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _fault(error, target, sent=progress.sent) from error

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _checked(self, url: str, query: list[tuple[str, str]]) -> URL:
        try:
            target = URL(url)
            if target.scheme not in {"http", "https"} or not target.host:
                raise ServiceFault("bad_request", f"`{_shown(url)}` is not an http(s) address")
            target = target.extend_query(query) if query else target
            self._guard.check_host(target.host or "", target.port or 0)
        except BlockedAddress as error:
            raise ServiceFault("blocked_address", str(error)) from error
        except ValueError as error:
            raise ServiceFault("bad_request", f"`{_shown(url)}` is not an address: {error}") from error
        return target

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0,
                    keepalive_timeout=KEEP_ALIVE,
                    use_dns_cache=False,
                    resolver=_Resolver(self._guard, self._lookup),
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout),
                trust_env=False,
                trace_configs=[_tracing()],
            )
        return self._session


class _Resolver(AbstractResolver):
    """Looks a name up, and gives its addresses only if the guard lets every one of them through."""

    def __init__(self, guard: AddressGuard, lookup: Lookup) -> None:
        self._guard, self._lookup = guard, lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The checked addresses; the connection is made to one of these, and nobody asks again."""
        addresses = await self._lookup(host, port)
        self._guard.check_found(host, port, addresses)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing is open."""


@dataclass(slots=True)
class _Progress:
    """Whether the request had left; the connection itself tells (aiohttp's trace)."""

    sent: bool = False


def _tracing() -> aiohttp.TraceConfig:
    async def on_sent(_session: Any, context: Any, _params: Any) -> None:
        context.trace_request_ctx.sent = True

    config = aiohttp.TraceConfig()
    config.on_request_headers_sent.append(on_sent)
    return config


async def _read(response: aiohttp.ClientResponse, max_size: int) -> bytes:
    if response.method != "HEAD" and (response.content_length or 0) > max_size:
        response.close()
        raise _too_large(max_size)
    received = bytearray()
    async for chunk in response.content.iter_chunked(64 * 1024):
        received += chunk
        if len(received) > max_size:
            response.close()
            raise _too_large(max_size)
    return bytes(received)


def _too_large(max_size: int) -> ServiceFault:
    return ServiceFault("too_large", f"the answer is larger than {max_size:,} bytes; `max_size` allows more")


def _headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    return {name.lower(): ", ".join(response.headers.getall(name)) for name in response.headers}


def _fault(error: Exception, target: URL, *, sent: bool) -> ServiceFault:
    blocked = _blocked_in(error)
    if blocked is not None:
        return ServiceFault("blocked_address", str(blocked))
    where = target.host
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return ServiceFault("bad_request", f"`{_shown(str(target))}` cannot be asked")
    if isinstance(error, aiohttp.ClientPayloadError) and "decod" in str(error).lower():
        return ServiceFault("bad_answer", f"{where}: its compressed body is broken", retryable=True)
    if isinstance(error, TimeoutError):
        return ServiceFault(
            "timeout" if sent else "unreachable", f"{where}: no answer in time", retryable=True, ambiguous=sent
        )
    if isinstance(error, ValueError) and not isinstance(error, aiohttp.ClientError):
        return ServiceFault("bad_request", f"the request to {where} cannot be written: {error}")
    said = " ".join(str(error).split()) or type(error).__name__
    if sent:
        return ServiceFault("disconnected", f"{where}: {said}", retryable=True, ambiguous=True)
    return ServiceFault("unreachable", f"{where}: {said}", retryable=True)


def _blocked_in(error: BaseException | None) -> BlockedAddress | None:
    while error is not None:
        if isinstance(error, BlockedAddress):
            return error
        inner = getattr(error, "os_error", None)
        error = inner if isinstance(inner, BlockedAddress) else error.__cause__
    return None


def _shown(url: str) -> str:
    """An address as a message has it: without a user's name, a query, or more than a line of it."""
    bare = url.partition("?")[0].partition("#")[0]
    scheme, mark, rest = bare.partition("://")
    return (scheme + mark + rest.rpartition("@")[2])[:200]
