"""How a worker serves, and the topics that it needs for what it serves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from stream_orchestrator.plan import names
from stream_orchestrator.plan.model import Plan
from stream_orchestrator.plan.models import SERVICES
from stream_orchestrator.plan.stateful import uses_state
from stream_orchestrator.spec.config import Configuration
from stream_orchestrator.streaming.deployments import Deployment
from stream_orchestrator.streaming.provisioning import Profile
from stream_orchestrator.streaming.settings import StreamSettings
from stream_orchestrator.streaming.topic_kinds import TopicSpec, topic_kinds, topic_spec


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How a worker serves. Times in seconds; `partitions` are those of topics made now, never of existing ones."""

    stream: StreamSettings
    prefix: str = ""
    config: Configuration = field(default_factory=Configuration)
    allow_unsafe: bool = False
    partitions: int = 8
    drain: float = 30.0
    drain_calls: float = 300.0
    functions: tuple[str, ...] = ()
    offline: bool = False

    @property
    def profile(self) -> Profile:
        """How safe topics must be."""
        return Profile(production=self.config.production, allow_unsafe=self.allow_unsafe)


def topic_specs(plans: Sequence[Plan], settings: WorkerSettings) -> list[TopicSpec]:
    """Every topic that a worker of these plans needs, as it would be made now."""
    specs = house_specs(settings.prefix)
    if any(map(uses_state, plans)):
        specs += state_specs(settings.prefix)
    for plan in plans:
        shards = dict.fromkeys(services_of(plan, settings), settings.partitions)
        deployed = Deployment(plan=plan, partitions=settings.partitions, shards=shards)
        specs += pipeline_specs(
            settings.prefix,
            plan.slug,
            inputs=settings.partitions,
            fixed=settings.partitions,
            retention=plan.guards.retention,
        )
        specs += version_specs(settings.prefix, deployed)
    return list({spec.name: spec for spec in specs}.values())


def house_specs(prefix: str) -> list[TopicSpec]:
    """The topics that all pipelines of a prefix share."""
    return [
        topic_spec("plans", names.plans_topic(prefix), partitions=1),
        topic_spec("audit", names.audit_topic(prefix), partitions=8),
        topic_spec("dlq", names.house_dlq_topic(prefix), partitions=1),
    ]


def sealed_topics(prefix: str, plans: Sequence[Plan]) -> frozenset[str]:
    """How the topics begin that hold payloads of these plans and are ours: theirs, and those that all share."""
    own = {f"{names.app_id(prefix, plan)}." for plan in plans}
    doors = {names.ingest_topic(prefix, plan.slug) for plan in plans}
    shared = (names.calls_topic(prefix, ""), names.state_topic(prefix), names.house_dlq_topic(prefix))
    return frozenset({*own, *doors, *shared})


def state_specs(prefix: str) -> list[TopicSpec]:
    """The topics of state that outlives runs."""
    topic, table = names.state_topic(prefix), names.state_table(prefix)
    return [topic_spec("state", topic, partitions=0), topic_spec("state-table", table, partitions=0)]


def state_partitions() -> int:
    """The partitions of state: fixed, since a namespace has its home in one of them."""
    return topic_kinds()["state"].fixed or 1


def pipeline_specs(
    prefix: str, slug: str, *, inputs: int, fixed: int, retention: float | None = None
) -> list[TopicSpec]:
    """A pipeline's own topics: `inputs` partitions where users put events, `fixed` where copies of an id meet.
    `retention` is how long, in seconds, what is in the public ones may be kept.

    The input's table holds what is known of each input partition and nothing across them: it grows when users' does.
    """
    input_topic, ingest_topic = names.input_topic(prefix, slug), names.ingest_topic(prefix, slug)
    return [
        topic_spec("input", input_topic, partitions=inputs, retention=retention),
        topic_spec("table", f"{input_topic}.table", partitions=inputs, grows=True),
        topic_spec("results", names.results_topic(prefix, slug), partitions=inputs, retention=retention),
        topic_spec("dlq", names.dlq_topic(prefix, slug), partitions=inputs, retention=retention),
        topic_spec("ingest", ingest_topic, partitions=fixed),
        topic_spec("table", f"{ingest_topic}.table", partitions=fixed),
    ]


def version_specs(prefix: str, deployed: Deployment) -> list[TopicSpec]:
    """A version's inboxes and table, and the call topics of its services."""
    plan, count = deployed.plan, deployed.partitions
    specs = [topic_spec("inbox", inbox, partitions=count) for inbox in names.inboxes(prefix, plan)]
    specs.append(topic_spec("table", names.table_topic(prefix, plan), partitions=count))
    for service, shards in deployed.shards.items():
        topic = names.calls_topic(prefix, service)
        specs.append(topic_spec("calls", topic, partitions=shards))
        specs.append(topic_spec("calls-answers", names.answers_topic(prefix, service), partitions=shards))
        specs.append(topic_spec("calls-table", f"{topic}.table", partitions=shards))
    return specs


def services_of(plan: Plan, settings: WorkerSettings) -> tuple[str, ...]:
    """The services a version may ask. Offline, every model is answered by one."""
    if not settings.offline:
        return plan.services
    return tuple(dict.fromkeys("offline" if service in SERVICES else service for service in plan.services))
