"""`orchestrator.plans`: every deployed version with its plan, and which version of each pipeline takes new runs.

Promises
  * Runs in flight finish on the version they began with even when its file is gone: its plan is in the topic.
  * A version never changes in production: the same number with another content is refused. In development it becomes a
    version of its own, named by its hash.
  * A higher version than the active one becomes active; a lower one is served, and takes no new runs.
  * A version that is being retired is known to no worker any more; only `retiring` still names it, until it is gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import orjson

from stream_orchestrator.errors import HouseError, MissingError, SpecError
from stream_orchestrator.kernel.ingest import Version
from stream_orchestrator.plan import names
from stream_orchestrator.plan.codec import from_json, to_json
from stream_orchestrator.plan.guards import rules_of
from stream_orchestrator.plan.model import START, Plan
from stream_orchestrator.streaming.client import Outgoing, Reader, produce, reading
from stream_orchestrator.streaming.records import Record
from stream_orchestrator.streaming.settings import StreamSettings

log = logging.getLogger(__name__)
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A version as it was first deployed: its plan, the partitions of its inboxes, the shards of its call topics."""

    plan: Plan
    partitions: int
    shards: dict[str, int] = field(default_factory=dict)
    deployed_at: float = 0.0

    @property
    def id(self) -> str:
        """`<slug>.<1-2-0>-<hash8>`."""
        return names.version_id(self.plan)


class Deployments:
    """What the plans topic says, kept up to date while the worker runs."""

    def __init__(self, settings: StreamSettings, prefix: str) -> None:
        self._settings = settings
        self._prefix = prefix
        self._topic = names.plans_topic(prefix)
        self._deployed: dict[str, Deployment] = {}
        self._active: dict[str, str] = {}
        self._versions: dict[str, Version] = {}
        self._retiring: dict[str, Deployment] = {}
        self._stack = AsyncExitStack()
        self._reader: Reader | None = None
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read all there is, and follow what comes."""
        self._reader = await self._stack.enter_async_context(reading(self._settings, self._topic))
        for record in await self._reader.all():
            self._take(record)
        self._following = asyncio.create_task(self._follow(self._reader))

    async def stop(self) -> None:
        """Follow no more."""
        if self._following is not None:
            self._following.cancel()
            with suppress(asyncio.CancelledError):
                await self._following
        await self._stack.aclose()

    def of(self, pipeline: str) -> list[Deployment]:
        """Every deployed version of a pipeline, oldest first."""
        found = [deployed for deployed in self._deployed.values() if deployed.plan.slug == pipeline]
        return sorted(found, key=lambda deployed: deployed.deployed_at)

    def active(self, pipeline: str) -> Version:
        """The version that takes new runs. A pipeline that was never deployed has none: our own failure."""
        version = self.get(self._active.get(pipeline, ""))
        if version is None:
            raise HouseError(f"no version of {pipeline} is active")
        return version

    def get(self, version_id: str) -> Version | None:
        """A deployed version as ingest sees it, or None."""
        deployed = self._deployed.get(version_id)
        if deployed is None:
            return None
        if version_id not in self._versions:
            self._versions[version_id] = Version(
                id=version_id,
                plan=deployed.plan,
                rules=rules_of(deployed.plan),
                partitions=deployed.partitions,
                start_inbox=names.inbox(self._prefix, deployed.plan, START),
            )
        return self._versions[version_id]

    def retiring(self, pipeline: str) -> list[Deployment]:
        """Versions whose retirement was begun, and not finished."""
        return [each for each in self._retiring.values() if each.plan.slug == pipeline]

    def known(self, version_id: str) -> Deployment | None:
        """A deployment by its version id."""
        return self._deployed.get(version_id)

    async def deploy(self, new: Deployment, *, production: bool) -> Deployment:
        """Write a version down and activate it if it is higher. An earlier deployment of its plan is kept as it was."""
        same = [old for old in self.of(new.plan.slug) if old.plan.version == new.plan.version]
        changed = [old for old in same if old.plan.hash != new.plan.hash]
        if production and changed:
            raise SpecError(
                f"version {new.plan.version} of {new.plan.slug} is deployed with another content "
                f"(hash {changed[0].plan.hash[:8]}, this file {new.plan.hash[:8]})",
                hint="raise `version:` in the file; runs in flight finish on the version they began with",
            )
        deployed = self._deployed.get(new.id)
        records = []
        if deployed is None:
            deployed = new
            records.append(_written(new))
        if self._should_activate(deployed):
            records.append(_activation(deployed))
        if records:
            await self._tell(*records)
        return deployed

    async def activate(self, deployed: Deployment) -> None:
        """From now on new runs begin with this version."""
        await self._tell(_activation(deployed))

    async def retire(self, deployed: Deployment) -> None:
        """No worker shall know this version any more. Its topics may go when no worker serves it."""
        await self._tell(_written(deployed, retiring=True))

    async def restore(self, deployed: Deployment) -> None:
        """It is not retired after all."""
        await self._tell(_written(deployed))

    async def forget(self, deployed: Deployment) -> None:
        """Nothing is left of this version."""
        await self._tell(Outgoing(None, key=_key(deployed)))

    async def _tell(self, *records: Outgoing) -> None:
        await produce(self._settings, self._topic, records)
        for record in records:
            self._apply(record.key, record.value)

    def _should_activate(self, deployed: Deployment) -> bool:
        active = self._deployed.get(self._active.get(deployed.plan.slug, ""))
        if active is None:
            return True
        newer, older = precedence(deployed.plan.version), precedence(active.plan.version)
        return newer > older or (newer == older and deployed.id != active.id)

    async def _follow(self, reader: Reader) -> None:
        while True:
            try:
                for record in await reader.poll(1.0):
                    self._take(record)
            except MissingError as error:  # a broker that is away kills nobody; what it says comes when it is back
                log.warning("cannot read %s: %s", self._topic, error)
                await asyncio.sleep(1.0)

    def _take(self, record: Record) -> None:
        try:
            self._apply(record.key, record.value)
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, HouseError) as error:
            log.error("%s: not a plan (%s); passed over", record.position, error)

    def _apply(self, key: bytes | None, value: bytes | None) -> None:
        kind, _, name = (key or b"").decode().partition("/")
        if value is None:
            self._deployed.pop(name, None)
            self._retiring.pop(name, None)
            return
        body: dict[str, Any] = orjson.loads(value)
        if kind == "plan":
            known, other = self._deployed, self._retiring
            if body.get("retiring"):
                known, other = other, known
            other.pop(name, None)
            known[name] = Deployment(
                plan=from_json(orjson.dumps(body["plan"])),
                partitions=int(body["partitions"]),
                shards=dict(body["shards"]),
                deployed_at=float(body["deployed_at"]),
            )
        elif kind == "active":
            self._active[name] = body["version"]


async def read_deployments(settings: StreamSettings, prefix: str, pipeline: str) -> Deployments:
    """What is deployed now. A pipeline without any version is a MissingError."""
    deployments = Deployments(settings, prefix)
    await deployments.start()
    await deployments.stop()
    if not deployments.of(pipeline) and not deployments.retiring(pipeline):
        raise MissingError(
            f"no version of {pipeline} is deployed", hint="`worker FILE` deploys it; is the name right, and the prefix?"
        )
    return deployments


def _key(deployed: Deployment) -> bytes:
    return f"plan/{deployed.id}".encode()


def _written(deployed: Deployment, *, retiring: bool = False) -> Outgoing:
    body = {"format": FORMAT, "plan": orjson.Fragment(to_json(deployed.plan)), "partitions": deployed.partitions}
    body |= {"shards": deployed.shards, "deployed_at": deployed.deployed_at}
    return Outgoing(orjson.dumps(body | ({"retiring": True} if retiring else {})), key=_key(deployed))


def _activation(deployed: Deployment) -> Outgoing:
    active = {"format": FORMAT, "version": deployed.id}
    return Outgoing(orjson.dumps(active), key=f"active/{deployed.plan.slug}".encode())


def precedence(version: str) -> tuple[Any, ...]:
    """Semver's order: numbers by value, a pre-release below its release, build metadata ignored."""
    core, _, pre = version.partition("+")[0].partition("-")
    numbers = tuple(int(part) if part.isdecimal() else 0 for part in core.split("."))
    marks: Sequence[Any] = [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in pre.split(".") if part]
    return (numbers, not pre, tuple(marks))
