"""The pool of sandbox processes: where every script of the worker runs."""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import Any, Self

import orjson
from msgspec.structs import replace

from stream_orchestrator.errors import HouseError, MissingError
from stream_orchestrator.kernel.effects import RunScript, ScriptDone
from stream_orchestrator.kernel.notebook import Notebook, Session
from stream_orchestrator.trust.child.values import plain
from stream_orchestrator.trust.child.wire import pack
from stream_orchestrator.trust.claims import ClaimCheckLost, ClaimChecks, may_hold
from stream_orchestrator.trust.masking import Masker
from stream_orchestrator.trust.process import Hello, Outcome, ProcessLost, SandboxProcess
from stream_orchestrator.trust.scratch import Scratch
from stream_orchestrator.trust.secrets import Secrets, is_ours
from stream_orchestrator.trust.turnstile import Turnstile

FINGERPRINT_KEY = "STREAM_ORCHESTRATOR__TRUST__FINGERPRINT_KEY"
MAX_RUNS = 1_000  # a process is replaced after so many: what scripts leave behind does not add up for ever
_PAUSES = (0.1, 0.5, 2.0)  # between attempts to start a replacement
_PATIENCE = 5.0  # how long a run waits for a process when none is alive and none starts
_KINDS = frozenset({"value", "error", "killed", "call"})
_REPORTS = ("log", "metric", "audit", "alert")  # no set: what a script forges may have no hash


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStatistics:
    """The pool now (`size`, `idle`, `busy`, `waiting`), and since its start (the rest)."""

    size: int
    idle: int
    busy: int
    waiting: int
    runs: int
    timeouts: int
    killed: int
    recycled: int
    started: int


class ScriptPool:
    """Runs scripts in `size` warm processes, and keeps one more in reserve.

    Promises
      * `run` never raises for what a script does. The lowest `rank` starts first, of one rank in the order they were
        asked for: the scripts of runs that began earlier come before those of later ones.
      * A script that hangs holds a process until its deadline; then it is killed and the reserve takes its place.
      * A crash costs the run that caused it, and no other.
      * Claim checks are followed before a script, and what is too large for a record is kept after it (`claims`).
      * A value that a script got as a secret is masked in messages and reports.
      * `close` leaves no process and no file behind; when the worker is killed, its processes die with it.
    """

    def __init__(
        self,
        *,
        functions: Sequence[str] = (),
        host_functions: Mapping[str, Callable[..., Any]] | None = None,
        size: int | None = None,
        scratch: Path | None = None,
        secrets: Secrets | None = None,
        fingerprint_key: bytes = b"",
        max_runs: int = MAX_RUNS,
        notebook: Notebook | None = None,
        claims: ClaimChecks | None = None,
    ) -> None:
        self._size = size or max(2, os.cpu_count() or 2)
        self._host_functions = dict(host_functions or {})
        self._secrets = secrets or Secrets()
        self.masker = Masker(self._secrets.known())
        self._hello = Hello(
            functions=tuple(os.path.abspath(name) if name.endswith(".py") else name for name in functions),
            host_functions=tuple(self._host_functions),
            fingerprint_key=fingerprint_key or (self._secrets.own(FINGERPRINT_KEY) or "").encode(),
            max_runs=max_runs,
        )
        self._notebook = notebook or Notebook()
        self._claims = claims or ClaimChecks()
        self._scratch_parent = scratch
        self._scratch: Scratch | None = None
        self._threads = ThreadPoolExecutor(max_workers=self._size + 1, thread_name_prefix="host-function")
        self._turnstile = Turnstile(self._size)
        # The process used last comes first: its caches are warm. None: the pool is closed.
        self._idle: asyncio.LifoQueue[SandboxProcess | None] = asyncio.LifoQueue()
        self._processes: set[SandboxProcess] = set()
        self._replacing: set[asyncio.Task[None]] = set()
        self._helpers: frozenset[str] = frozenset()
        self._closed = False
        self._trouble: Exception | None = None
        self._busy = self._waiting = self._runs = self._timeouts = self._killed = self._recycled = self._started = 0

    async def start(self) -> None:
        """Start all processes. `MissingError` when the functions cannot be loaded, naming file, line and error."""
        self._scratch = Scratch(self._scratch_parent)
        started = await asyncio.gather(*(self._new() for _ in range(self._size + 1)), return_exceptions=True)
        for outcome in started:
            if isinstance(outcome, BaseException):
                await self.close()
                raise outcome
            self._helpers = outcome.helpers
            self._idle.put_nowait(outcome)

    async def run(self, script: RunScript) -> ScriptDone:
        """Run a script and say how it ended. `HouseError` when no process can be started any more."""
        try:
            step = pack({"steps": [self._step(script)]})
        except TypeError as error:
            return ScriptDone(kind="error", error_type="TypeError", message=f"its inputs are not JSON: {error}")
        self._waiting += 1
        try:
            await self._turnstile.enter(script.rank)
        finally:
            self._waiting -= 1
        try:
            if may_hold(step):  # now that it is its turn: values that wait would fill our memory
                step = pack({"steps": [self._step(await self._claims.followed(script))]})
            return await self._run_on(await self._take(), script, step)
        except ClaimCheckLost as lost:
            return ScriptDone(kind="error", error_type=type(lost).__name__, message=str(lost))
        finally:
            self._turnstile.leave()

    async def close(self) -> None:
        """Kill every process and delete what scripts wrote. Runs that are still going end as `killed`."""
        self._closed = True
        self._idle.put_nowait(None)  # wakes who waits; each passes it on
        for task in self._replacing:
            task.cancel()
        await asyncio.gather(*self._replacing, return_exceptions=True)
        await asyncio.gather(*(process.kill() for process in self._processes))
        self._processes.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._scratch is not None:
            self._scratch.close()
            self._scratch = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def helper_names(self) -> frozenset[str]:
        """The bare names that scripts may use beside their inputs, known once the pool has started."""
        return self._helpers | frozenset(self._host_functions)

    def statistics(self) -> PoolStatistics:
        return PoolStatistics(
            size=self._size,
            idle=self._idle.qsize(),
            busy=self._busy,
            waiting=self._waiting,
            runs=self._runs,
            timeouts=self._timeouts,
            killed=self._killed,
            recycled=self._recycled,
            started=self._started,
        )

    def _step(self, script: RunScript) -> dict[str, Any]:
        values = {name: self._secrets.variable(name) for name in script.env}
        env = {name: value for name, value in values.items() if value is not None}
        for value in env.values():
            self.masker.add(value)
        return {
            "source": script.source,
            "bindings": script.bindings,
            "names": script.names,
            "journal": script.journal,
            "info": script.info,
            "memory_bytes": script.memory_bytes,
            "network": script.network,
            "cores": script.cores,
            "env": env,
            "max_output": self._claims.most,
        }

    async def _take(self) -> SandboxProcess:
        """A living process, waiting for one as long as there is hope."""
        while True:
            process = await self._next()
            if process is None:
                self._idle.put_nowait(None)
                raise HouseError("the pool of sandbox processes is closed")
            if process.alive:
                return process
            self._replace(process)

    async def _next(self) -> SandboxProcess | None:
        while self._idle.empty():
            try:
                async with asyncio.timeout(_PATIENCE):
                    return await self._idle.get()
            except TimeoutError:
                if self._trouble is not None and not self._processes:
                    raise HouseError(f"no sandbox process can be started: {self._trouble}") from self._trouble
        return self._idle.get_nowait()

    async def _run_on(self, process: SandboxProcess, script: RunScript, step: bytes) -> ScriptDone:
        self._busy += 1
        self._runs += 1
        begun = time.perf_counter()
        session = self._notebook.session(script.info)
        try:
            outcome = await process.run(step, timeout=script.timeout, answer=partial(self._answer, session))
            done = _believed(outcome)
            large = done.kind == "value" and (outcome.marked or outcome.size > self._claims.threshold)
        except ProcessLost as lost:
            self._replace(process)
            large = False
            done = ScriptDone(kind=lost.kind, message=str(lost), reports=_known(lost.reports))
        except BaseException:  # we were cancelled: nobody knows what the script is doing
            self._replace(process)
            raise
        else:
            self._give_back(process, spent=outcome.spent)
        finally:
            self._busy -= 1
        self._timeouts += done.kind == "timeout"
        self._killed += done.kind == "killed"
        if large:
            done = await self._claims.kept(done, script)
        return self._told(_with_events(done, session), script, seconds=time.perf_counter() - begun)

    def _give_back(self, process: SandboxProcess, *, spent: bool) -> None:
        if spent:
            self._recycled += 1
            self._replace(process)
        else:
            self._idle.put_nowait(process)

    def _told(self, done: ScriptDone, script: RunScript, *, seconds: float) -> ScriptDone:
        """The outcome as the outside may see it: timed, masked, and with what we refused."""
        refused = tuple(_refused(name) for name in script.env if is_ours(name))
        return replace(
            done,
            seconds=seconds,
            message=self.masker.text(done.message),
            reports=refused + tuple(self.masker.value(report) for report in done.reports),
        )

    async def _answer(self, session: Session, question: dict[str, Any]) -> dict[str, Any]:
        """Answer what a script asks for. What goes wrong here is the script's to catch, or its task's to handle."""
        try:
            value = await self._asked(session, question)
            return {"value": orjson.Fragment(orjson.dumps(plain(value, "its result")))}
        except Exception as error:
            return {"error_type": type(error).__name__, "message": str(error)}

    async def _asked(self, session: Session, question: dict[str, Any]) -> Any:
        match question["what"]:
            case "secret":
                if session.info.get("secrets") is False:
                    raise PermissionError(
                        "a script that arrives as data gets no secrets: let a task of the pipeline ask"
                    )
                return await self._secret(question)
            case "state":
                return await session.answer(question)
        return await self._call(question)

    async def _secret(self, question: dict[str, Any]) -> str:
        name = str(question["name"])
        value = self._secrets.get(name)
        if value is None:
            raise LookupError(self._secrets.missing(name))
        self.masker.add(value)
        return value

    async def _call(self, question: dict[str, Any]) -> Any:
        function = self._host_functions[question["name"]]
        bound = partial(function, *question["args"], **question["kwargs"])
        if inspect.iscoroutinefunction(function):
            return await bound()
        return await asyncio.get_running_loop().run_in_executor(self._threads, bound)

    async def _new(self) -> SandboxProcess:
        assert self._scratch is not None
        process = await SandboxProcess.start(self._hello, self._scratch.folder())
        self._processes.add(process)
        self._started += 1
        return process

    def _replace(self, process: SandboxProcess | None) -> None:
        """In the background: the reserve serves meanwhile."""
        if self._closed:
            return
        task = asyncio.create_task(self._replacement(process))
        self._replacing.add(task)
        task.add_done_callback(self._replacing.discard)

    async def _replacement(self, process: SandboxProcess | None) -> None:
        if process is not None:
            await process.kill()
            self._processes.discard(process)
            if self._scratch is not None:
                await asyncio.to_thread(self._scratch.remove, process.folder)
        for pause in chain(_PAUSES, repeat(_PAUSES[-1])):
            try:
                self._idle.put_nowait(await self._new())
            except (HouseError, MissingError, OSError) as error:  # a TimeoutError is an OSError
                self._trouble = error  # such as a functions file that was edited; told to who waits too long
                await asyncio.sleep(pause)
            else:
                self._trouble = None
                return


def _believed(outcome: Outcome) -> ScriptDone:
    """What the child says of a run, checked: the script might have said it itself."""
    done = outcome.done
    try:
        if done["kind"] not in _KINDS:
            raise ValueError(done["kind"])
        return ScriptDone(
            kind=done["kind"],
            value=done.get("value"),
            error_type=str(done.get("error_type", "")),
            message=str(done.get("message", "")),
            call_number=int(done.get("call_number", 0)),
            request=dict(done["request"]) if done["kind"] == "call" else None,
            reports=_known(outcome.reports),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProcessLost("its process broke the protocol of its pipe", kind="killed", reports=()) from error


def _with_events(done: ScriptDone, session: Session) -> ScriptDone:
    """With what the script wrote to state; one that waits for a model runs again, and has written nothing yet."""
    return done if done.kind == "call" else replace(done, events=session.close())


def _known(reports: Sequence[Any]) -> tuple[dict[str, Any], ...]:
    return tuple(report for report in reports if isinstance(report, dict) and report.get("kind") in _REPORTS)


def _refused(name: str) -> dict[str, Any]:
    message = f"the variable {name} belongs to the worker: scripts do not get it"
    return {"kind": "log", "level": "warning", "message": message}
