"""Pipelines made by hand, and worlds in memory to run them in: fakes, a virtual clock, crashes on demand."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from stream_orchestrator.kernel import events, ids
from stream_orchestrator.kernel.effects import Answer, CallRequest, RunScript, ScriptDone
from stream_orchestrator.kernel.engine import Engine
from stream_orchestrator.kernel.events import Begin, Reply
from stream_orchestrator.kernel.kinds import Ask, Attempt, Fault, Step, Value
from stream_orchestrator.kernel.memory import App, Crashed, VirtualClock, World
from stream_orchestrator.kernel.rows import Codec
from stream_orchestrator.kernel.wires import Wires, decode_call
from stream_orchestrator.plan.model import RESULT, START, Plan, TaskPlan, Variant
from stream_orchestrator.spec.inputs import InputRules


def variant(name: str, does: str, **more: Any) -> Variant:
    """A way to do a task: `does` is what the fake kind makes of it."""
    options = {"does": does, **more.pop("options", {})}
    return Variant(name=name, kind="fake", options=options, timeout=more.pop("timeout", 60.0), **more)


def task(
    name: str, *upstream: str, does: str = "script", fallbacks: tuple[Variant, ...] = (), **more: Any
) -> dict[str, Any]:
    """A task of a plan; edges out are filled in by `plan`."""
    first = {key: more.pop(key) for key in ("retries", "retry_delay", "timeout", "options") if key in more}
    return {
        "name": name,
        "upstream": upstream or (START,),
        "variants": (variant(name, does, **first), *fallbacks),
        **more,
    }


def plan(*tasks: dict[str, Any], **more: Any) -> Plan:
    """A plan of these tasks, in order."""
    made = []
    for each in tasks:
        down = tuple(other["name"] for other in tasks if each["name"] in other["upstream"]) or (RESULT,)
        made.append(TaskPlan(slug=each["name"], kind="fake", downstream=down, **each))
    return Plan(title="Made", slug="made", version="1.0.0", tasks=tuple(made), hash="0" * 64, **more)


class FakeKind:
    """Does what its option says: script, call, value, flaky (fails first), broken, ask (a script that calls)."""

    name = "fake"
    summary = guarantees = example = "fake"

    def begin(self, attempt: Attempt) -> Step:
        does = attempt.variant.options["does"]
        match does:
            case "call" | "bad_call":
                outputs = {source: token.report.output for source, token in attempt.row.tokens.items()}
                message = {"role": "user", "content": f"{does} about {orjson.dumps(outputs).decode()}"}
                return Ask(CallRequest(model="m", messages=(message,), deadline=attempt.deadline))
            case "value":
                return Value(attempt.task.name)
            case "fault":
                return Fault(type="Broken", message="as told", passing=True)
            case _:
                outputs = {source: token.report.output for source, token in attempt.row.tokens.items()}
                who = {"run_id": attempt.row.run_id, "task": attempt.task.name, "attempt": attempt.row.attempts}
                return RunScript(
                    source=does, digest=does, info={**who, "outputs": outputs}, journal=dict(attempt.row.journal)
                )

    def scripted(self, attempt: Attempt, done: ScriptDone) -> Step:
        if done.kind == "call":
            request = CallRequest(
                model="m", messages=({"role": "user", "content": "asked"},), deadline=attempt.deadline
            )
            return Ask(request, done.call_number)
        if done.kind == "value":
            return Value(done.value)
        return Fault(type="ScriptError", message=done.message, passing=True)

    def answered(self, attempt: Attempt, answer: Answer) -> Step:
        return Value(answer.text)


@dataclass
class FakeScripts:
    """Scripts whose outputs differ each time they run, as real ones may; `ran` counts them.

    `begins` is what is said, turn by turn, of whether one would begin soon.
    """

    ran: Counter[str] = field(default_factory=Counter)
    begins: tuple[bool, ...] = (True,)
    asked: int = 0

    def prompt(self, job: RunScript) -> bool:
        self.asked += 1
        return self.begins[self.asked % len(self.begins)]

    async def run(self, job: RunScript) -> ScriptDone:
        name = job.info["task"]
        await asyncio.sleep(0)
        self.ran[name] += 1
        match job.source:
            case "flaky" if job.info["attempt"] == 1:
                return ScriptDone(kind="error", error_type="ValueError", message="not yet")
            case "broken":
                return ScriptDone(kind="error", error_type="ValueError", message="never")
            case "ask" if "1" not in job.journal:
                return ScriptDone(kind="call", call_number=1, request={"text": "asked"})
            case "ask":
                return ScriptDone(kind="value", value={"answer": job.journal["1"]["text"], "id": uuid.uuid4().hex})
        outputs = {source: output for source, output in job.info["outputs"].items() if source != START}
        return ScriptDone(kind="value", value={"id": uuid.uuid4().hex, "from": outputs})


@dataclass(frozen=True)
class Way:
    """How tokens go: `passing` within their slots; `begins` is what scripts say of whether they would begin soon."""

    name: str
    passing: bool = True
    begins: tuple[bool, ...] = (True,)


WAYS = (
    Way("tokens passed, scripts begun at once"),
    Way("tokens passed, scripts from inboxes", begins=(False,)),
    Way("tokens passed, scripts now here, now there", begins=(True, False, False)),
    Way("tokens sent", passing=False),
)


@dataclass
class FakeModels:
    """Answers calls once per id, durably, and replies until that is acknowledged: a copy that comes later is dropped.
    `asked` is what each id was asked.
    """

    topic: str
    answers: dict[str, str] = field(default_factory=dict)
    made: Counter[str] = field(default_factory=Counter)
    asked: dict[str, set[str]] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)

    def receive(self, record: Any, part: Any) -> Any:
        call = decode_call(record.value)
        if call.call_id not in self.answers:
            self.made[call.call_id] += 1
            self.answers[call.call_id] = f"answer {len(self.answers)}"
        content = call.request.messages[0]["content"]
        self.asked.setdefault(call.call_id, set()).add(content)
        if call.call_id in self.told:
            return None
        bad = content.startswith("bad_call")
        answer = (
            Answer(error_type="ServerError", message="500", retryable=True)
            if bad
            else Answer(text=self.answers[call.call_id], model="m", input_tokens=3, output_tokens=2, usd=0.001)
        )
        reply = Reply(run_id=call.run_id, call_id=call.call_id, answer=answer)

        async def send() -> None:
            await part.publish(call.reply_topic, partition=0, key=None, value=events.encode(reply))
            self.told.add(call.call_id)

        return send()

    @property
    def steadfast(self) -> bool:
        """Whether no id was ever asked two different things: the second would be given the answer to the first."""
        return all(len(contents) == 1 for contents in self.asked.values())


class Theatre:
    """One plan, served in memory, its clock virtual."""

    def __init__(
        self,
        made: Plan,
        *,
        world: World | None = None,
        scripts: Any = None,
        kinds: Any = None,
        partitions: int = 0,
        way: Way = WAYS[0],
        **more: Any,
    ) -> None:
        self.plan, self.clock = made, VirtualClock()
        self.world = world or World()
        self.world.clock = self.clock
        self.scripts = scripts or FakeScripts()
        self.scripts.begins = way.begins
        self.models = FakeModels("calls.m")
        self.wires = Wires(
            inbox_prefix="made.v.",
            results="made.results",
            dlq="made.dlq",
            audit="audit",
            internal_dlq="internal.dlq",
            route=lambda model: "m",
            calls={"m": "calls.m"},
            shards={"m": 1},
            partitions=partitions or 1,
        )

        async def fetch(topic: str, partition: int, offset: int) -> bytes | None:
            return self.world.topics[topic][offset].value

        self.engine = Engine(
            plan=made,
            wires=self.wires,
            kinds=kinds or {"fake": FakeKind()},
            scripts=self.scripts,
            rules=InputRules.from_plan(made.inputs, made.input_validation),
            fetch=fetch,
            passing=way.passing,
            **more,
        )
        agents = {agent.topic: agent for agent in self.engine.agents()}
        app = App(agents, Codec, self.engine.on_due, self.engine.on_recovered)
        # Several partitions need a world of `partitions.spread`.
        self.parts = self.world.place(app, partitions) if partitions else [self.world.add(app)]  # type: ignore[attr-defined]
        self.part = self.parts[0]
        nothing = lambda *_: None  # noqa: E731
        self.world.add(App({"calls.m": self.models}, Codec, nothing, nothing))

    def begin(self, run_id: str, payload: str = "{}", **more: Any) -> None:
        """A run arrives."""
        now = self.clock()
        begin = Begin(
            run_id=run_id,
            payload=payload,
            key=None,
            headers=(),
            position=f"made.input/0/{len(self.world.topics['made.input'])}",
            accepted_at=now,
            deadline=now + self.plan.timeout,
            trace_id=ids.trace_of(None, self.plan.slug, run_id)[0],
            **more,
        )
        self.world.append(self.wires.inbox(START), run_id.encode(), events.encode(begin))

    def results(self) -> list[dict[str, Any]]:
        """Every result record, in order."""
        return [orjson.loads(record.value) for record in self.world.topics["made.results"]]

    def transitions(self) -> set[tuple[str, str, int]]:
        """What the audit tells of all runs, whichever records hold it."""
        told = [each for record in self.world.topics["audit"] for each in orjson.loads(record.value)["transitions"]]
        return {(each["task"], each["kind"], each["attempt"]) for each in told}

    def letters(self) -> list[dict[str, bytes]]:
        """The headers of every dead letter, in order."""
        return [dict(record.headers) for record in self.world.topics["made.dlq"]]

    async def play(self, *, crash_at: Callable[[int], bool] = lambda n: False, until_empty: bool = False) -> int:
        """Run until nothing is in flight (or, `until_empty`, until the tables are), crashing before the effects that
        `crash_at` names. Returns how many effects there were.
        """
        count, dead = 0, False

        def before(name: str) -> None:
            nonlocal count, dead
            count += not dead
            dead = dead or crash_at(count)
            if dead:  # whatever else still runs in this process has no effect any more
                raise Crashed

        self.world.before_effect = before
        while True:
            try:
                if dead:
                    dead = False
                    await self.world.crash()  # which may be cut short by the next one
                await self.world.run(until=(lambda: False) if until_empty else self.quiet)
                return count
            except Crashed:
                dead = True

    def quiet(self) -> bool:
        """No work, no undelivered record, and no run in flight."""
        world = self.world
        waiting = any(
            world._seen[topic] < len(world.topics[topic]) for part in world.parts for topic in part.app.agents
        )
        live = any(getattr(row, "state", "") for part in self.parts for row in part.rows.values())
        return not (waiting or world._works or live)


class StormyWorld(World):
    """A world in which effects land late and out of step, as they do on a broker.

    Each topic, and the tables, is a lane: effects of one lane land in the order they were posted, lanes land in any
    order. A crash (`crash_at` counts moves) loses what has not landed; what was acked last may be delivered again.
    """

    def __init__(self, seed: int, crash_at: frozenset[int] = frozenset(), lag: int = 3) -> None:
        super().__init__()
        self.dice, self.crash_at, self.lag, self.moves = random.Random(seed), crash_at, lag, 0
        self.lanes: dict[str, deque[tuple[asyncio.Future[Any], Callable[[], Any]]]] = {}

    def effect(self, name: str, act: Callable[[], Any]) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        lane = name if name.startswith("publish") else "table"
        self.lanes.setdefault(lane, deque()).append((future, act))
        return future

    def _deliver(self) -> bool:
        moves: list[Callable[[], None]] = [lambda lane=lane: self._land(lane) for lane in self.lanes.values() if lane]
        for part in self.parts:
            for topic, agent in part.app.agents.items():
                if self._seen[topic] < len(self.topics[topic]):
                    moves.append(lambda part=part, topic=topic, agent=agent: self._take(part, topic, agent))
        if not moves:
            return False
        self.moves += 1
        if self.moves in self.crash_at:
            raise Crashed
        self.choose(moves)()
        return True

    def choose(self, moves: list[Callable[[], None]]) -> Callable[[], None]:
        """The next move; effects come before records, in the order in which their lanes were first used."""
        return self.dice.choice(moves)

    @property
    def busy(self) -> bool:
        """Whether something has not landed."""
        return any(self.lanes.values())

    def _land(self, lane: deque[tuple[asyncio.Future[Any], Callable[[], Any]]]) -> None:
        future, act = lane.popleft()
        done = act()
        if not future.done():
            future.set_result(done)

    def _take(self, part: Any, topic: str, agent: Any) -> None:
        record = self.topics[topic][self._seen[topic]]
        self._seen[topic] += 1
        self._hand(part, agent, record)

    def _patience(self) -> float | None:
        return 0.0  # what works wait for is in the lanes

    async def crash(self) -> None:
        lost = [future for lane in self.lanes.values() for future, _ in lane]
        self.lanes.clear()
        for future in lost:
            future.cancel()  # so that nobody who outlives the process in this world waits for it
        for topic, acked in self._acked.items():
            self._acked[topic] = max(0, acked - self.dice.randint(0, self.lag))
        await super().crash()
