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
from itertools import count
from math import inf
from pathlib import Path
from typing import Any, Self

import orjson
from msgspec.structs import replace

from stream_orchestrator.kernel.effects import RunScript, ScriptDone
from stream_orchestrator.kernel.notebook import Notebook, Session
from stream_orchestrator.trust.child.values import plain
from stream_orchestrator.trust.claims import ClaimCheckLost, ClaimChecks, may_hold
from stream_orchestrator.trust.crew import Crew
from stream_orchestrator.trust.masking import Masker
from stream_orchestrator.trust.process import Hello, Job, ProcessLost, SandboxProcess
from stream_orchestrator.trust.secrets import Secrets, is_ours

FINGERPRINT_KEY = "STREAM_ORCHESTRATOR__TRUST__FINGERPRINT_KEY"
MAX_RUNS = 1_000  # a process is replaced after so many: what scripts leave behind does not add up for ever
_SHORT = 512  # runs under way: with fewer, a quick one begins soon, and half of an app's slots are left for others


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
        asked for: the scripts of runs that began earlier come before those of later ones. Scripts known to be quick
        travel several to a message, and may be a few places out of this order.
      * A script that hangs holds a process until its deadline; then it is killed and the reserve takes its place.
        Those that were sent along with it are taken back at once, and run elsewhere.
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
        self._host_functions = dict(host_functions or {})
        self._secrets = secrets or Secrets()
        self.masker = Masker(self._secrets.known())
        size = size or max(2, os.cpu_count() or 2)
        hello = Hello(
            functions=tuple(os.path.abspath(name) if name.endswith(".py") else name for name in functions),
            host_functions=tuple(self._host_functions),
            fingerprint_key=fingerprint_key or (self._secrets.own(FINGERPRINT_KEY) or "").encode(),
            max_runs=max_runs,
        )
        self._notebook = notebook or Notebook()
        self._claims = claims or ClaimChecks()
        self._crew = Crew(hello, size=size, scratch=scratch)
        self._threads = ThreadPoolExecutor(max_workers=size + 1, thread_name_prefix="host-function")
        self._arrivals = count()
        self._under_way = 0  # runs that were not told yet how their scripts ended
        self._runs = self._timeouts = self._killed = 0

    async def start(self) -> None:
        """Start all processes. `MissingError` when the functions cannot be loaded, naming file, line and error."""
        try:
            await self._crew.start()
        except BaseException:
            await self.close()
            raise

    async def run(self, script: RunScript) -> ScriptDone:
        """Run a script and say how it ended. `HouseError` when no process can be started any more."""
        self._crew.check()
        session = self._notebook.session(script.info)
        try:
            job = self._job(script, session)
        except TypeError as error:
            return ScriptDone(kind="error", error_type="TypeError", message=f"its inputs are not JSON: {error}")
        self._crew.join(job)
        self._under_way += 1
        try:
            if job.reserved is not None:
                await self._follow(job, await job.reserved, script)
            return await self._outcome(job, script, session)
        except ClaimCheckLost as lost:
            return ScriptDone(kind="error", error_type=type(lost).__name__, message=str(lost))
        except BaseException:
            self._crew.abandon(job)
            raise
        finally:
            self._under_way -= 1

    def prompt(self, script: RunScript) -> bool:
        """Whether it would begin soon, and was quick the last time."""
        return self._crew.quick(script.source) and self._under_way < _SHORT

    async def close(self) -> None:
        """Kill every process and delete what scripts wrote. Runs that are still going end as `killed`."""
        try:
            await self._crew.close()
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def helper_names(self) -> frozenset[str]:
        """The bare names that scripts may use beside their inputs, known once the pool has started."""
        return self._crew.helpers | frozenset(self._host_functions)

    def statistics(self) -> PoolStatistics:
        crew = self._crew
        return PoolStatistics(
            size=crew.size,
            idle=len(crew.idle),
            busy=len(crew.busy),
            waiting=len(crew.line),
            runs=self._runs,
            timeouts=self._timeouts,
            killed=self._killed,
            recycled=crew.recycled,
            started=crew.started,
        )

    def _job(self, script: RunScript, session: Session) -> Job:
        loop = asyncio.get_running_loop()
        step = orjson.dumps(self._step(script))
        return Job(
            step=step,
            source=script.source,
            timeout=script.timeout,
            answer=partial(self._answer, session),
            rank=script.rank,
            number=next(self._arrivals),
            asked=time.perf_counter(),
            ended=loop.create_future(),
            reserved=loop.create_future() if may_hold(step) else None,
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

    async def _follow(self, job: Job, process: SandboxProcess, script: RunScript) -> None:
        """Its turn has come, and the process is its own. Not before: values that wait would fill our memory."""
        try:
            job.step = orjson.dumps(self._step(await self._claims.followed(script)))
        except BaseException:
            self._crew.release(process)
            raise
        finally:
            job.reserved = None
        self._crew.put_to_work(job, process)

    async def _outcome(self, job: Job, script: RunScript, session: Session) -> ScriptDone:
        large = False
        try:
            outcome = await job.ended
            done, seconds = outcome.done, outcome.seconds
            self._crew.remember(script.source, seconds)
            large = done.kind == "value" and (outcome.marked or outcome.size > self._claims.threshold)
        except ProcessLost as lost:
            done, seconds = lost.done, time.perf_counter() - job.begun if job.begun else 0.0
            self._crew.remember(script.source, inf)
        self._runs += 1
        self._timeouts += done.kind == "timeout"
        self._killed += done.kind == "killed"
        if large:
            begun = time.perf_counter()
            done = await self._claims.kept(done, script)
            seconds += time.perf_counter() - begun
        return self._told(_with_events(done, session), script, seconds=seconds)

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


def _with_events(done: ScriptDone, session: Session) -> ScriptDone:
    """With what the script wrote to state; one that waits for a model runs again, and has written nothing yet."""
    return done if done.kind == "call" else replace(done, events=session.close())


def _refused(name: str) -> dict[str, Any]:
    message = f"the variable {name} belongs to the worker: scripts do not get it"
    return {"kind": "log", "level": "warning", "message": message}
