"""Events onto the input topic, and what each of them is called from then on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from stream_orchestrator.cli.events import Event
from stream_orchestrator.kernel import identity
from stream_orchestrator.streaming.client import Outgoing, Position, produce
from stream_orchestrator.streaming.records import Record
from stream_orchestrator.streaming.settings import StreamSettings

CHUNK = 500  # acknowledged together: often enough for a progress bar, seldom enough to cost nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """An event that the broker has acknowledged, named as ingest will name it."""

    event: Event
    run_id: str
    payload: bytes


async def send_events(settings: StreamSettings, topic: str, events: Sequence[Event]) -> AsyncIterator[list[Sent]]:
    """Send in order; gives each chunk when it is acknowledged."""
    for start in range(0, len(events), CHUNK):
        chunk = events[start : start + CHUNK]
        outgoing = [Outgoing(event.value, key=event.key, headers=event.headers) for event in chunk]
        positions = await produce(settings, topic, outgoing)
        yield [_sent(topic, event, position) for event, position in zip(chunk, positions, strict=True)]


def _sent(topic: str, event: Event, position: Position) -> Sent:
    record = Record(
        topic=topic,
        partition=position.partition,
        offset=position.offset,
        timestamp_ms=0,
        key=event.key,
        value=event.value,
        headers=event.headers,
    )
    named = identity.read(record, record.position)
    return Sent(event=event, run_id=named.run_id, payload=named.payload)
