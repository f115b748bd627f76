"""`schema [KIND]`: what an editor needs to help with writing."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from stream_orchestrator.cli import voice
from stream_orchestrator.cli.building import command
from stream_orchestrator.cli.options import Json


def schema(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="pipeline, component, test_suite or another kind of document")
    ] = "pipeline",
    as_json: Json = False,
) -> int:
    """Print the JSON Schema of a kind of document

    Editors with a YAML language server use it to complete and to check while you write.
    """
    from stream_orchestrator.spec.schema import json_schema

    made = json_schema(kind)
    if as_json:
        voice.emit(made)
    else:
        voice.show(json.dumps(made, indent=2, ensure_ascii=False))
    return 0


app = command(schema, "schema > pipeline.schema.json", "schema test_suite")
