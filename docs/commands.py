"""Writes `docs/commands.md`, the reference of every command, from what `--help` says. Run it after changing a command:

python docs/commands.py
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from stream_orchestrator.cli.listing import COMMANDS, PROGRAM, help_text
from stream_orchestrator.cli.main import load

PAGE = Path(__file__).with_name("commands.md")
HEAD = """# Commands
Made from `--help` by `docs/commands.py`. Exit codes and JSON are in the [reference](reference.md).
"""


def helps() -> Iterator[tuple[str, str]]:
    """Every command and subcommand with its help."""
    yield PROGRAM, help_text()
    for name in COMMANDS:
        command: Any = typer.main.get_command(load(name))
        context = command.make_context(f"{PROGRAM} {name}", [], resilient_parsing=True)
        yield f"{PROGRAM} {name}", command.get_help(context)
        for inner, member in getattr(command, "commands", {}).items():
            path = f"{PROGRAM} {name} {inner}"
            yield path, member.get_help(member.make_context(path, [], resilient_parsing=True))


def page() -> str:
    """The whole page."""
    os.environ["COLUMNS"] = "100"  # the same on every terminal
    return HEAD + "".join(f"\n## {name}\n```text\n{text.rstrip()}\n```\n" for name, text in helps())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
