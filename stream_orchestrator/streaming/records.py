"""A record as agents see it, wherever it was read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Record:
    """One Kafka record, its bytes untouched. `timestamp_ms` is the broker's or the producer's, as the topic says."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]

    @property
    def position(self) -> str:
        """`topic/partition/offset`: what makes a redelivered record the same record."""
        return f"{self.topic}/{self.partition}/{self.offset}"

    def header(self, name: str) -> bytes | None:
        """The first header of that name, or None."""
        for header, value in self.headers:
            if header == name:
                return value
        return None
