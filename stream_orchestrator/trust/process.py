"""One sandbox process, as the worker sees it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import orjson

from stream_orchestrator.errors import HouseError, MissingError
from stream_orchestrator.kernel.effects import ScriptDone
from stream_orchestrator.plan.claims import MARK
from stream_orchestrator.trust.child.wire import HEADER, MAX_FRAME, pack
from stream_orchestrator.trust.tokens import Tokens

_SAID = ".stderr"  # what a process says before it is ready
START_TIMEOUT = 60.0  # helper modules may import slow libraries
SOON = 0.02  # a script that takes longer has those behind it taken back
_CHUNK = 256 * 1024
_MAX_REPORTS = 5_000  # the child stops far below; more comes only from a child that is no longer ours
_CHILD = Path(__file__).with_name("child") / "__init__.py"
# The package is loaded by its path under another name, so that a child imports nothing else of ours.
_BOOT = """
import importlib.util as u, sys
s = u.spec_from_file_location("sandbox_child", sys.argv[1], submodule_search_locations=[sys.argv[2]])
m = sys.modules["sandbox_child"] = u.module_from_spec(s)
s.loader.exec_module(m)
from sandbox_child.serve import main
main(*map(int, sys.argv[3:]))
"""

_KINDS = frozenset({"value", "error", "killed", "call"})
_REPORTS = ("log", "metric", "audit", "alert")  # no set: what a script forges may have no hash

Answer = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class ProcessLost(Exception):
    """The process hangs, went away, or no longer speaks our language. `done` has what its script had said."""

    def __init__(self, message: str, *, kind: Literal["timeout", "killed"], reports: Sequence[Any]) -> None:
        super().__init__(message)
        self.done = ScriptDone(kind=kind, message=message, reports=_known(reports))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """What a process is told once."""

    functions: tuple[str, ...]
    host_functions: tuple[str, ...]
    fingerprint_key: bytes
    max_runs: int

    def message(self, scratch: Path) -> dict[str, Any]:
        return {
            "path": [os.path.abspath(entry) for entry in (*sys.path, os.getcwd())],
            "scratch": str(scratch),
            "functions": self.functions,
            "host_functions": self.host_functions,
            "fingerprint_key": self.fingerprint_key.hex(),
            "max_runs": self.max_runs,
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. `size` is that of its bytes, and `marked` says that what only claim checks have may be in them.
    `seconds`: what it took there.
    """

    done: ScriptDone
    size: int
    marked: bool
    seconds: float


@dataclass(slots=True, eq=False, kw_only=True)
class Job:
    """A script that is to run once. `ended` gets its `Outcome`, or the error why there is none; who cancels it wants
    neither. `rank` and `number` are its place among those who wait; `reserved` gets a process for it alone.
    """

    step: bytes
    source: str
    timeout: float
    answer: Answer
    rank: float
    number: int
    asked: float
    ended: asyncio.Future[Outcome]
    reserved: asyncio.Future[SandboxProcess] | None = None
    process: SandboxProcess | None = None
    token: int = 0
    begun: float = 0.0
    losses: int = 0  # processes that died before they began it
    reports: list[Any] = field(default_factory=list)


Why = Callable[[Job], Awaitable[ProcessLost]]


class Owner(Protocol):
    """Who gave the jobs."""

    def served(self, process: SandboxProcess) -> None:
        """Some of its jobs have ended, well or not."""

    def left(self, process: SandboxProcess, jobs: Sequence[Job]) -> None:
        """These have not begun, and will not begin in it: it is late."""

    def lost(self, process: SandboxProcess, culprits: Sequence[Job], jobs: Sequence[Job], why: Why) -> None:
        """It is of no use any more. The culprits had begun and want to hear why; the others have not."""


class SandboxProcess(asyncio.Protocol):
    """A process that runs one script at a time, in a session of its own, with nothing of our environment.

    Promises
      * Of the jobs it was given, in order, one runs at a time. `take_back` gives those that have not begun, and
        they never will here: the process runs a job only when it has read its token (`Tokens`).
      * A job that takes longer than `SOON` has those behind it taken back.
      * `kill` ends it with all it may have started, and returns when it is gone.
    """

    def __init__(self, owner: Owner, folder: Path, ours: socket.socket) -> None:
        self.folder, self._ours = folder, ours
        self.helpers: frozenset[str] = frozenset()
        self.jobs: deque[Job] = deque()
        self._owner = owner
        self._tokens = Tokens()
        self._given = self._heard = 0  # tokens: of the last job it was given, and of the last that has ended
        self._buffer = bytearray()
        self._serving = self._over = self.spent = False
        self._relieved: Job | None = None  # those behind it were taken back
        self._answers: set[asyncio.Task[None]] = set()
        self._alarm: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._greeted: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._process: subprocess.Popen[bytes]
        self._transport: asyncio.Transport

    @classmethod
    async def start(cls, hello: Hello, folder: Path, owner: Owner) -> SandboxProcess:
        """Start one and wait until it is ready. `MissingError` when the functions cannot be loaded."""
        ours, theirs = socket.socketpair()
        self = cls(owner, folder, ours)
        with theirs:
            try:
                await self._loop.create_unix_connection(lambda: self, sock=ours)
            except BaseException:
                ours.close()
                self._tokens.close()
                raise
            try:
                self._process = _spawn(theirs, folder, self._tokens.theirs.fileno())
            except BaseException:
                self._transport.abort()
                raise
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await self._greet(hello)
        except BaseException:
            await self.kill()
            raise
        self._serving = True
        return self

    @property
    def usable(self) -> bool:
        """Whether it can be given jobs."""
        return not (self._over or self.spent)

    @property
    def late(self) -> bool:
        """Whether its job takes long."""
        return time.perf_counter() - self.jobs[0].begun > SOON

    def give(self, jobs: Sequence[Job]) -> None:
        """Run them after those it has: one message."""
        for job in jobs:
            self._given += 1
            job.token, job.process = self._given, self
        idle = not self.jobs
        self.jobs.extend(jobs)
        self._tokens.put([job.token for job in jobs])  # first: it looks for a job's token when it has the job
        self._transport.writelines([part for job in jobs for part in (HEADER.pack(len(job.step), job.token), job.step)])
        if idle:
            self._begin()
        else:
            self._set_alarm()

    def take_back(self) -> list[Job]:
        """The jobs that have not begun."""
        free = self._tokens.take_back()
        back = [job for job in self.jobs if job.token in free]
        for job in back:
            self.jobs.remove(job)
        return back

    def give_up(self) -> list[Job]:
        """Nothing it says counts any more; gives its jobs, begun or not."""
        jobs, self._over = list(self.jobs), True
        self.jobs.clear()
        if self._alarm is not None:
            self._alarm.cancel()
        for task in self._answers:
            task.cancel()
        return jobs

    async def kill(self) -> None:
        """End it and everything in its session, at once."""
        self.give_up()
        with suppress(ProcessLookupError, PermissionError):  # it is gone, or a zombie (macOS says so)
            os.killpg(self._process.pid, signal.SIGKILL)
        self._transport.abort()  # before the first await: cancelled there, nothing is left open
        await asyncio.shield(asyncio.to_thread(self._process.wait))
        await asyncio.shield(self._closed)

    # --- what it says ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The pipe is there."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Whole frames, and the rest of one."""
        before = len(self.jobs)
        self._take_in(data)
        if len(self.jobs) < before and not self._over:
            self._owner.served(self)

    def connection_lost(self, error: Exception | None) -> None:
        """It went away, or we closed the pipe."""
        self._lose(None)
        self._tokens.close()
        self._closed.set_result(None)
        if not self._greeted.done():
            self._greeted.cancel()

    def _take_in(self, data: bytes) -> None:
        self._buffer += data
        try:
            for token, body in self._frames():
                if not self._over:
                    self._hear(token, body)
        except (ValueError, KeyError, TypeError, AttributeError):  # whatever a script may write there
            self._lose("its process broke the protocol of its pipe", broken=True)

    def listen(self) -> None:
        """Hear what it has said by now. After `take_back` only a job that has begun is left, one at most."""
        with suppress(OSError):  # nothing more
            while not self._over and (data := self._ours.recv(_CHUNK, socket.MSG_DONTWAIT)):
                self._take_in(data)

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        buffer = self._buffer
        while len(buffer) >= HEADER.size:
            size, token = HEADER.unpack_from(buffer)
            if size > MAX_FRAME:
                raise ValueError("a frame of that size is none of ours")
            whole = HEADER.size + size
            if len(buffer) < whole:
                return
            body = bytes(memoryview(buffer)[HEADER.size : whole])
            del buffer[:whole]
            yield token, body

    def _hear(self, token: int, body: bytes) -> None:
        frame = orjson.loads(body)
        if not self._greeted.done():
            self._greeted.set_result(frame)
            return
        if token <= self._heard:
            return  # a script that has ended, as it said itself: what comes after that is nobody's
        if not self.jobs or token != self.jobs[0].token:
            raise ValueError("a frame about no script that runs")
        job = self.jobs[0]
        match frame["op"]:
            case "reports":
                job.reports.extend(frame["reports"][: max(0, _MAX_REPORTS - len(job.reports))])
            case "ask":
                task = self._loop.create_task(self._answer(job, frame))
                self._answers.add(task)
                task.add_done_callback(self._answers.discard)
            case "done":
                self._end(job, frame, body)

    def _end(self, job: Job, frame: dict[str, Any], body: bytes) -> None:
        done = _believed(frame["done"], job.reports)
        self.spent = bool(frame["spent"])
        # Our own loop may be late to hear of it; and what a script forges is no longer than we waited.
        seconds = min(max(float(frame["seconds"]), 0.0), time.perf_counter() - job.begun)
        outcome = Outcome(done, len(body), MARK in body, seconds)
        self._heard = job.token
        for task in self._answers:  # a question that its script has not waited for
            task.cancel()
        self.jobs.popleft()
        if not job.ended.done():
            job.ended.set_result(outcome)
        if self.jobs and not self.spent:  # that one leaves, and begins no other
            self._begin()

    async def _answer(self, job: Job, frame: dict[str, Any]) -> None:
        answer = pack(await job.answer(frame))
        if not self._over:
            self._transport.write(answer)

    def _lose(
        self,
        message: str | None,
        kind: Literal["timeout", "killed"] = "killed",
        *,
        broken: bool = False,
        expired: Job | None = None,
    ) -> None:
        """It is given up, and who had begun is told why: `message`, where that is known; unless `expired` has ended.

        `broken`: what it says means nothing, so any job whose token did not come back may have run.
        """
        if self._over:
            return
        waiting = self.take_back()
        if not broken:
            self.listen()  # it may have gone on: who has ended is not told, and who began last is
        goes_on = expired is not None and expired not in waiting and (not self.jobs or self.jobs[0] is not expired)
        if goes_on or self._over or not self._serving:
            self._owner.left(self, waiting)
            return
        begun = self.give_up()
        if waiting and not begun and not self.spent:  # it died before it began one. Twice, and that job is the reason
            waiting[0].losses += 1
            begun = [waiting.pop(0)] if waiting[0].losses > 1 else []
        culprits = begun if broken else begun[:1]

        async def why(job: Job) -> ProcessLost:
            return ProcessLost(message or await self._how_it_ended(), kind=kind, reports=job.reports)

        self._owner.lost(self, culprits, [*begun[len(culprits) :], *waiting], why)

    async def _how_it_ended(self) -> str:
        try:
            code = await asyncio.to_thread(self._process.wait, 1.0)
        except subprocess.TimeoutExpired:
            return "its process closed its pipe"
        if code >= 0:
            return f"its process left with exit code {code}"
        return f"its process was ended by a signal: {signal.strsignal(-code) or -code}"

    # --- time -----------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """It is the first job's turn."""
        self.jobs[0].begun = time.perf_counter()
        self._set_alarm()

    def _set_alarm(self) -> None:
        """Rather early than late: when it rings too early it is set again, which is cheaper than at every turn."""
        job = self.jobs[0]
        due = self._loop.time() + job.begun - time.perf_counter() + self._patience()
        if self._alarm is not None and not self._alarm.cancelled():
            if self._alarm.when() <= due:
                return
            self._alarm.cancel()
        self._alarm = self._loop.call_at(due, self._ring)

    def _patience(self) -> float:
        job = self.jobs[0]
        return min(SOON, job.timeout) if len(self.jobs) > 1 and self._relieved is not job else job.timeout

    def _ring(self) -> None:
        self._alarm = None
        if not self.jobs:
            return
        job, taken = self.jobs[0], time.perf_counter() - self.jobs[0].begun
        if taken >= job.timeout:
            self._lose(f"still running after {job.timeout:g} s: killed", "timeout", expired=job)
        elif len(self.jobs) > 1 and taken >= SOON:
            self._relieved = job
            self._owner.left(self, self.take_back())
        if self.jobs and not self._over and self._alarm is None:
            self._set_alarm()

    async def _greet(self, hello: Hello) -> None:
        self._transport.write(pack(hello.message(self.folder)))
        await asyncio.wait([self._greeted])
        if self._greeted.cancelled():
            said = (self.folder / _SAID).read_text(errors="replace").strip()[-2_000:]
            raise HouseError(f"a sandbox process ended before it was ready: {said}")
        reply = self._greeted.result()
        if reply["op"] == "failed":
            raise MissingError(reply["message"], hint="mend it, or leave it out of `functions:` and `--functions`")
        self.helpers = frozenset(reply["helpers"])
        (self.folder / _SAID).unlink(missing_ok=True)


def _spawn(theirs: socket.socket, folder: Path, tokens: int) -> subprocess.Popen[bytes]:
    descriptor = theirs.fileno()
    options = ["-I", "-B", "-X", "utf8", "-c", _BOOT]
    numbers = [str(number) for number in (descriptor, tokens, os.getpid())]
    # Started on the event loop's own thread: the kernel's "die with the parent" is tied to the thread that forks.
    with open(folder / _SAID, "wb") as stderr:
        return subprocess.Popen(  # noqa: S603  our own interpreter and our own module
            [sys.executable, *options, str(_CHILD), str(_CHILD.parent), *numbers],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env={},
            cwd=folder,
            pass_fds=(descriptor, tokens),
            start_new_session=True,
        )


def _believed(done: dict[str, Any], reports: Sequence[Any]) -> ScriptDone:
    """What the process says of a run, checked: the script might have said it itself."""
    if done["kind"] not in _KINDS:
        raise ValueError(done["kind"])
    return ScriptDone(
        kind=done["kind"],
        value=done.get("value"),
        error_type=str(done.get("error_type", "")),
        message=str(done.get("message", "")),
        call_number=int(done.get("call_number", 0)),
        request=dict(done["request"]) if done["kind"] == "call" else None,
        reports=_known(reports),
    )


def _known(reports: Sequence[Any]) -> tuple[dict[str, Any], ...]:
    return tuple(report for report in reports if isinstance(report, dict) and report.get("kind") in _REPORTS)
