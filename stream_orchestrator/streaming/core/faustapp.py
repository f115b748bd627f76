"""The Faust app behind one app of ours: agents, membership and life cycle are Faust's, tables and acks are not."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator
from typing import Any, Protocol, cast

import faust
from faust.app import BootStrategy
from faust.tables.manager import TableManager
from mode import CrashingSupervisor

from stream_orchestrator.streaming.core.assignor import EvenAssignor
from stream_orchestrator.streaming.core.chunk import Chunk
from stream_orchestrator.streaming.core.consumer import SCHEME, Consumer, House
from stream_orchestrator.streaming.core.model import AppSpec
from stream_orchestrator.streaming.settings import StreamSettings

COMMIT_INTERVAL = 0.5  # seconds; copies after a crash grow with it
# A rebalance is routine, and aiokafka warns at every heartbeat of one.
QUIET = {"faust": logging.WARNING, "mode": logging.WARNING, "aiokafka": logging.ERROR}


class Landlord(House, Protocol):
    """What the Faust app needs of the app it works for, besides what its driver needs."""

    def assigned(self, assigned: set[Any], generation: int) -> None:
        """A generation has begun, with these partitions."""
        ...


class Seats(TableManager):
    """Stands where Faust keeps its tables: tells our app of a new generation, and recovers nothing itself."""

    async def on_start(self) -> None:
        """Nothing to register; upstream sleeps a second here."""
        self._tables_finalized.set()
        self._tables_registered.set()

    def on_partitions_revoked(self, revoked: set[Any]) -> None:
        """Done by `Consumer.on_partitions_revoked`."""

    async def on_rebalance(
        self, assigned: set[Any], revoked: set[Any], newly_assigned: set[Any], generation_id: int = 0
    ) -> None:
        """Called inside the join, before heartbeats go on: it must not wait."""
        cast(Any, self.app).house.assigned(set(assigned), generation_id)

    async def wait_until_recovery_completed(self) -> bool:
        """Our app says itself when it is ready."""
        return False


class Boot(BootStrategy):
    """No web server, and no producer per app: the worker has one."""

    enable_web = False
    enable_kafka_producer = False


class FaustApp(faust.App):
    """A Faust app that writes no files and knows its landlord."""

    BootStrategy = Boot
    house: Landlord

    @property
    def driver(self) -> Consumer:
        """Its consumer, as the driver of ours that it is."""
        return cast(Consumer, self.consumer)

    async def on_first_start(self) -> None:
        """Upstream makes a data folder; we have no data there."""

    async def resume(self) -> None:
        """Let a new generation flow, once its partitions are placed."""
        self.consumer.resume_partitions(self.consumer.assignment())
        self.flow_control.resume()
        self.consumer.resume_flow()
        await self._fetcher.maybe_start()
        self.on_rebalance_end()


def make_app(house: Landlord, spec: AppSpec, settings: StreamSettings, *, member: str) -> FaustApp:
    """One Faust app with one Faust agent per inbox."""
    for name, level in QUIET.items():
        if logging.getLogger(name).level == logging.NOTSET:
            logging.getLogger(name).setLevel(level)
    app = FaustApp(
        spec.id,
        broker=[f"{SCHEME}://{server}" for server in settings.servers],
        broker_commit_interval=COMMIT_INTERVAL,
        broker_session_timeout=settings.session_timeout,
        broker_heartbeat_interval=settings.heartbeat,
        # Constant for a member: Faust asserts that an assignment carries the address it was asked with.
        canonical_url=f"http://{hashlib.sha256(member.encode()).hexdigest()[:16]}",
        PartitionAssignor=EvenAssignor,
        TableManager=Seats,
        agent_supervisor=CrashingSupervisor,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        stream_wait_empty=False,
        stream_buffer_maxsize=8,
        store="memory://",
        key_serializer="raw",
        value_serializer="raw",
    )
    app.house = house
    for agent in spec.agents:
        _add_agent(app, agent.topic, house)
    return app


def _add_agent(app: FaustApp, topic: str, house: Landlord) -> None:
    async def inbox(stream: Any) -> None:
        chunks: AsyncIterator[Any] = stream.noack().events()
        async for event in chunks:
            chunk: Chunk = event.value
            house.take(chunk)

    # Faust overwrites an agent by another of the same name, so the name is the topic's.
    channel = app.topic(topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
    app.agent(channel, name=f"{app.conf.id}.{topic}")(inbox)


async def stop_app(app: FaustApp, budget: float) -> bool:
    """Stop within the budget; False when it had to be left hanging."""
    try:
        await asyncio.wait_for(app.stop(), budget)
    except TimeoutError:
        return False
    return True
