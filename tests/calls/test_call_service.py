"""The call service against a scripted server: every way a service can fail is an answer, and is told apart."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from stream_orchestrator.calls.service import CallService
from stream_orchestrator.calls.settings import CallSettings, missing_keys
from stream_orchestrator.kernel.effects import Answer, CallRequest
from stream_orchestrator.testkit.models import Behaviour, Body, CutOff, Drip, Hang, ModelServer, Seen, Status, Text

KEY = "sk-test-0123456789abcdef"
MODELS = ["gpt-4o-mini", "claude-3-5-sonnet-20241022"]
both_formats = pytest.mark.parametrize("model", MODELS, ids=["openai", "anthropic"])


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    async with ModelServer() as server:
        yield server


@pytest.fixture
async def service(server: ModelServer) -> AsyncIterator[CallService]:
    service = CallService(settings_for(server))
    yield service
    await service.close()


def settings_for(server: ModelServer, **changed: object) -> CallSettings:
    fields = {
        "openai_key": KEY,
        "openai_base_url": server.openai_url,
        "anthropic_key": KEY,
        "anthropic_base_url": server.address,
    }
    return CallSettings(**{**fields, **changed})  # type: ignore[arg-type]


def asks(
    model: str = "gpt-4o-mini", text: str = "Is water wet?", *, within: float = 5.0, **more: object
) -> CallRequest:
    messages = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": text})
    return CallRequest(model=model, messages=messages, deadline=time.time() + within, **more)  # type: ignore[arg-type]


async def attempt(server: ModelServer, service: CallService, behaviour: Behaviour, request: CallRequest) -> Answer:
    """One attempt at a server that behaves so; it saw exactly one request."""
    server.script(behaviour)
    answer = await service.attempt(request, call_id="call-1")
    assert [seen.call_id for seen in server.seen] == ["call-1"]
    return answer


# --- good answers


@both_formats
async def test_a_good_answer_carries_text_usage_price_and_time(
    server: ModelServer, service: CallService, model: str
) -> None:
    answer = await attempt(server, service, Text("Yes.", input_tokens=1_000_000, output_tokens=2), asks(model))
    assert (answer.text, answer.model, answer.finish_reason) == ("Yes.", model, "stop")
    assert (answer.input_tokens, answer.output_tokens) == (1_000_000, 2)
    assert answer.error_type == ""
    assert answer.usd == pytest.approx({"gpt-4o-mini": 0.15, "claude-3-5-sonnet-20241022": 3.0}[model], rel=0.01)
    assert 0 < answer.seconds < 5


async def test_the_openai_request_is_what_the_format_wants(server: ModelServer, service: CallService) -> None:
    schema = {"type": "object", "properties": {"wet": {"type": "boolean"}}}
    request = asks("gpt-4o", params={"max_tokens": 9, "temperature": 0.5, "stop": ["x"]}, output_schema=schema)
    await attempt(server, service, Text('{"wet": true}'), request)
    seen = server.seen[0]
    assert seen.path == "/v1/chat/completions"
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.body["max_tokens"] == 9
    assert seen.body["stop"] == ["x"]
    assert [message["role"] for message in seen.body["messages"]] == ["system", "user"]
    assert seen.body["response_format"]["json_schema"]["schema"] == schema


async def test_the_anthropic_request_is_what_the_format_wants(server: ModelServer, service: CallService) -> None:
    request = asks("anthropic/claude-3-haiku", params={"stop": "x", "presence_penalty": 1})
    await attempt(server, service, Text("Yes."), request)
    seen = server.seen[0]
    assert seen.path == "/v1/messages"
    assert seen.headers["x-api-key"] == KEY
    assert "authorization" not in seen.headers
    assert seen.body == {
        "model": "claude-3-haiku",
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "Is water wet?"}],
        "max_tokens": 4096,
        "stop_sequences": ["x"],
    }


async def test_models_that_refuse_max_tokens_get_the_other_name(server: ModelServer, service: CallService) -> None:
    await attempt(server, service, Text("Yes."), asks("gpt-5-mini", params={"max_tokens": 9}))
    assert "max_tokens" not in server.seen[0].body
    assert server.seen[0].body["max_completion_tokens"] == 9


@both_formats
@pytest.mark.parametrize(
    "schema",
    [{"type": "integer", "minimum": 3}, {"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer", "minimum": 3}}}],
)
async def test_a_schema_that_is_no_object_is_wrapped_on_the_wire_and_unwrapped_in_the_answer(
    server: ModelServer, service: CallService, model: str, schema: dict[str, object]
) -> None:
    answer = await attempt(server, service, Text(), asks(model, output_schema=schema))
    assert json.loads(answer.text) == 3


# --- faults that may pass


@both_formats
@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "9", "retry-after-ms": "1500"}, 1.5),
        ({"date": "Sun, 06 Nov 1994 08:49:30 GMT", "retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}, 7.0),
        ({"x-ratelimit-reset-requests": "1m2.5s", "x-ratelimit-remaining-requests": "0"}, 62.5),
        (
            {
                "x-ratelimit-reset-requests": "90s",
                "x-ratelimit-remaining-requests": "7",
                "x-ratelimit-reset-tokens": "20ms",
            },
            0.02,
        ),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
    ids=str,
)
async def test_a_rate_limit_may_pass_after_exactly_the_seconds_it_names(
    server: ModelServer, service: CallService, model: str, headers: dict[str, str], wait: float | None
) -> None:
    answer = await attempt(server, service, Status(429, headers), asks(model))
    assert (answer.error_type, answer.retryable, answer.ambiguous) == ("rate_limited", True, False)
    assert answer.retry_after == (None if wait is None else pytest.approx(wait, abs=1e-9))


async def test_a_date_to_come_back_at_counts_from_the_services_own_clock(server: ModelServer) -> None:
    now = 1_800_000_000.0  # ours; the server's `date` header says the real time
    service = CallService(settings_for(server), wall=lambda: now)
    server.script(
        Status(503, {"retry-after": format_datetime(datetime.fromtimestamp(int(time.time()) + 60, UTC), usegmt=True)})
    )
    answer = await service.attempt(CallRequest(model="gpt-4o", messages=({"role": "user", "content": "?"},)))
    await service.close()
    assert answer.retry_after == pytest.approx(60, abs=2)


@both_formats
@pytest.mark.parametrize("status", [408, 409, 500, 502, 503, 529])
async def test_statuses_that_may_pass_are_retryable(
    server: ModelServer, service: CallService, model: str, status: int
) -> None:
    answer = await attempt(server, service, Status(status), asks(model))
    assert (answer.retryable, answer.ambiguous) == (True, False)
    assert f"{status}: scripted {status}" in answer.message


async def test_a_gateway_that_gave_up_waiting_is_ambiguous(server: ModelServer, service: CallService) -> None:
    answer = await attempt(server, service, Status(504), asks())
    assert (answer.retryable, answer.ambiguous) == (True, True)


async def test_nobody_there_is_retryable_and_not_ambiguous() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused, and nobody else can take the port
        service = CallService(CallSettings(openai_base_url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1"))
        answer = await service.attempt(asks())
        await service.close()
    assert (answer.error_type, answer.retryable, answer.ambiguous) == ("unreachable", True, False)


async def test_an_unknown_host_is_retryable_and_not_ambiguous() -> None:
    service = CallService(CallSettings(openai_key=KEY, openai_base_url="http://no-such-host.invalid/v1"))
    answer = await service.attempt(asks())
    await service.close()
    assert (answer.error_type, answer.retryable, answer.ambiguous) == ("unreachable", True, False)


# --- faults that stay


@both_formats
@pytest.mark.parametrize(
    ("status", "error_type"),
    [(400, "bad_request"), (401, "unauthorized"), (403, "forbidden"), (404, "not_found"), (418, "bad_request")],
)
async def test_statuses_that_stay_are_fatal(
    server: ModelServer, service: CallService, model: str, status: int, error_type: str
) -> None:
    answer = await attempt(server, service, Status(status, {"retry-after": "3"}), asks(model))
    assert (answer.error_type, answer.retryable, answer.retry_after) == (error_type, False, None)


async def test_a_redirect_is_not_followed(server: ModelServer, service: CallService) -> None:
    answer = await attempt(server, service, Status(307, {"location": f"{server.openai_url}/chat/completions"}), asks())
    assert (answer.error_type, answer.retryable) == ("redirected", False)


async def test_a_spent_quota_is_no_rate_limit(server: ModelServer, service: CallService) -> None:
    body = json.dumps({"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}})
    answer = await attempt(server, service, Status(429, body=body), asks())
    assert (answer.error_type, answer.retryable) == ("quota_exhausted", False)


async def test_a_refusal_is_fatal_and_keeps_what_it_cost(server: ModelServer, service: CallService) -> None:
    message = {"role": "assistant", "content": None, "refusal": "I will not."}
    body = {"choices": [{"message": message}], "usage": {"prompt_tokens": 1_000_000, "completion_tokens": 0}}
    answer = await attempt(server, service, Body(body=json.dumps(body)), asks())
    assert (answer.error_type, answer.retryable, answer.text) == ("refused", False, "")
    assert answer.usd == pytest.approx(0.15)


async def test_a_content_filter_is_fatal(server: ModelServer, service: CallService) -> None:
    answer = await attempt(server, service, Text("half", finish_reason="content_filter"), asks())
    assert (answer.error_type, answer.retryable, answer.text) == ("content_filter", False, "")


async def test_a_missing_key_says_which_variable_to_set_and_asks_nobody(server: ModelServer) -> None:
    service = CallService(CallSettings())
    for model, variable in zip(MODELS, ["OPENAI_API_KEY", "ANTHROPIC_API_KEY"], strict=True):
        answer = await service.attempt(asks(model))
        assert (answer.error_type, answer.retryable) == ("missing_key", False)
        assert variable in answer.message
    assert server.seen == []


# --- answers that make no sense

NONSENSE = {
    "not JSON": b"<html>Bad gateway</html>",
    "half": b'{"choices": [{"mess',
    "empty": b"",
    "a list": b"[]",
    "a number": b"17",
    "nothing": b"{}",
    "no choices": b'{"choices": [], "content": []}',
    "wrong types": b'{"choices": "x", "content": 3, "usage": "y"}',
    "null choice": b'{"choices": [null], "content": [null]}',
    "no message": b'{"choices": [{}], "content": [{}]}',
    "null content": b'{"choices": [{"message": {"content": null}}], "content": null}',
    "wrong content": b'{"choices": [{"message": {"content": {}}}], "content": [{"type": "text", "text": 3}]}',
    "not text": b"\xff\xfe\x00",
}


@both_formats
@pytest.mark.parametrize("body", NONSENSE.values(), ids=NONSENSE)
async def test_an_answer_that_makes_no_sense_is_a_fault_that_may_pass(
    server: ModelServer, service: CallService, model: str, body: bytes
) -> None:
    answer = await attempt(server, service, Body(body=body), asks(model))
    assert (answer.error_type, answer.retryable, answer.ambiguous) == ("bad_answer", True, False)


@both_formats
async def test_usage_of_wrong_types_counts_nothing(server: ModelServer, service: CallService, model: str) -> None:
    usage = {"prompt_tokens": "9", "completion_tokens": -4, "input_tokens": True, "output_tokens": None}
    body = {"choices": [{"message": {"content": "x"}}], "content": [{"type": "text", "text": "x"}], "usage": usage}
    answer = await attempt(server, service, Body(body=json.dumps(body)), asks(model))
    assert (answer.text, answer.input_tokens, answer.output_tokens) == ("x", 0, 0)


async def test_broken_compression_is_a_fault(server: ModelServer, service: CallService) -> None:
    answer = await attempt(server, service, Status(200, {"content-encoding": "gzip"}, b"not gzip at all"), asks())
    assert (answer.error_type, answer.ambiguous) == ("bad_answer", False)


async def test_an_answer_that_the_client_stumbles_over_is_a_fault() -> None:
    async def abroad(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write("HTTP/1.1 500 Não\r\ncontent-length: 0\r\n\r\n".encode("latin-1"))
        writer.close()

    listener = await asyncio.start_server(abroad, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    service = CallService(CallSettings(openai_base_url=f"http://127.0.0.1:{port}/v1"))
    answer = await service.attempt(asks())
    await service.close()
    listener.close()
    assert (answer.error_type, answer.retryable, answer.ambiguous) == ("bad_answer", True, False)


async def test_an_address_with_a_password_beside_a_key_is_a_fault(server: ModelServer) -> None:
    address = server.openai_url.replace("://", "://someone:secret-word@")
    service = CallService(settings_for(server, openai_base_url=address))
    answer = await service.attempt(asks())
    await service.close()
    assert (answer.error_type, answer.ambiguous, server.seen) == ("unreachable", False, [])
    assert "secret-word" not in answer.message


async def test_a_huge_body_is_cut_off_at_its_bound(server: ModelServer) -> None:
    service = CallService(settings_for(server, max_body_bytes=100_000))
    answer = await attempt(server, service, Body(body=b"x" * 10_000_000), asks())
    await service.close()
    assert (answer.error_type, answer.retryable) == ("too_large", False)


async def test_a_huge_error_body_makes_a_short_message(server: ModelServer, service: CallService) -> None:
    answer = await attempt(server, service, Status(500, body="word " * 1_000_000), asks())
    assert 100 < len(answer.message) <= 500


async def test_no_message_holds_a_key(server: ModelServer, service: CallService) -> None:
    async def echo_of_all(seen: Seen, request: object) -> object:
        return await Status(401, body=f"Incorrect key {KEY}, not sk-another-1234567890; {dict(seen.headers)}")(
            seen, request
        )  # type: ignore[arg-type]

    answer = await attempt(server, service, echo_of_all, asks())  # type: ignore[arg-type]
    assert "Incorrect key ***" in answer.message
    assert "sk-" not in answer.message
    assert KEY not in repr(service.settings)


# --- faults of which nobody knows whether they happened


@both_formats
@pytest.mark.parametrize("cut", [CutOff(), CutOff(after=0), CutOff(after=30)], ids=["headers", "body", "middle"])
async def test_a_connection_lost_after_the_request_was_sent_is_ambiguous(
    server: ModelServer, service: CallService, model: str, cut: CutOff
) -> None:
    answer = await attempt(server, service, cut, asks(model))
    assert (answer.error_type, answer.retryable, answer.ambiguous) == ("disconnected", True, True)


@pytest.mark.parametrize("behaviour", [Hang(), Drip(), Text("late", delay=3)], ids=["hang", "drip", "late"])
async def test_a_deadline_holds_whatever_the_service_does_and_is_ambiguous(
    server: ModelServer, service: CallService, behaviour: Behaviour
) -> None:
    await service.attempt(asks())  # connections and modules are warm
    overruns = []
    for _ in range(3):  # a busy machine may be late once; an attempt that does not watch its deadline is late always
        server.script(behaviour)
        started = time.monotonic()
        answer = await service.attempt(asks(within=0.6))
        overruns.append((time.monotonic() - started) / 0.6)
        assert (answer.error_type, answer.retryable, answer.ambiguous) == ("timeout", True, True)
        if overruns[-1] <= 2:
            break
    assert 0.95 <= min(overruns) <= 2


async def test_a_first_byte_that_does_not_come_ends_the_attempt_before_its_deadline(server: ModelServer) -> None:
    service = CallService(settings_for(server, first_byte_timeout=1.0))
    answer = await attempt(server, service, Hang(), asks(within=60))
    await service.close()
    assert (answer.error_type, answer.ambiguous) == ("timeout", True)
    assert answer.seconds < 30


async def test_an_answer_that_has_begun_has_until_the_deadline() -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\nx")
        await asyncio.sleep(1.5)
        writer.write(b"y")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(slow, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        service = CallService(CallSettings(openai_base_url=f"http://127.0.0.1:{port}/v1", first_byte_timeout=1.0))
        answer = await service.attempt(asks(within=60))
        await service.close()
    assert answer.error_type != "timeout", answer


async def test_a_server_that_answers_but_stops_reading_cannot_hold_an_attempt() -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nx")
        try:
            await asyncio.sleep(30)
        finally:
            writer.close()

    listener = await asyncio.start_server(deaf, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    service = CallService(CallSettings(openai_base_url=f"http://127.0.0.1:{port}/v1"))
    answer = await asyncio.wait_for(service.attempt(asks(text="x" * 12_000_000, within=2)), 20)
    await service.close()
    listener.close()
    assert (answer.error_type, answer.ambiguous) == ("timeout", True)


@pytest.mark.parametrize("warm", [0, 1], ids=["no connection", "a connection that is open"])
async def test_a_deadline_that_has_passed_sends_nothing(server: ModelServer, service: CallService, warm: int) -> None:
    for _ in range(warm):
        await service.attempt(asks())
    answer = await service.attempt(asks(within=-1))
    assert (answer.error_type, answer.retryable, answer.ambiguous) == ("timeout", True, False)
    assert len(server.seen) == warm


# --- many at once


async def test_two_hundred_concurrent_calls_each_get_their_own_answer(
    server: ModelServer, service: CallService
) -> None:
    texts = [f"question {n}" for n in range(200)]
    answers = await asyncio.gather(*(service.attempt(asks(text=text, within=60)) for text in texts))
    assert [answer.text for answer in answers] == texts
    assert len(server.seen) == 200


async def test_no_more_calls_are_in_flight_than_allowed(server: ModelServer) -> None:
    service = CallService(settings_for(server, max_in_flight=7))
    server.script(*[Text("x", delay=0.01)] * 50)
    answers = await asyncio.gather(*(service.attempt(asks(within=60)) for _ in range(50)))
    await service.close()
    assert {answer.text for answer in answers} == {"x"}
    assert server.most_in_flight == 7


async def test_waiting_for_a_free_place_counts_against_the_deadline(server: ModelServer) -> None:
    service = CallService(settings_for(server, max_in_flight=1))
    server.script(Hang())
    first = asyncio.create_task(service.attempt(asks(within=0.4)))
    await asyncio.sleep(0)
    second = await service.attempt(asks(within=0.1))
    await first
    await service.close()
    assert (second.error_type, second.ambiguous) == ("timeout", False)
    assert len(server.seen) == 1


async def test_a_cancelled_attempt_frees_its_place(server: ModelServer) -> None:
    service = CallService(settings_for(server, max_in_flight=1))
    server.script(Hang())
    first = asyncio.create_task(service.attempt(asks()))
    while not server.seen:
        await asyncio.sleep(0.005)
    first.cancel()
    assert (await service.attempt(asks(text="next"))).text == "next"
    await service.close()


# --- offline


async def test_offline_every_model_is_answered_by_the_stand_in_which_says_so(server: ModelServer) -> None:
    service = CallService(settings_for(server, offline=True))
    for model in MODELS:
        answer = await service.attempt(asks(model))
        assert answer.model == f"offline/{model}"
        assert answer.text.startswith("[offline] ")
        assert answer.usd == 0
        assert answer.input_tokens > 0
    assert server.seen == []


async def test_a_slow_offline_model_obeys_the_deadline() -> None:
    service = CallService(CallSettings())
    assert (await service.attempt(asks("offline/slow"))).text == "Is water wet?"
    late = await service.attempt(asks("offline/slow", within=0.05))
    assert (late.error_type, late.retryable) == ("timeout", True)


def test_missing_keys_names_the_variables_of_what_is_asked_and_no_other() -> None:
    models = ["gpt-4o", "claude-3-opus", "offline/echo"]
    assert missing_keys(models, CallSettings()) == ["ANTHROPIC_API_KEY", "OPENAI_API_KEY"]
    assert missing_keys(["offline/echo"], CallSettings()) == []
    assert missing_keys(models, CallSettings(openai_key=KEY)) == ["ANTHROPIC_API_KEY"]
    assert missing_keys(["llama3"], CallSettings(openai_base_url="http://127.0.0.1:11434/v1")) == []
    assert missing_keys(["llama3"], CallSettings(openai_base_url="http://[::1]:11434/v1")) == []
    assert missing_keys(["llama3"], CallSettings(openai_base_url="http://127.0.0.1.evil.example/v1")) == [
        "OPENAI_API_KEY"
    ]
    assert missing_keys(models, CallSettings(offline=True)) == []
