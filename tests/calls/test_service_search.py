"""`search`: one interface, and SearXNG behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from aiohttp import web as aio
from support.services import WebServer, job, says

from stream_orchestrator.calls.provider import ServiceFault
from stream_orchestrator.calls.search import Search
from stream_orchestrator.calls.service_settings import ServiceSettings


@pytest.fixture
async def server() -> AsyncIterator[WebServer]:
    async with WebServer() as server:
        yield server


@pytest.fixture
async def search(server: WebServer) -> AsyncIterator[Search]:
    # On loopback, and listed nowhere: the operator named it.
    search = Search(ServiceSettings(search_url=server.url("/sx")))
    yield search
    await search.close()


async def ask(search: Search, limit: int = 3, **more: Any) -> Any:
    return await search.do(job("search", {"query": "cats & dogs", "max_results": limit, **more}))


def pages(*lists: list[str]) -> Any:
    async def handle(request: aio.Request) -> aio.Response:
        number = int(request.query["pageno"])
        names = lists[number - 1] if number <= len(lists) else []
        results = [{"title": name, "url": f"https://{name}.example", "content": f"of {name}"} for name in names]
        return aio.Response(body=orjson.dumps({"results": results}), content_type="application/json")

    return handle


async def test_results_come_best_first_from_as_many_pages_as_are_needed(search: Search, server: WebServer) -> None:
    server.pages["/sx/search"] = pages(["a", "b"], ["b", "c", "d"], ["e"])
    found = await ask(search, language="de")
    assert [each["title"] for each in found["results"]] == ["a", "b", "c"]
    assert found["results"][0] == {"title": "a", "url": "https://a.example", "snippet": "of a"}
    assert found["query"] == "cats & dogs"
    assert dict(server.seen[0].query) == {"q": "cats & dogs", "format": "json", "pageno": "1", "language": "de"}
    assert len(server.seen) == 2


async def test_fewer_results_than_wanted_are_all_there_are(search: Search, server: WebServer) -> None:
    server.pages["/sx/search"] = pages(["a"])
    assert len((await ask(search))["results"]) == 1
    server.pages["/sx/search"] = pages()
    assert (await ask(search))["results"] == []


@pytest.mark.parametrize(
    ("answer", "error_type", "retryable"),
    [
        (says("", 429, retry_after="3"), "rate_limited", True),
        (says("", 500), "server_error", True),
        (says("", 403), "forbidden", False),
        (says("<html>", kind="text/html"), "bad_answer", True),
        (says('{"results": [{"title": "no url"}]}'), "bad_answer", True),
        (says("[]"), "bad_answer", True),
    ],
)
async def test_an_engine_that_fails_is_a_fault(
    search: Search, server: WebServer, answer: Any, error_type: str, retryable: bool
) -> None:
    server.pages["/sx/search"] = answer
    with pytest.raises(ServiceFault) as caught:
        await ask(search)
    assert (caught.value.error_type, caught.value.retryable) == (error_type, retryable)


async def test_without_an_engine_there_is_no_search() -> None:
    with pytest.raises(ServiceFault, match="SEARCH__URL"):
        Search(ServiceSettings())
