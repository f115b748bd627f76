"""`init [NAME]`: a new pipeline, with sample events and tests."""

from __future__ import annotations

import os
import sys
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from stream_orchestrator.cli import voice
from stream_orchestrator.cli.building import command
from stream_orchestrator.cli.listing import PROGRAM
from stream_orchestrator.cli.options import Json

DEFAULT = "classify"


def init(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The pipeline's name", show_default=False)] = None,
    template: Annotated[
        str | None, typer.Option(metavar="TEMPLATE", help="classify, fan-out or script", show_default=False)
    ] = None,
    output: Annotated[Path, typer.Option(metavar="FOLDER", help="Where its files go")] = Path(),
    description: Annotated[str, typer.Option(metavar="TEXT", help="What it is for", show_default=False)] = "",
    author: Annotated[str, typer.Option(metavar="TEXT", help="Who writes it", show_default=False)] = "",
    contact: Annotated[str, typer.Option(metavar="TEXT", help="Whom to ask about it", show_default=False)] = "",
    url: Annotated[str, typer.Option(metavar="URL", help="Where more is written", show_default=False)] = "",
    as_json: Json = False,
) -> int:
    """Make a new pipeline from a template

    Writes the pipeline, sample events and a test suite; they validate and run offline at once. On a terminal it
    asks for what no option says.
    """
    from stream_orchestrator.cli.templating import Answers, made

    asks = sys.stdin.isatty() and not as_json
    name, template = _named(name, asks), _chosen(template, asks)
    answers = Answers(
        name,
        _asked("What is it for", description, "", asks),
        _asked("Who writes it", author, "TODO: who writes it", asks),
        _asked("Whom to ask about it", contact, "TODO: whom to ask", asks),
        url or "README.md",
        date.today().isoformat(),
    )
    paths = _write(output, made(template, answers))
    if as_json:
        voice.emit({"template": template, "files": [str(path) for path in paths]})
    else:
        _tell(paths)
    return 0


def _named(name: str | None, asks: bool) -> str:
    from stream_orchestrator.errors import UsageError

    given = name if name is not None else _asked("Name of the pipeline", "", "", asks)
    if not given.strip():
        raise UsageError("a pipeline needs a name", hint=f'{PROGRAM} init "Order Check" --template script')
    return given.strip()


def _chosen(template: str | None, asks: bool) -> str:
    from stream_orchestrator.cli.templating import templates

    if template is None and asks:
        for known, content in templates().items():
            voice.say(f"  {known:<10} {content['summary']}")
    return template or _asked("Template", "", DEFAULT, asks)


def _asked(question: str, given: str, default: str, asks: bool) -> str:
    if given or not asks:
        return given or default
    answer: Any = typer.prompt(question, default=default, show_default=bool(default), err=True)
    return str(answer).strip() or default


def _write(folder: Path, texts: dict[str, str]) -> list[Path]:
    """Write the files, all or none: one that is there is never replaced."""
    from stream_orchestrator.errors import UsageError

    paths = {folder / name: text for name, text in texts.items()}
    there = [str(path) for path in paths if os.path.exists(path)]
    if there:
        raise UsageError(f"{', '.join(there)} is there already", hint="give another NAME, or another --output folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as failed:
        raise UsageError(f"cannot make the folder {folder}: {failed.strerror}", hint="name another one") from failed
    for path, text in paths.items():
        path.write_text(text, encoding="utf-8")
    return list(paths)


def _tell(paths: list[Path]) -> None:
    for path in paths:
        voice.show(str(path))
    pipeline, events, tests = paths
    voice.say(
        f"\ntry it:\n"
        f"  {PROGRAM} run {pipeline} --input {events} --output - --offline\n"
        f"  {PROGRAM} test {tests}\n"
        f"  {PROGRAM} lint {pipeline}"
    )


app = command(
    init,
    'init "Order Check" --template script --output pipelines/staging',
    'init "Ticket Sorter" --template classify --author "Data team" --contact data@example.org',
)
