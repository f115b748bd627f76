"""`fmt PATH…`: every document in its one form."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stream_orchestrator.cli import voice
from stream_orchestrator.cli.building import command
from stream_orchestrator.cli.options import Json, Paths

DIFFERS, WRONG = 1, 2


def fmt(
    paths: Paths,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit code 1 if a file would change")] = False,
    as_json: Json = False,
) -> int:
    """Format documents in place

    Keys in one order, even indentation, scripts of several lines as blocks. Comments stay where they belong, and
    nothing is written unless the document compiles to the same plan as before. Prints the files that changed.
    """
    from stream_orchestrator.plan.loading import files_of

    changed: list[str] = []
    broken: list[str] = []
    for file in dict.fromkeys(each for path in paths for each in files_of(path)):
        outcome = _one(file, check)
        changed += [str(file)] if outcome == DIFFERS else []
        broken += [str(file)] if outcome == WRONG else []
    if as_json:
        voice.emit({"ok": not broken and not (check and changed), "changed": changed, "broken": broken})
    else:
        for name in changed:
            voice.show(name)
    if broken:
        return WRONG
    return DIFFERS if check and changed else 0


def _one(file: Path, check: bool) -> int:
    """0: it has its form; DIFFERS: it had not; WRONG: it is no document that can have one."""
    from stream_orchestrator.cli.failures import explain
    from stream_orchestrator.plan.fmt import Unformattable, formatted
    from stream_orchestrator.plan.lint.fixing import write
    from stream_orchestrator.spec.documents import read_file

    try:
        text = file.read_bytes().decode("utf-8")
        made = formatted(text, file=str(file))
    except UnicodeDecodeError as wrong:
        problems = tuple(problem for each in read_file(file) for problem in each.problems)
        return explain(Unformattable(f"{file} is not UTF-8 text: {wrong.reason}", problems=problems))
    except Unformattable as wrong:
        return explain(wrong)
    if made == text:
        return 0
    if not check:
        write(file, made)
    return DIFFERS


app = command(fmt, "fmt pipelines", "fmt --check pipelines/production")
