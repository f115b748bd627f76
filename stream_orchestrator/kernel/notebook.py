"""What scripts of this process read of state, and what they write: `context.get_*` and `set_*`, answered.

Promises
  * A script reads what it wrote itself, then what earlier tasks of its run wrote here, then the copy (at most 1 s old).
  * What a script writes leaves with its slot, whether it returned or raised; a script that waits for a model wrote
    nothing yet.
  * A value that is too large, or a namespace that is full, is an error in the script that sets it; in a cache it is a
    warning, and the value is not kept.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from stream_orchestrator.errors import OrchestratorError, RunError
from stream_orchestrator.kernel import breaker, state
from stream_orchestrator.kernel.breaker import BreakerRow, Limits, Signal
from stream_orchestrator.kernel.state import CACHES, KINDS, MAX_KEY, ValueRow, Write
from stream_orchestrator.plan.names import slug
from stream_orchestrator.spec import quantities

PENDING_RUNS = 4096  # runs whose fresh writes are remembered; one more forgets the oldest
PENDING_SECONDS = 60.0  # far longer than the copy is ever behind
PROBE_WAIT = 2.0  # how long a script waits to hear whether it may probe
PROGRESS_SECONDS = 1.0
MAX_WRITES = 1_000  # of one run of a script
DEFAULT_NAMESPACE = "default"


class StateRefused(RunError):
    """What a script wants to keep, or to read, cannot be."""


class View(Protocol):
    """A copy of the state table. `current`: its rows can be relied on."""

    def row(self, key: bytes) -> Any | None:
        """A row by its key, or None."""

    def used(self, kind: str, namespace: str) -> int:
        """Bytes of a namespace."""


class Results(Protocol):
    """The newest results of pipelines."""

    async def error_rate(self, pipeline: str) -> float:
        """The share of failed runs in the last 5 minutes."""

    async def last(self, pipeline: str) -> tuple[bool, Any]:
        """Whether there is a result that did not fail, and its output."""


class Nowhere:
    """Where no state is served."""

    def row(self, key: bytes) -> Any | None:
        raise StateRefused("state is not served here: no script of this worker's pipelines was seen to use it")

    def used(self, kind: str, namespace: str) -> int:
        return 0


@dataclass(slots=True)
class Notebook:
    """One process's view of state, shared by all its scripts. `send` publishes an event at once; `sleep` waits."""

    view: View = field(default_factory=Nowhere)
    results: Results | None = None
    clock: Callable[[], float] = time.time
    send: Callable[[Write | Signal], Awaitable[Any]] | None = None
    sleep: Callable[[float], Awaitable[Any]] | None = None
    _pending: OrderedDict[str, dict[bytes, tuple[float, Write]]] = field(default_factory=OrderedDict)
    _failed: dict[bytes, float] = field(default_factory=dict)

    def session(self, info: Mapping[str, Any]) -> Session:
        """What one run of a script reads and writes; `info` is that of its `RunScript`."""
        return Session(self, info)

    def breaker(self, pipeline: str, name: str) -> BreakerRow | None:
        """A breaker as the copy has it; None: closed, and nothing to remember."""
        row = self.view.row(state.breaker_key(pipeline, name))
        return row if isinstance(row, BreakerRow) else None

    def noted(self, pipeline: str, name: str, *, failure: bool) -> bool:
        """Whether an outcome is worth a signal: of a healthy breaker nobody needs to hear."""
        key, now = state.breaker_key(pipeline, name), self.clock()
        if failure:
            self._failed[key] = now
            return True
        return self.breaker(pipeline, name) is not None or self._failed.get(key, 0.0) > now - PENDING_SECONDS

    def wrote(self, run: str, writes: tuple[Write, ...]) -> None:
        """Later tasks of a run see what an earlier one wrote, before the copy does."""
        if not writes:
            return
        held = self._pending.setdefault(run, {})
        self._pending.move_to_end(run)
        held.update({write.row: (self.clock() + PENDING_SECONDS, write) for write in writes})
        self._forget()

    def _forget(self) -> None:
        """Let go of the oldest runs: those of which the copy has everything, and the ones that are too many."""
        while self._pending:
            run, held = next(iter(self._pending.items()))
            if len(self._pending) <= PENDING_RUNS and any(self.fresh(run, key) for key in list(held)):
                return
            del self._pending[run]

    def fresh(self, run: str, key: bytes) -> Write | None:
        """What this run wrote under a key and the copy does not have yet."""
        held = self._pending.get(run, {})
        until, write = held.get(key, (0.0, None))
        if write is None:
            return None
        if until < self.clock() or self.view.row(state.seen_key(write.id)) is not None:
            del held[key]
            return None
        return write


@dataclass(slots=True)
class Session:
    """One run of one script."""

    notebook: Notebook
    info: Mapping[str, Any]
    writes: list[Write] = field(default_factory=list)
    signals: list[Signal] = field(default_factory=list)
    told_at: float = 0.0

    async def answer(self, question: Mapping[str, Any]) -> Any:
        """Answer what `context` asks. Raises what the script is told."""
        match question.get("do"):
            case "get":
                return self._get(str(question["kind"]), question.get("namespace"), str(question["key"]))
            case "set":
                return self._set(question)
            case "breaker":
                return await self._breaker(str(question["name"]))
            case "record":
                return self._record(str(question["name"]), failure=bool(question["failure"]))
            case "progress":
                return await self._progress(question)
            case "error_rate" if self.notebook.results is not None:
                return await self.notebook.results.error_rate(self._pipeline)
            case "output" if self.notebook.results is not None:
                found, value = await self.notebook.results.last(slug(str(question["name"])))
                return {"found": found, "value": value}
        raise StateRefused(f"nobody answers {question.get('do')!r}")

    def close(self) -> tuple[Write | Signal, ...]:
        """The script has ended: what leaves with its slot. Later tasks of its run see it from now on."""
        self.notebook.wrote(self._run, tuple(self.writes))
        return (*self.writes, *self.signals)

    # --- values --------------------------------------------------------------------------------------------------

    def _get(self, kind: str, namespace: Any, key: str) -> dict[str, Any]:
        namespace = self._namespace(kind, namespace)
        row_key = state.value_key(kind, namespace, _key(key))
        own = next((write for write in reversed(self.writes) if write.row == row_key), None)
        write = own or self.notebook.fresh(self._run, row_key)
        if write is not None:
            good = not write.gone and (not write.expires or write.expires > self.notebook.clock())
            return _found(write.value) if good else _nothing()
        row = self.notebook.view.row(row_key)
        if isinstance(row, ValueRow) and row.good(self.notebook.clock()):
            return _found(row.value)
        initial = self._settings.get("initial") or {}
        return {"found": True, "value": initial[key]} if kind == "global" and key in initial else _nothing()

    def _set(self, question: Mapping[str, Any]) -> dict[str, Any]:
        kind, key, value = str(question["kind"]), _key(str(question["key"])), question.get("value")
        namespace = self._namespace(kind, question.get("namespace"))
        if len(self.writes) >= MAX_WRITES:
            raise StateRefused(f"a script may set at most {MAX_WRITES:,} values in one run")
        text = state.text_of(value)
        most, room = self._bounds()
        if (problem := self._too_much(kind, namespace, key, size=len(bytes(text)), most=most, room=room)) is not None:
            if kind in CACHES:
                return {"stored": False, "why": problem}
            raise StateRefused(problem)
        now = self.notebook.clock()
        write = Write(
            id=self._id(len(self.writes)),
            kind=kind,  # type: ignore[arg-type]  # `_namespace` has refused any other
            namespace=namespace,
            key=key,
            value=text,
            gone=value is None,
            expires=self._expires(kind, question.get("ttl"), now),
            room=room,
            by=self._run,
        )
        self.writes.append(write)
        return {"stored": True}

    def _too_much(self, kind: str, namespace: str, key: str, *, size: int, most: int, room: int) -> str | None:
        if size > most:
            return (
                f"the value of {key!r} is {size:,} bytes as JSON; state takes {most:,} "
                "(`state_management.max_value_size`): keep a reference to it instead"
            )
        mine = {write.row: write for write in self.writes if (write.kind, write.namespace) == (kind, namespace)}
        row_key = state.value_key(kind, namespace, key)
        known = [self.notebook.view.row(each) for each in {*mine, row_key}]
        used = self.notebook.view.used(kind, namespace)
        others = used - sum(row.size for row in known if isinstance(row, ValueRow))
        ours = sum(write.size for each, write in mine.items() if each != row_key)
        if kind in CACHES or others + ours + size + len(key) + state.ROW_OVERHEAD <= room:
            return None
        return (
            f"the {kind} state of {namespace!r} is full: it holds {used:,} of {room:,} bytes "
            "(`state_management.max_size`); set what is not needed any more to None"
        )

    def _expires(self, kind: str, ttl: Any, now: float) -> float:
        if kind == "persistent":
            if ttl is not None:
                raise StateRefused("persistent state never expires; use `set_global_state(key, value, ttl)`")
            return 0.0
        if ttl is None:
            ttl = self._settings.get("cache_ttl", state.CACHE_SECONDS) if kind in CACHES else self._settings.get("ttl")
        if ttl is None:
            return 0.0
        try:
            seconds = quantities.duration(ttl).seconds
        except quantities.BadQuantity as error:
            raise StateRefused(f"ttl: {error}") from error
        if seconds <= 0:
            raise StateRefused(f"ttl: {ttl!r} leaves no time")
        return now + seconds

    def _bounds(self) -> tuple[int, int]:
        settings = self._settings
        return int(settings.get("max_value", state.MAX_VALUE)), int(settings.get("max_size", state.MAX_NAMESPACE))

    def _namespace(self, kind: str, given: Any) -> str:
        if self._settings.get("off"):
            raise StateRefused("`state_management` is switched off (`enabled: false`)")
        if kind not in KINDS:
            raise StateRefused(f"there is no {kind!r} state")
        if kind == "shared":
            return _key(str(given or self._settings.get("namespace") or DEFAULT_NAMESPACE), what="namespace")
        return f"{self._pipeline}/{self.info.get('task', '')}" if kind == "task_cache" else self._pipeline

    async def _progress(self, question: Mapping[str, Any]) -> None:
        """Tell at once how far the script is, for whoever lists runs; at most once a second."""
        now = self.notebook.clock()
        if self.notebook.send is None or now < self.told_at + PROGRESS_SECONDS:
            return
        self.told_at = now
        value = {"share": question.get("share"), "message": str(question.get("message", ""))[:500]}
        write = Write(
            id=self._id(f"progress {now}"),
            kind="progress",
            namespace=self._pipeline,
            key=f"{self._run}/{self.info.get('task', '')}",
            value=state.text_of(value),
            expires=float(self.info.get("deadline") or now) + state.CACHE_SECONDS,
            by=self._run,
        )
        with suppress(OrchestratorError):  # a broker that is away is no reason to fail a script that works
            await self.notebook.send(write)

    # --- breakers ------------------------------------------------------------------------------------------------

    async def _breaker(self, name: str) -> str:
        """The state of a breaker. Half-open, a script that asks is a probe: it hears `open` when there are enough."""
        pipeline, now = self._pipeline, self.notebook.clock()
        row = self.notebook.breaker(pipeline, name)
        if row is None or row.state(now) != "half_open" or self.notebook.send is None:
            return "closed" if row is None else row.state(now)
        probe = self._id(f"probe {name}")
        until = float(self.info.get("deadline") or now + breaker.PROBE_SECONDS)
        ask = Signal(id=probe, pipeline=pipeline, name=name, what="probe", probe=probe, until=until, limits=row.limits)
        await self.notebook.send(ask)
        return await self._granted(pipeline, name, probe)

    async def _granted(self, pipeline: str, name: str, probe: str) -> str:
        for _ in range(int(PROBE_WAIT / 0.1)):
            row, now = self.notebook.breaker(pipeline, name), self.notebook.clock()
            if row is None or row.state(now) != "half_open":
                return "closed" if row is None else row.state(now)
            if row.lets(probe, now):
                return "half_open"
            if self.notebook.view.row(state.seen_key(probe)) is not None:
                return "open"
            if self.notebook.sleep is not None:
                await self.notebook.sleep(0.1)
        return "open"

    def _record(self, name: str, *, failure: bool) -> None:
        pipeline = self._pipeline
        if not self.notebook.noted(pipeline, name, failure=failure):
            return
        limits = (self.info.get("breakers") or {}).get(name)
        self.signals.append(
            Signal(
                id=self._id(f"signal {len(self.signals)}"),
                pipeline=pipeline,
                name=name,
                what="failure" if failure else "success",
                manual=True,
                limits=Limits(**limits) if limits else None,
            )
        )

    # --- small things --------------------------------------------------------------------------------------------

    @property
    def _settings(self) -> Mapping[str, Any]:
        found = self.info.get("state")
        return found if isinstance(found, Mapping) else {}

    @property
    def _pipeline(self) -> str:
        return str(self.info.get("pipeline", ""))

    @property
    def _run(self) -> str:
        """The run that the input event began; a script may be in a nested one."""
        return str(self.info.get("id") or self.info.get("run_id", ""))

    def _id(self, number: int | str) -> str:
        info = self.info
        task, attempt = str(info.get("task", "")), int(info.get("attempt", 0))
        return state.write_id(self._pipeline, str(info.get("run_id", "")), task, attempt=attempt, number=number)


def _key(text: str, *, what: str = "key") -> str:
    if not text or "\0" in text or len(text.encode("utf-8", "surrogatepass")) > MAX_KEY:
        raise StateRefused(f"a {what} of state is text of 1 to {MAX_KEY} bytes, and this one is {text[:40]!r}")
    return text


def _found(raw: Any) -> dict[str, Any]:
    return {"found": True, "value": orjson.loads(bytes(raw))}


def _nothing() -> dict[str, Any]:
    return {"found": False, "value": None}
