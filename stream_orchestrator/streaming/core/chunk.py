"""What one fetch brought of one inbox partition: it travels through Faust as one event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from faust.types import TP

from stream_orchestrator.streaming.records import Record


class Chunk:
    """Records fetched together, from position `start` up to position `end`.

    Faust passes it for a message, so it carries a message's fields; `tracked` says that acking is not Faust's business.
    """

    # Faust's sensors stamp these on what they believe to be a message.
    time_in = time_out = time_total = None
    refcount = 1
    acked = False
    tracked = True
    key = value = headers = None

    def __init__(
        self, tp: TP, generation: int, *, start: int, end: int, records: Sequence[Any], highwater: int
    ) -> None:
        self.tp = tp
        self.topic: str = tp.topic
        self.partition: int = tp.partition
        self.generation_id = generation
        self.start = start
        self.end = end
        self.records = records
        self.highwater = highwater
        self.offset = end
        self.size = sum(max(r.serialized_key_size, 0) + max(r.serialized_value_size, 0) for r in records)


def record_of(raw: Any) -> Record:
    """aiokafka's record in our words."""
    return Record(raw.topic, raw.partition, raw.offset, raw.timestamp, raw.key, raw.value, raw.headers)
