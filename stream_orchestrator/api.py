"""From Python: load a pipeline and run it in memory, in a notebook or a unit test. The same kernel as on Kafka."""

from __future__ import annotations

import inspect
import os
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import orjson
from pydantic import BaseModel, ConfigDict

from stream_orchestrator.calls.agent import CallAgent
from stream_orchestrator.calls.agent import Codec as CallCodec
from stream_orchestrator.calls.borders import refuse_crossings
from stream_orchestrator.calls.file_fetch import FileFetch
from stream_orchestrator.calls.routing import SERVICES, service_of
from stream_orchestrator.calls.service import CallService
from stream_orchestrator.calls.service_settings import ServiceSettings
from stream_orchestrator.calls.services import Services as RealServices
from stream_orchestrator.calls.settings import CallSettings
from stream_orchestrator.errors import MissingError, SpecError
from stream_orchestrator.kernel import events, ids, outside, results
from stream_orchestrator.kernel.bringing import judged
from stream_orchestrator.kernel.effects import Answer, CallRequest, Request, ServiceRequest
from stream_orchestrator.kernel.engine import Engine
from stream_orchestrator.kernel.events import Begin, Ended
from stream_orchestrator.kernel.identity import payload_of
from stream_orchestrator.kernel.memory import App, World
from stream_orchestrator.kernel.memory_state import Desk, State
from stream_orchestrator.kernel.privacy import shielded
from stream_orchestrator.kernel.rows import Codec, RunRow
from stream_orchestrator.kernel.wires import Wires
from stream_orchestrator.plan.dependencies import missing_packages
from stream_orchestrator.plan.guards import rules_of
from stream_orchestrator.plan.loading import load_plan
from stream_orchestrator.plan.model import START, Plan
from stream_orchestrator.plan.services import SERVICE_OF_KIND
from stream_orchestrator.spec.config import from_environ
from stream_orchestrator.spec.inputs import InputRules
from stream_orchestrator.tasks import KINDS
from stream_orchestrator.trust.bringing import Bringer
from stream_orchestrator.trust.claims import ClaimChecks
from stream_orchestrator.trust.pool import ScriptPool

Function = Callable[..., Any] | str | PathLike[str]
Functions = Function | Iterable[Function] | Mapping[str, Callable[..., Any]]
Model = Callable[[CallRequest], Any] | str | list[str]
Models = Mapping[str, Model] | Model
Services = Mapping[str, Callable[[ServiceRequest], Any]]
ANY = "*"


class Result(BaseModel):
    """What a run gave: the keys of the result record."""

    model_config = ConfigDict(frozen=True, extra="allow")

    format: int
    run_id: str
    attempt: int
    retry_of: str | None
    pipeline: str
    version: str
    status: str
    output: Any
    output_sha256: str
    outputs: dict[str, Any]
    error: dict[str, Any] | None
    degraded: list[dict[str, Any]]
    cost: dict[str, Any]
    usage: dict[str, int]
    timings: dict[str, Any]
    trace_id: str


class Pipeline:
    """A compiled pipeline."""

    def __init__(self, plan: Plan, *, state: State | None = None) -> None:
        self.plan = plan
        self.state = State() if state is None else state

    async def run(
        self,
        inputs: Mapping[str, Any],
        *,
        functions: Functions = (),
        models: Models | None = None,
        services: Services | None = None,
    ) -> Result:
        """Run one event in memory, and return its result, whatever became of it.

        `functions`: helper functions, as callables (they run here, in this process, and take and give JSON), files or
        module names (they run in the sandbox). `models`: answers by model name (`"*"` for any): a text, a list of texts
        in turn, or a function of the request that returns a text, a dict (as JSON) or an `Answer`, and may raise. A
        single one stands for every model. None asks the real ones.
        `services`: answers of other services by name (`web`, `search`, `api`, `files`, `database`, `email`; `"*"` for
        any): a function of the request that gives the task's output or an `Answer`, and may raise. No other is asked.
        None asks the real ones, but nothing over the network when `models` are given: that is a test.
        Raises MissingError when a helper function is missing; a failing run is a result, not an exception.
        """
        other = partial(_Outside, functions=functions, models=models, services=services)
        return await self._run(inputs, other, functions=functions, models=models, services=services)

    async def _run(
        self,
        inputs: Mapping[str, Any],
        other: Callable[[Pipeline], _Outside],
        *,
        functions: Functions,
        models: Models | None,
        services: Services | None,
        way: str = "",
    ) -> Result:
        """Run one event; `other` runs those of other pipelines, `way` leads back to the one that wants this one run."""
        payload = orjson.dumps(dict(inputs))
        rules = rules_of(self.plan)
        run_id = uuid.uuid4().hex
        config = from_environ(os.environ)
        fetch = FileFetch.of(config)
        try:
            brought = await Bringer.of(config, fetch)(rules, payload)
        finally:
            await fetch.close()
        brought = judged(rules, payload_of(payload), brought)
        if brought.refused is not None:
            return self._rejected(run_id, payload, brought.refused)
        payload = shielded(payload) if rules.anonymize else payload
        files, callables = _sorted(functions)
        reached = ServiceSettings.from_env(offline=models is not None)
        refuse_crossings([self.plan], CallSettings.from_env(), reached)
        calls = CallService(CallSettings.from_env(), services=RealServices(reached))
        attempt = _either(calls, models, services)
        desk, claims = self.state.desk(), ClaimChecks.of(config)
        pool = ScriptPool(
            functions=(*self.plan.functions, *files), host_functions=callables, notebook=desk.notebook, claims=claims
        )
        try:
            await pool.start()
            self._complete(pool)
            begin = self._begin(run_id, payload, brought.files, way)
            return await self._play(begin, rules=rules, pool=pool, attempt=attempt, desk=desk, run=other)
        finally:
            await pool.close()
            await calls.close()

    async def _play(
        self, begin: Begin, *, rules: InputRules, pool: ScriptPool, attempt: Any, desk: Desk, run: Any
    ) -> Result:
        world, wires = World(clock=time.time), _wires(self.plan)
        desk.join(world, wires)
        engine = Engine(
            plan=self.plan,
            wires=wires,
            kinds=KINDS,
            scripts=pool,
            rules=rules,
            fetch=_nothing_there,
            notebook=desk.notebook,
            env={name: os.environ[name] for name in self.plan.env if name in os.environ},
        )
        agents = {agent.topic: agent for agent in engine.agents()}
        world.add(App(agents, Codec(), engine.on_due, engine.on_recovered))
        if others := self._others():
            world.add(App({wires.inputs[each]: run(other) for each, other in others.items()}, Codec(), _no, _no))
        caller = CallAgent(topic="calls", answers="answers", letters=wires.internal_dlq, attempt=attempt, send=_nobody)
        world.add(App({"calls": caller}, CallCodec(), caller.on_due, caller.on_recovered))
        world.append(wires.inbox(START), None, events.encode(begin))
        try:
            await world.run(until=lambda: bool(world.topics[wires.results]))
        finally:
            desk.leave(world)
            await world.stop()  # nothing is owed any more: work that outlives its run is cut
        result = Result(**orjson.loads(world.topics[wires.results][0].value or b""))
        self.state.note(self.plan.slug, result.status, result.output)
        return result

    def _others(self) -> dict[str, Pipeline]:
        """The other pipelines that this one runs, by slug."""
        known = {plan.slug: Pipeline(plan, state=self.state) for file in self.plan.beside for plan in [load_plan(file)]}
        missing = [slug for slug in self.plan.pipelines if slug not in known]
        if missing:
            message = f"{self.plan.title!r} runs the pipeline `{missing[0]}`, which is not known here"
            raise MissingError(message, hint="name it by its file in `pipeline:`, so that it can be found")
        return {slug: known[slug] for slug in self.plan.pipelines}

    def _begin(self, run_id: str, payload: bytes, files: dict[str, str], way: str = "") -> Begin:
        now = time.time()
        return Begin(
            run_id=run_id,
            payload=payload.decode(),
            key=None,
            headers=((outside.WAY, way),) if way else (),
            position="memory/0/0",
            accepted_at=now,
            deadline=now + self.plan.timeout,
            trace_id=ids.trace_of(None, self.plan.slug, run_id)[0],
            files=files,
        )

    def _rejected(self, run_id: str, payload: bytes, why: dict[str, Any]) -> Result:
        now = time.time()
        begin = self._begin(run_id, payload, {})
        run = RunRow(
            run_id=run_id,
            payload=begin.payload,
            key=None,
            headers=(),
            position=begin.position,
            accepted_at=now,
            deadline=now,
            at="",
            trace_id=begin.trace_id,
        )
        return Result(**orjson.loads(results.rejected(self.plan, run, why, now).result))

    def _complete(self, pool: ScriptPool) -> None:
        if packages := missing_packages(self.plan):
            raise MissingError(
                f"{self.plan.title!r} depends on packages that are not installed: {', '.join(packages)}",
                hint="install them, or take them out of `dependencies:`",
            )
        missing = sorted(set(self.plan.helpers) - pool.helper_names())
        if missing:
            names = ", ".join(f"`{name}`" for name in missing)
            raise MissingError(
                f"the scripts of {self.plan.title!r} call {names}, which nobody defines",
                hint="give them with functions=[...], or list their module under `functions:`",
            )


def load(path: str | PathLike[str], *, state: State | None = None) -> Pipeline:
    """Compile a pipeline file. SpecError lists every problem of it; a missing file is one too.

    What its scripts keep by `context.set_*` lives as long as the pipeline object; pipelines share it when they are
    given the same `State`.
    """
    file = Path(path)
    if not os.path.isfile(file):
        raise SpecError(f"there is no file {file}", hint="give the path of a pipeline document")
    return Pipeline(load_plan(file), state=state)


@dataclass(frozen=True, slots=True)
class _Outside:
    """The input topic of another pipeline, in memory: its runs are made on the spot."""

    pipeline: Pipeline
    functions: Functions
    models: Models | None
    services: Services | None

    async def receive(self, record: Any, part: Any) -> None:
        """Run an event, and send the result the way that it came with."""
        way = outside.decode(record.header(outside.WAY))
        if way is None:
            return
        result = await self.pipeline._run(
            orjson.loads(record.value),
            partial(_Outside, functions=self.functions, models=self.models, services=self.services),
            functions=self.functions,
            models=self.models,
            services=self.services,
            way=outside.encode(way).decode(),
        )
        report = outside.report_of(way, orjson.dumps(result.model_dump()))
        ended = Ended(run_id=way.run_id, item=way.item, index=way.index, report=report)
        await part.publish(way.inbox, partition=0, key=None, value=events.encode(ended))


def _no(*_: Any) -> None:
    return None


class _Attempt(Protocol):
    def __call__(self, request: Any, call_id: str) -> Awaitable[Answer]: ...


def _either(calls: CallService, models: Models | None, services: Services | None) -> _Attempt:
    """Models and services, each real unless the caller gave answers."""
    ask_model, ask_service = _real(calls), _real(calls)
    if models is not None:
        ask_model = _asker(models)
        ask_service = _at_hand(calls)
    if services is not None:
        ask_service = _servant(services)

    def attempt(request: Request, call_id: str) -> Awaitable[Answer]:
        return ask_model(request, call_id) if isinstance(request, CallRequest) else ask_service(request, call_id)

    return attempt


def _real(calls: CallService) -> _Attempt:
    return lambda request, call_id: calls.attempt(request, call_id=call_id)


def _at_hand(calls: CallService) -> _Attempt:
    """Services that need no network; of the others, what the caller can do."""

    async def attempt(request: ServiceRequest, call_id: str) -> Answer:
        answer = await calls.attempt(request, call_id=call_id)
        return answer if answer.error_type != "Offline" else _not_given(request.service)

    return attempt


def _not_given(service: str) -> Answer:
    said = f"the service `{service}` is not asked where `models` or `services` are given"
    return Answer(error_type="Offline", message=f'{said}: give an answer for it, as in services={{"{service}": ...}}')


def _servant(services: Services) -> _Attempt:
    """Answers of services from what the caller gave."""

    async def attempt(request: ServiceRequest, call_id: str) -> Answer:
        given = services.get(request.service, services.get(ANY))
        if given is None:
            return _not_given(request.service)
        try:
            said = given(request)
            said = await said if inspect.isawaitable(said) else said
        except Exception as error:  # a fake that raises is a service that fails: the task's policies answer
            return Answer(error_type=type(error).__name__, message=str(error), retryable=True)
        return said if isinstance(said, Answer) else Answer(value=orjson.loads(orjson.dumps(said)))

    return attempt


def _asker(models: Models) -> _Attempt:
    """Answers from what the caller gave; lists are used up one by one, their last text stays."""
    only: Model = [] if isinstance(models, Mapping) else models
    table: Mapping[str, Model] = models if isinstance(models, Mapping) else {ANY: only}
    turns: dict[str, int] = {}

    async def attempt(request: CallRequest, call_id: str) -> Answer:
        name = request.model if request.model in table else ANY
        given = table.get(name, [])
        if given == []:
            return Answer(error_type="NoAnswer", message=f"no answer was given for model {request.model}")
        if isinstance(given, list):
            turn = turns[name] = turns.get(name, -1) + 1
            given = given[min(turn, len(given) - 1)]
        try:
            said = given(request) if callable(given) else given
            said = await said if inspect.isawaitable(said) else said
        except Exception as error:  # a fake that raises is a model that fails: the task's policies answer
            return Answer(error_type=type(error).__name__, message=str(error), retryable=True)
        return said if isinstance(said, Answer) else _answer(request, said)

    return attempt


def _answer(request: CallRequest, said: Any) -> Answer:
    text = str(said) if isinstance(said, str) else orjson.dumps(said).decode()  # a plain `str`, whatever kind it was
    asked = sum(len(message["content"]) for message in request.messages)
    return Answer(text=text, model=request.model, input_tokens=asked // 4, output_tokens=len(text) // 4)


def _sorted(functions: Functions) -> tuple[tuple[str, ...], dict[str, Callable[..., Any]]]:
    if isinstance(functions, Mapping):
        return (), dict(functions)
    given = [functions] if isinstance(functions, str | PathLike) or callable(functions) else list(functions)
    files = tuple(os.fspath(each) for each in given if isinstance(each, str | PathLike))
    return files, {_name(each): each for each in given if not isinstance(each, str | PathLike)}


def _name(function: Any) -> str:
    name = getattr(function, "__name__", "")
    if not callable(function) or not name.isidentifier():
        raise TypeError(f"{function!r} has no name that a script could call; give functions={{'name': ...}}")
    return str(name)


def _wires(plan: Plan) -> Wires:
    return Wires(
        inputs={slug: f"{slug}.input" for slug in plan.pipelines},
        inbox_prefix="run.",
        results="results",
        dlq="dlq",
        audit="audit",
        internal_dlq="internal",
        route=service_of,
        calls=dict.fromkeys(_ALL_SERVICES, "calls"),
        shards=dict.fromkeys(_ALL_SERVICES, 1),
        state="state",
    )


_ALL_SERVICES = (*SERVICES, *SERVICE_OF_KIND.values())


async def _nothing_there(topic: str, partition: int, offset: int) -> bytes | None:
    return None


async def _nobody(topic: str, partition: int, key: bytes, value: bytes) -> None:
    return None
