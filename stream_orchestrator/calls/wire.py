"""What every wire format is: two pure functions, and the request in between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from stream_orchestrator.calls.faults import Reply
from stream_orchestrator.calls.settings import CallSettings
from stream_orchestrator.kernel.effects import Answer, CallRequest


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request as it goes over HTTP."""

    url: str
    headers: dict[str, str]
    body: bytes


class Wire(Protocol):
    """A wire format; `calls.openai` and `calls.anthropic` are its members."""

    def build(self, request: CallRequest, settings: CallSettings) -> Outgoing:
        """The request to send."""

    def parse(self, reply: Reply, request: CallRequest) -> Answer:
        """The answer in a reply with status 200, without seconds and price. Raises `BadBody` when there is none."""


def json_body(document: dict[str, Any]) -> bytes:
    """A document as a request body."""
    return orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS)
