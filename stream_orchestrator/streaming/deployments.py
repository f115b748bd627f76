"""`orchestrator.plans`: every deployed version with its plan, and which version of each pipeline takes new runs.

Promises
  * Runs in flight finish on the version they began with even when its file is gone: its plan is in the topic.
  * A version never changes in production: the same number with another content is refused. In development it becomes a
    version of its own, named by its hash.
  * A higher version than the active one becomes active; a lower one is served, and takes no new runs.
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
from stream_orchestrator.plan.model import START, Plan
from stream_orchestrator.spec.inputs import InputRules
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
                rules=InputRules.from_plan(deployed.plan.inputs, deployed.plan.input_validation),
                partitions=deployed.partitions,
                start_inbox=names.inbox(self._prefix, deployed.plan, START),
            )
        return self._versions[version_id]

    def known(self, version_id: str) -> Deployment | None:
        """A deployment by its version id."""
        return self._deployed.get(version_id)

    async def deploy(self, new: Deployment, *, production: bool) -> Deployment:
        """Write a version down and activate it if it is higher. An earlier deployment of the same plan is kept as it was."""
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
            body = {"format": FORMAT, "plan": orjson.Fragment(to_json(new.plan)), "partitions": new.partitions}
            body |= {"shards": new.shards, "deployed_at": new.deployed_at}
            records.append(Outgoing(orjson.dumps(body), key=f"plan/{new.id}".encode()))
        if self._should_activate(deployed):
            active = {"format": FORMAT, "version": deployed.id}
            records.append(Outgoing(orjson.dumps(active), key=f"active/{new.plan.slug}".encode()))
        if records:
            await produce(self._settings, self._topic, records)
            for record in records:
                self._apply(record.key, record.value)
        return deployed

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
            return
        body: dict[str, Any] = orjson.loads(value)
        if kind == "plan":
            self._deployed[name] = Deployment(
                plan=from_json(orjson.dumps(body["plan"])),
                partitions=int(body["partitions"]),
                shards=dict(body["shards"]),
                deployed_at=float(body["deployed_at"]),
            )
        elif kind == "active":
            self._active[name] = body["version"]


def precedence(version: str) -> tuple[Any, ...]:
    """Semver's order: numbers by value, a pre-release below its release, build metadata ignored."""
    core, _, pre = version.partition("+")[0].partition("-")
    numbers = tuple(int(part) if part.isdecimal() else 0 for part in core.split("."))
    marks: Sequence[Any] = [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in pre.split(".") if part]
    return (numbers, not pre, tuple(marks))
