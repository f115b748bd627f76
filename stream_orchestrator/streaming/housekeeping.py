"""Deletes what is acked and old from topics that keep everything. Retention would take what was not worked on, too.

Promises
  * A record goes only when its group has acked it and it is older than a run may live; so does everything before it.
  * Whoever owns a partition sweeps it; sweeping twice, or by one who has just lost it, does no harm: the broker's own
    offsets decide.
  * What cannot be deleted now is left, and said; nothing else is disturbed.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from stream_orchestrator.errors import OrchestratorError
from stream_orchestrator.streaming.acked import acked
from stream_orchestrator.streaming.client import administering, reading
from stream_orchestrator.streaming.settings import StreamSettings
from stream_orchestrator.trust.blobs import Blobs

log = logging.getLogger(__name__)

EVERY = 600.0  # seconds; topics grow slowly beside what a broker holds
AT_ONCE = 10_000  # values of the blob store that one turn deletes: more than come in its time
Place = tuple[str, int]  # topic and partition


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """Topics of one group, the partitions of them that are ours, and how long what is acked is kept (seconds)."""

    group: str
    topics: tuple[str, ...]
    partitions: Collection[int]
    keep: float


async def keep_house(settings: StreamSettings, shelves: Callable[[], Iterable[Shelf]]) -> None:
    """Sweep now and then, until cancelled. The embedded broker cannot delete, and lives too short to need it."""
    while not settings.embedded:
        await asyncio.sleep(EVERY * random.uniform(0.5, 1.5))  # noqa: S311  # no secret: workers shall not sweep at once
        for shelf in shelves():
            try:
                gone = await sweep(settings, shelf, now=time.time())
            except OrchestratorError as fault:
                log.warning("acked records of %s are not deleted: %s", shelf.group, fault)
            else:
                log.debug("acked records of %s are deleted up to %s", shelf.group, gone)


async def collect(blobs: Blobs, *, clock: Callable[[], float] = time.time) -> None:
    """Delete values that nobody needs any more, a bounded number at a time, until cancelled. All workers do; what one
    of them deletes, the others do not find.
    """
    while True:
        await asyncio.sleep(EVERY * random.uniform(0.5, 1.5))  # noqa: S311
        try:
            gone = await asyncio.to_thread(blobs.sweep, clock(), AT_ONCE)
        except OSError as error:
            log.warning("values that nobody needs any more are not deleted from %s: %s", blobs.uri, error)
        else:
            log.debug("%d values that nobody needed any more are deleted from %s", gone, blobs.uri)


async def sweep(settings: StreamSettings, shelf: Shelf, *, now: float) -> dict[Place, int]:
    """Delete what may go; gives the new first offset of each partition of which something went."""
    offsets = await acked(settings, shelf.group, shelf.topics)
    ours = {place: offset for place, offset in offsets.items() if place[1] in shelf.partitions}
    if not any(ours.values()):
        return {}
    async with reading(settings, *dict.fromkeys(topic for topic, _ in ours)) as reader:
        young = await reader.first_since(round((now - shelf.keep) * 1000))
        bounds = await reader.bounds()
    until = {place: _until(offset, young[place], end=bounds[place][1]) for place, offset in ours.items()}
    going = {place: offset for place, offset in until.items() if offset > bounds[place][0]}
    if going:
        async with administering(settings) as admin:
            await admin.delete_records(
                {TopicPartition(*place): RecordsToDelete(before_offset=offset) for place, offset in going.items()}
            )
    return going


def _until(acked_to: int, young: int | None, *, end: int) -> int:
    """Before this offset everything is acked and old. An offset past the end was set by hand: it says nothing."""
    return 0 if acked_to > end else min(acked_to, end if young is None else young)
