"""A version whose partitions are several: each has rows of its own, and records go where they are sent."""

from __future__ import annotations

import asyncio
from typing import Any

from stream_orchestrator.kernel.memory import App, MemoryAgent, MemoryPart, World


class Place(MemoryPart):
    """One partition of an app. A topic that is served by several stands in the world once for each."""

    def __init__(self, world: World, app: App, number: int, served: frozenset[str]) -> None:
        super().__init__(world, App({}, app.codec, app.on_due, app.on_recovered))
        self.number, self.served = number, served
        self.app.agents = {place_of(topic, number): agent for topic, agent in app.agents.items()}
        self.works: set[asyncio.Future[Any]] = set()

    def publish(self, topic: str, *, partition: int | None, **record: Any) -> asyncio.Future[Any]:
        if topic in self.served:
            assert partition is not None, f"a record for {topic} has no partition"
            topic = place_of(topic, partition)
        return super().publish(topic, partition=partition, **record)

    def spawn(self, work: Any) -> None:
        self.keep(lambda: self.world.spawn(work))

    def keep(self, begin: Any) -> None:
        """Note what work this partition has begun."""
        before = set(self.world._works)
        begin()
        self.works = {each for each in self.works | (set(self.world._works) - before) if not each.done()}


def place_of(topic: str, partition: int) -> str:
    """The name under which a partition of a topic stands in the world."""
    return f"{topic}#{partition}" if partition else topic


def spread(kind: type[World]) -> type[World]:
    """A world in which single partitions move."""

    class Spread(kind):  # type: ignore[misc, valid-type]
        def _hand(self, part: MemoryPart, agent: MemoryAgent, record: Any) -> None:
            hand = super()._hand
            part.keep(lambda: hand(part, agent, record)) if isinstance(part, Place) else hand(part, agent, record)

        def place(self, app: App, partitions: int) -> list[Place]:
            """Serve an app's agents from so many partitions."""
            made = [Place(self, app, number, frozenset(app.agents)) for number in range(partitions)]
            self.parts += made
            return made

        async def move(self, part: Place) -> None:
            """A partition goes to another worker: its work is cut, its rows are read again; the others go on."""
            cut = [work for work in part.works if work in self._works]
            for work in cut:
                self._works.pop(work)
                work.cancel()
            await asyncio.gather(*cut, return_exceptions=True)
            for topic in part.app.agents:
                self._done[topic].clear()
                self._seen[topic] = self._acked[topic]
            part.recover()
            part.app.on_recovered(part)

    return Spread
