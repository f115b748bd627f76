"""Apps on Kafka: a consumer group, one agent per inbox, rows in a topic table, timers. Knows nothing of pipelines."""

from stream_orchestrator.streaming.core.app import App
from stream_orchestrator.streaming.core.model import (
    Agent,
    AppSpec,
    AppStatistics,
    PartitionLost,
    Published,
    RowCodec,
)
from stream_orchestrator.streaming.core.partition import Partition
from stream_orchestrator.streaming.core.stream import Stream

__all__ = [
    "Agent",
    "App",
    "AppSpec",
    "AppStatistics",
    "Partition",
    "PartitionLost",
    "Published",
    "RowCodec",
    "Stream",
]
