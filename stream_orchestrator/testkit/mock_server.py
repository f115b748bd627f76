"""Mocks of models for a worker of its own process: a server on loopback answers as the test says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from stream_orchestrator.calls import offline
from stream_orchestrator.kernel.effects import Answer, CallRequest
from stream_orchestrator.testkit.mocks import ANY_MODEL, ModelMock
from stream_orchestrator.testkit.models import ModelServer, Seen, Status, Text, answer_document, schema_of

FAULTS = {True: 503, False: 400}  # whether it may be tried again → the status that says so


class MockServer:
    """Answers with the mocks of one test at a time; a model without a mock offline, or with an error that says so."""

    def __init__(self, *, offline: bool) -> None:
        self._offline = offline
        self._answers: Mapping[str, ModelMock] = {}
        self._server = ModelServer(default=self._behave)

    async def start(self) -> None:
        """Listen."""
        await self._server.start()

    async def stop(self) -> None:
        """Stop listening."""
        await self._server.stop()

    def answer_with(self, answers: Mapping[str, ModelMock]) -> None:
        """The mocks of the next test."""
        self._answers = answers

    @property
    def environ(self) -> dict[str, str]:
        """What makes a worker ask here. No real key goes into a test whose models are mocked."""
        return {
            "OPENAI_BASE_URL": self._server.openai_url,
            "ANTHROPIC_BASE_URL": self._server.address,
            "OPENAI_API_KEY": "mocked",
            "ANTHROPIC_API_KEY": "mocked",
        }

    async def _behave(self, seen: Seen, request: web.Request) -> web.StreamResponse:
        said = self._said(_request_of(seen))
        if isinstance(said, Answer) and said.error_type:
            body = {"error": {"message": said.message, "type": said.error_type, "code": said.error_type}}
            return await Status(FAULTS[said.retryable], body=orjson.dumps(body))(seen, request)
        if isinstance(said, Answer):
            counted = Text(said.text, input_tokens=said.input_tokens, output_tokens=said.output_tokens)
            return web.json_response(answer_document(seen, counted))
        text = said if isinstance(said, str) else orjson.dumps(said).decode()
        return web.json_response(answer_document(seen, Text(text)))

    def _said(self, request: CallRequest) -> Any:
        mock = self._answers.get(request.model) or self._answers.get(ANY_MODEL)
        if mock is not None:
            return mock(request)
        if self._offline:
            return offline.answer(request)
        said = f"{request.model} is not mocked; on a broker a test mocks every model, or runs with --offline"
        return Answer(error_type="not_mocked", message=said)


def _request_of(seen: Seen) -> CallRequest:
    said = tuple(
        {"role": str(each.get("role", "user")), "content": _text_of(each.get("content"))}
        for each in seen.body.get("messages") or ()
    )
    params: dict[str, Any] = {name: seen.body[name] for name in ("max_tokens", "temperature") if name in seen.body}
    return CallRequest(model=seen.model, messages=said, params=params, output_schema=schema_of(seen))


def _text_of(content: Any) -> str:
    return content if isinstance(content, str) else orjson.dumps(content).decode()
