"""The crew of sandbox processes: who runs what in which, and what takes the place of one that is lost."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from itertools import chain, repeat
from pathlib import Path

from stream_orchestrator.errors import HouseError, MissingError
from stream_orchestrator.trust.line import Line
from stream_orchestrator.trust.process import Hello, Job, ProcessLost, SandboxProcess, Why
from stream_orchestrator.trust.scratch import Scratch

_PAUSES = (0.1, 0.5, 2.0)  # between attempts to start a replacement
_PATIENCE = 5.0  # how long a run waits for a process when none is alive and none starts
_QUICK = 0.005  # seconds: a script that took less the last time may wait behind others in a process
_SMALL = 64 * 1024  # bytes of a step that may
_AHEAD = 16  # so many steps are in a process at most
_REFILL = 4  # with so many left it gets more: together, not one by one
_SOURCES = 512  # scripts whose pace is remembered
_CLOSED = "the pool of sandbox processes is closed"
_STOPPED = "the worker stopped"


class Crew:
    """`size` processes that work, and one more in reserve.

    Promises
      * The lowest `rank` starts first, of one rank the lowest number. Scripts known to be quick travel several to a
        message, and may be a few places out of this order.
      * A job is in one process at a time. One that had begun in a process that is lost fails and runs nowhere again;
        one that had not runs elsewhere.
      * A process that is lost is replaced, in the background, for as long as that takes.
    """

    def __init__(self, hello: Hello, *, size: int, scratch: Path | None) -> None:
        self.size, self.started, self.recycled = size, 0, 0
        self.helpers: frozenset[str] = frozenset()
        self.closed = False
        self.line = Line()
        self.idle: list[SandboxProcess] = []  # the one used last is used first: its caches are warm
        self.busy: set[SandboxProcess] = set()  # at most `size`
        self._hello = hello
        self._scratch_parent = scratch
        self._scratch: Scratch | None = None
        self._paces: dict[str, float] = {}  # by source: seconds it took the last time
        self._serving_soon = False
        self._culprits: set[Job] = set()  # they are told why, soon
        self._processes: set[SandboxProcess] = set()
        self._replacing: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start all processes. `MissingError` when the functions cannot be loaded, naming file, line and error."""
        self._scratch = Scratch(self._scratch_parent)
        started = await asyncio.gather(*(self._new() for _ in range(self.size + 1)), return_exceptions=True)
        for outcome in started:
            if isinstance(outcome, BaseException):
                raise outcome
            self.helpers = outcome.helpers
            if outcome.usable:
                self.idle.append(outcome)

    async def close(self) -> None:
        """Kill every process and delete what scripts wrote. Jobs that are still going end as `killed`."""
        self.closed = True
        waiting = [job for process in self._processes for job in process.take_back()]
        for process in list(self._processes):
            process.listen()  # what has ended by now has ended well
        for job in (*waiting, *self.line):
            _fail(job, HouseError(_CLOSED))
        for job in (*self._culprits, *(job for process in self._processes for job in process.give_up())):
            _fail(job, ProcessLost(_STOPPED, kind="killed", reports=job.reports))
        for task in self._replacing:
            task.cancel()
        await asyncio.gather(*self._replacing, return_exceptions=True)
        await asyncio.gather(*(process.kill() for process in self._processes))
        self._processes.clear()
        if self._scratch is not None:
            self._scratch.close()
            self._scratch = None

    def quick(self, source: str) -> bool:
        """Whether a script was quick the last time."""
        return self._paces.get(source, _QUICK) < _QUICK

    def remember(self, source: str, seconds: float) -> None:
        """How long a script took."""
        if len(self._paces) >= _SOURCES and source not in self._paces:
            self._paces.clear()
        self._paces[source] = seconds

    def check(self) -> None:
        """`HouseError` when it is closed."""
        if self.closed:
            raise HouseError(_CLOSED)

    def join(self, job: Job) -> None:
        """It waits for its turn. `HouseError` when there will be none: the crew is closed."""
        self.check()
        self.line.join([job])
        self._serve_soon()

    def put_to_work(self, job: Job, process: SandboxProcess) -> None:
        """The process was reserved for it. When that is lost meanwhile, it waits again."""
        if process.usable:
            process.give([job])
        else:
            self.join(job)

    def release(self, process: SandboxProcess) -> None:
        """It is free for others."""
        self._set_free(process)
        self._serve_soon()

    def abandon(self, job: Job) -> None:
        """Nobody wants it any more."""
        job.ended.cancel()
        reserved, process = job.reserved, job.process
        if reserved is not None and reserved.done() and not reserved.cancelled() and reserved.exception() is None:
            self._set_free(reserved.result())
            self._serve_soon()
        if process is None or job not in process.jobs:
            return
        self.line.join(process.take_back())  # where it is skipped
        process.listen()
        if job in process.jobs:  # nobody knows what the script is doing
            process.give_up()
            self._replace(process)
        elif not process.jobs and process in self.busy:
            self._set_free(process)
        self._serve_soon()

    # --- who runs what --------------------------------------------------------------------------------------------

    def _serve_soon(self) -> None:
        """Those who ask at the same moment travel together."""
        if not self._serving_soon and not self.closed:
            self._serving_soon = True
            asyncio.get_running_loop().call_soon(self._serve)

    def _serve(self) -> None:
        """Give those who wait to processes that are free, or soon will be."""
        self._serving_soon = False
        if self.line.first() is None:
            return
        shares: dict[SandboxProcess, list[Job]] = {}
        open_ = deque(process for process in self.busy if self._has_room(process))
        while (job := self.line.first()) is not None:
            alone = self._alone(job)
            if self.idle and len(self.busy) < self.size:
                process = self.idle.pop()
                self.busy.add(process)
            elif open_ and not alone:
                process = open_.popleft()
            else:
                break
            self.line.leave()
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
        return job.reserved is not None or len(job.step) > _SMALL or not self.quick(job.source)

    def _has_room(self, process: SandboxProcess) -> bool:
        return 0 < len(process.jobs) <= _REFILL and not process.late and not any(map(self._alone, process.jobs))

    def served(self, process: SandboxProcess) -> None:
        """Of `process.Owner`."""
        if not process.jobs:
            self._set_free(process)
        self._serve()

    def _set_free(self, process: SandboxProcess) -> None:
        self.busy.discard(process)
        if process.usable:
            self.idle.append(process)

    def left(self, process: SandboxProcess, jobs: Sequence[Job]) -> None:
        """Of `process.Owner`."""
        self.line.join(jobs)
        if not process.jobs and process in self.busy:
            self._set_free(process)
        self._serve_soon()

    def lost(self, process: SandboxProcess, culprits: Sequence[Job], jobs: Sequence[Job], why: Why) -> None:
        """Of `process.Owner`."""
        self.recycled += process.spent
        self.line.join(jobs)
        self._culprits.update(culprits)
        self._replace(process, culprits, why)

    # --- who takes whose place ------------------------------------------------------------------------------------

    async def _new(self) -> SandboxProcess:
        assert self._scratch is not None
        folder = self._scratch.folder()
        try:
            process = await SandboxProcess.start(self._hello, folder, self)
        except Exception:
            self._scratch.remove(folder)
            raise
        self._processes.add(process)
        self.started += 1
        return process

    def _replace(self, process: SandboxProcess, culprits: Sequence[Job] = (), why: Why | None = None) -> None:
        """In the background: the reserve serves meanwhile."""
        self.busy.discard(process)
        if process in self.idle:
            self.idle.remove(process)
        if self.closed:
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
                self.idle.append(await self._new())
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
        for job in self.line:
            if time.perf_counter() - job.asked > _PATIENCE:
                told = HouseError(f"no sandbox process can be started: {error}")
                told.__cause__ = error
                _fail(job, told)


def _fail(job: Job, error: Exception) -> None:
    """Tell whoever waits for it, or for a process of its own; unless it has ended."""
    waits = job.ended if job.reserved is None else job.reserved
    if not waits.done():
        waits.set_exception(error)
