"""Makes topics what they should be, or says why it cannot.

Promises
  * `apply` refuses before it creates anything: a wrong partition count, and a replication too weak for production, stop
    it with the command that mends them.
  * It returns when every node knows every topic, and every partition has a leader. Two that apply the same at once end
    with the same topics.
  * It never deletes and never touches the settings of a topic that users share; partitions are added only where what
    is there stays right (`TopicSpec.grows`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    InvalidPartitionsError,
    KafkaConnectionError,
    NodeNotReadyError,
    RequestTimedOutError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.metadata import MetadataRequest

from stream_orchestrator.errors import MissingError
from stream_orchestrator.streaming.client import administering
from stream_orchestrator.streaming.settings import StreamSettings
from stream_orchestrator.streaming.topic_kinds import RETENTION, TopicSpec

State = Literal["present", "missing", "created", "wrong_partitions", "different_config", "too_weak", "kept_too_long"]

REFUSED = ("wrong_partitions", "too_weak", "kept_too_long")  # what nothing starts with
LEADERS_WITHIN = 30.0
REPLICATION, IN_SYNC = 3, 2  # production: one broker may be down for maintenance and another may fail
SET_ON_TOPIC = 1  # Kafka's code for a setting that was made for this very topic


@dataclass(frozen=True, slots=True)
class Profile:
    """How safe topics must be. Outside of production they are as safe as the cluster allows."""

    production: bool = False
    allow_unsafe: bool = False

    @property
    def strict(self) -> bool:
        """Whether weaker than three copies, two of them in sync, is refused."""
        return self.production and not self.allow_unsafe


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicState:
    """A topic as it is (or, missing, as it should be), and what to think of it."""

    name: str
    partitions: int
    config: Mapping[str, str]
    state: State
    differences: tuple[str, ...] = ()
    mend: str = ""

    def as_json(self) -> dict[str, Any]:
        """The public form."""
        return {
            "name": self.name,
            "partitions": self.partitions,
            "config": dict(self.config),
            "state": self.state,
        }


@dataclass(frozen=True, slots=True)
class Existing:
    """A topic as the cluster describes it. `own` are the settings that were made for it alone."""

    partitions: int
    replication: int
    config: dict[str, str] = field(default_factory=dict)
    own: dict[str, str] = field(default_factory=dict)


async def diff(
    settings: StreamSettings, specs: Sequence[TopicSpec], *, profile: Profile = Profile()
) -> list[TopicState]:
    """What each topic is, beside what it should be. Changes nothing."""
    async with administering(settings) as admin:
        return await _states(admin, specs, settings=settings, profile=profile)


async def apply(
    settings: StreamSettings, specs: Sequence[TopicSpec], *, profile: Profile = Profile(), alter: bool = False
) -> list[TopicState]:
    """Create what is missing; with `alter`, mend the settings of topics that are ours alone."""
    async with administering(settings) as admin:
        before = await _states(admin, specs, settings=settings, profile=profile)
        _refuse(before)
        missing = [spec for spec, state in zip(specs, before, strict=True) if state.state == "missing"]
        if missing:
            await _create(admin, missing, profile=profile)
        await _grow(admin, [(spec, state) for spec, state in zip(specs, before, strict=True) if _grows(spec, state)])
        await _await_leaders(admin, [spec.name for spec in specs])
        if alter and not settings.embedded:
            await _alter(admin, specs)
        after = await _states(admin, specs, settings=settings, profile=profile)
    _refuse(after)  # another may have created them meanwhile, otherwise
    created = {spec.name for spec in missing}
    return [_created(state) if state.name in created and state.state == "present" else state for state in after]


def _created(state: TopicState) -> TopicState:
    return TopicState(name=state.name, partitions=state.partitions, config=state.config, state="created")


def _refuse(states: Sequence[TopicState]) -> None:
    bad = [state for state in states if state.state in REFUSED]
    if bad:
        said = "; ".join(f"`{state.name}` {', '.join(state.differences)}" for state in bad)
        raise MissingError(f"topics are not as they must be: {said}", hint="\n".join(state.mend for state in bad))


async def _states(
    admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec], *, settings: StreamSettings, profile: Profile
) -> list[TopicState]:
    existing = await _existing(admin, {spec.name for spec in specs})
    return [_judge(spec, existing.get(spec.name), settings=settings, profile=profile) for spec in specs]


def _judge(spec: TopicSpec, found: Existing | None, *, settings: StreamSettings, profile: Profile) -> TopicState:
    if found is None:
        return TopicState(name=spec.name, partitions=spec.partitions, config=spec.config, state="missing")
    shown = {key: found.config[key] for key in spec.config if key in found.config}

    def state(kind: State, *differences: str, mend: str = "") -> TopicState:
        return TopicState(
            name=spec.name,
            partitions=found.partitions,
            config=shown,
            state=kind,
            differences=differences,
            mend=mend,
        )

    growing = spec.grows and found.partitions < spec.partitions
    if spec.kind.exact and found.partitions != spec.partitions and not growing:
        said = f"has {found.partitions} partitions and must have {spec.partitions}"
        return state("wrong_partitions", said, mend=_partition_command(spec, found, settings.bootstrap))
    if profile.strict and (weak := _weakness(found)):
        return state("too_weak", *weak, mend=_safety_command(spec, found, settings.bootstrap))
    if spec.retention is not None and not settings.embedded and (kept := _too_long(spec, found)):
        return state("kept_too_long", kept, mend=_retention_command(spec, settings.bootstrap))
    few = (f"has {found.partitions} partitions and gets {spec.partitions}",) if growing else ()
    other = few + tuple(
        f"{key} is {shown.get(key, 'not set')}, should be {value}"
        for key, value in spec.config.items()
        if not _same(shown.get(key), value)
    )
    return state("different_config", *other) if other else state("present")


def _same(is_: str | None, should: str) -> bool:
    return is_ == should or (is_ is not None and _number(is_) is not None and _number(is_) == _number(should))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _weakness(found: Existing) -> tuple[str, ...]:
    in_sync = int(found.config.get("min.insync.replicas", "1"))
    said = []
    if found.replication < REPLICATION:
        said.append(f"has {found.replication} replicas and production needs {REPLICATION}")
    if in_sync < IN_SYNC:
        said.append(f"has min.insync.replicas={in_sync} and production needs {IN_SYNC}")
    if found.config.get("unclean.leader.election.enable") == "true":
        said.append("may elect a leader that has lost records")
    return tuple(said)


def _too_long(spec: TopicSpec, found: Existing) -> str:
    """What is wrong with how long a topic keeps what must be gone by then."""
    asked, kept = spec.config[RETENTION], found.config.get(RETENTION, "-1")
    if kept != "-1" and int(kept) <= int(asked):
        return ""
    return f"keeps records {'for ever' if kept == '-1' else f'{kept} ms'}, and `retention_period` allows {asked} ms"


def _retention_command(spec: TopicSpec, bootstrap: str) -> str:
    return (
        f"kafka-configs.sh --bootstrap-server {bootstrap} --alter --entity-type topics "
        f"--entity-name {spec.name} --add-config {RETENTION}={spec.config[RETENTION]}"
    )


def _partition_command(spec: TopicSpec, found: Existing, bootstrap: str) -> str:
    command = f"kafka-topics.sh --bootstrap-server {bootstrap} --topic {spec.name}"
    if found.partitions < spec.partitions:
        return f"while no run is in flight: {command} --alter --partitions {spec.partitions}"
    return f"while no run is in flight: {command} --delete (it is made again; partitions cannot be taken away)"


def _safety_command(spec: TopicSpec, found: Existing, bootstrap: str) -> str:
    if found.replication < REPLICATION:
        return (
            f"kafka-reassign-partitions.sh --bootstrap-server {bootstrap} gives `{spec.name}` more replicas; "
            "--allow-unsafe goes on without"
        )
    values = f"min.insync.replicas={IN_SYNC},unclean.leader.election.enable=false"
    return f"kafka-configs.sh --bootstrap-server {bootstrap} --alter --topic {spec.name} --add-config {values}"


async def _existing(admin: AIOKafkaAdminClient, names: set[str]) -> dict[str, Existing]:
    # All topics are asked for: naming a missing one would create it where brokers create topics by themselves.
    described = {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics()}
    present = sorted(names & described.keys())
    configs = await _configs(admin, present)
    return {
        name: Existing(
            partitions=len(described[name]),
            replication=min((len(part["replicas"]) for part in described[name]), default=0),
            config={key: value for key, (value, _) in configs[name].items()},
            own={key: value for key, (value, source) in configs[name].items() if source == SET_ON_TOPIC},
        )
        for name in present
    }


async def _configs(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, tuple[str, int]]]:
    """Value and source of every setting of every topic."""
    if not names:
        return {}
    found: dict[str, dict[str, tuple[str, int]]] = {}
    for code, message, _, name, entries in await _described(admin, names):
        _check(code, message, about=name)
        found[name] = {entry[0]: (entry[1] or "", entry[3]) for entry in entries}
    return found


async def _described(admin: AIOKafkaAdminClient, names: Sequence[str]) -> list[Any]:
    """The answers for every topic. A broker that has not heard yet of a new one, which another has described, is asked
    again: two workers that start at once meet that."""
    asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    give_up = asyncio.get_running_loop().time() + LEADERS_WITHIN
    while True:
        answers = [one for response in await admin.describe_configs(asked) for one in response.resources]
        behind = any(one[0] == UnknownTopicOrPartitionError.errno for one in answers)
        if not behind or asyncio.get_running_loop().time() > give_up:
            return answers
        await asyncio.sleep(0.05)


async def _create(admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec], *, profile: Profile) -> None:
    replication = await _replication(admin, profile=profile)
    in_sync = IN_SYNC if replication >= REPLICATION else 1
    made = [
        NewTopic(
            name=spec.name,
            num_partitions=spec.partitions,
            replication_factor=replication,
            topic_configs={**spec.config, "min.insync.replicas": str(in_sync)},
        )
        for spec in specs
    ]
    response = await admin.create_topics(made, timeout_ms=10_000)
    for name, code, message in response.topic_errors:
        if code != TopicAlreadyExistsError.errno:  # another worker was faster
            _check(code, message, about=name)


def _grows(spec: TopicSpec, state: TopicState) -> bool:
    return spec.grows and state.state != "missing" and state.partitions < spec.partitions


async def _grow(admin: AIOKafkaAdminClient, found: Sequence[tuple[TopicSpec, TopicState]]) -> None:
    """Add partitions, and wait until the cluster tells of them."""
    for spec, _ in found:
        with suppress(InvalidPartitionsError):  # another worker was faster
            await admin.create_partitions({spec.name: NewPartitions(spec.partitions)}, timeout_ms=10_000)
    async with asyncio.timeout(LEADERS_WITHIN):
        while any(
            len(topic["partitions"]) < spec.partitions
            for topic in await admin.describe_topics()
            for spec, _ in found
            if topic["topic"] == spec.name
        ):
            await asyncio.sleep(0.05)


async def _replication(admin: AIOKafkaAdminClient, *, profile: Profile) -> int:
    brokers = len((await admin.describe_cluster())["brokers"])
    if profile.strict and brokers < REPLICATION:
        raise MissingError(
            f"production needs {REPLICATION} replicas of every topic, and the cluster has {brokers} broker(s)",
            hint="add brokers, or accept that losing one loses events: --allow-unsafe",
        )
    return min(REPLICATION, brokers)


async def _await_leaders(admin: AIOKafkaAdminClient, names: Sequence[str]) -> None:
    """Wait until every node tells of every topic: one that has not heard of a new one yet would deny it."""
    async with asyncio.timeout(LEADERS_WITHIN):
        while not all(_led(told, names) for told in await _told_by_nodes(admin)):
            await asyncio.sleep(0.05)


def _led(told: dict[str, list[Any]], names: Sequence[str]) -> bool:
    return all(name in told and all(part["leader"] >= 0 for part in told[name]) for name in names)


async def _told_by_nodes(admin: AIOKafkaAdminClient) -> list[dict[str, list[Any]]]:
    """The partitions of every topic, as each node that can be reached has them; at least one can."""
    told = []
    for node in [broker.nodeId for broker in admin._client.cluster.brokers()]:
        with suppress(NodeNotReadyError, KafkaConnectionError, RequestTimedOutError):
            answer = await admin._client.send(node, MetadataRequest(None))
            told.append({topic["topic"]: topic["partitions"] for topic in answer.to_object()["topics"]})
    if not told:
        raise KafkaConnectionError("no node of the cluster answers")
    return told


async def _alter(admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec]) -> None:
    existing = await _existing(admin, {spec.name for spec in specs})
    # The request replaces all settings of a topic: what others have set beside ours is sent along.
    changes = [
        ConfigResource(ConfigResourceType.TOPIC, spec.name, {**existing[spec.name].own, **spec.config})
        for spec in specs
        if not spec.kind.public
        and any(not _same(existing[spec.name].config.get(key), value) for key, value in spec.config.items())
    ]
    if changes:
        for response in await admin.alter_configs(changes):
            for code, message, _, name in response.resources:
                _check(code, message, about=name)


def _check(code: int, message: str | None, *, about: str) -> None:
    if code:
        raise for_code(code)(f"topic `{about}`: {message or 'no reason given'}")
