"""One run of one script: from its message to how it ended."""

from __future__ import annotations

import asyncio
import errno
import inspect
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

import orjson

from .context import Context, Logger
from .guard import Guard
from .llm import Model
from .reports import Printed, Reports
from .tidy import Tidy
from .trace import SCRIPT_FILE, STEP, told
from .values import encode
from .wire import AskFailed, Wire

_MAX_CODES = 512
_UNITS = {"GB": 10**9, "GiB": 2**30, "MB": 10**6, "MiB": 2**20, "kB": 10**3, "KiB": 2**10, "bytes": 1}


class HostFunctionError(RuntimeError):
    """A function that the worker runs for scripts failed there."""


@dataclass(slots=True)
class Station:
    """What stays while scripts come and go."""

    wire: Wire
    guard: Guard
    tidy: Tidy
    helpers: dict[str, Any]
    host_functions: tuple[str, ...]
    fingerprint_key: bytes
    codes: dict[str, CodeType] = field(default_factory=dict)

    def code_of(self, source: str) -> CodeType:
        """Compiled once. By its text, so that no mistaken digest can run another script."""
        code = self.codes.get(source)
        if code is None:
            if len(self.codes) >= _MAX_CODES:
                self.codes.clear()
            with warnings.catch_warnings(action="ignore"):  # `"\d"` works; the author is told when validating
                code = self.codes[source] = compile(source, SCRIPT_FILE, "exec", dont_inherit=True)
        return code


def take_turn(step: Mapping[str, Any], station: Station) -> dict[str, Any]:
    """Run a script once, in a module of its own. Whatever it does that leaves this process alive ends as an outcome."""
    reports, model = Reports(station.wire), Model(step["journal"])
    streams = Printed(reports, "info"), Printed(reports, "warning")
    names = _names(step, station, reports=reports, model=model)
    station.tidy.before(step["env"])
    sys.stdout, sys.stderr = streams
    try:
        with station.guard.script(memory_bytes=step["memory_bytes"], network=step["network"], cores=step["cores"]):
            outcome = _outcome(step, station, names)
    except MemoryError:
        outcome = {"kind": "killed", "message": f"over its memory limit of {_size(step['memory_bytes'])}"}
    finally:
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    if model.request is not None and outcome["kind"] != "killed":
        return {"kind": "call", "call_number": model.number, "request": model.request}
    for stream in streams:
        stream.end()
    reports.end()
    return outcome


def _outcome(step: Mapping[str, Any], station: Station, names: dict[str, Any]) -> dict[str, Any]:
    try:
        body = encode(_execute(station.code_of(step["source"]), names, step["bindings"]), step["max_output"])
        return {"kind": "value", "value": orjson.Fragment(body)}
    except BaseException as error:  # the border of a script: every way out of it is an outcome that its task decides on
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            raise MemoryError from error
        if isinstance(error, MemoryError):
            raise
        return {"kind": "error", "error_type": type(error).__name__, "message": _message(error)}


def _execute(code: CodeType, names: dict[str, Any], bindings: dict[str, Any]) -> Any:
    exec(code, names)  # noqa: S102  running the author's script is what this process is for
    value = names[STEP](bindings)
    if inspect.iscoroutine(value):
        with asyncio.Runner() as runner:
            value = runner.run(value)
    return value


def _names(step: Mapping[str, Any], station: Station, *, reports: Reports, model: Model) -> dict[str, Any]:
    """The globals of the script. An input may hide a helper; nothing hides what the dialect reserves."""
    context = Context(
        step["info"],
        reports=reports,
        wire=station.wire,
        fingerprint_key=station.fingerprint_key,
        names=step["names"],
    )
    return {
        **station.helpers,
        **{name: _remote(name, station.wire) for name in station.host_functions},
        **{
            name: _Run(value) if name == "run" and isinstance(value, dict) else value
            for name, value in step["names"].items()
        },
        "context": context,
        "logger": Logger(reports),
        "process_with_llm": model.process_with_llm,
        "__name__": "script",
    }


class _Run(dict[str, Any]):
    """The name `run`: `run.id` and `run["id"]` are the same, as they are in templates."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"`run` has {', '.join(self)}, and no {name}") from None


def _remote(name: str, wire: Wire) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return wire.ask("function", name=name, args=args, kwargs=kwargs)
        except AskFailed as error:
            raise HostFunctionError(f"{error.error_type}: {error}") from None

    call.__name__ = call.__qualname__ = name
    return call


def _message(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"{told(error)} (a script may not leave by sys.exit; use return)"
    return told(error)


def _size(memory_bytes: int) -> str:
    """In the largest unit of which it is a whole number."""
    unit = next(unit for unit, size in _UNITS.items() if memory_bytes % size == 0)
    return f"{memory_bytes // _UNITS[unit]:,} {unit}"
