"""`graph FILE`: the order that was found, drawn."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from stream_orchestrator.cli import voice
from stream_orchestrator.cli.building import command
from stream_orchestrator.cli.options import File, Functions


class Format(StrEnum):
    """How it is drawn."""

    TERMINAL = "terminal"
    MERMAID = "mermaid"
    DOT = "dot"


def graph(
    file: File,
    style: Annotated[
        Format, typer.Option("--format", help="For a terminal, for Mermaid, or for Graphviz")
    ] = Format.TERMINAL,
    functions: Functions = [],  # noqa: B006  # Typer copies it
) -> int:
    """Draw the graph of a pipeline

    Edges come from `depends_on`, from names in templates, and from tasks that scripts read.
    """
    from stream_orchestrator.cli.sources import read_plan
    from stream_orchestrator.plan import draw

    plan = read_plan(file, functions)
    drawing = {Format.TERMINAL: draw.terminal, Format.MERMAID: draw.mermaid, Format.DOT: draw.dot}[style]
    voice.show(voice.printable(drawing(plan)))
    return 0


app = command(
    graph,
    "graph pipelines/production/support-triage-v1.1.0.yaml",
    "graph pipelines/production/support-triage-v1.1.0.yaml --format mermaid",
)
