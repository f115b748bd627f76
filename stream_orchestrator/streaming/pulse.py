"""Whether records that wait are taken, as the broker sees it: "assigned, lag, but no progress" is a stuck consumer.

A fetcher that hangs looks idle from within: it hears of no records, so it knows of no lag. So the ends are asked of the
broker, over another connection, and compared with what our inboxes have seen.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from stream_orchestrator.errors import OrchestratorError
from stream_orchestrator.streaming.client import Reader, reading
from stream_orchestrator.streaming.core.app import App
from stream_orchestrator.streaming.settings import StreamSettings

log = logging.getLogger(__name__)

LOOK_EVERY = 15.0  # seconds; a few looks before anybody calls it stuck
Place = tuple[str, int]  # topic and partition


@dataclass(slots=True)
class Pulse:
    """Since when each inbox partition stands still although it could take what waits there.

    Promise: a partition that moved, has nothing to take, or may take nothing now (back-pressure, a rebalance) is not
    standing still, whatever it was before.
    """

    clock: Callable[[], float] = time.monotonic
    _still: dict[Place, tuple[int, float]] = field(default_factory=dict)

    def saw(self, standing: Mapping[Place, int], ends: Mapping[Place, int]) -> None:
        """How things stand: the next offset of each inbox that could take one, and where the broker's records end."""
        now = self.clock()
        behind = {place: offset for place, offset in standing.items() if offset < ends.get(place, 0)}
        self._still = {
            place: known if (known := self._still.get(place)) is not None and known[0] == offset else (offset, now)
            for place, offset in behind.items()
        }

    def stuck(self, after: float) -> list[str]:
        """The partitions that have stood still for so long, as `topic/partition`."""
        now = self.clock()
        return sorted(f"{topic}/{number}" for (topic, number), (_, at) in self._still.items() if now - at > after)

    async def follow(self, settings: StreamSettings, apps: Callable[[], Iterable[App]]) -> None:
        """Look at these apps until cancelled. A broker that goes away, and one that is back, is told once."""
        away = False
        while True:
            topics = _topics(apps())
            try:
                async with reading(settings, *topics) as reader:
                    if away:
                        away = False
                        log.warning("work goes on")
                    while _topics(apps()) == topics:
                        await self._look(reader, apps())
                        await asyncio.sleep(LOOK_EVERY)
            except OrchestratorError as error:
                if not away:
                    away = True
                    log.warning("work waits: %s", error)
                await asyncio.sleep(LOOK_EVERY)

    async def _look(self, reader: Reader, apps: Iterable[App]) -> None:
        standing = {place: offset for app in apps for place, offset in app.standing().items()}
        self.saw(standing, {place: end for place, (_, end) in (await reader.bounds()).items()})


def _topics(apps: Iterable[App]) -> list[str]:
    return sorted({topic for app in apps for topic in app.spec.topics})
