"""The pool of sandbox processes: where every script of the worker runs."""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, count, repeat
from math import inf
from pathlib import Path
from typing import Any, Self

import orjson
from msgspec.structs import replace

from stream_orchestrator.errors import HouseError, MissingError
from stream_orchestrator.kernel.effects import RunScript, ScriptDone
from stream_orchestrator.kernel.notebook import Notebook, Session
from stream_orchestrator.trust.child.values import plain
from stream_orchestrator.trust.claims import ClaimCheckLost, ClaimChecks, may_hold
from stream_orchestrator.trust.line import Line
from stream_orchestrator.trust.masking import Masker
from stream_orchestrator.trust.process import Hello, Job, ProcessLost, SandboxProcess, Why
from stream_orchestrator.trust.scratch import Scratch
from stream_orchestrator.trust.secrets import Secrets, is_ours

FINGERPRINT_KEY = "STREAM_ORCHESTRATOR__TRUST__FINGERPRINT_KEY"
MAX_RUNS = 1_000  # a process is replaced after so many: what scripts leave behind does not add up for ever
_PAUSES = (0.1, 0.5, 2.0)  # between attempts to start a replacement
_PATIENCE = 5.0  # how long a run waits for a process when none is alive and none starts
_QUICK = 0.005  # seconds: a script that took less the last time may wait behind others in a process
_SMALL = 64 * 1024  # bytes of a step that may
_AHEAD = 16  # so many steps are in a process at most
_REFILL = 4  # with so many left it gets more: together, not one by one
_SHORT = 512  # runs under way: with fewer, a quick one begins soon, and half of an app's slots are left for others
_SOURCES = 512  # scripts whose pace is remembered
_CLOSED = "the pool of sandbox processes is closed"
_STOPPED = "the worker stopped"


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
        self._line = Line()
        self._arrivals = count()
        self._paces: dict[str, float] = {}  # by source: seconds it took the last time
        self._idle: list[SandboxProcess] = []  # the one used last is used first: its caches are warm
        self._busy: set[SandboxProcess] = set()  # at most `size`
        self._serving_soon = False
        self._under_way = 0  # runs that were not told yet how their scripts ended
        self._culprits: set[Job] = set()  # they are told why, soon
        self._processes: set[SandboxProcess] = set()
        self._replacing: set[asyncio.Task[None]] = set()
        self._helpers: frozenset[str] = frozenset()
        self._closed = False
        self._runs = self._timeouts = self._killed = self._recycled = self._started = 0

    async def start(self) -> None:
        """Start all processes. `MissingError` when the functions cannot be loaded, naming file, line and error."""
        self._scratch = Scratch(self._scratch_parent)
        started = await asyncio.gather(*(self._new() for _ in range(self._size + 1)), return_exceptions=True)
        for outcome in started:
            if isinstance(outcome, BaseException):
                await self.close()
                raise outcome
            self._helpers = outcome.helpers
            if outcome.usable:
                self._idle.append(outcome)

    async def run(self, script: RunScript) -> ScriptDone:
        """Run a script and say how it ended. `HouseError` when no process can be started any more."""
        if self._closed:
            raise HouseError(_CLOSED)
        session = self._notebook.session(script.info)
        try:
            job = self._job(script, session)
        except TypeError as error:
            return ScriptDone(kind="error", error_type="TypeError", message=f"its inputs are not JSON: {error}")
        self._under_way += 1
        self._line.join([job])
        self._serve_soon()
        try:
            if job.reserved is not None:
                await self._follow(job, await job.reserved, script)
            return await self._outcome(job, script, session)
        except ClaimCheckLost as lost:
            return ScriptDone(kind="error", error_type=type(lost).__name__, message=str(lost))
        except BaseException:
            self._abandon(job)
            raise
        finally:
            self._under_way -= 1

    def prompt(self, script: RunScript) -> bool:
        """Whether it would begin soon, and was quick the last time."""
        return self._paces.get(script.source, _QUICK) < _QUICK and self._under_way < _SHORT

    async def close(self) -> None:
        """Kill every process and delete what scripts wrote. Runs that are still going end as `killed`."""
        self._closed = True
        waiting = [job for process in self._processes for job in process.take_back()]
        for process in list(self._processes):
            process.listen()  # what has ended by now has ended well
        for job in (*waiting, *self._line):
            _fail(job, HouseError(_CLOSED))
        for job in (*self._culprits, *(job for process in self._processes for job in process.give_up())):
            _fail(job, ProcessLost(_STOPPED, kind="killed", reports=job.reports))
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
            idle=len(self._idle),
            busy=len(self._busy),
            waiting=len(self._line),
            runs=self._runs,
            timeouts=self._timeouts,
            killed=self._killed,
            recycled=self._recycled,
            started=self._started,
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
            self._release(process)
            self._serve_soon()
            raise
        finally:
            job.reserved = None
        if process.usable:
            process.give([job])
        elif self._closed:
            raise HouseError(_CLOSED)
        else:
            self._line.join([job])
            self._serve_soon()

    async def _outcome(self, job: Job, script: RunScript, session: Session) -> ScriptDone:
        large = False
        try:
            outcome = await job.ended
            done, seconds = outcome.done, outcome.seconds
            self._remember(script.source, seconds)
            large = done.kind == "value" and (outcome.marked or outcome.size > self._claims.threshold)
        except ProcessLost as lost:
            done, seconds = lost.done, time.perf_counter() - job.begun if job.begun else 0.0
            self._remember(script.source, inf)
        self._runs += 1
        self._timeouts += done.kind == "timeout"
        self._killed += done.kind == "killed"
        if large:
            begun = time.perf_counter()
            done = await self._claims.kept(done, script)
            seconds += time.perf_counter() - begun
        return self._told(_with_events(done, session), script, seconds=seconds)

    def _remember(self, source: str, seconds: float) -> None:
        if len(self._paces) >= _SOURCES and source not in self._paces:
            self._paces.clear()
        self._paces[source] = seconds

    # --- who runs what --------------------------------------------------------------------------------------------

    def _serve_soon(self) -> None:
        """Those who ask at the same moment travel together."""
        if not self._serving_soon and not self._closed:
            self._serving_soon = True
            asyncio.get_running_loop().call_soon(self._serve)

    def _serve(self) -> None:
        """Give those who wait to processes that are free, or soon will be."""
        self._serving_soon = False
        if self._line.first() is None:
            return
        shares: dict[SandboxProcess, list[Job]] = {}
        open_ = deque(process for process in self._busy if self._has_room(process))
        while (job := self._line.first()) is not None:
            alone = self._alone(job)
            if self._idle and len(self._busy) < self._size:
                process = self._idle.pop()
                self._busy.add(process)
            elif open_ and not alone:
                process = open_.popleft()
            else:
                break
            self._line.leave()
            if job.reserved is not None:
                job.reserved.set_result(process)
                continue
            share = shares.setdefault(process, [])
            share.append(job)
            if not alone and len(process.jobs) + len(share) < _AHEAD:
                open_.append(process)
        for process, share in shares.items():
            process.give(share)

    def _alone(self, job: Job) -> bool:
        """Whether nothing may wait behind it, nor it behind others."""
        return job.reserved is not None or len(job.step) > _SMALL or self._paces.get(job.source, _QUICK) >= _QUICK

    def _has_room(self, process: SandboxProcess) -> bool:
        return 0 < len(process.jobs) <= _REFILL and not process.late and not any(map(self._alone, process.jobs))

    def served(self, process: SandboxProcess) -> None:
        """Of `process.Owner`."""
        if not process.jobs:
            self._release(process)
        self._serve()

    def _release(self, process: SandboxProcess) -> None:
        self._busy.discard(process)
        if process.usable:
            self._idle.append(process)

    def left(self, process: SandboxProcess, jobs: Sequence[Job]) -> None:
        """Of `process.Owner`."""
        self._line.join(jobs)
        if not process.jobs and process in self._busy:
            self._release(process)
        self._serve_soon()

    def lost(self, process: SandboxProcess, culprits: Sequence[Job], jobs: Sequence[Job], why: Why) -> None:
        """Of `process.Owner`."""
        self._recycled += process.spent
        self._line.join(jobs)
        self._culprits.update(culprits)
        self._replace(process, culprits, why)

    def _abandon(self, job: Job) -> None:
        """Nobody wants it any more."""
        job.ended.cancel()
        reserved, process = job.reserved, job.process
        if reserved is not None and reserved.done() and not reserved.cancelled() and reserved.exception() is None:
            self._release(reserved.result())
            self._serve_soon()
        if process is None or job not in process.jobs:
            return
        self._line.join(process.take_back())  # where it is skipped
        process.listen()
        if job in process.jobs:  # nobody knows what the script is doing
            process.give_up()
            self._replace(process)
        elif not process.jobs and process in self._busy:
            self._release(process)
        self._serve_soon()

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
        folder = self._scratch.folder()
        try:
            process = await SandboxProcess.start(self._hello, folder, self)
        except Exception:
            self._scratch.remove(folder)
            raise
        self._processes.add(process)
        self._started += 1
        return process

    def _replace(self, process: SandboxProcess, culprits: Sequence[Job] = (), why: Why | None = None) -> None:
        """In the background: the reserve serves meanwhile."""
        self._busy.discard(process)
        if process in self._idle:
            self._idle.remove(process)
        if self._closed:
            return
        task = asyncio.create_task(self._replacement(process, culprits, why))
        self._replacing.add(task)
        task.add_done_callback(self._replacing.discard)
        self._serve_soon()

    async def _replacement(self, process: SandboxProcess, culprits: Sequence[Job], why: Why | None) -> None:
        if why is not None:
            for job in culprits:
                _fail(job, await why(job))
                self._culprits.discard(job)
        await process.kill()
        self._processes.discard(process)
        if self._scratch is not None:
            await asyncio.to_thread(self._scratch.remove, process.folder)
        for pause in chain(_PAUSES, repeat(_PAUSES[-1])):
            try:
                self._idle.append(await self._new())
            except (HouseError, MissingError, OSError) as error:  # a TimeoutError is an OSError
                self._despair(error)  # such as a functions file that was edited
                await asyncio.sleep(pause)
            else:
                self._serve_soon()
                return

    def _despair(self, error: Exception) -> None:
        """No process starts: where none is alive, those who have waited long hear why."""
        if self._processes:
            return
        for job in self._line:
            if time.perf_counter() - job.asked > _PATIENCE:
                told = HouseError(f"no sandbox process can be started: {error}")
                told.__cause__ = error
                _fail(job, told)


def _fail(job: Job, error: Exception) -> None:
    """Tell whoever waits for it, or for a process of its own; unless it has ended."""
    waits = job.ended if job.reserved is None else job.reserved
    if not waits.done():
        waits.set_exception(error)


def _with_events(done: ScriptDone, session: Session) -> ScriptDone:
    """With what the script wrote to state; one that waits for a model runs again, and has written nothing yet."""
    return done if done.kind == "call" else replace(done, events=session.close())


def _refused(name: str) -> dict[str, Any]:
    message = f"the variable {name} belongs to the worker: scripts do not get it"
    return {"kind": "log", "level": "warning", "message": message}
