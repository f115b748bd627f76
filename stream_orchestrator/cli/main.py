"""The front door of the command line, and the one exit of every error.

Promises
  * `--help` loads the list of commands and nothing else; a command loads itself and what it needs.
  * Whatever goes wrong ends here: a message, a hint and the exit code of its branch of the error tree. A traceback is
    never the answer to a person; it is written to a file that the message names.
  * Interrupted is 130, after what runs was told to stop. A reader that went away (`| head`) is no error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any

from stream_orchestrator.cli.listing import COMMANDS, HIDDEN, PROGRAM, help_text

if TYPE_CHECKING:
    import typer

USAGE, INTERRUPTED = 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    open_streams()
    try:
        code = _guarded(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _to_nowhere()
        return 0


def open_streams() -> None:
    """Standard streams that were closed lead nowhere: else the next file or socket would get the number of one."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115


def load(name: str) -> typer.Typer:
    """The application of a command."""
    app: typer.Typer = import_module(f"stream_orchestrator.cli.commands.{name.replace('-', '_')}").app
    return app


def _guarded(arguments: list[str]) -> int:
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        return _interrupted()
    except BrokenPipeError:
        raise
    except Exception as error:  # the border of the process: the error goes to the person, in words
        from stream_orchestrator.cli.failures import explain

        return explain(error)


def _run(arguments: list[str]) -> int:
    name = arguments[0] if arguments else ""
    if name in ("", "--help", "-h", "help"):
        print(help_text(), file=sys.stdout if name else sys.stderr)
        return 0 if name else USAGE
    if name == "--version":
        from stream_orchestrator import __version__

        print(f"{PROGRAM} {__version__}")  # noqa: T201
        return 0
    if name not in COMMANDS and name not in HIDDEN:
        return _unknown(name)
    return _command(name, arguments[1:])


def _command(name: str, arguments: list[str]) -> int:
    if name in COMMANDS:
        from stream_orchestrator.cli.surroundings import warn_of_unknown

        warn_of_unknown(os.environ)
    import logging

    import typer

    # What the client says of a broker that is away, we say ourselves; a worker sets up its own log.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL + 1)
    runnable: Any = typer.main.get_command(load(name))
    try:
        # Not `runnable.main`: it has exits of its own, for interrupts and for pipes that are closed.
        with runnable.make_context(f"{PROGRAM} {name}", arguments) as context:
            return int(runnable.invoke(context) or 0)
    except typer.Exit as done:
        return done.exit_code


def _unknown(name: str) -> int:
    from stream_orchestrator.cli.voice import fail

    kind = "option" if name.startswith("-") else "command"
    nearest = get_close_matches(name, COMMANDS, 1)
    guess = f"did you mean `{PROGRAM} {nearest[0]}`?" if nearest else f"`{PROGRAM} --help` lists them"
    fail(f"there is no {kind} `{name}`", hint=guess)
    return USAGE


def _interrupted() -> int:
    from stream_orchestrator.cli.voice import say

    say("interrupted")
    return INTERRUPTED


def _to_nowhere() -> None:
    # The interpreter flushes stdout once more when it ends, and would complain there.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
