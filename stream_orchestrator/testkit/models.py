"""A scripted model server on loopback: both wire formats, every way to misbehave, and a log of every request.

    async with ModelServer() as server:                     # or: python -m stream_orchestrator.testkit.models --port 0
        server.script(Status(429, headers={"retry-after": "3"}), Text("at last"))
        ...                                                 # set OPENAI_BASE_URL to server.openai_url

Requests take the scripted behaviours in order; when the script is used up, `default` answers (it echoes the last
message, or fills the output schema). A request is in the log before it is answered, so a killed client's are there too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from aiohttp import web

from stream_orchestrator.calls import offline_json
from stream_orchestrator.calls.anthropic import TOOL
from stream_orchestrator.calls.tokens import estimate


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it arrived. `call_id` is the header `x-call-id`, `at` UNIX seconds."""

    at: float
    path: str
    call_id: str
    model: str
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def prompt(self) -> str:
        """The text of the last message."""
        messages = self.body.get("messages") or [{}]
        content = messages[-1].get("content", "")
        return content if isinstance(content, str) else json.dumps(content)

    @property
    def is_anthropic(self) -> bool:
        """Whether the request came in the Anthropic format."""
        return self.path.endswith("/messages")


Behaviour = Callable[[Seen, web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Text:
    """A good answer: this text, or with None an echo of the prompt (a value for the schema when there is one)."""

    text: str | None = None
    delay: float = 0.0
    input_tokens: int | None = None
    output_tokens: int | None = None
    finish_reason: str = ""

    async def __call__(self, seen: Seen, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(self.delay)
        return web.json_response(answer_document(seen, self))


@dataclass(frozen=True, slots=True)
class Status:
    """An HTTP status with headers, and a body (an error document unless one is given)."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | bytes | None = None

    async def __call__(self, seen: Seen, request: web.Request) -> web.StreamResponse:
        body = self.body
        if body is None:
            body = json.dumps({"error": {"message": f"scripted {self.status}", "type": "scripted", "code": None}})
        return web.Response(
            status=self.status, headers=self.headers, body=body.encode() if isinstance(body, str) else body
        )


@dataclass(frozen=True, slots=True)
class Body(Status):
    """Status 200 with exactly this body, whatever it is."""

    status: int = 200


@dataclass(frozen=True, slots=True)
class Hang:
    """Never answers."""

    async def __call__(self, seen: Seen, request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError("an event that nobody sets was set")


@dataclass(frozen=True, slots=True)
class Drip:
    """Sends the answer byte by byte, one every `interval` seconds: never silent for long, never done."""

    interval: float = 0.02

    async def __call__(self, seen: Seen, request: web.Request) -> web.StreamResponse:
        body = json.dumps(answer_document(seen, Text())).encode()
        response = web.StreamResponse(headers={"content-length": str(len(body))})
        await response.prepare(request)
        for at in range(len(body)):
            await response.write(body[at : at + 1])
            await asyncio.sleep(self.interval)
        return response


@dataclass(frozen=True, slots=True)
class CutOff:
    """Promises the whole answer, sends `after` bytes of it (None: not even the headers) and drops the connection."""

    after: int | None = None

    async def __call__(self, seen: Seen, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if self.after is not None:
            body = json.dumps(answer_document(seen, Text())).encode()
            response.content_length = len(body)
            await response.prepare(request)
            await response.write(body[: self.after])
            await asyncio.sleep(0.01)
        if request.transport is not None:
            request.transport.abort()
        return response


class ModelServer:
    """The server. `port` 0 picks a free one; `log` gets one JSON line a request; `seen` holds the same in memory."""

    def __init__(self, *, port: int = 0, default: Behaviour | None = None, log: TextIO | None = None) -> None:
        self.seen: list[Seen] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self._port = port
        self._default = default or Text()
        self._log = log
        self._script: deque[Behaviour] = deque()
        self._runner: web.AppRunner | None = None

    def script(self, *behaviours: Behaviour) -> None:
        """Add behaviours for the next requests."""
        self._script.extend(behaviours)

    @property
    def address(self) -> str:
        """`http://127.0.0.1:port`; what `ANTHROPIC_BASE_URL` wants."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def openai_url(self) -> str:
        """What `OPENAI_BASE_URL` wants."""
        return f"{self.address}/v1"

    async def start(self) -> None:
        """Listen."""
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/v1/chat/completions", self._handle)
        app.router.add_post("/v1/messages", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, backlog=1024).start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening and drop what hangs."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> ModelServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        seen = await _seen(request)
        self._remember(seen)
        behaviour = self._script.popleft() if self._script else self._default
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await behaviour(seen, request)
        finally:
            self.in_flight -= 1

    def _remember(self, seen: Seen) -> None:
        self.seen.append(seen)
        if self._log is not None:
            line = {name: value for name, value in asdict(seen).items() if name not in {"headers", "body"}}
            self._log.write(json.dumps(line | {"prompt": seen.prompt[:200]}) + "\n")
            self._log.flush()


async def _seen(request: web.Request) -> Seen:
    body = await request.json()
    headers = {name.lower(): value for name, value in request.headers.items()}
    return Seen(time.time(), request.path, headers.get("x-call-id", ""), str(body.get("model", "")), headers, body)


def answer_document(seen: Seen, answer: Text) -> dict[str, Any]:
    """A well-formed answer in the format of the request."""
    text = answer.text
    if text is None:
        schema = schema_of(seen)
        text = seen.prompt if schema is None else json.dumps(offline_json.fill(schema, seen.prompt))
    tokens_in = estimate(json.dumps(seen.body.get("messages"))) if answer.input_tokens is None else answer.input_tokens
    tokens_out = estimate(text) if answer.output_tokens is None else answer.output_tokens
    make = _anthropic_document if seen.is_anthropic else _openai_document
    return make(seen, text, finish_reason=answer.finish_reason, usage=(tokens_in, tokens_out))


def _openai_document(seen: Seen, text: str, *, finish_reason: str, usage: tuple[int, int]) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": None}
    return {
        "id": f"chatcmpl-{seen.call_id}",
        "object": "chat.completion",
        "created": int(seen.at),
        "model": seen.model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason or "stop"}],
        "usage": {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)},
    }


def _anthropic_document(seen: Seen, text: str, *, finish_reason: str, usage: tuple[int, int]) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "text", "text": text}
    if seen.body.get("tools"):
        block = {"type": "tool_use", "id": "toolu_1", "name": TOOL, "input": json.loads(text)}
    return {
        "id": f"msg_{seen.call_id}",
        "type": "message",
        "role": "assistant",
        "model": seen.model,
        "content": [block],
        "stop_reason": finish_reason or "end_turn",
        "usage": {"input_tokens": usage[0], "output_tokens": usage[1]},
    }


def schema_of(seen: Seen) -> dict[str, Any] | None:
    """The output schema that a request asks for, in either format."""
    if seen.is_anthropic:
        tools = seen.body.get("tools")
        return tools[0]["input_schema"] if tools else None
    form = (seen.body.get("response_format") or {}).get("json_schema")
    return form["schema"] if form else None


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m stream_orchestrator.testkit.models", description="A model server for tests."
    )
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one, printed on stdout")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before every answer")
    parser.add_argument("--text", default=None, help="what every answer says (default: an echo of the prompt)")
    parser.add_argument("--log", type=Path, default=None, help="append one JSON line for every request to this file")
    parser.add_argument("--status", type=int, default=0, help="answer this status instead, see --every")
    parser.add_argument("--every", type=int, default=1, help="--status for every n-th request only")
    parser.add_argument("--retry-after", default="", help="the header that goes with --status")
    return parser


def _behaviour(options: argparse.Namespace) -> Behaviour:
    good = Text(options.text, delay=options.delay)
    bad = Status(options.status, {"retry-after": options.retry_after} if options.retry_after else {})
    requests = 0

    async def answer(seen: Seen, request: web.Request) -> web.StreamResponse:
        nonlocal requests
        requests += 1
        behaviour = bad if options.status and requests % options.every == 0 else good
        return await behaviour(seen, request)

    return answer


async def _serve(options: argparse.Namespace) -> None:
    log = options.log.open("a") if options.log else None
    async with ModelServer(port=options.port, default=_behaviour(options), log=log) as server:
        ready = {"event": "ready", "address": server.address, "openai": server.openai_url, "anthropic": server.address}
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main() -> None:
    """Serve until interrupted."""
    try:
        asyncio.run(_serve(_arguments().parse_args()))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
