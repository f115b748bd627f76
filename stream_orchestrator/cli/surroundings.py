"""The settings of the command that runs: `--env`, `--config`, the environment's file, variables. Read once.

Promise: whatever asks here during one command gets the same answer, and what is doubtful was said once, on stderr.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream_orchestrator.spec.config import Configuration

PREFIX = "STREAM_ORCHESTRATOR__"
PARTITIONS, PARTITIONS_EMBEDDED = 8, 4


@dataclass(slots=True)
class _Choice:
    """What the command line said, and what came of it."""

    env: str = ""
    file: Path | None = None
    loaded: Configuration | None = None


_CHOICE: ContextVar[_Choice] = ContextVar("choice", default=_Choice())  # noqa: B039  # replaced, never changed


def choose(env: str = "", file: Path | None = None) -> None:
    """Begin a command: nothing of an earlier one is left."""
    _CHOICE.set(_Choice(env, file))


def configured(near: Sequence[Path] = (), *, quietly: bool = False) -> Configuration:
    """The settings; those of the first call of a command, whose paths say where the file is looked for."""
    choice = _CHOICE.get()
    if choice.loaded is not None:
        return choice.loaded
    from stream_orchestrator.spec.config import load

    config = load(env=choice.env, file=choice.file, near=near)
    _CHOICE.set(_Choice(choice.env, choice.file, config))
    if config.problems and not quietly:
        from stream_orchestrator.cli.sources import tell

        tell(config.problems)
    return config


def warn_of_unknown(environ: Mapping[str, str]) -> None:
    """Say which of our settings nobody reads: a typo there is silent otherwise."""
    if not any(name.startswith(PREFIX) for name in environ):
        return
    from difflib import get_close_matches

    from stream_orchestrator.cli.voice import warn
    from stream_orchestrator.spec.config import known_keys, strangers_in, variable_of

    known = [variable_of(tuple(key.split("."))) for key in known_keys()]
    sections = sorted(set(map(_section, known)))
    for name in strangers_in(environ):
        # What all begin with makes any two look alike: a wrong section is compared by itself.
        nearest = get_close_matches(name, known, 1)
        if _section(name) not in sections:
            nearest = [f"{PREFIX}{each}__..." for each in get_close_matches(_section(name), sections, 1)]
        hint = f"did you mean {nearest[0]}?" if nearest else "`config explain` lists the settings"
        warn(f"there is no setting {name}; it does nothing", hint=hint)


def _section(variable: str) -> str:
    return variable.removeprefix(PREFIX).partition("__")[0]


def wants_traceback() -> bool:
    """Whether errors of commands come with their traceback. Asks for nothing that might fail again."""
    loaded = _CHOICE.get().loaded
    return bool(os.environ.get(f"{PREFIX}CLI__TRACEBACK") or (loaded and loaded.data.get("cli", {}).get("traceback")))


def prefix_of(given: str | None, config: Configuration) -> str:
    """What stands before every topic: `--prefix`, else the setting, else nothing. What no topic may hold is refused."""
    from pydantic import ValidationError

    from stream_orchestrator.errors import UsageError
    from stream_orchestrator.spec.settings import Topics

    if given is None:
        return config.section(Topics).prefix
    try:
        return Topics(prefix=given).prefix
    except ValidationError as wrong:
        detail = wrong.errors()[0]["ctx"]
        raise UsageError(detail["message"], hint=detail["hint"]) from wrong


def partitions_of(config: Configuration, *, embedded: bool) -> int:
    """How many partitions new topics get."""
    from stream_orchestrator.spec.settings import Topics

    return config.section(Topics).partitions or (PARTITIONS_EMBEDDED if embedded else PARTITIONS)
