"""The topics of some pipelines on some broker. What is there already keeps its partitions, as it does for a worker."""

from __future__ import annotations

from dataclasses import dataclass

from stream_orchestrator.cli.broker import existing_broker, given_broker
from stream_orchestrator.cli.surroundings import configured, partitions_of
from stream_orchestrator.errors import MissingError
from stream_orchestrator.plan import names
from stream_orchestrator.plan.model import Plan
from stream_orchestrator.streaming import client, provisioning
from stream_orchestrator.streaming.deployments import Deployment, Deployments
from stream_orchestrator.streaming.provisioning import Profile, TopicState
from stream_orchestrator.streaming.serving import (
    WorkerSettings,
    house_specs,
    pipeline_specs,
    services_of,
    topic_specs,
    version_specs,
)
from stream_orchestrator.streaming.settings import StreamSettings
from stream_orchestrator.streaming.topic_kinds import TopicSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What was asked: topics of these plans, there."""

    plans: tuple[Plan, ...]
    broker: str | None
    prefix: str
    offline: bool = False
    allow_unsafe: bool = False

    @property
    def profile(self) -> Profile:
        """How safe topics must be."""
        return Profile(production=configured().production, allow_unsafe=self.allow_unsafe)

    def worker(self, stream: StreamSettings) -> WorkerSettings:
        """The worker that would serve them."""
        partitions = partitions_of(configured(), embedded=stream.embedded)
        return WorkerSettings(stream=stream, prefix=self.prefix, partitions=partitions, offline=self.offline)


def wanted(order: Order) -> list[TopicSpec]:
    """As they would be made on an empty broker."""
    stream = given_broker(order.broker) or StreamSettings(bootstrap="nowhere:9092")
    return topic_specs(order.plans, order.worker(stream))


async def compare(order: Order) -> list[TopicState]:
    """As they are."""
    stream = existing_broker(order.broker)
    return await provisioning.diff(stream, await _specs(order, stream), profile=order.profile)


async def make(order: Order) -> list[TopicState]:
    """Made, where they are missing."""
    stream = existing_broker(order.broker)
    return await provisioning.apply(stream, await _specs(order, stream), profile=order.profile, alter=True)


async def _specs(order: Order, stream: StreamSettings) -> list[TopicSpec]:
    settings, deployments = order.worker(stream), await _deployments(order, stream)
    specs = house_specs(order.prefix)
    for plan in order.plans:
        shards = dict.fromkeys(services_of(plan, settings), settings.partitions)
        new = Deployment(plan=plan, partitions=settings.partitions, shards=shards)
        inputs = await _count(stream, names.input_topic(order.prefix, plan.slug), settings.partitions)
        fixed = await _count(stream, names.ingest_topic(order.prefix, plan.slug), settings.partitions)
        specs += pipeline_specs(order.prefix, plan.slug, inputs=inputs, fixed=fixed, retention=plan.guards.retention)
        specs += version_specs(order.prefix, deployments.known(new.id) or new)
    return list({spec.name: spec for spec in specs}.values())


async def _deployments(order: Order, stream: StreamSettings) -> Deployments:
    deployments = Deployments(stream, order.prefix)
    try:
        await deployments.start()
    except MissingError:  # no topic of plans yet; a broker that is away is said by what comes next
        return deployments
    await deployments.stop()
    return deployments


async def _count(stream: StreamSettings, topic: str, default: int) -> int:
    try:
        return (await client.partitions_of(stream, [topic]))[topic]
    except MissingError:
        return default
