"""The service `web`: one page, fetched as a well-behaved reader does, and read.

Promises
  * robots.txt of every host on the way is asked first, and obeyed; where it cannot be had, nothing is fetched.
  * Every hop of a redirect is guarded as the first address is; at most `MAX_HOPS`.
  * A page is read in bounded time and memory: PDF, and HTML that is not small, in a process that is killed when late.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

from protego import Protego

from stream_orchestrator.calls import faults
from stream_orchestrator.calls.fetch import AGENT, Fetcher, Page, refuse_plain
from stream_orchestrator.calls.provider import Job, ServiceFault
from stream_orchestrator.calls.reading import Order, Reading, charset_of, read_apart, read_html, read_text
from stream_orchestrator.calls.service_settings import ServiceSettings

MAX_HOPS = 5
SMALL = 50_000  # bytes: the worst of such pages takes a quarter of a second
ROBOTS_SIZE = 512 * 1024  # RFC 9309 wants 500 KiB at least to be read
ROBOTS_KEPT = 3600.0  # seconds; the RFC allows a day
MOST_ROBOTS = 1000  # hosts whose rules are kept
ACCEPT = "text/html,application/xhtml+xml,application/pdf,text/plain;q=0.9,*/*;q=0.1"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HTML = frozenset({"text/html", "application/xhtml+xml"})


@dataclass(frozen=True, slots=True)
class _Rules:
    """What a host's robots.txt says; None: everything may be fetched."""

    said: Protego | None
    until: float

    def allow(self, url: str) -> bool:
        return self.said is None or bool(self.said.can_fetch(url, AGENT))


class Web:
    """Fetches and reads pages."""

    def __init__(self, settings: ServiceSettings, *, fetcher: Fetcher | None = None) -> None:
        self._fetcher = fetcher or Fetcher(settings.guard, connect_timeout=settings.connect_timeout)
        self._rules: dict[str, _Rules] = {}

    async def do(self, job: Job) -> Any:
        """The page as `{url, title, text, links, content_type}`; `url` is where it was in the end."""
        page = await self._page(str(job.options["url"]), job)
        kind = page.headers.get("content-type", "").partition(";")[0].strip().lower()
        found = await self._read(page, kind, job)
        return {"url": page.url, "title": found.title, "text": found.text, "links": found.links, "content_type": kind}

    async def close(self) -> None:
        """Close every connection."""
        await self._fetcher.close()

    async def _page(self, url: str, job: Job) -> Page:
        for _ in range(MAX_HOPS + 1):
            refuse_plain(url, job)
            if job.options.get("obey_robots", True):
                await self._ask_robots(url)
            page = await self._fetcher.send("GET", url, max_size=job.max_size, headers={"accept": ACCEPT})
            if page.status not in _REDIRECTS or "location" not in page.headers:
                break
            url = urljoin(page.url, page.headers["location"])
        else:
            raise ServiceFault("redirected", f"it is redirected more than {MAX_HOPS} times")
        if page.status != 200:
            raise _of_status(page, job)
        return page

    async def _read(self, page: Page, kind: str, job: Job) -> Reading:
        left, charset = job.deadline - asyncio.get_running_loop().time(), charset_of(page.headers)
        if kind == "application/pdf" or page.body.startswith(b"%PDF-"):
            return await read_apart(Order(kind="pdf"), page.body, seconds=left)
        if kind in _HTML or (not kind and page.body.lstrip()[:1] == b"<"):
            if len(page.body) > SMALL:
                return await read_apart(Order(kind="html", url=page.url, charset=charset), page.body, seconds=left)
            return await asyncio.to_thread(read_html, page.body, page.url, charset)
        if kind.startswith("text/") or kind in {"application/json", "application/xml", ""}:
            return read_text(page.body, charset)
        raise ServiceFault("unsupported_content", f"it is `{kind}`; pages of HTML, PDF or text are read")

    # --- robots.txt ----------------------------------------------------------------------------------------------

    async def _ask_robots(self, url: str) -> None:
        rules = await self._rules_of(url)
        if not rules.allow(url):
            host = urlsplit(url).hostname
            raise ServiceFault("robots_denied", f"robots.txt of {host} does not allow {AGENT} to fetch this page")

    async def _rules_of(self, url: str) -> _Rules:
        parts = urlsplit(url)
        origin = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2].lower(), "", "", ""))
        known = self._rules.get(origin)
        if known is None or known.until < time.monotonic():
            if len(self._rules) >= MOST_ROBOTS:
                self._rules.pop(next(iter(self._rules)))
            known = self._rules[origin] = _Rules(await self._robots_at(origin), time.monotonic() + ROBOTS_KEPT)
        return known

    async def _robots_at(self, origin: str) -> Protego | None:
        url = f"{origin}/robots.txt"
        for _ in range(MAX_HOPS + 1):
            page = await self._robots_page(url)
            if page is None:
                return None
            if page.status in _REDIRECTS and "location" in page.headers:
                url = urljoin(page.url, page.headers["location"])
                continue
            if page.status == 429 or page.status >= 500:
                said = f"robots.txt of {origin} could not be had (status {page.status}), so nothing is fetched there"
                raise ServiceFault("robots_unavailable", said, retryable=True)
            return Protego.parse(page.body.decode("utf-8", "replace")) if page.status == 200 else None
        return None  # as the RFC has it: too many redirects are no rules

    async def _robots_page(self, url: str) -> Page | None:
        try:
            return await self._fetcher.send("GET", url, max_size=ROBOTS_SIZE)
        except ServiceFault as fault:
            fault.ambiguous = False
            if fault.error_type == "too_large":
                said = f"{url} has more than {ROBOTS_SIZE:,} bytes: its rules cannot be known"
                raise ServiceFault("robots_unavailable", said) from fault
            raise


def _of_status(page: Page, job: Job) -> ServiceFault:
    host = urlsplit(page.url).hostname or ""
    answer = faults.of_status(faults.Reply(page.status, page.headers, b""), service=host, now=job.wall)
    return ServiceFault(answer.error_type, answer.message, retryable=answer.retryable, retry_after=answer.retry_after)
