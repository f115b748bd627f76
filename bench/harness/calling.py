"""Calls without a pipeline around them: their records, the server that answers them, and what came of them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from aiohttp import web

from bench.harness.topics import PARTITIONS
from stream_orchestrator.kernel import events
from stream_orchestrator.kernel.effects import CallRequest
from stream_orchestrator.kernel.events import Reply
from stream_orchestrator.kernel.wires import CallEvent, encode_call
from stream_orchestrator.plan import names
from stream_orchestrator.plan.loading import load_plan
from stream_orchestrator.streaming.client import read_all
from stream_orchestrator.streaming.settings import StreamSettings
from stream_orchestrator.testkit.models import Seen, Text

DOCUMENT = Path(__file__).parents[1] / "calls.yaml"
MODEL = "gpt-4.1-mini"
SLOW = "slow"


class Patient:
    """Answers after `delay` seconds, up to `jitter` of it more or less; a prompt that says so, after `slow`."""

    def __init__(self, delay: float, *, slow: float = 0.0, jitter: float = 0.0) -> None:
        self._delay, self._slow, self._jitter = delay, slow, jitter

    async def __call__(self, seen: Seen, request: web.Request) -> web.StreamResponse:
        delay = self._delay * random.uniform(1 - self._jitter, 1 + self._jitter)
        return await Text("done", delay=self._slow if seen.prompt == SLOW else delay)(seen, request)


def calls_topic(prefix: str) -> str:
    """Where calls go."""
    return names.calls_topic(prefix, "openai")


def reply_topic(prefix: str) -> str:
    """Where their answers go: the inbox of the task, which nobody reads here."""
    plan = load_plan(DOCUMENT)
    return names.inbox(prefix, plan, plan.tasks[0].slug)


def calls(prefix: str, count: int, *, slow: int = -1) -> Iterator[tuple[bytes, bytes]]:
    """So many call records, one of them a slow one."""
    topic = reply_topic(prefix)
    for number in range(count):
        message = {"role": "user", "content": SLOW if number == slow else f"call {number}"}
        event = CallEvent(
            call_id=f"call-{number}",
            run_id=f"run-{number}",
            task="ask",
            reply_topic=topic,
            reply_partition=number % PARTITIONS,
            request=CallRequest(model=MODEL, messages=(message,)),
        )
        yield event.call_id.encode(), encode_call(event)


async def replies(settings: StreamSettings, prefix: str) -> list[tuple[str, float]]:
    """The id of each call that was answered well, and when its answer was published; in order of time."""
    found = []
    for record in await read_all(settings, reply_topic(prefix)):
        event = events.decode(record.value)
        assert isinstance(event, Reply), event
        assert event.answer.text == "done", event.answer
        found.append((event.call_id, record.timestamp_ms / 1000))
    return sorted(found, key=lambda reply: reply[1])


def repeated(seen: list[Seen]) -> int:
    """How many requests the server had beyond one a call."""
    asked = Counter(each.call_id for each in seen)
    return asked.total() - len(asked)
