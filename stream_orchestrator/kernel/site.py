"""What the agents of one version share: its plan, its topics, its task kinds, and the inputs of its runs."""

from __future__ import annotations

from asyncio import Future
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from stream_orchestrator.kernel import events, ids, state
from stream_orchestrator.kernel.apply import Stepper
from stream_orchestrator.kernel.events import Nest, Token
from stream_orchestrator.kernel.identity import payload_of
from stream_orchestrator.kernel.kinds import TaskKind
from stream_orchestrator.kernel.notebook import Notebook
from stream_orchestrator.kernel.ports import Part, Scripts
from stream_orchestrator.kernel.rows import RunRow
from stream_orchestrator.kernel.scope import Surroundings
from stream_orchestrator.kernel.watch import Blind, Watch
from stream_orchestrator.kernel.wires import Wires
from stream_orchestrator.plan.model import RESULT, Plan, TaskPlan
from stream_orchestrator.plan.templates import SKIPPED
from stream_orchestrator.spec.inputs import InputRules

STUB_SECONDS = 86_400.0  # a day: a late token of a run that is over is looked up for as long
HORIZON_SECONDS = 7 * 86_400.0  # how long copies of an event with an id of its own are answered
KNOWN_INPUTS = 4096  # parsed inputs kept in memory; one more is parsed again

Fetch = Callable[[str, int, int], Awaitable[bytes | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One version as its agents see it. `fetch` re-reads a result record by its position, for copies of ended runs.

    `path` leads to the body of a container (empty: the pipeline itself), `shows` are its tasks that others read,
    and `open` says that they come with each run.
    `passing`: a token with only one way to go is taken by the next task within the same slot, and does not travel.
    `last_told`: by run, its last audit record, while anybody waits for it.
    """

    plan: Plan
    wires: Wires
    kinds: Mapping[str, TaskKind]
    scripts: Scripts
    rules: InputRules
    fetch: Fetch
    watch: Watch = field(default_factory=Blind)
    env: Mapping[str, str] = field(default_factory=dict)
    stub_seconds: float = STUB_SECONDS
    horizon_seconds: float = HORIZON_SECONDS
    passing: bool = True
    notebook: Notebook = field(default_factory=Notebook)
    leaves: frozenset[str] = frozenset()
    containers: tuple[TaskPlan, ...] = ()
    path: tuple[str, ...] = ()
    shows: tuple[str, ...] = ()
    open: bool = False
    gatherings: WeakKeyDictionary[Part, dict[bytes, Any]] = field(default_factory=WeakKeyDictionary)
    last_told: WeakKeyDictionary[Part, WeakValueDictionary[str, Future[Any]]] = field(default_factory=WeakKeyDictionary)
    _inputs: OrderedDict[str, tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        last = frozenset(task.name for task in self.plan.tasks if task.downstream == (RESULT,))
        object.__setattr__(self, "leaves", last)
        object.__setattr__(self, "containers", tuple(task for task in self.plan.tasks if task.gathers))

    def around(self, run: RunRow) -> Surroundings:
        """What the steps of a run see beside their own rows."""
        if run.nest is not None:
            return self._inside(run, run.nest)
        known = self._inputs.get(run.run_id)
        if known is None:
            known = self._inputs[run.run_id] = self.rules.admitted(payload_of(run.payload.encode()), run.files)
            if len(self._inputs) > KNOWN_INPUTS:
                self._inputs.popitem(last=False)
        return Surroundings(self.plan, run, known[0], known[1], self.env)

    def _inside(self, run: RunRow, nest: Nest) -> Surroundings:
        outputs = {**nest.outputs, **dict.fromkeys(nest.skipped, SKIPPED)}
        return Surroundings(self.plan, run, nest.values, {**nest.values, **nest.names}, self.env, outputs)

    def bodies(self) -> Iterator[Site]:
        """The site of each body of each container here, and of those inside them."""
        for task in self.plan.tasks:
            for number, body in enumerate(task.bodies):
                own = {"tasks": body.tasks, "has_output": body.has_output, "output": body.output}
                site = self.with_its_own(
                    plan=replace(self.plan, inputs={}, **own),
                    wires=self.wires.inside(task.slug, number),
                    path=(*self.path, f"{task.slug}.{number}"),
                    shows=body.shows,
                    open=body.open,
                )
                yield site
                yield from site.bodies()

    def with_its_own(self, **own: Any) -> Site:
        """A site beside this one, which shares all that it has not of its own."""
        shared = {each.name: getattr(self, each.name) for each in fields(Site) if not each.name.startswith("_")}
        return Site(**{**shared, **own})

    def live(self, part: Part, run_id: str) -> RunRow | None:
        """The row of a run that goes on here, or None. One of another body is not of here."""
        run = part.get(ids.run_key(run_id))
        here = isinstance(run, RunRow) and run.state == "running" and self.holds(run.nest)
        return run if here else None

    def holds(self, nest: Nest | None) -> bool:
        """Whether a run that stands there is one of these."""
        return (nest.path if nest else ()) == self.path

    def takes(self, nest: Nest | None) -> bool:
        """Whether a run that says it stands there may begin: it is one of these, and its container gets its end."""
        if nest is None or not self.holds(nest):
            return nest is None and not self.path
        container = self.wires.inbox_prefix.rsplit(".", 2)[0]
        return nest.inbox == container and 0 <= nest.partition < self.wires.partitions

    def forget(self, run_id: str) -> None:
        """A run is over: its input is not needed any more."""
        self._inputs.pop(run_id, None)

    def stepper(self, task: TaskPlan, run: RunRow, part: Part) -> Stepper:
        """Applies events to the rows of a task in a run, now."""
        return Stepper(task, self.around(run), self.kinds, part.now(), self.wires.reaches, self.notebook)

    def keep(self, part: Part, told: Iterable[Any]) -> list[Future[Any]]:
        """Tell the owner of state what a slot wrote; the slot ends when it is acknowledged."""
        sent = []
        for event in told:
            partition, key = state.where(event, self.wires.state_shards)
            value = state.encode_event(event)
            sent.append(part.publish(self.wires.state, partition=partition, key=key, value=value))
        return sent

    def slug(self, name: str) -> str:
        """The slug of an edge's end."""
        return RESULT if name == RESULT else self.plan.task(name).slug

    def send(self, part: Part, slug: str, token: Token, value: bytes | None = None) -> Future[Any]:
        """A token to an inbox of the run's home; `value` when the caller has its bytes already."""
        headers = (("traceparent", token.traceparent.encode()), *self.wires.to(slug))  # the key is the run
        return part.publish(
            self.wires.inbox(slug),
            partition=part.number,
            key=token.run_id.encode(),
            value=value or events.encode(token),
            headers=headers,
        )
