"""A worker: everything one process serves. It provisions, deploys, joins, and drains.

Promises
  * `start` returns when every app is served, or raises what is missing; nothing was taken from a topic before.
  * It serves its own pipelines, and earlier versions of them that still have runs in flight; a retired one it leaves.
  * `drain` cuts nothing that ends in its time: tasks have `drain` seconds, calls `drain_calls`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stream_orchestrator.calls.agent import CallAgent
from stream_orchestrator.calls.agent import Codec as CallCodec
from stream_orchestrator.calls.borders import refuse_crossings
from stream_orchestrator.calls.file_fetch import FileFetch
from stream_orchestrator.calls.routing import service_of
from stream_orchestrator.calls.service import CallService
from stream_orchestrator.calls.service_settings import ServiceSettings
from stream_orchestrator.calls.services import Services
from stream_orchestrator.calls.settings import CallSettings
from stream_orchestrator.calls.turns import Turns
from stream_orchestrator.errors import HouseError, MissingError
from stream_orchestrator.kernel import ingest, state
from stream_orchestrator.kernel.breaker import Signal
from stream_orchestrator.kernel.engine import Engine
from stream_orchestrator.kernel.kinds import TaskKind
from stream_orchestrator.kernel.notebook import Notebook
from stream_orchestrator.kernel.outside import Listener
from stream_orchestrator.kernel.rows import Codec
from stream_orchestrator.kernel.state import Codec as StateCodec
from stream_orchestrator.kernel.state import Write
from stream_orchestrator.kernel.state_owner import StateOwner
from stream_orchestrator.kernel.watch import Blind, Watch
from stream_orchestrator.kernel.wires import Wires
from stream_orchestrator.plan import names
from stream_orchestrator.plan.guards import rules_of
from stream_orchestrator.plan.model import Plan, ways
from stream_orchestrator.plan.stateful import uses_state
from stream_orchestrator.spec.settings import Blobs, Calls, Scripts, Trust
from stream_orchestrator.streaming.chores import Chores
from stream_orchestrator.streaming.client import partitions_of
from stream_orchestrator.streaming.core.app import App
from stream_orchestrator.streaming.core.clock import SteadyClock
from stream_orchestrator.streaming.core.model import AppSpec, AppStatistics, nothing
from stream_orchestrator.streaming.core.stream import Stream
from stream_orchestrator.streaming.deployments import Deployment, Deployments
from stream_orchestrator.streaming.history import in_flight
from stream_orchestrator.streaming.housekeeping import Shelf, collect, keep_house
from stream_orchestrator.streaming.lookup import Lookup
from stream_orchestrator.streaming.provisioning import apply
from stream_orchestrator.streaming.pulse import Pulse
from stream_orchestrator.streaming.replica import Replica
from stream_orchestrator.streaming.serving import (
    WorkerSettings,
    house_specs,
    pipeline_specs,
    sealed_topics,
    services_of,
    state_partitions,
    state_specs,
    version_specs,
)
from stream_orchestrator.streaming.tails import Tails
from stream_orchestrator.streaming.topic_kinds import TopicSpec
from stream_orchestrator.tasks import KINDS
from stream_orchestrator.trust.blobs import store_of
from stream_orchestrator.trust.bringing import Bringer
from stream_orchestrator.trust.claims import ClaimChecks
from stream_orchestrator.trust.pool import ScriptPool

log = logging.getLogger(__name__)

READY_WITHIN = 120.0  # seconds: a group of static members whose owner died is given back after its session
STUCK_AFTER = 60.0  # seconds without progress while there is something to do: not ready
CHORES_EVERY = 1.0
RUN_SECONDS = 86_400.0  # how long a run may live, unless its pipeline says otherwise


class Worker:
    """One process's share of the work."""

    def __init__(
        self,
        settings: WorkerSettings,
        plans: Sequence[Plan],
        *,
        watch: Watch | None = None,
        clock: Callable[[], float] = time.time,
        kinds: Mapping[str, TaskKind] = KINDS,
    ) -> None:
        self._settings = settings
        self._plans = tuple(plans)
        self._kinds = kinds
        self._watch = watch or Blind()
        self._stream = Stream(settings.stream, watch=self._watch, clock=SteadyClock(clock))
        self._deployments = Deployments(settings.stream, settings.prefix)
        self._lookup = Lookup(settings.stream)
        calls = CallSettings.from_env(offline=settings.offline, calls=settings.config.section(Calls))
        services = Services(ServiceSettings.of(settings.config, offline=settings.offline))
        self._calls = CallService(calls, services=services)
        self._files = FileFetch.of(settings.config)
        self._bring = Bringer.of(settings.config, self._files)
        self._blobs = store_of(settings.config)
        self._claims = ClaimChecks(self._blobs, settings.config.section(Blobs).threshold)
        self._pools: dict[tuple[str, ...], ScriptPool] = {}
        self._call_apps: list[App] = []
        self._callers: list[CallAgent] = []
        self._turns = Turns(self._calls.settings.max_in_flight)
        self._version_apps: dict[str, App] = {}
        self._retired: set[App] = set()
        self._pulse = Pulse()
        self._chores = Chores()
        # Of this process alone: a restarted one must not take its own old mark for an attempt under way.
        self._instance = uuid.uuid4().hex[:12]
        self._replica = Replica(settings.stream, names.state_table(settings.prefix))
        self._tails = Tails(settings.stream, settings.prefix, clock=clock)
        self._notebook = Notebook(results=self._tails, clock=clock, send=self._tell_state, sleep=asyncio.sleep)
        self._started = False
        self._sealed: frozenset[str] = frozenset()  # slugs whose ingest holds nothing but what we have sealed

    # --- life ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Provision, deploy, join; returns when all is served."""
        settings = self._settings
        self._refuse(self._plans)
        if self._blobs is not None:
            await asyncio.to_thread(self._blobs.check)
        await apply(settings.stream, house_specs(settings.prefix), profile=settings.profile)
        await self._deployments.start()
        mine = [await self._deploy(plan) for plan in self._plans]
        served = [*mine, *await self._still_running(mine)]
        self._seal(served)
        stateful = await self._open_state(served)
        await asyncio.gather(*(pool.start() for pool in {self._pool(deployed.plan) for deployed in served}))
        await self._stream.start()
        self._started = True
        specs = [*await self._specs(served), *([self._state_app()] if stateful else [])]
        apps = await asyncio.gather(*(self._stream.add(spec) for spec in specs))
        self._call_apps = [app for app in apps if ".calls." in app.spec.id]
        self._version_apps = {deployed.id: app for deployed, app in zip(served, apps, strict=False)}
        await self._ready(apps)
        self._chores.start(
            self._leave_retired(),
            keep_house(settings.stream, self._shelves),
            self._pulse.follow(settings.stream, lambda: self._stream.apps),
            *([collect(self._blobs)] if self._blobs is not None else []),
            *([self._replica.follow()] if stateful else []),
        )

    def _refuse(self, plans: Sequence[Plan]) -> None:
        """MissingError for what would break a promise of these plans, before one is written down and activated."""
        stream, services = self._settings.stream, ServiceSettings.of(self._settings.config)
        stores = not (stream.embedded or stream.encrypted_disks or stream.seal is not None)
        refuse_crossings(plans, self._calls.settings, services, plain_brokers=stream.plain_servers, stores=stores)
        for plan in plans:
            if plan.guards.at_rest and self._blobs is not None and not stream.encrypted_disks:
                raise MissingError(
                    f"{plan.title!r} wants `encryption_at_rest`, and large values would lie in plain files",
                    hint="leave out `blobs.url`, or encrypt the disks and say so: `kafka: {encrypted_disks: true}`",
                )
            if plan.guards.at_rest and stream.seal is not None:
                stream.seal.check()
            if plan.guards.tls:
                log.info("%s: TLS everywhere but on this machine (embedded broker, loopback)", plan.slug)

    def _seal(self, served: Sequence[Deployment]) -> None:
        """Seal what the topics of versions that want it hold, and what shared ones do."""
        wanting = [each.plan for each in served if each.plan.guards.at_rest]
        self._refuse([plan for plan in wanting if plan not in self._plans])
        if wanting and self._settings.stream.seal is not None:
            self._sealed = frozenset(plan.slug for plan in wanting)
            self._stream.seal_in(sealed_topics(self._settings.prefix, wanting))

    async def crashed(self) -> BaseException:
        """Wait for the first failure of ours: the process must end then."""
        return await self._chores.first_of(self._stream.crashed())

    async def drain(self) -> bool:
        """Stop well. True: nothing was cut."""
        settings = self._settings
        await self._chores.end()
        budgets = {app: settings.drain_calls if app in self._call_apps else settings.drain for app in self._stream.apps}
        until = time.monotonic() + settings.drain_calls
        wholes = await asyncio.gather(*(app.drain(budget) for app, budget in budgets.items()))
        # Last: a rebalance in the meantime may have taken partitions away under their calls.
        moved = [await caller.moved(max(0.0, until - time.monotonic())) for caller in self._callers]
        await self._stop()
        return all(wholes) and all(moved)

    async def close(self) -> None:
        """Stop at once, as a crash would."""
        await self._stop()

    async def _stop(self) -> None:
        await self._chores.end()
        if self._started:
            await self._stream.close()
        await self._deployments.stop()
        await self._lookup.close()
        await self._replica.stop()
        await self._tails.stop()
        await asyncio.gather(*(pool.close() for pool in self._pools.values()))
        await self._calls.close()
        await self._files.close()

    # --- what is seen --------------------------------------------------------------------------------------------

    @property
    def partitions(self) -> int:
        """Partitions of inboxes that this process owns now."""
        return sum(len(app.statistics().assigned) for app in self._stream.apps)

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether all that is assigned is served and moves, and the details."""
        apps = [app for app in self._stream.apps if app not in self._retired]
        seen = [app.statistics() for app in apps]
        ready = bool(seen) and all(app.ready.is_set() for app in apps)
        slow = {app.spec.id: self._longest_slot(app) for app in apps}
        stuck = [each.id for each in seen if is_stuck(each, longest_slot=slow[each.id])]
        stuck += self._pulse.stuck(STUCK_AFTER)
        halted = {each.id: each.halted for each in seen if each.halted}
        details = {
            "apps": {
                each.id: {
                    "partitions": len(each.assigned),
                    "lag": each.lag,
                    "open": each.open_slots,
                    "rows": each.rows,
                    "stuck_for_seconds": round(each.stuck_for, 1),
                }
                for each in seen
            },
            **({"state_behind_seconds": round(self._replica.behind, 1)} if self._replica.followed else {}),
            "stuck": stuck,
            "halted": halted,
        }
        return ready and not stuck and not halted, details

    def _longest_slot(self, app: App) -> float:
        """How long one piece of its work may take, and nothing else happen."""
        if app in self._call_apps:
            return self._settings.drain_calls
        plans = [each.plan for each in self._served() if names.app_id(self._settings.prefix, each.plan) == app.spec.id]
        return max((way.timeout for plan in plans for way in ways(plan.tasks)), default=0.0)

    # --- chores --------------------------------------------------------------------------------------------------

    def _served(self) -> list[Deployment]:
        known = [self._deployments.known(version_id) for version_id in self._version_apps]
        return [deployed for deployed in known if deployed is not None]

    def _shelves(self) -> list[Shelf]:
        """Our partitions of the topics that keep everything and are ours: not those that users write or read."""
        keep = {names.app_id(self._settings.prefix, each.plan): each.plan.timeout for each in self._served()}
        longest = max(keep.values(), default=RUN_SECONDS)
        inboxes = set(self._version_apps.values())  # all of a version's are ours, also that of a task named "Results"
        return [
            Shelf(
                group=app.spec.id,
                topics=tuple(
                    topic for topic in app.spec.topics if app in inboxes or not topic.endswith((".input", ".results"))
                ),
                partitions=app.statistics().assigned,
                keep=keep.get(app.spec.id, longest),
            )
            for app in self._stream.apps
        ]

    async def _leave_retired(self) -> None:
        """A version that was retired is served no more, so that its topics can go."""
        while True:
            await asyncio.sleep(CHORES_EVERY)
            for version_id in [each for each in self._version_apps if self._deployments.known(each) is None]:
                app = self._version_apps.pop(version_id)
                apps = [each for each in self._stream.apps if each.spec.id.startswith(f"{app.spec.id}.of.")]
                self._retired.update((app, *apps))
                log.info("version %s is retired; leaving it", version_id)
                for each in (*apps, app):  # the version's own last: when nobody is in its group, its topics go
                    await self._stream.remove(each, self._settings.drain)

    # --- deployments ---------------------------------------------------------------------------------------------

    async def _deploy(self, plan: Plan) -> Deployment:
        settings = self._settings
        shards = dict.fromkeys(services_of(plan, settings), settings.partitions)
        new = Deployment(plan=plan, partitions=settings.partitions, shards=shards, deployed_at=time.time())
        new = self._deployments.known(new.id) or new
        for slug in (plan.slug, *plan.pipelines):
            retention = plan.guards.retention if slug == plan.slug else None
            specs = await self._pipeline_specs(slug, retention=retention)
            await apply(settings.stream, specs, profile=settings.profile)
        await apply(settings.stream, version_specs(settings.prefix, new), profile=settings.profile)
        return await self._deployments.deploy(new, production=settings.config.production)

    async def _pipeline_specs(self, slug: str, *, retention: float | None) -> list[TopicSpec]:
        """The pipeline's own topics; an existing input keeps its partitions, and its table follows it."""
        try:
            topic = names.input_topic(self._settings.prefix, slug)
            count = (await partitions_of(self._settings.stream, [topic]))[topic]
        except MissingError:
            count = self._settings.partitions
        ingest_topic = names.ingest_topic(self._settings.prefix, slug)
        try:
            fixed = (await partitions_of(self._settings.stream, [ingest_topic]))[ingest_topic]
        except MissingError:
            fixed = self._settings.partitions
        return pipeline_specs(self._settings.prefix, slug, inputs=count, fixed=fixed, retention=retention)

    async def _still_running(self, mine: Sequence[Deployment]) -> list[Deployment]:
        """Earlier versions of these pipelines that have runs in flight."""
        own = {deployed.id for deployed in mine}
        others = [each for plan in self._plans for each in self._deployments.of(plan.slug) if each.id not in own]
        found = []
        for each in others:
            active = self._deployments.active(each.plan.slug).id == each.id
            if active or await in_flight(self._settings.stream, self._settings.prefix, each.plan):
                found.append(each)
        return found

    # --- apps ----------------------------------------------------------------------------------------------------

    async def _specs(self, served: Sequence[Deployment]) -> list[AppSpec]:
        specs = [self._version_app(deployed) for deployed in served]
        for deployed in served:
            specs += await self._listeners(deployed)
        for slug in {deployed.plan.slug for deployed in served}:
            specs += await self._ingest_apps(slug)
        shards: dict[str, int] = {}
        for deployed in served:
            shards |= deployed.shards
        return [*specs, *(self._call_app(service, count) for service, count in sorted(shards.items()))]

    def _version_app(self, deployed: Deployment) -> AppSpec:
        prefix, plan = self._settings.prefix, deployed.plan
        engine = Engine(
            plan=plan,
            wires=self._wires(deployed),
            kinds=self._kinds,
            scripts=self._pool(plan),
            rules=rules_of(plan),
            fetch=self._lookup.fetch,
            watch=self._watch,
            notebook=self._notebook,
            env={name: os.environ[name] for name in plan.env if name in os.environ},
        )
        return AppSpec(
            id=names.app_id(prefix, plan),
            agents=engine.agents(),
            partitions=deployed.partitions,
            table=names.table_topic(prefix, plan),
            codec=Codec(),
            on_due=engine.on_due,
            on_recovered=engine.on_recovered,
        )

    async def _listeners(self, deployed: Deployment) -> list[AppSpec]:
        """An app for each other pipeline that a version runs: it reads that one's results."""
        prefix, plan = self._settings.prefix, deployed.plan
        topics = {slug: names.results_topic(prefix, slug) for slug in plan.pipelines}
        counts = await partitions_of(self._settings.stream, list(topics.values())) if topics else {}
        waiting = {slug: frozenset(names.inboxes_for(prefix, plan, slug)) for slug in plan.pipelines}
        return [
            AppSpec(
                id=names.listener_id(prefix, plan, slug),
                agents=(Listener(topic, plan.slug, waiting[slug], deployed.partitions),),
                partitions=counts[topic],
            )
            for slug, topic in topics.items()
        ]

    def _wires(self, deployed: Deployment) -> Wires:
        prefix, plan = self._settings.prefix, deployed.plan
        return Wires(
            inbox_prefix=f"{names.app_id(prefix, plan)}.",
            results=names.results_topic(prefix, plan.slug),
            dlq=names.dlq_topic(prefix, plan.slug),
            audit=names.audit_topic(prefix),
            internal_dlq=names.house_dlq_topic(prefix),
            route=self._route,
            calls={service: names.calls_topic(prefix, service) for service in deployed.shards},
            shards=deployed.shards,
            state=names.state_topic(prefix),
            state_shards=state_partitions(),
            partitions=deployed.partitions,
            inputs={slug: names.input_topic(prefix, slug) for slug in plan.pipelines},
        )

    def _route(self, model: str) -> str:
        return "offline" if self._settings.offline else service_of(model)

    async def _ingest_apps(self, slug: str) -> list[AppSpec]:
        prefix, stream = self._settings.prefix, self._settings.stream
        input_topic, ingest_topic = names.input_topic(prefix, slug), names.ingest_topic(prefix, slug)
        counts = await partitions_of(stream, [input_topic, ingest_topic])
        doors = ingest.Ingest(
            input=input_topic,
            ingest=ingest_topic,
            results=names.results_topic(prefix, slug),
            dlq=names.dlq_topic(prefix, slug),
            audit=names.audit_topic(prefix),
            ingest_partitions=counts[ingest_topic],
            versions=_VersionsOf(self._deployments, slug),
            end_of=self._lookup.end,
            bring=self._bring,
            watch=self._watch,
        )
        return [
            AppSpec(
                id=f"{door.topic}.app",
                agents=(door,),
                partitions=counts[door.topic],
                table=f"{door.topic}.table",
                codec=ingest.Codec(),
                on_due=doors.on_due,
                on_recovered=doors.on_recovered if door.topic == input_topic else nothing,
                foreign=frozenset({input_topic} if slug in self._sealed else {input_topic, ingest_topic}),
            )
            for door in doors.doors()
        ]

    def _call_app(self, service: str, shards: int) -> AppSpec:
        prefix = self._settings.prefix
        topic = names.calls_topic(prefix, service)
        agent = CallAgent(
            topic=topic,
            answers=names.answers_topic(prefix, service),
            letters=names.house_dlq_topic(prefix),
            attempt=lambda request, call_id: self._calls.attempt(request, call_id=call_id),
            send=self._send,
            instance=self._instance,
            watch=self._watch,
            turns=self._turns,
        )
        self._callers.append(agent)
        return AppSpec(
            id=f"{topic}.app",
            agents=(agent, agent.moved_answers),
            partitions=shards,
            table=f"{topic}.table",
            codec=CallCodec(),
            on_due=agent.on_due,
            on_recovered=agent.on_recovered,
            on_revoking=agent.on_revoking,
            # Beside each attempt there is room for one that is written down, or whose answer is.
            max_in_flight=2 * self._calls.settings.max_in_flight,
        )

    async def _open_state(self, served: Sequence[Deployment]) -> bool:
        """The copy of the state that outlives runs, if anything served uses it."""
        settings = self._settings
        if not any(uses_state(deployed.plan) for deployed in served):
            return False
        await apply(settings.stream, state_specs(settings.prefix), profile=settings.profile)
        await self._replica.start()
        self._notebook.view = self._replica
        return True

    def _state_app(self) -> AppSpec:
        prefix = self._settings.prefix
        topic = names.state_topic(prefix)
        owner = StateOwner(topic=topic, letters=names.house_dlq_topic(prefix), watch=self._watch)
        return AppSpec(
            id=f"{topic}.app",
            agents=(owner,),
            partitions=state_partitions(),
            table=names.state_table(prefix),
            codec=StateCodec(),
            on_due=owner.on_due,
            on_recovered=owner.on_recovered,
        )

    async def _tell_state(self, event: Write | Signal) -> None:
        partition, key = state.where(event, state_partitions())
        topic, value = names.state_topic(self._settings.prefix), state.encode_event(event)
        await self._stream.publish(topic, partition=partition, key=key, value=value)

    async def _send(self, topic: str, partition: int, key: bytes, value: bytes) -> None:
        # With the worker's own producer: a rebalance may move a thousand calls at once.
        await self._stream.publish(topic, partition=partition, key=key, value=value)

    def _pool(self, plan: Plan) -> ScriptPool:
        functions = (*plan.functions, *self._settings.functions)
        if functions not in self._pools:
            size = self._settings.config.section(Scripts).workers or max(2, os.cpu_count() or 2)
            key = (self._settings.config.section(Trust).fingerprint_key or "").encode()
            self._pools[functions] = ScriptPool(
                functions=functions, size=size, fingerprint_key=key, notebook=self._notebook, claims=self._claims
            )
        return self._pools[functions]

    async def _ready(self, apps: Sequence[App]) -> None:
        crash = asyncio.ensure_future(self._stream.crashed())
        ready = asyncio.ensure_future(_all_ready(apps))
        done, _ = await asyncio.wait({crash, ready}, timeout=READY_WITHIN, return_when=asyncio.FIRST_COMPLETED)
        if crash in done:
            ready.cancel()
            raise crash.result()
        crash.cancel()
        if ready not in done:
            ready.cancel()
            late = [app.spec.id for app in apps if not app.ready.is_set()]
            raise HouseError(f"not ready within {READY_WITHIN:g} s: {', '.join(late)}")


@dataclass(frozen=True, slots=True)
class _VersionsOf:
    """One pipeline's versions, for its ingest."""

    deployments: Deployments
    slug: str

    def active(self) -> ingest.Version:
        return self.deployments.active(self.slug)

    def get(self, version_id: str) -> ingest.Version | None:
        return self.deployments.get(version_id)


def is_stuck(seen: AppStatistics, *, longest_slot: float) -> bool:
    """Whether an app has lag and makes no progress. While work is in flight it may take as long as it is allowed to."""
    patience = STUCK_AFTER + (longest_slot if seen.open_slots else 0.0)
    return seen.stuck_for > patience


async def _all_ready(apps: Sequence[App]) -> None:
    for app in apps:
        await app.ready.wait()
