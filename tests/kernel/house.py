"""A pipeline with its doors: input and ingest topics, an engine per version, real call agents; no broker."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson
from worlds import FakeKind, FakeScripts

from stream_orchestrator.calls.agent import CallAgent
from stream_orchestrator.calls.agent import Codec as CallCodec
from stream_orchestrator.kernel.bringing import Bring, nothing_brings
from stream_orchestrator.kernel.effects import Answer, CallRequest
from stream_orchestrator.kernel.engine import Engine
from stream_orchestrator.kernel.ingest import Codec as IngestCodec
from stream_orchestrator.kernel.ingest import Ingest, Version
from stream_orchestrator.kernel.memory import App, Crashed, MemoryRecord, VirtualClock, World
from stream_orchestrator.kernel.rows import Codec
from stream_orchestrator.kernel.wires import Wires
from stream_orchestrator.plan.model import Plan
from stream_orchestrator.plan.services import SERVICE_OF_KIND
from stream_orchestrator.spec.inputs import InputRules

SERVICES = ("m", *SERVICE_OF_KIND.values())


@dataclass
class Deployed:
    """What is deployed, and which version is active."""

    known: dict[str, Version] = field(default_factory=dict)
    now: str = ""

    def active(self) -> Version:
        return self.known[self.now]

    def get(self, version_id: str) -> Version | None:
        return self.known.get(version_id)


@dataclass
class Service:
    """A model that counts how often each call was really made."""

    made: Counter[str] = field(default_factory=Counter)

    async def attempt(self, request: CallRequest, call_id: str) -> Answer:
        self.made[call_id] += 1
        if request.messages[0]["content"] == "bad_call":
            return Answer(error_type="ServerError", message="500", retryable=True)
        return Answer(text=f"answer {self.made[call_id]}", model="m", input_tokens=3, output_tokens=2, usd=0.001)


class House:
    """One pipeline, all of its apps in one world. Versions are known by their position in `plans`: `v0`, `v1`, ..."""

    def __init__(
        self,
        *plans: Plan,
        world: World | None = None,
        kinds: Any = None,
        service: Any = None,
        bring: Bring = nothing_brings,
    ) -> None:
        self.clock = VirtualClock()
        self.world = world or World()
        self.world.clock = self.clock
        self.versions, self.service, self.scripts = Deployed(), service or Service(), FakeScripts()
        self.engines = [self._version(f"v{number}", made, kinds) for number, made in enumerate(plans)]
        self.versions.now = "v0"
        self.doors = Ingest(
            input="made.input",
            ingest="made.ingest",
            results="made.results",
            dlq="made.dlq",
            audit="audit",
            ingest_partitions=1,
            versions=self.versions,
            end_of=self._end,
            bring=bring,
        )
        outer, inner = self.doors.doors()
        self.outer = self.world.add(App({outer.topic: outer}, IngestCodec, self.doors.on_due, self.doors.on_recovered))
        self.inner = self.world.add(App({inner.topic: inner}, IngestCodec, self.doors.on_due, lambda part: None))
        caller = CallAgent(
            topic="calls.m",
            answers="answers.m",
            letters="internal.dlq",
            attempt=self.service.attempt,
            send=self._nobody,
        )
        self.calls = self.world.add(App({"calls.m": caller}, CallCodec, caller.on_due, caller.on_recovered))

    def _version(self, name: str, made: Plan, kinds: Any) -> Engine:
        wires = Wires(
            inbox_prefix=f"made.{name}.",
            results="made.results",
            dlq="made.dlq",
            audit="audit",
            internal_dlq="internal.dlq",
            route=lambda model: "m",
            calls=dict.fromkeys(SERVICES, "calls.m"),
            shards=dict.fromkeys(SERVICES, 1),
        )
        rules = InputRules.from_plan(made.inputs, made.input_validation)
        engine = Engine(
            plan=made,
            wires=wires,
            kinds=kinds or {"fake": FakeKind()},
            scripts=self.scripts,
            rules=rules,
            fetch=self._fetch,
        )
        agents = {agent.topic: agent for agent in engine.agents()}
        part = self.world.add(App(agents, Codec, engine.on_due, engine.on_recovered))
        self.versions.known[name] = Version(
            id=name, plan=made, rules=rules, partitions=1, start_inbox=wires.inbox(":start")
        )
        self.parts = [*getattr(self, "parts", []), part]
        return engine

    async def _fetch(self, topic: str, partition: int, offset: int) -> bytes | None:
        return self.world.topics[topic][offset].value

    async def _end(self, topic: str, partition: int) -> int:
        return len(self.world.topics[topic])

    async def _nobody(self, topic: str, partition: int, key: bytes, value: bytes) -> None:
        raise AssertionError("no partition moves here")

    def send(self, value: bytes | None, *, key: bytes | None = None, **headers: str | bytes) -> MemoryRecord:
        """A producer's record; underscores of header names are dashes."""
        told = tuple(
            (name.replace("_", "-") if not name.startswith("ce_") else name, _bytes(item))
            for name, item in headers.items()
        )
        return self.world.append("made.input", key, value, told)

    @property
    def records(self) -> list[MemoryRecord]:
        """What came out on the results topic."""
        return self.world.topics["made.results"]

    @property
    def letters(self) -> list[MemoryRecord]:
        """What came out as dead letters."""
        return self.world.topics["made.dlq"]

    def results(self) -> list[dict[str, Any]]:
        """Every result, in order."""
        return [orjson.loads(record.value) for record in self.records]

    async def play(self, crash_at: Any = frozenset()) -> int:
        """Until nothing is in flight; crashes before the effects that are named. Returns how many there were."""
        count = 0

        def before(name: str) -> None:
            nonlocal count
            count += 1
            if count in crash_at:
                raise Crashed

        self.world.before_effect = before
        while True:
            try:
                await self.world.run(until=self.quiet)
                return count
            except Crashed:
                await self.world.crash()

    def quiet(self) -> bool:
        """No work, no undelivered record, and no run in flight."""
        world = self.world
        waiting = any(
            world._seen[topic] < len(world.topics[topic]) for part in world.parts for topic in part.app.agents
        )
        live = any(getattr(row, "state", "") for part in self.parts for row in part.rows.values())
        return not (waiting or world._works or live or getattr(world, "busy", False))


def _bytes(item: str | bytes) -> bytes:
    return item.encode() if isinstance(item, str) else item
