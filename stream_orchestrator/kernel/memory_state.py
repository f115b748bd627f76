"""State that outlives runs, in memory: the same owner and the same rows as on Kafka, in a dict."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from stream_orchestrator.kernel import state
from stream_orchestrator.kernel.breaker import Signal
from stream_orchestrator.kernel.memory import App, MemoryPart, World
from stream_orchestrator.kernel.notebook import Notebook
from stream_orchestrator.kernel.state import ValueRow, Write
from stream_orchestrator.kernel.state_owner import StateOwner
from stream_orchestrator.kernel.wires import Wires

WINDOW = 300.0  # seconds over which an error rate is taken


class Ended(NamedTuple):
    """A run that is over."""

    at: float
    pipeline: str
    status: str
    output: Any


@dataclass(slots=True)
class State:
    """What runs leave behind. Give the same one to several pipelines, and they share it."""

    rows: dict[bytes, Any] = field(default_factory=dict)
    ended: deque[Ended] = field(default_factory=lambda: deque(maxlen=10_000))

    def desk(self) -> Desk:
        """One run's way to it."""
        desk = Desk(self)
        desk.notebook = Notebook(view=self, results=self, clock=time.time, send=desk.tell, sleep=asyncio.sleep)
        return desk

    def note(self, pipeline: str, status: str, output: Any) -> None:
        """A run has ended."""
        self.ended.append(Ended(time.time(), pipeline, status, output))

    async def error_rate(self, pipeline: str) -> float:
        """The share of failed runs in the last 5 minutes."""
        since = time.time() - WINDOW
        recent = [each.status == "failed" for each in self.ended if each.pipeline == pipeline and each.at >= since]
        return sum(recent) / len(recent) if recent else 0.0

    async def last(self, pipeline: str) -> tuple[bool, Any]:
        """The output of the newest run that did not fail."""
        for each in reversed(self.ended):
            if each.pipeline == pipeline and each.status in {"succeeded", "degraded"}:
                return True, each.output
        return False, None

    def row(self, key: bytes) -> Any | None:
        """A row, or None."""
        return self.rows.get(key)

    def used(self, kind: str, namespace: str) -> int:
        """Bytes of a namespace."""
        rows = (row for row in self.rows.values() if isinstance(row, ValueRow))
        return sum(row.size for row in rows if (row.kind, row.namespace) == (kind, namespace))


@dataclass(slots=True)
class Desk:
    """The owner of state in one run's world."""

    state: State
    notebook: Notebook = field(default_factory=Notebook)
    world: World | None = None
    topic: str = ""
    owner: StateOwner | None = None
    part: MemoryPart | None = None

    def join(self, world: World, wires: Wires) -> None:
        """Serve the state topic of this world, over the rows that earlier runs have left."""
        self.owner = StateOwner(topic=wires.state, letters=wires.internal_dlq)
        part = world.add(App({wires.state: self.owner}, state.Codec, self.owner.on_due, self.owner.on_recovered))
        for key, row in list(self.state.rows.items()):
            part.set(key, row)
            part.durable[key] = state.encode(row)
        part.rows = self.state.rows
        self.world, self.topic, self.part = world, wires.state, part

    def leave(self, world: World) -> None:
        """Take what the run wrote last: its result may be out before its owner had a turn."""
        assert self.owner is not None
        assert self.part is not None
        for record in world.topics[self.topic][world.delivered(self.topic) :]:
            work = self.owner.receive(record, self.part)
            if work is not None:
                work.close()  # in memory all is done when it is decided

    async def tell(self, event: Write | Signal) -> None:
        """An event that belongs to no slot."""
        assert self.world is not None
        self.world.append(self.topic, state.where(event, 1)[1], state.encode_event(event))
