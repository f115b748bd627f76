"""`docs FILE`: a page about a pipeline; `docs --inventory FOLDER`: the list of a folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from stream_orchestrator.cli import voice
from stream_orchestrator.cli.building import command
from stream_orchestrator.cli.options import Functions

STALE = 1


def docs(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="A pipeline or component document", show_default=False)
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="PAGE.md", help="Where the page goes, else to stdout", show_default=False)
    ] = None,
    inventory: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Renew the inventory in FOLDER/README.md", show_default=False)
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit code 1 if it would change")] = False,
    functions: Functions = [],  # noqa: B006  # Typer copies it
) -> int:
    """Write a page about a pipeline, or the inventory of a folder

    The page holds the graph, inputs, tasks, costs, topics and changes. The inventory lists pipelines, components and
    tests in the README.md of a folder, between two marks.
    """
    from stream_orchestrator.cli.sources import check_functions
    from stream_orchestrator.errors import UsageError

    check_functions(functions)
    if (file is None) == (inventory is None):
        raise UsageError("name a FILE, or a folder with --inventory", hint="for example: docs --inventory pipelines")
    if inventory is not None:
        from stream_orchestrator.cli.inventory import PAGE, renewed

        return _put(inventory / PAGE, renewed(inventory, functions=functions), check)
    made = _page(file or Path(), functions)
    if output is not None:
        return _put(output, made, check)
    if check:
        raise UsageError("--check compares a page: say which by --output", hint="docs FILE --output PAGE.md --check")
    sys.stdout.write(made)
    return 0


def _page(file: Path, functions: list[str]) -> str:
    from stream_orchestrator.cli.page import page
    from stream_orchestrator.cli.surroundings import configured
    from stream_orchestrator.errors import UsageError
    from stream_orchestrator.plan.loading import load_path
    from stream_orchestrator.spec.problems import raise_errors

    loaded = load_path(file, functions=functions, config=configured([file]))
    raise_errors(tuple(problem for each in loaded for problem in each.problems))
    told = [each for each in loaded if each.kind in ("pipeline", "component")]
    if not told:
        raise UsageError(f"{file} holds neither a pipeline nor a component", hint="name a file with `tasks:`")
    return "\n".join(page(each) for each in told)


def _put(path: Path, text: str, check: bool) -> int:
    """Write a page, or with `check` only compare."""
    from stream_orchestrator.plan.lint.fixing import write

    same = os.path.isfile(path) and path.read_text(encoding="utf-8") == text
    if check:
        if not same:
            voice.fail(f"{path} is not what the documents say", hint="run the same command without --check")
        return 0 if same else STALE
    if not same:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, text) if os.path.isfile(path) else path.write_text(text, encoding="utf-8")
        voice.say(f"wrote {path}")
    return 0


app = command(
    docs,
    "docs pipelines/production/support-triage-v1.1.0.yaml",
    "docs pipelines/production/support-triage-v1.1.0.yaml --output support-triage.md",
    "docs --inventory pipelines --check",
)
