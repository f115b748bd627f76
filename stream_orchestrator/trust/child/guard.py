"""What a script may not do, and its limits.

Promises
  * While a script runs, opening the network, starting a process, signalling another one, or changing a file outside
    the scratch folder raises `PermissionError` in plain words.
  * Over its memory limit an allocation fails with `MemoryError`.

Not a security boundary: an audit hook stops Python code that asks politely. Native code (`ctypes`, an extension) and
code that goes for the interpreter itself get past it. Confinement by the kernel comes on top of it.
"""

from __future__ import annotations

import os
import re
import resource
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_HEADROOM = 1024 * 1024 * 1024  # address space that libraries reserve and never touch
_MAX_FILE = 256 * 1024 * 1024
_MAX_OPEN = 256
# Another process's memory and environment, and the secrets that `context.get_secret` masks.
_PRIVATE = re.compile(r"/proc/(?!self/|thread-self/)[0-9]+/|/(?:var/)?run/secrets(?:/|$)")
_realpath, _pid = os.path.realpath, os.getpid

NETWORK = "this script may not use the network; its task can say `sandbox: {network: true}`"
PROCESS = "a script may not start other processes"
SIGNAL = "a script may not signal other processes"
LIMITS = "a script may not change its own limits"


class Guard:
    """The rules of this process. `running` is true while a script runs; the child's own code is not held back."""

    def __init__(self, scratch: str) -> None:
        self.scratch = _realpath(scratch)
        self.running = self.network = False
        self.memory, self.cores = _Memory(), _Cores()

    def install(self) -> None:
        """For the rest of the process's life: audit hooks cannot be taken out."""
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, _lowered(resource.RLIMIT_FSIZE, _MAX_FILE))
        resource.setrlimit(resource.RLIMIT_NOFILE, _lowered(resource.RLIMIT_NOFILE, _MAX_OPEN))
        _without_fork_exec()
        _without_affinity()
        sys.addaudithook(self._audit)

    @contextmanager
    def script(self, *, memory_bytes: int, network: bool, cores: int = 0) -> Iterator[None]:
        self.network = network
        self.memory.limit(memory_bytes)
        self.cores.limit(cores)
        self.running = True
        try:
            yield
        finally:
            self.running = False
            self.memory.lift()
            self.cores.lift()

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if self.running and (check := _CHECKS.get(event)) is not None:
            check(self, args)

    def inside(self, path: Any) -> bool:
        """Whether a path is in the scratch folder, links followed."""
        if isinstance(path, int):
            return True  # a descriptor was checked when it was opened
        real = _realpath(os.fsdecode(path))
        return real == self.scratch or real.startswith(self.scratch + os.sep) or real == os.devnull


class _Memory:
    """Counts from what the process holds when the script starts: a warm library is not the script's fault."""

    def __init__(self) -> None:
        try:
            self._usage: int | None = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # no such thing here (macOS): the limits below are set all the same, and count from nothing
            self._usage = None
        self._hard = {limit: resource.getrlimit(limit)[1] for limit in (resource.RLIMIT_DATA, resource.RLIMIT_AS)}

    def limit(self, memory_bytes: int) -> None:
        size, data = self.held()
        self._soft(resource.RLIMIT_DATA, data + memory_bytes)
        self._soft(resource.RLIMIT_AS, size + memory_bytes + _HEADROOM)  # shared mappings count here alone

    def lift(self) -> None:
        for limit in self._hard:
            self._soft(limit, resource.RLIM_INFINITY)

    def _soft(self, limit: int, value: int) -> None:
        hard = self._hard[limit]
        try:
            resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
        except (ValueError, OSError):  # macOS takes no limit below what is in use
            pass

    def held(self) -> tuple[int, int]:
        """Address space, and the part of it that is data, in bytes."""
        if self._usage is None:
            return 0, 0
        fields = os.pread(self._usage, 256, 0).split()
        return int(fields[0]) * resource.getpagesize(), int(fields[5]) * resource.getpagesize()


class _Cores:
    """Keeps a script, with all its threads, on some of our processors, where the kernel can (Linux)."""

    def __init__(self) -> None:
        self._ours = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        self._set = getattr(os, "sched_setaffinity", None)
        self._limited = False

    def limit(self, cores: int) -> None:
        if not 0 < cores < len(self._ours):
            return
        first = _pid() % len(self._ours)  # processes begin at different ones
        assert self._set is not None
        self._set(0, {self._ours[(first + number) % len(self._ours)] for number in range(cores)})
        self._limited = True

    def lift(self) -> None:
        if self._limited and self._set is not None:
            self._set(0, self._ours)
            self._limited = False


def _lowered(limit: int, value: int) -> tuple[int, int]:
    hard = resource.getrlimit(limit)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    return value, value


def _without_fork_exec() -> None:
    """`multiprocessing` starts processes below any audit event."""
    import _posixsubprocess

    def fork_exec(*args: Any) -> int:
        raise PermissionError(PROCESS)

    _posixsubprocess.fork_exec = fork_exec


def _without_affinity() -> None:
    """No audit event tells of a process that takes more processors."""

    def sched_setaffinity(*args: Any) -> None:
        raise PermissionError(LIMITS)

    for module in (os, sys.modules.get("posix")):
        if hasattr(module, "sched_setaffinity"):
            module.sched_setaffinity = sched_setaffinity  # type: ignore[union-attr]


def _refuse(message: str) -> Callable[[Guard, tuple[Any, ...]], None]:
    def check(guard: Guard, args: tuple[Any, ...]) -> None:
        raise PermissionError(message)

    return check


def _open(guard: Guard, args: tuple[Any, ...]) -> None:
    path, _, flags = args
    if isinstance(path, int) or path is None:
        return
    if (flags or 0) & _WRITES:
        _changes(guard, (path,))
    elif _PRIVATE.match(_realpath(os.fsdecode(path))) and not _own(path):
        raise PermissionError(f"a script may not read {os.fsdecode(path)!r}")


def _own(path: Any) -> bool:
    return _realpath(os.fsdecode(path)).startswith(f"/proc/{_pid()}/")


def _changes(guard: Guard, args: tuple[Any, ...]) -> None:
    if not guard.inside(args[0]):
        raise PermissionError(f"a script may only write in its own folder, not {os.fsdecode(args[0])!r}")


def _moves(guard: Guard, args: tuple[Any, ...]) -> None:
    _changes(guard, args[:1])
    _changes(guard, args[1:])


def _link(guard: Guard, args: tuple[Any, ...]) -> None:
    _changes(guard, args[1:])


def _database(guard: Guard, args: tuple[Any, ...]) -> None:
    if os.fsdecode(args[0]) not in ("", ":memory:"):
        _changes(guard, args)


def _new_socket(guard: Guard, args: tuple[Any, ...]) -> None:
    if not guard.network and args[1] != socket.AF_UNIX:  # an event loop wakes itself through a pair of AF_UNIX
        raise PermissionError(NETWORK)


def _reaches_out(guard: Guard, args: tuple[Any, ...]) -> None:
    if not guard.network:
        raise PermissionError(NETWORK)


def _sends(guard: Guard, args: tuple[Any, ...]) -> None:
    if args[1] is not None:
        _reaches_out(guard, args)


def _signals(guard: Guard, args: tuple[Any, ...]) -> None:
    if args[0] != _pid():
        raise PermissionError(SIGNAL)


_NETWORK = ("connect", "bind", "getaddrinfo", "gethostbyname", "gethostbyaddr")
_PROCESSES = ("system", "exec", "fork", "forkpty", "posix_spawn", "spawn")
_FILES = ("remove", "rmdir", "mkdir", "chmod", "chown", "truncate", "utime", "setxattr")

_CHECKS: dict[str, Callable[[Guard, tuple[Any, ...]], None]] = {
    "open": _open,
    "sqlite3.connect": _database,
    "socket.__new__": _new_socket,
    "socket.sendmsg": _sends,
    "socket.sendto": _sends,
    "os.kill": _signals,
    "os.killpg": _refuse(SIGNAL),
    "resource.setrlimit": _refuse(LIMITS),
    "resource.prlimit": _refuse(LIMITS),
    "sys.addaudithook": _refuse("a script may not add audit hooks"),
    "os.rename": _moves,
    "os.link": _moves,
    "os.symlink": _link,
    "subprocess.Popen": _refuse(PROCESS),
    "pty.spawn": _refuse(PROCESS),
    **{f"socket.{name}": _reaches_out for name in _NETWORK},
    **{f"os.{name}": _refuse(PROCESS) for name in _PROCESSES},
    **{f"os.{name}": _changes for name in _FILES},
}
