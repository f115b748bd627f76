"""The end of a version: it takes no new runs (`drain`), its last run ends, and nothing of it is left (`retire`).

Promises
  * Some version of a pipeline always takes new runs: the last one is not drained, and the active one is not retired.
  * A version with runs in flight is not retired. Its topics go when no worker serves it any more: workers hear of the
    retirement and leave. Interrupted anywhere, `retire` goes on where it was when it is called again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka.errors import UnknownTopicOrPartitionError, for_code

from stream_orchestrator.errors import HouseError, MissingError, OrchestratorError, UsageError
from stream_orchestrator.plan import names
from stream_orchestrator.plan.model import Plan
from stream_orchestrator.streaming.client import administering, existing
from stream_orchestrator.streaming.deployments import Deployment, Deployments, precedence, read_deployments
from stream_orchestrator.streaming.history import in_flight
from stream_orchestrator.streaming.settings import StreamSettings

TICK = 1.0  # seconds between two looks
LEFT_WITHIN = 60.0  # a worker leaves when its slots are done: its drain (30 s), and time to hear of it
DELETED_WITHIN = 30.0
PAGE = 100  # topics a request


class Refused(OrchestratorError):
    """It cannot be done now without harm; nothing was changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionState:
    """A deployed version, as it is now."""

    deployed: Deployment
    in_flight: int
    topics: tuple[str, ...]
    active: bool
    retiring: bool = False

    def as_json(self) -> dict[str, Any]:
        """The public form."""
        plan = self.deployed.plan
        return {
            "version": plan.version,
            "hash": plan.hash,
            "in_flight": self.in_flight,
            "topics": list(self.topics),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """The versions of one pipeline."""

    settings: StreamSettings
    prefix: str
    pipeline: str

    async def deployed(self) -> list[Deployment]:
        """Every version, the lowest first; those that are being retired too."""
        return _all(await self._deployments(), self.pipeline)

    async def states(self) -> list[VersionState]:
        """Every version, the lowest first."""
        deployments = await self._deployments()
        return [await self._state(deployments, each) for each in _all(deployments, self.pipeline)]

    async def find(self, wanted: str | None) -> VersionState:
        """The version of that number, that hash or that whole id; without one, the version that takes no new runs.
        None, or several, are a UsageError.
        """
        deployments = await self._deployments()
        every, active = _all(deployments, self.pipeline), deployments.active(self.pipeline).id
        found = [each for each in every if (_means(wanted, each) if wanted else each.id != active)]
        if len(found) != 1:
            meant = f"are meant by `{wanted}`" if wanted else "take no new runs: name the one you mean"
            known = ", ".join(f"{each.plan.version} ({each.plan.hash[:8]})" for each in every)
            raise UsageError(f"{len(found) or 'no'} versions of {self.pipeline} {meant}", hint=f"deployed: {known}")
        return await self._state(deployments, found[0])

    async def close(self, state: VersionState) -> Deployment:
        """See to it that it takes no new runs; gives the version that does."""
        deployments = await self._deployments()
        active = deployments.active(self.pipeline).id
        if active != state.deployed.id:
            return _sure(deployments.known(active))
        others = [each for each in _all(deployments, self.pipeline) if deployments.known(each.id) and each.id != active]
        if not others:
            raise Refused(
                f"{state.deployed.plan.version} is the only version of {self.pipeline}: new runs would have none",
                hint="deploy the next version first: `worker FILE`",
            )
        await deployments.activate(others[-1])
        return others[-1]

    async def emptied(self, state: VersionState, tell: Callable[[int], None], *, timeout: float | None = None) -> bool:
        """Wait until none of its runs is in flight; `tell` hears how many are, and changes. False: too late."""
        give_up = None if timeout is None else time.monotonic() + timeout
        told = None
        # The time is looked at between two looks: the client library leaves sockets behind when it is cancelled.
        while left := await in_flight(self.settings, self.prefix, state.deployed.plan):
            if left != told:
                tell(left)
            told = left
            if give_up is not None and time.monotonic() >= give_up:
                return False
            await asyncio.sleep(TICK)
        return True

    async def served(self, deployed: Deployment) -> bool:
        """Whether a worker is in its group. The embedded broker is not asked: its worker ends with it."""
        if self.settings.embedded:
            return False
        async with administering(self.settings) as admin:
            (answer,) = await admin.describe_consumer_groups([names.app_id(self.prefix, deployed.plan)])
        return any(members for _, _, _, _, _, members, *_ in answer.groups)

    async def retire(self, state: VersionState) -> None:
        """Take it away, with its topics."""
        deployments = await self._deployments()
        deployed = state.deployed
        self._check(deployments, state, await in_flight(self.settings, self.prefix, deployed.plan))
        await deployments.retire(deployed)
        if left := await in_flight(self.settings, self.prefix, deployed.plan):  # one came in between
            await deployments.restore(deployed)
            raise _busy(state, left)
        await self._await_leaving(deployed)
        await _delete(self.settings, topics_of(self.prefix, deployed.plan))
        await deployments.forget(deployed)

    def _check(self, deployments: Deployments, state: VersionState, left: int) -> None:
        if not state.retiring and deployments.active(self.pipeline).id == state.deployed.id:
            raise Refused(
                f"{state.deployed.plan.version} takes new runs",
                hint=f"`stream-orchestrator versions drain {self.pipeline} {state.deployed.plan.version}` ends that",
            )
        if left:
            raise _busy(state, left)

    async def _await_leaving(self, deployed: Deployment) -> None:
        give_up = time.monotonic() + LEFT_WITHIN
        while await self.served(deployed):
            if time.monotonic() > give_up:
                raise Refused(
                    f"a worker still serves {deployed.plan.version}; it is retired, and its topics are still there",
                    hint="stop the workers of earlier releases, and call `versions retire` again",
                )
            await asyncio.sleep(TICK)

    async def _deployments(self) -> Deployments:
        return await read_deployments(self.settings, self.prefix, self.pipeline)

    async def _state(self, deployments: Deployments, deployed: Deployment) -> VersionState:
        topics = topics_of(self.prefix, deployed.plan)
        there = await existing(self.settings, topics)
        retiring = deployments.known(deployed.id) is None
        return VersionState(
            deployed=deployed,
            in_flight=await in_flight(self.settings, self.prefix, deployed.plan),
            topics=tuple(topic for topic in topics if topic in there),
            active=not retiring and deployments.active(self.pipeline).id == deployed.id,
            retiring=retiring,
        )


def topics_of(prefix: str, plan: Plan) -> list[str]:
    """The topics that a version has for itself: its inboxes, then its table."""
    return [*names.inboxes(prefix, plan), names.table_topic(prefix, plan)]


def _all(deployments: Deployments, pipeline: str) -> list[Deployment]:
    found = [*deployments.of(pipeline), *deployments.retiring(pipeline)]
    return sorted(found, key=lambda each: (precedence(each.plan.version), each.deployed_at))


def _means(wanted: str, deployed: Deployment) -> bool:
    plan = deployed.plan
    return wanted in (plan.version, deployed.id) or (len(wanted) >= 8 and plan.hash.startswith(wanted))


def _busy(state: VersionState, left: int) -> Refused:
    runs = "1 run is" if left == 1 else f"{left} runs are"
    pipeline, version = state.deployed.plan.slug, state.deployed.plan.version
    return Refused(
        f"{runs} in flight on {version}",
        hint=f"`stream-orchestrator versions drain {pipeline} {version}` waits for them",
    )


def _sure(deployed: Deployment | None) -> Deployment:
    if deployed is None:
        raise HouseError("the active version is not deployed")
    return deployed


async def _delete(settings: StreamSettings, topics: Sequence[str]) -> None:
    """Gone, all of them, when this returns."""
    there = list(await existing(settings, topics))
    async with administering(settings) as admin:
        for begin in range(0, len(there), PAGE):
            answer = await admin.delete_topics(there[begin : begin + PAGE])
            for topic, code, *_ in answer.topic_error_codes:
                if code not in (0, UnknownTopicOrPartitionError.errno):
                    raise for_code(code)(f"topic `{topic}`")
    give_up = asyncio.get_running_loop().time() + DELETED_WITHIN
    while left := await existing(settings, there):
        if asyncio.get_running_loop().time() > give_up:
            raise MissingError(f"the broker has not deleted {', '.join(left)}", hint="call `versions retire` again")
        await asyncio.sleep(TICK / 4)
