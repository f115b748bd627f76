"""The Anthropic wire format: messages."""

from __future__ import annotations

from typing import Any

import orjson

from stream_orchestrator.calls import faults
from stream_orchestrator.calls.faults import BadBody, Reply
from stream_orchestrator.calls.schema import as_object, unwrapped
from stream_orchestrator.calls.settings import CallSettings
from stream_orchestrator.calls.wire import Outgoing, json_body
from stream_orchestrator.kernel.effects import Answer, CallRequest

VERSION = "2023-06-01"
# This format demands a bound; ours is what the models of every generation allow.
DEFAULT_MAX_TOKENS = 4096
TOOL = "answer"
# Parameters that this format does not know (a fallback from another service may bring them): left out, as documented.
_UNKNOWN = frozenset({"stop", "presence_penalty", "frequency_penalty", "seed", "n", "logprobs", "logit_bias"})


def build(request: CallRequest, settings: CallSettings) -> Outgoing:
    """`POST <base>/v1/messages`. System messages become `system`; a schema becomes the one tool that must be used."""
    document: dict[str, Any] = {
        "model": request.model.removeprefix("anthropic/"),
        "messages": _messages(request),
        **{name: value for name, value in request.params.items() if value is not None and name not in _UNKNOWN},
    }
    document.setdefault("max_tokens", DEFAULT_MAX_TOKENS)
    system = "\n\n".join(message["content"] for message in request.messages if message["role"] == "system")
    if system:
        document["system"] = system
    stop = request.params.get("stop")
    if stop:
        document["stop_sequences"] = [stop] if isinstance(stop, str) else list(stop)
    if request.output_schema is not None:
        schema = as_object(request.output_schema)
        document["tools"] = [{"name": TOOL, "description": "Give the answer.", "input_schema": schema}]
        document["tool_choice"] = {"type": "tool", "name": TOOL}
    headers = {"content-type": "application/json", "anthropic-version": VERSION}
    if settings.anthropic_key:
        headers["x-api-key"] = settings.anthropic_key
    return Outgoing(f"{settings.anthropic_base_url}/v1/messages", headers, json_body(document))


def parse(reply: Reply, request: CallRequest) -> Answer:
    """The text blocks, joined; with a schema the tool's input as JSON. A refusal is a fault and keeps its usage."""
    document = faults.json_object(reply.body)
    blocks = document.get("content")
    if not isinstance(blocks, list):
        raise BadBody("it has no content")
    stopped = document.get("stop_reason")
    refused = stopped == "refusal"
    usage = document.get("usage")
    return Answer(
        text="" if refused else _text([block for block in blocks if isinstance(block, dict)], request),
        model=_string(document.get("model")) or request.model,
        finish_reason=_FINISHED.get(_string(stopped), _string(stopped)),
        input_tokens=faults.count(usage, "input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"),
        output_tokens=faults.count(usage, "output_tokens"),
        error_type="refused" if refused else "",
        message="the model refused" if refused else "",
    )


# The words of the other format, so that pipelines read one vocabulary.
_FINISHED = {"end_turn": "stop", "stop_sequence": "stop", "tool_use": "stop", "max_tokens": "length"}


def _messages(request: CallRequest) -> list[dict[str, str]]:
    """All but the system's; this format wants at least one, from the user."""
    said = [{"role": m["role"], "content": m["content"]} for m in request.messages if m["role"] != "system"]
    return said or [{"role": "user", "content": "Go on."}]


def _text(blocks: list[dict[str, Any]], request: CallRequest) -> str:
    if request.output_schema is not None:
        for block in blocks:
            if block.get("type") == "tool_use" and "input" in block:
                return orjson.dumps(unwrapped(block["input"], request.output_schema)).decode()
    texts = [block.get("text") for block in blocks if block.get("type") == "text"]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise BadBody("its content has no text")
    return "".join(str(text) for text in texts)


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""
