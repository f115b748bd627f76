"""The OpenAI-style wire format: chat completions, as OpenAI, Azure, Mistral, Ollama, vLLM and most gateways have it."""

from __future__ import annotations

import re
from typing import Any

import orjson

from stream_orchestrator.calls import faults
from stream_orchestrator.calls.faults import BadBody, Reply
from stream_orchestrator.calls.schema import as_object, is_wrapped, unwrapped
from stream_orchestrator.calls.settings import OPENAI_BASE_URL, CallSettings
from stream_orchestrator.calls.wire import Outgoing, json_body
from stream_orchestrator.kernel.effects import Answer, CallRequest

# These refuse `max_tokens`; everyone else's servers know only that.
_COMPLETION_TOKENS = re.compile(r"(?:openai/)?(?:o\d|gpt-5)")


def build(request: CallRequest, settings: CallSettings) -> Outgoing:
    """`POST <base>/chat/completions`. Parameters go as they are; a schema goes as `response_format`."""
    base_url = settings.openai_base_url
    document: dict[str, Any] = {
        "model": request.model.removeprefix("openai/") if base_url == OPENAI_BASE_URL else request.model,
        "messages": [{"role": message["role"], "content": message["content"]} for message in request.messages],
        **{name: value for name, value in request.params.items() if value is not None},
    }
    if "max_tokens" in document and _COMPLETION_TOKENS.match(request.model):
        document["max_completion_tokens"] = document.pop("max_tokens")
    if request.output_schema is not None:
        form = {"name": "output", "schema": as_object(request.output_schema), "strict": False}
        document["response_format"] = {"type": "json_schema", "json_schema": form}
    headers = {"content-type": "application/json"}
    if settings.openai_key:
        headers["authorization"] = f"Bearer {settings.openai_key}"
    return Outgoing(f"{base_url}/chat/completions", headers, json_body(document))


def parse(reply: Reply, request: CallRequest) -> Answer:
    """The first choice. A refusal and a content filter are faults, and keep their usage: they were billed."""
    document = faults.json_object(reply.body)
    choice = _first_choice(document)
    message = choice.get("message")
    if not isinstance(message, dict):
        raise BadBody("its choice has no message")
    refused = _refusal(message, choice)
    fault = faults.fault(*refused) if refused else Answer()
    return Answer(
        text="" if refused else _text(message, request),
        model=_string(document.get("model")) or request.model,
        finish_reason=_string(choice.get("finish_reason")),
        input_tokens=faults.count(document.get("usage"), "prompt_tokens"),
        output_tokens=faults.count(document.get("usage"), "completion_tokens"),
        error_type=fault.error_type,
        message=fault.message,
    )


def _first_choice(document: dict[str, Any]) -> dict[str, Any]:
    choices = document.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise BadBody("it has no choices")
    return choices[0]


def _refusal(message: dict[str, Any], choice: dict[str, Any]) -> tuple[str, str] | None:
    if choice.get("finish_reason") == "content_filter":
        return "content_filter", "the service's content filter stopped the answer"
    said = message.get("refusal")
    return ("refused", f"the model refused: {said}") if said else None


def _text(message: dict[str, Any], request: CallRequest) -> str:
    content = message.get("content")
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        content = "".join(part for part in parts if isinstance(part, str))
    if not isinstance(content, str):
        raise BadBody(f"its content is {'null' if content is None else type(content).__name__}, not text")
    schema = request.output_schema
    return _unwrapped(content, schema) if schema is not None and is_wrapped(schema) else content


def _unwrapped(text: str, schema: dict[str, Any]) -> str:
    """The wrapped value alone; what is not JSON is left for the validation, which says so with the text at hand."""
    try:
        return orjson.dumps(unwrapped(orjson.loads(text), schema)).decode()
    except orjson.JSONDecodeError:
        return text


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""
