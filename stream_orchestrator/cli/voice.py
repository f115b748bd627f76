"""How we speak: data on stdout, talk on stderr, colour only where somebody sees it.

Promises
  * Nothing here writes talk to stdout, and nothing is told by colour alone.
  * `NO_COLOR` is obeyed; a file, a pipe and a dumb terminal get plain text.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_CODES = {"error": "1;31", "warning": "1;33", "hint": "1;36"}


def emit(document: Any) -> None:
    """One JSON document on stdout, on one line."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")


def show(text: str) -> None:
    """Lines for a person or a pipe, on stdout."""
    sys.stdout.write(text + "\n")


def flush() -> None:
    """All that was written is out."""
    sys.stdout.flush()
    sys.stderr.flush()


def say(text: str) -> None:
    """Talk, on stderr."""
    sys.stderr.write(text + "\n")


def warn(message: str, *, hint: str = "") -> None:
    """Something a person should know, on stderr."""
    say(_said("warning", message, hint))


def fail(message: str, *, hint: str = "") -> None:
    """Why it did not work, and the next step, on stderr."""
    say(_said("error", message, hint))


def coloured(stream: IO[str]) -> bool:
    """Whether colour may be used there."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def painted(text: str, stream: IO[str] | None = None) -> str:
    """The text with its leading words (`error:`, `warning:`, `hint:`) coloured, where colour may be used."""
    if not coloured(stream or sys.stderr):
        return text
    return "\n".join(_paint(line) for line in text.split("\n"))


def console(*, data: bool = False) -> Console:
    """Rich's console, for tables and progress: on stderr, or with `data` on stdout."""
    from rich.console import Console

    stream = sys.stdout if data else sys.stderr
    plain = not coloured(stream)
    # A pipe has no width: a table that is cut at 80 characters there has lost its data.
    width = None if stream.isatty() else int(os.environ.get("COLUMNS") or 200)
    return Console(file=stream, no_color=plain, color_system=None if plain else "auto", width=width, highlight=False)


def table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, data: bool = True, right: Sequence[str] = ()
) -> None:
    """A plain table, on stdout unless told otherwise. `right` names the columns of numbers."""
    from rich.table import Table

    grid = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        grid.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(_cell(value) for value in row))
    console(data=data).print(grid)


def _cell(value: object) -> str:
    from rich.markup import escape

    return escape(printable(str(value)))


def printable(text: str) -> str:
    """Text from elsewhere, without what could drive a terminal."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)


def _said(kind: str, message: str, hint: str) -> str:
    lines = [f"{kind}: {printable(message)}"]
    if hint:
        first, *more = printable(hint).split("\n")
        lines += ["", f"hint: {first}", *(f"      {line}" for line in more)]
    return painted("\n".join(lines))


def _paint(line: str) -> str:
    word, colon, rest = line.partition(":")
    return f"\x1b[{_CODES[word]}m{word}:\x1b[0m{rest}" if colon and word in _CODES else line
