"""The service `search`: one interface, `SearchEngine`, and one open engine, SearXNG."""

from __future__ import annotations

import time
from typing import Any, Protocol

import orjson

from stream_orchestrator.calls import faults
from stream_orchestrator.calls.fetch import Fetcher
from stream_orchestrator.calls.provider import Job, ServiceFault
from stream_orchestrator.calls.service_settings import ServiceSettings
from stream_orchestrator.trust.addresses import AddressGuard

MAX_ANSWER = 4 * 1024 * 1024


class SearchEngine(Protocol):
    """Finds pages. Another engine is another class with this method."""

    async def search(self, query: str, *, language: str, limit: int) -> list[dict[str, Any]]:
        """At most `limit` pages, best first, as `{title, url, snippet}`. Raises `ServiceFault`."""

    async def close(self) -> None:
        """Give back what is open."""


class SearXNG:
    """A SearXNG whose settings allow the format `json`. Its host is the operator's choice, so it is let through."""

    def __init__(self, url: str, *, fetcher: Fetcher) -> None:
        self._url, self._fetcher = url, fetcher

    async def search(self, query: str, *, language: str, limit: int) -> list[dict[str, Any]]:
        """Ask page after page until there are enough, or no more."""
        found: dict[str, dict[str, Any]] = {}
        for number in range(1, 6):
            page = await self._page(query, language, number)
            new = [each for each in page if each["url"] not in found]
            found |= {each["url"]: each for each in new}
            if not new or len(found) >= limit:
                break
        return list(found.values())[:limit]

    async def close(self) -> None:
        """Close every connection."""
        await self._fetcher.close()

    async def _page(self, query: str, language: str, number: int) -> list[dict[str, Any]]:
        asked = [("q", query), ("format", "json"), ("pageno", str(number))]
        asked += [("language", language)] if language else []
        page = await self._fetcher.send("GET", f"{self._url}/search", max_size=MAX_ANSWER, query=asked)
        if page.status != 200:
            hint = ": its settings must allow the format `json`" if page.status == 403 else ""
            reply = faults.Reply(page.status, page.headers, page.body)
            answer = faults.of_status(reply, service="the search engine", now=time.time())
            raise ServiceFault(
                answer.error_type,
                answer.message + hint,
                retryable=answer.retryable,
                retry_after=answer.retry_after,
            )
        return _results(page.body)


def _results(body: bytes) -> list[dict[str, Any]]:
    try:
        given = orjson.loads(body)["results"]
        return [
            {"title": str(each.get("title") or ""), "url": str(each["url"]), "snippet": str(each.get("content") or "")}
            for each in given
        ]
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError) as error:
        raise ServiceFault("bad_answer", "the search engine answered with no results at all", retryable=True) from error


class Search:
    """Searches with the configured engine."""

    def __init__(self, settings: ServiceSettings, *, engine: SearchEngine | None = None) -> None:
        self._engine = engine or _engine(settings)

    async def do(self, job: Job) -> Any:
        """The pages that were found, as `{query, results}`."""
        query, limit = str(job.options["query"]), int(job.options["max_results"])
        results = await self._engine.search(query, language=str(job.options.get("language") or ""), limit=limit)
        return {"query": query, "results": results}

    async def close(self) -> None:
        """Give back what is open."""
        await self._engine.close()


def _engine(settings: ServiceSettings) -> SearchEngine:
    if not settings.search_url:
        raise ServiceFault("not_configured", "no search engine is set: STREAM_ORCHESTRATOR__SEARCH__URL")
    from yarl import URL

    guard = AddressGuard.of([str(URL(settings.search_url).host), *settings.guard.allowed])
    return SearXNG(settings.search_url, fetcher=Fetcher(guard, connect_timeout=settings.connect_timeout))
