"""Refuses to serve topics whose partition counts are not what the app was planned with."""

from __future__ import annotations

import asyncio

from aiokafka.admin import AIOKafkaAdminClient

from stream_orchestrator.errors import HouseError
from stream_orchestrator.streaming.core.model import APPLY_HINT, AppSpec
from stream_orchestrator.streaming.ending import started
from stream_orchestrator.streaming.faults import translated
from stream_orchestrator.streaming.settings import StreamSettings

TRIES = 10  # a topic that was made a moment ago may not be in this broker's metadata yet
PAUSE = 0.3


async def check_topics(settings: StreamSettings, spec: AppSpec) -> None:
    """Raise unless every inbox and the table exist with the planned number of partitions.

    Rows live where the records are, so one count that differs would scatter a run over two partitions.
    """
    wanted = (*spec.topics, spec.table) if spec.table is not None else spec.topics
    with translated(settings.bootstrap):
        counts = await _known_counts(settings, wanted)
    wrong = [f"{topic} has {count or 'none'}" for topic, count in counts.items() if count != spec.partitions]
    if wrong:
        raise HouseError(f"{spec.id} needs {spec.partitions} partitions: {', '.join(wrong)}", hint=APPLY_HINT)


async def _known_counts(settings: StreamSettings, topics: tuple[str, ...]) -> dict[str, int]:
    admin = AIOKafkaAdminClient(**settings.connection())
    try:
        await started(admin.start())
        for _ in range(TRIES):
            counts = await _counts(admin, topics)
            if all(counts.values()):
                break
            await asyncio.sleep(PAUSE)
    finally:
        await admin.close()
    return counts


async def _counts(admin: AIOKafkaAdminClient, topics: tuple[str, ...]) -> dict[str, int]:
    described = await admin.describe_topics(list(topics))
    known = {topic["topic"]: len(topic["partitions"]) for topic in described if not topic["error_code"]}
    return {topic: known.get(topic, 0) for topic in topics}
