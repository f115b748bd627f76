"""One sandbox process, as the worker sees it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from stream_orchestrator.errors import HouseError, MissingError
from stream_orchestrator.plan.claims import MARK
from stream_orchestrator.trust.child.wire import HEADER, MAX_FRAME, pack

_SAID = ".stderr"  # what a process says before it is ready
START_TIMEOUT = 60.0  # helper modules may import slow libraries
_MAX_REPORTS = 5_000  # the child stops far below; more comes only from a child that is no longer ours
_CHILD = Path(__file__).with_name("child") / "__init__.py"
# The package is loaded by its path under another name, so that a child imports nothing else of ours.
_BOOT = """
import importlib.util as u, sys
s = u.spec_from_file_location("sandbox_child", sys.argv[1], submodule_search_locations=[sys.argv[2]])
m = sys.modules["sandbox_child"] = u.module_from_spec(s)
s.loader.exec_module(m)
from sandbox_child.serve import main
main(int(sys.argv[3]), int(sys.argv[4]))
"""

Answer = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class ProcessLost(Exception):
    """The process hangs, went away, or no longer speaks our language. `reports` are what its script had said."""

    def __init__(self, message: str, *, kind: Literal["timeout", "killed"], reports: Sequence[dict[str, Any]]) -> None:
        super().__init__(message)
        self.kind = kind
        self.reports = tuple(reports)


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
    """What the process said of one run, not yet believed: `done` is checked by the pool. `size` is that of its bytes,
    and `marked` says that what only claim checks have may be in them.
    """

    done: dict[str, Any]
    reports: tuple[dict[str, Any], ...]
    spent: bool
    size: int
    marked: bool


class SandboxProcess:
    """A process that runs one script at a time, in a session of its own, with nothing of our environment.

    Promises
      * `kill` ends it with all it may have started, and returns when it is gone and its folder is deleted.
      * Cancelled in `run`, it is of no use any more: kill it.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        folder: Path,
        *,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._process, self.folder = process, folder
        self._reader, self._writer = reader, writer
        self.helpers: frozenset[str] = frozenset()

    @classmethod
    async def start(cls, hello: Hello, folder: Path) -> SandboxProcess:
        """Start one and wait until it is ready. `MissingError` when the functions cannot be loaded."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                reader, writer = await asyncio.open_unix_connection(sock=ours, limit=1 << 20)
            except BaseException:
                ours.close()
                raise
            process = _spawn(theirs, folder)
        self = cls(process, folder, reader=reader, writer=writer)
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await self._greet(hello)
        except BaseException:
            await self.kill()
            raise
        return self

    @property
    def alive(self) -> bool:
        return self._process.poll() is None and not self._reader.at_eof()

    async def run(self, step: bytes, *, timeout: float, answer: Answer) -> Outcome:
        """Run one script. `ProcessLost` at its deadline or when the process dies: kill it then."""
        reports: list[dict[str, Any]] = []
        try:
            async with asyncio.timeout(timeout):
                self._writer.write(step)
                return await self._until_done(reports, answer)
        except TimeoutError as error:
            raise ProcessLost(f"still running after {timeout:g} s: killed", kind="timeout", reports=reports) from error
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise ProcessLost(await self._how_it_ended(), kind="killed", reports=reports) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ProcessLost("its process broke the protocol of its pipe", kind="killed", reports=reports) from error

    async def kill(self) -> None:
        """End it and everything in its session, at once."""
        with suppress(ProcessLookupError, PermissionError):  # it is gone, or a zombie (macOS says so)
            os.killpg(self._process.pid, signal.SIGKILL)
        self._writer.close()  # before the first await: cancelled there, nothing is left open
        await asyncio.shield(asyncio.to_thread(self._process.wait))
        with suppress(OSError):
            await asyncio.shield(self._writer.wait_closed())

    async def _greet(self, hello: Hello) -> None:
        try:
            self._writer.write(pack(hello.message(self.folder)))
            reply = orjson.loads(await self._receive())
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            said = (self.folder / _SAID).read_text(errors="replace").strip()[-2_000:]
            raise HouseError(f"a sandbox process ended before it was ready: {said}") from error
        if reply["op"] == "failed":
            raise MissingError(reply["message"], hint="mend it, or leave it out of `functions:` and `--functions`")
        self.helpers = frozenset(reply["helpers"])
        (self.folder / _SAID).unlink(missing_ok=True)

    async def _until_done(self, reports: list[dict[str, Any]], answer: Answer) -> Outcome:
        while True:
            body = await self._receive()
            frame = orjson.loads(body)
            match frame["op"]:
                case "reports":
                    reports.extend(frame["reports"][: max(0, _MAX_REPORTS - len(reports))])
                case "ask":
                    self._writer.write(pack(await answer(frame)))
                case "done":
                    return Outcome(frame["done"], tuple(reports), bool(frame["spent"]), len(body), MARK in body)

    async def _receive(self) -> bytes:
        size = HEADER.unpack(await self._reader.readexactly(HEADER.size))[0]
        if size > MAX_FRAME:
            raise ValueError("a frame of that size is none of ours")
        return await self._reader.readexactly(size)

    async def _how_it_ended(self) -> str:
        try:
            code = await asyncio.to_thread(self._process.wait, 1.0)
        except subprocess.TimeoutExpired:
            return "its process closed its pipe"
        if code >= 0:
            return f"its process left with exit code {code}"
        return f"its process was ended by a signal: {signal.strsignal(-code) or -code}"


def _spawn(theirs: socket.socket, folder: Path) -> subprocess.Popen[bytes]:
    descriptor = theirs.fileno()
    options = ["-I", "-B", "-X", "utf8", "-c", _BOOT]
    command = [sys.executable, *options, str(_CHILD), str(_CHILD.parent), str(descriptor), str(os.getpid())]
    # Started on the event loop's own thread: the kernel's "die with the parent" is tied to the thread that forks.
    with open(folder / _SAID, "wb") as stderr:
        return subprocess.Popen(  # noqa: S603  our own interpreter and our own module
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env={},
            cwd=folder,
            pass_fds=(descriptor,),
            start_new_session=True,
        )
