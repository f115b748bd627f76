"""The life of a sandbox process: hello, ready, steps, end."""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
import time
from typing import Any

from .functions import FunctionsFailed, load_functions
from .guard import Guard
from .tidy import Tidy
from .turn import Station, take_turn
from .wire import Wire

_GROWTH = 256 * 1024 * 1024  # what a process may keep for good before it is replaced
_PR_SET_PDEATHSIG = 1


def main(descriptor: int, tokens: int, parent: int) -> None:
    """Serve scripts until the worker closes the pipe; then leave at once, running nobody's exit handlers."""
    die_with(parent)
    wire = Wire(socket.socket(fileno=descriptor), tokens)
    watch_worker(wire.sock)
    hello = wire.receive()
    sys.path[:] = hello["path"]
    sys.dont_write_bytecode = True
    os.umask(0o077)
    os.chdir(hello["scratch"])
    try:
        station = _station(wire, hello)
    except FunctionsFailed as error:
        wire.send({"op": "failed", "message": str(error)})
        os._exit(0)
    wire.send({"op": "ready", "helpers": sorted(station.helpers)})
    _loop(station, max_runs=hello["max_runs"])
    os._exit(0)


def _station(wire: Wire, hello: dict[str, Any]) -> Station:
    scratch = hello["scratch"]
    os.environ.clear()
    os.environ.update({"HOME": scratch, "TMPDIR": scratch})
    helpers = load_functions(hello["functions"])
    _silence()
    guard = Guard(scratch)
    guard.install()
    return Station(
        wire=wire,
        guard=guard,
        tidy=Tidy(guard.scratch),
        helpers=helpers,
        host_functions=tuple(hello["host_functions"]),
        fingerprint_key=bytes.fromhex(hello["fingerprint_key"]),
    )


def _loop(station: Station, *, max_runs: int) -> None:
    runs, start, spent = 0, station.guard.memory.held()[1], False
    while not spent:
        try:
            step = station.wire.step()
        except EOFError:
            return
        begun = time.perf_counter()
        outcome = take_turn(step, station)
        seconds = time.perf_counter() - begun
        runs += 1
        grown = station.guard.memory.held()[1] - start > _GROWTH
        spoilt = not station.tidy.after() or outcome["kind"] == "killed" or station.wire.torn
        spent = spoilt or grown or runs >= max_runs
        station.wire.send({"op": "done", "spent": spent, "seconds": seconds, "done": outcome})


def _silence() -> None:
    """What native code writes to descriptors 1 and 2 goes nowhere; it can never reach the pipe."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)


def die_with(parent: int) -> None:
    """Ask the kernel to kill us with the worker, where it can (Linux)."""
    if sys.platform == "linux":
        import ctypes
        import signal

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        os._exit(0)


def watch_worker(sock: socket.socket) -> None:
    """Leave when the pipe hangs up, although a script runs: the only way where the kernel does not do it."""
    threading.stack_size(256 * 1024)
    threading.Thread(target=_leave_on_hang_up, args=(sock.fileno(),), daemon=True).start()
    threading.stack_size(0)


def _leave_on_hang_up(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, 0)  # no event asked for: a hang-up is told all the same
    poll.poll()
    os._exit(0)
