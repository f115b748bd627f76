"""A broker as a test sees it: how to reach it, and names that no other test has."""

from __future__ import annotations

import itertools
import uuid
from dataclasses import dataclass

from support.kafka import KafkaCluster

from stream_orchestrator.streaming.settings import StreamSettings

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Broker:
    """A broker as a test sees it. `prefix` is the test's own: put it before every topic and group."""

    settings: StreamSettings
    prefix: str
    cluster: KafkaCluster | None = None

    def topic(self, name: str) -> str:
        """A topic name that no other test has."""
        return self.prefix + name


def fresh_prefix() -> str:
    """Unique in this session and among those that share a broker."""
    return f"t{next(_numbers)}-{uuid.uuid4().hex[:6]}."
