"""An inbox: one topic, and what is done with its records."""

from __future__ import annotations

import logging
from asyncio import Future
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stream_orchestrator.kernel import events
from stream_orchestrator.kernel.events import Undecodable
from stream_orchestrator.kernel.ports import Arrived, Part, Work

log = logging.getLogger(__name__)

Handle = Callable[[events.Event, Arrived, Part], Work | None]


@dataclass(frozen=True, slots=True)
class Inbox:
    """One agent: a topic and what is done with its records."""

    topic: str
    letters: str
    handle: Handle
    contiguous: bool = True

    def receive(self, record: Arrived, part: Part) -> Work | None:
        """Decide on a record. One that is not ours, or not for here, goes to the internal dead letters, and the inbox
        goes on.
        """
        try:
            return self.handle(events.decode(record.value), record, part)
        except Undecodable as error:
            return internal_letter(self.letters, record, part, error)


async def internal_letter(topic: str, record: Arrived, part: Part, error: Exception) -> None:
    """An internal record that cannot be read is kept, with its position, and never stops its inbox."""
    log.error("%s: %s; it goes to %s", record.position, error, topic)
    told = (("dlq-reason", b"internal"), ("dlq-message", str(error).encode("utf-8", "replace")[:500]))
    headers = (*record.headers, *told, ("dlq-position", record.position.encode()))
    await part.publish(topic, partition=None, key=record.key, value=record.value, headers=headers)


async def together(*waits: Future[Any] | None) -> list[Any]:
    """What all of these give, in order; None stands for nothing.

    They are under way already and end together (one answer of the broker settles many), so the first is as good as
    all: most often nobody is woken twice, and nothing is built to count them.
    """
    return [await wait for wait in waits if wait is not None]


async def ended_by(*waits: Future[Any] | None) -> None:
    """Work that is these waits and nothing else."""
    await together(*waits)
