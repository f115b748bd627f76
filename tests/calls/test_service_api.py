"""`api`: requests to HTTP APIs, and every way in which they fail."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from support.services import WebServer, hangs, hangs_up, job, says

from stream_orchestrator.calls.api import Api
from stream_orchestrator.calls.fetch import Fetcher
from stream_orchestrator.calls.provider import ServiceFault
from stream_orchestrator.calls.service_settings import ServiceSettings
from stream_orchestrator.trust.addresses import AddressGuard

LOCAL = ServiceSettings(guard=AddressGuard.of(["127.0.0.1"]))


@pytest.fixture
async def server() -> AsyncIterator[WebServer]:
    async with WebServer() as server:
        yield server


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = Api(LOCAL)
    yield api
    await api.close()


async def failed(api: Api, method: str, options: dict[str, Any], **more: Any) -> ServiceFault:
    with pytest.raises(ServiceFault) as caught:
        await api.do(job(method, options, **more))
    return caught.value


# --- failure first


async def test_nobody_there_may_pass_and_is_not_ambiguous(api: Api) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        fault = await failed(api, "GET", {"url": f"http://127.0.0.1:{taken.getsockname()[1]}/"})
    assert (fault.error_type, fault.retryable, fault.ambiguous) == ("unreachable", True, False)


async def test_a_line_that_drops_after_the_request_is_ambiguous(api: Api, server: WebServer) -> None:
    server.pages["/"] = hangs_up
    fault = await failed(api, "POST", {"url": server.url(), "json": {"a": 1}})
    assert (fault.error_type, fault.retryable, fault.ambiguous) == ("disconnected", True, True)
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("headers", "wait"), [({"retry_after": "7"}, 7.0), ({"retry_after_ms": "1500"}, 1.5), ({}, None)]
)
async def test_a_rate_limit_says_exactly_how_long_to_wait(
    api: Api, server: WebServer, headers: dict[str, str], wait: float | None
) -> None:
    server.pages["/"] = says("slow down", 429, **headers)
    fault = await failed(api, "GET", {"url": server.url()})
    assert (fault.error_type, fault.retryable, fault.retry_after) == ("rate_limited", True, wait)


@pytest.mark.parametrize(
    ("status", "retryable", "ambiguous"),
    [
        (500, True, False),
        (503, True, False),
        (504, True, True),
        (400, False, False),
        (404, False, False),
        (409, False, False),
        (302, False, False),
    ],
)
async def test_a_status_that_is_no_success_is_a_fault(
    api: Api, server: WebServer, status: int, retryable: bool, ambiguous: bool
) -> None:
    server.pages["/"] = says('{"error": {"message": "no luck"}}', status, "application/json", location="/elsewhere")
    fault = await failed(api, "POST", {"url": server.url()})
    assert (fault.retryable, fault.ambiguous) == (retryable, ambiguous)
    assert "no luck" in str(fault)
    assert server.paths() == ["/"], "no redirect is followed"


@pytest.mark.parametrize("sized", [True, False])
async def test_an_answer_that_is_too_large_is_not_kept(api: Api, server: WebServer, sized: bool) -> None:
    async def large(request: Any) -> Any:
        from aiohttp import web

        response = web.StreamResponse()
        if sized:
            response.content_length = 3_000_000
        await response.prepare(request)
        for _ in range(30):
            await response.write(b"x" * 100_000)
        return response

    server.pages["/"] = large
    fault = await failed(api, "GET", {"url": server.url(), "max_size": 100_000})
    assert (fault.error_type, fault.retryable) == ("too_large", False)


async def test_compression_does_not_get_around_the_limit(api: Api, server: WebServer) -> None:
    import gzip

    server.pages["/"] = says(gzip.compress(b"0" * 50_000_000), content_encoding="gzip")
    fault = await failed(api, "GET", {"url": server.url(), "max_size": 1_000_000})
    assert fault.error_type == "too_large"


@pytest.mark.parametrize(
    "url", ["ftp://example.org/", "example.org", "http://", "http://[::1", "file:///etc/passwd", ""]
)
async def test_what_is_no_http_address_is_refused_before_anything_is_sent(api: Api, url: str) -> None:
    assert (await failed(api, "GET", {"url": url})).error_type in {"bad_request", "blocked_address"}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "127.1", "2130706433"])
async def test_an_address_of_ours_is_refused_and_nobody_is_asked(server: WebServer, host: str) -> None:
    strict = Api(ServiceSettings())
    fault = await failed(strict, "GET", {"url": server.url(host=host)})
    await strict.close()
    assert (fault.error_type, fault.retryable) == ("blocked_address", False)
    assert server.seen == []


async def test_a_name_that_changes_its_address_is_connected_to_where_it_was_checked(server: WebServer) -> None:
    """DNS rebinding: each look-up gives what comes next. One connection, one look-up; the checked address holds."""
    answers = [["127.0.0.1"], ["10.0.0.1"]]
    asked = []

    async def lookup(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers.pop(0)

    server.pages["/"] = says("here", connection="close")
    fetcher = Fetcher(_LetsLoopbackPass(), lookup=lookup)
    api = Api(LOCAL, fetcher=fetcher)
    value = await api.do(job("GET", {"url": server.url(host="rebound.example")}))
    assert (value["body"], asked) == ("here", ["rebound.example"])
    fault = await failed(api, "GET", {"url": server.url(host="rebound.example")})  # a new connection asks anew
    assert (fault.error_type, asked) == ("blocked_address", ["rebound.example"] * 2)
    await api.close()


async def test_no_proxy_of_the_environment_goes_around_the_guard(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lookup(host: str, port: int) -> list[str]:
        raise OSError("nobody knows it")

    monkeypatch.setenv("http_proxy", server.url())
    api = Api(LOCAL, fetcher=Fetcher(AddressGuard.of(["127.0.0.1"]), lookup=lookup))
    fault = await failed(api, "GET", {"url": "http://inner.example/"})
    await api.close()
    assert (fault.error_type, server.seen) == ("unreachable", [])


async def test_no_cookie_goes_from_one_request_to_the_next(server: WebServer) -> None:
    async def lookup(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    server.pages["/"] = says("here", set_cookie="who=ann")
    api = Api(LOCAL, fetcher=Fetcher(AddressGuard.of(["shop.example"]), lookup=lookup))
    for _ in range(2):
        await api.do(job("GET", {"url": server.url(host="shop.example")}))
    await api.close()
    assert [request.cookies for request in server.seen] == [{}, {}]


class _LetsLoopbackPass(AddressGuard):
    """Takes 127.0.0.1 for the internet, where the test's server is."""

    def check_found(self, host: str, port: int, addresses: Any) -> None:
        super().check_found(host, port, [each for each in addresses if each != "127.0.0.1"])


async def test_json_that_is_none_is_asked_for_again_only_where_that_does_no_harm(api: Api, server: WebServer) -> None:
    server.pages["/"] = says("{", kind="application/json")
    assert (await failed(api, "GET", {"url": server.url()})).retryable
    assert not (await failed(api, "POST", {"url": server.url()})).retryable


@pytest.mark.parametrize(
    ("said", "ok"),
    [
        ('{"id": 18446744073709551616}', False),
        ("[-9223372036854775809]", False),
        ('{"id": ' + "9" * 400 + "}", False),
        ('{"id": 18446744073709551615}', True),
        ('{"id": "18446744073709551616", "x": 0.12345678901234567890123}', True),
    ],
)
async def test_a_number_that_would_change_is_a_bad_answer(api: Api, server: WebServer, said: str, ok: bool) -> None:
    server.pages["/"] = says(said, kind="application/json")
    if ok:
        assert (await api.do(job("GET", {"url": server.url()})))["json"] == orjson.loads(said)
    else:
        assert (await failed(api, "GET", {"url": server.url()})).error_type == "bad_answer"


async def test_nothing_may_be_read_where_the_size_is_zero(api: Api, server: WebServer) -> None:
    server.pages["/"] = says("x")
    assert (await failed(api, "GET", {"url": server.url(), "max_size": 0})).error_type == "too_large"


async def test_a_secret_that_the_start_of_a_body_ends_in_is_masked_whole(api: Api, server: WebServer) -> None:
    from stream_orchestrator.calls.faults import MESSAGE_LIMIT
    from stream_orchestrator.trust.masking import Masker

    server.pages["/"] = says("x" * (MESSAGE_LIMIT - 8) + "hunter-22-and-more", 400)
    asked = replace(job("GET", {"url": server.url()}), masker=Masker(["hunter-22-and-more"]))
    with pytest.raises(ServiceFault) as caught:
        await api.do(asked)
    assert "hunter" not in str(caught.value)


async def test_a_header_that_would_begin_another_header_is_refused(api: Api, server: WebServer) -> None:
    server.pages["/"] = says("ok")
    fault = await failed(api, "GET", {"url": server.url(), "headers": {"X-A": "1\r\nX-Evil: 2"}})
    assert fault.error_type == "bad_request"
    assert not any("X-Evil" in request.headers for request in server.seen)


# --- success


async def test_the_request_goes_out_as_the_task_says(api: Api, server: WebServer) -> None:
    server.pages["/orders"] = says('{"id": 7}', 201, "application/json", x_trace="t")
    value = await api.do(
        job(
            "POST",
            {
                "url": server.url("/orders?kept=1"),
                "query": {"a": [1, "x y"], "none": None, "b": True},
                "headers": {"X-One": "1"},
                "json": {"ü": [1, None]},
                "auth": {"bearer": "t0ken"},
                "expected_status": [201],
            },
            key="k1",
        )
    )
    (seen,) = server.seen
    assert (seen.method, list(seen.query.items())) == (
        "POST",
        [("kept", "1"), ("a", "1"), ("a", "x y"), ("b", "true")],
    )
    assert seen.headers["Authorization"] == "Bearer t0ken"
    assert seen.headers["Idempotency-Key"] == "k1"
    assert (seen.headers["X-One"], orjson.loads(server.bodies[0])) == ("1", {"ü": [1, None]})
    assert (value["status"], value["json"], value["body"], value["headers"]["x-trace"]) == (201, {"id": 7}, None, "t")


async def test_a_safe_method_carries_no_idempotency_key_and_another_header_may_be_named(
    api: Api, server: WebServer
) -> None:
    server.pages["/"] = says("ok")
    await api.do(job("GET", {"url": server.url()}))
    await api.do(job("DELETE", {"url": server.url(), "idempotency_header": "X-Once"}, key="k2"))
    await api.do(job("PUT", {"url": server.url(), "headers": {"idempotency-key": "mine"}}, key="k3"))
    got = [(each.headers.get("Idempotency-Key"), each.headers.get("X-Once")) for each in server.seen]
    assert got == [(None, None), (None, "k2"), ("mine", None)]


async def test_a_user_and_a_password_are_basic_authentication(api: Api, server: WebServer) -> None:
    server.pages["/"] = says("ok")
    await api.do(job("GET", {"url": server.url(), "auth": {"username": "ann", "password": "pâss"}}))
    assert server.seen[0].headers["Authorization"] == "Basic YW5uOnDDonNz"


async def test_text_and_bytes_come_back_as_what_they_are(api: Api, server: WebServer) -> None:
    server.pages["/latin"] = says("grün".encode("latin-1"), kind="text/plain; charset=latin-1")
    server.pages["/bytes"] = says(b"\xff\xfe\x00", kind="application/octet-stream")
    assert (await api.do(job("GET", {"url": server.url("/latin")})))["body"] == "grün"
    value = await api.do(job("GET", {"url": server.url("/bytes")}))
    assert (value["body"], value["encoding"]) == ("//4A", "base64")


async def test_an_expected_status_is_no_fault(api: Api, server: WebServer) -> None:
    server.pages["/"] = says("none", 404)
    assert (await api.do(job("GET", {"url": server.url(), "expected_status": 404})))["status"] == 404
    server.pages["/"] = says("fine", 200)
    assert (await failed(api, "GET", {"url": server.url(), "expected_status": 404})).error_type


async def test_an_attempt_that_is_cut_closes_its_line(api: Api, server: WebServer) -> None:
    import asyncio

    server.pages["/"] = hangs
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await api.do(job("GET", {"url": server.url()}))
