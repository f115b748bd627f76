"""Errors for people: what failed, why, what to do next, and the exit code that scripts read."""

from __future__ import annotations

import errno
import sys
import tempfile
import traceback
from collections.abc import Iterator

import typer

from stream_orchestrator.cli import voice
from stream_orchestrator.cli.surroundings import PREFIX, wants_traceback
from stream_orchestrator.errors import OrchestratorError, SpecError


def explain(error: Exception) -> int:
    """Say on stderr what went wrong; the exit code of the process."""
    if wants_traceback():
        traceback.print_exception(error)
    if isinstance(error, typer.TyperException):
        return _usage(error)
    if isinstance(error, SpecError) and error.problems:
        _problems(error)
        return error.exit_code
    if isinstance(error, OrchestratorError):
        voice.fail(str(error), hint=error.hint)
        for cause in _causes(error):
            voice.say(f"cause: {voice.printable(cause)}")
        return error.exit_code
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        voice.fail(f"cannot write: {error.strerror}", hint="make room where the output and the temporary files go")
        return 1
    if isinstance(error, typer.Abort):
        return 1
    return _surprise(error)


def _usage(error: typer.TyperException) -> int:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "stream-orchestrator"
    message = error.format_message().strip().rstrip(".")
    voice.fail(message[:1].lower() + message[1:], hint=f"`{path} --help` shows what it takes")
    return error.exit_code


def _problems(error: SpecError) -> None:
    from stream_orchestrator.spec.problems import Problem, render

    for problem in error.problems:
        if isinstance(problem, Problem):
            voice.say(voice.painted(voice.printable(render(problem))) + "\n")


def _causes(error: BaseException) -> Iterator[str]:
    """What stands behind an error and is not yet said: a message never repeats its cause, and we say nothing twice."""
    said = str(error)
    while (cause := error.__cause__) is not None:
        text = str(cause).strip()
        # Of foreign errors only the system's speak to people; a parser's or a client's was said in our words.
        if text and text not in said and isinstance(cause, OSError | OrchestratorError):
            yield f"{type(cause).__name__}: {text}"
        said += text
        error = cause


def _surprise(error: Exception) -> int:
    """Our own fault: one line for the person, the traceback for whoever mends it."""
    name = type(error).__name__
    voice.fail(f"stream-orchestrator failed in a way that nobody foresaw: {name}: {error}", hint=_details(error))
    return 1


def _details(error: Exception) -> str:
    try:
        handle, path = tempfile.mkstemp(prefix="stream-orchestrator-", suffix=".txt")
    except OSError:
        return f"run it again with {PREFIX}CLI__TRACEBACK=1 to see where"
    with open(handle, "w", encoding="utf-8") as file:
        file.write(f"{' '.join(sys.argv)}\n\n")
        traceback.print_exception(error, file=file)
    return f"{path} says where; send it along when you report this"
