"""One scene of the fault suite: a site under load, one harm, and what became of every run.

A fault is a name, a function that strikes, and bounds. The frame starts the site, brings at least 50 runs in flight,
strikes with a seed that replays it, waits until everything is answered, and ends in one line. It judges by topics, by
the model server's log and by what scripts printed; no counter of the product is believed.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaError
from support.broker import Broker
from support.oracle import Verdict, examine
from support.proxy import Proxy
from support.site import Process, Traffic, WorkerProcess, until

PIPELINE = Path(__file__).parent / "pipelines" / "fault-proof.yaml"
FULL = os.environ.get("FAULTS") == "full"
EVENTS = int(os.environ.get("FAULTS_EVENTS", "0")) or (1000 if FULL else 300)
SEED = int(os.environ.get("FAULTS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
LEAST_IN_FLIGHT, MOST_IN_FLIGHT = 50, 100
LEAST_CALLS = 8
SESSION = 10.0
SCRIPTS_BESIDE = 2  # steps of one run that may be open at the same time: the two sides of the fan-out
STEPS = frozenset(("draw", "left", "right", "join", "final"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A named harm. `kills`: a process dies, or is taken for dead, so what it had in hand may be done again, and no
    more than that; without it nothing is. `moves`: partitions go from one living worker to another, so scripts under
    way may be run again, and no call is. `asked_again`: events come again after their answers, and get them again.
    `named`: every event has an id of its own, so that a producer that does not know whether its record arrived may send
    it again. `short`: part of the short form.
    """

    name: str
    strike: Callable[[Scene], Awaitable[None]]
    kills: bool = False
    moves: bool = False
    asked_again: bool = False
    named: bool = False
    short: bool = False
    workers: int = 2
    nodes: int = 1
    own_cluster: bool = False
    proxied: bool = False
    direct: tuple[str, ...] = ()  # workers that go to the broker without the proxy
    call_delay: float = 0.2
    most: int = MOST_IN_FLIGHT
    scripts: int = 0  # that are struck themselves, and run again
    pause: float | None = None
    flags: tuple[str, ...] = ()
    instrumented: bool = False  # workers of `instrumented_worker.py`
    paths: tuple[Path, ...] = (PIPELINE,)


@dataclass(slots=True, kw_only=True)
class Report:
    """What became of it. Times in seconds."""

    name: str
    seed: int
    in_flight: int
    verdict: Verdict
    mismatches: int
    failed: int  # runs that did not end as they should
    calls_in_hand: int
    rerun: int
    hurts: int  # how many moments something was hurt
    recovery: float
    pause: float

    def __str__(self) -> str:
        v = self.verdict
        calls = f"calls repeated {v.calls_repeated} (in flight {self.calls_in_hand})"
        return (
            f"{self.name}: in flight {self.in_flight}; lost {len(v.lost)}, copies {v.copies}, "
            f"different answers {len(v.different) + self.mismatches}, {calls}, "
            f"steps run again {self.rerun}, recovery {self.recovery:.1f} s (longest pause {self.pause:.1f} s; "
            f"{v.sent} events, FAULTS_SEED={self.seed})"
        )


@dataclass
class Scene:
    """The site while a fault strikes. `moments` are the times (UNIX) at which something was hurt."""

    fault: Fault
    broker: Broker
    folder: Path
    chance: random.Random
    models: Process
    workers: list[WorkerProcess]
    traffic: Traffic
    proxies: list[Proxy] = field(default_factory=list)
    moments: list[float] = field(default_factory=list)
    struck_at: float = 0.0
    over_at: float = 0.0
    in_flight: int = 0
    in_hand: set[str] = field(default_factory=set)
    gone: list[WorkerProcess] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)  # runs that must not succeed
    _number: int = 0

    # --- what strikes use ----------------------------------------------------------------------------------------

    def hurt(self) -> None:
        """Say that something is hurt now."""
        self.over_at = time.monotonic()
        self.in_hand = self.traffic.sent.keys() - self.traffic.answered.keys()
        if not self.moments:  # what came before it was waiting for the right moment
            self.in_flight, self.struck_at = len(self.in_hand), self.over_at
        self.moments.append(time.time())

    def healed(self) -> None:
        """Say that the harm is over now; without it, it was over when it began."""
        self.over_at = time.monotonic()

    async def loaded(self) -> None:
        """Wait until enough is in flight."""
        await until(lambda: self.traffic.in_flight >= LEAST_IN_FLIGHT, 120, "runs in flight")

    def calls(self) -> list[dict[str, Any]]:
        """Every request that the model server has had."""
        return [json.loads(line) for line in (self.folder / "calls.jsonl").read_text().split("\n")[:-1]]

    async def calling(self) -> None:
        """Wait until calls are in flight that have half of their time before them, at least."""

        def lately() -> int:
            since = time.time() - self.fault.call_delay / 2
            return sum(call["at"] > since for call in self.calls())

        await until(lambda: lately() >= LEAST_CALLS, 120, "calls in flight")

    async def kill_child(self, worker: WorkerProcess) -> None:
        """SIGKILL to a serving child, and wait until the next one serves."""
        times = len(worker.children)
        self.hurt()
        worker.kill_child()
        await worker.ready(times + 1)

    async def add_worker(self, name: str) -> WorkerProcess:
        """One more worker, serving."""
        worker = start_worker(self.fault, self.broker, self.folder, name=name, models=self.models)
        self.gone.append(worker)
        await worker.ready()
        return worker

    async def owner(self, group: str, *, but: WorkerProcess | None = None) -> WorkerProcess:
        """The worker that serves most of a group's partitions."""
        shares = await owners(self.broker, f"{self.broker.prefix}{group}")
        named = {f"w{n}": worker for n, worker in enumerate(self.workers, 1) if worker is not but}
        return named[max(named, key=lambda name: (shares[name], name))]

    # --- load ----------------------------------------------------------------------------------------------------

    async def feed(self, struck: asyncio.Future[None]) -> None:
        """Send until the strike is over and enough was sent, never more than so many in flight."""
        while not struck.done() or self._number < EVENTS:
            while self.traffic.in_flight >= self.fault.most:
                await asyncio.sleep(0.01)
                if struck.done() and self._number >= EVENTS:
                    return
            await self.send_next()

    async def send_next(self) -> None:
        """The next event; one whose fate is unknown is sent again under its id."""
        number, self._number = self._number, self._number + 1
        name = f"event-{number}" if self.fault.named or number % 2 else None
        while True:
            try:
                await self.traffic.send({"n": number}, run_id=name)
                return
            except KafkaError:
                if name is None:
                    raise
                await asyncio.sleep(0.5)


async def play(fault: Fault, broker: Broker, folder: Path, *, proxies: list[Proxy] | None = None) -> Report:
    """Play the scene to its end; the report, printed, and kept for the table when it was asked for."""
    models = await start_models(folder, delay=fault.call_delay)
    workers = [start_worker(fault, broker, folder, name=f"w{n + 1}", models=models) for n in range(fault.workers)]
    settings = broker.cluster.settings if broker.cluster is not None else broker.settings
    scene: Scene | None = None
    try:
        await asyncio.gather(*(worker.ready() for worker in workers))
        topics = (f"{broker.prefix}fault-proof.input", f"{broker.prefix}fault-proof.results")
        async with Traffic(settings, *topics) as traffic:
            chance = random.Random(f"{SEED} {fault.name}")
            scene = Scene(fault, broker, folder, chance, models, workers, traffic, proxies or [])
            await perform(scene)
            report = await judged(scene)
    finally:
        await asyncio.gather(*(process.end(40) for process in (*workers, *(scene.gone if scene else ()), models)))
    show(report)
    check(report, fault)
    return report


async def perform(scene: Scene) -> None:
    """Load, strike, and wait for the last answer."""
    struck: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    feeding = asyncio.ensure_future(scene.feed(struck))
    try:
        await until(lambda: len(scene.traffic.answered) >= 20 or feeding.done(), 120, "the first answers")
        await scene.loaded()
        scene.in_hand = scene.traffic.sent.keys() - scene.traffic.answered.keys()
        scene.in_flight = len(scene.in_hand)
        scene.struck_at = scene.over_at = time.monotonic()
        await scene.fault.strike(scene)
        struck.set_result(None)
        await asyncio.wait_for(feeding, 300)
        await scene.traffic.all_answered(180)
    except BaseException as why:
        left, said = scene.traffic.in_flight, f"{type(why).__name__}: {str(why)[:300]}"
        print(f"\n{scene.fault.name} (FAULTS_SEED={SEED}): {left} without an answer, {said}")
        raise
    finally:
        feeding.cancel()
        with suppress(asyncio.CancelledError, KafkaError):
            await feeding


async def judged(scene: Scene) -> Report:
    """Look at everything."""
    traffic, calls = scene.traffic, scene.calls()
    ids = [call["call_id"] for call in calls]
    verdict = await examine(traffic.settings, list(traffic.sent), traffic.results, calls=ids)
    results = [orjson.loads(record.value) for record in traffic.records]
    good = [result for result in results if result["status"] == "succeeded"]
    times = sorted(at for at in traffic.answered.values() if at >= scene.struck_at)
    gaps = [later - earlier for earlier, later in zip([scene.struck_at, *times], times, strict=False)]
    return Report(
        name=scene.fault.name,
        seed=SEED,
        in_flight=scene.in_flight,
        verdict=verdict,
        mismatches=sum(not sound(result) for result in good),
        failed=sum((result["status"] == "succeeded") == (result["run_id"] in scene.refused) for result in results),
        calls_in_hand=in_hand_at(calls, scene.moments, scene.fault.call_delay),
        rerun=steps_run_again((*scene.workers, *scene.gone)),
        hurts=len(scene.moments),
        recovery=max(0.0, max((traffic.answered[run] for run in scene.in_hand), default=0.0) - scene.over_at),
        pause=max(gaps, default=0.0),
    )


def check(report: Report, fault: Fault) -> None:
    """Hold it to what is promised."""
    line, verdict = str(report), report.verdict
    assert verdict.ok, f"{line}; {verdict}"
    assert report.mismatches == 0, line
    assert report.failed == 0, f"{line}; runs that failed {report.failed}"
    assert report.in_flight >= LEAST_IN_FLIGHT, line
    assert verdict.calls_repeated <= (report.calls_in_hand if fault.kills else 0), line
    if fault.kills or fault.moves:
        assert report.rerun <= report.hurts * fault.most * SCRIPTS_BESIDE, line
        assert verdict.copies <= report.hurts * fault.most, line
    else:
        assert report.rerun <= fault.scripts, line
        assert fault.asked_again or not verdict.copies, line
    if fault.pause is not None:
        assert report.pause <= fault.pause, line


def show(report: Report) -> None:
    """One line for people, one for the table."""
    print(f"\n{report}")
    if path := os.environ.get("FAULTS_FIGURES"):
        v = report.verdict
        row = (report.in_flight, len(v.lost), v.copies, len(v.different) + report.mismatches, v.calls_repeated)
        times = (f"{report.recovery:.1f} s", f"{report.pause:.1f} s")
        with Path(path).open("a") as figures:
            figures.write(json.dumps([report.name, *row, report.rerun, *times]) + "\n")


# --- parts of the site -----------------------------------------------------------------------------------------------


class InstrumentedWorker(WorkerProcess):
    """`instrumented_worker.py`: it is its own child."""

    def __init__(self, config: dict[str, Any], *, env: dict[str, str], log: Path) -> None:
        env = {**env, "PYTHONPATH": str(Path(__file__).parent.parent)}
        Process.__init__(self, "faults.instrumented_worker", json.dumps(config), env=env, log=log)


async def start_models(folder: Path, *, delay: float) -> Process:
    """A model server that takes its time and writes down every request."""
    arguments = ("--delay", str(delay), "--log", str(folder / "calls.jsonl"))
    models = Process("stream_orchestrator.testkit.models", *arguments, env={}, log=folder / "models.log")
    await until(lambda: bool(models.events), 30, "the model server")
    return models


def start_worker(fault: Fault, broker: Broker, folder: Path, *, name: str, models: Process) -> WorkerProcess:
    """A worker as users start one."""
    through = fault.proxied and name not in fault.direct and broker.cluster is not None
    settings = broker.cluster.proxied_settings if through else broker.settings
    flags = (
        "--broker",
        f"kafka://{settings.bootstrap}",
        "--prefix",
        broker.prefix,
        "--instance-id",
        name,
        *fault.flags,
    )
    env = {"OPENAI_BASE_URL": models.events[0]["openai"], "OPENAI_API_KEY": "test"}
    if fault.instrumented:
        paths = [str(path) for path in fault.paths]
        config = {"paths": paths, "bootstrap": settings.bootstrap, "prefix": broker.prefix, "name": name, "scripts": 4}
        return InstrumentedWorker(config, env=env, log=folder / f"{name}.log")
    return WorkerProcess(fault.paths, *flags, env=env, log=folder / f"{name}.log")


async def owners(broker: Broker, group: str) -> Counter[str]:
    """How many partitions of a group each worker serves, by the stem of its instance id."""
    admin = AIOKafkaAdminClient(**broker.settings.connection())
    await admin.start()
    try:
        described = await admin.describe_consumer_groups([group])
    finally:
        await admin.close()
    shares: Counter[str] = Counter()
    for member in described[0].groups[0][5]:
        name, assignment = member[0].split("-")[0], ConsumerProtocolMemberAssignment.decode(member[-1])
        shares[name] += sum(len(partitions) for _, partitions in assignment.assignment)
    return shares


# --- looking ---------------------------------------------------------------------------------------------------------


def sound(result: dict[str, Any]) -> bool:
    """One draw, seen the same by both branches, by the join, by the model and by the result."""
    outputs = result["outputs"]
    ids = {outputs["draw"]["id"], outputs["left"]["id"], outputs["right"]["id"], result["output"]["id"]}
    return len(ids) == 1 and result["output"]["same"] is True and next(iter(ids)) in result["output"]["said"]


def in_hand_at(calls: list[dict[str, Any]], moments: list[float], delay: float) -> int:
    """Calls that were asked and whose answer nobody may have written down yet: it takes the delay, and a little."""
    return sum(any(moment - delay - 0.8 <= call["at"] <= moment + 0.2 for moment in moments) for call in calls)


def steps_run_again(workers: tuple[WorkerProcess, ...]) -> int:
    """Steps whose script said more than once that it ran."""
    ran = Counter(line for worker in workers for line in lines_of(worker))
    return ran.total() - len(ran)


def lines_of(worker: WorkerProcess) -> Iterator[str]:
    """What scripts said: `fault-proof/draw: ran 17`."""
    for event in list(worker.events):
        message = str(event.get("message", ""))
        if message.startswith("fault-proof/") and ": ran " in message:
            yield message
