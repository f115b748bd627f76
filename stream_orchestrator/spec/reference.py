"""The tables of `docs/dialect.md`, made from the models.

`python -m stream_orchestrator.spec.reference docs/dialect.md` makes them anew; a test fails when they are out of date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from stream_orchestrator.spec import kinds, pipeline, tasks
from stream_orchestrator.spec.schema import DIALECT
from stream_orchestrator.spec.translate import built_keys
from stream_orchestrator.spec.unbuilt import TABLE

BEGIN = "<!-- generated: do not edit below -->"
END = "<!-- generated: do not edit above -->"

# Built keys of a pipeline, outermost first; other kinds are what `schema KIND` prints.
SECTIONS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("At the top", pipeline.Pipeline),
    ("`changelog[]`", pipeline.Change),
    ("`input_variables.<name>`", pipeline.Variable),
    ("`input_variables.<name>.validation`", pipeline.Validation),
    ("`input_validation`", pipeline.InputValidation),
    ("`model_strategy`, `model_settings`", pipeline.ModelStrategy),
    ("`model_tier_strategy.<tier>`", pipeline.ModelTier),
    ("`resource_management`", pipeline.ResourceManagement),
    ("`state_management`", pipeline.StateManagement),
    *((f"`tasks[]` of type `{name}`", model) for model, name in tasks.NAMES.items()),
    ("`tasks[].auth` of an `api_task`", tasks.ApiAuth),
    ("`tasks[].pipelines[]`", tasks.SubPipeline),
    ("`tasks[]` of an installed type", tasks.CustomTask),
    ("`tasks[].error_handling`", tasks.ErrorHandling),
    ("`tasks[].error_handling.circuit_breaker`", tasks.CircuitBreaker),
    ("`tasks[].error_handling.retry_policy`", tasks.RetryPolicy),
    ("`tasks[].resource_limits`", tasks.ResourceLimits),
    ("`tasks[].sandbox`", tasks.Sandbox),
)


def reference() -> str:
    """All tables, as Markdown."""
    parts = [*(_section(title, model) for title, model in SECTIONS), _other_kinds(), _unbuilt()]
    return "\n".join(parts)


def renewed(document: str) -> str:
    """The document with its generated part made anew."""
    before, rest = document.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    return f"{before}{BEGIN}\n\n{reference()}\n{END}{after}"


def _section(title: str, model: type[BaseModel]) -> str:
    rows = [f"| `{name}` | {kind} | {meaning} |" for name, kind, meaning in _rows(model)]
    return "\n".join([f"### {title}", "", "| key | value | what it means |", "|---|---|---|", *rows, ""])


def _rows(model: type[BaseModel]) -> Iterator[tuple[str, str, str]]:
    schema = model.model_json_schema()
    shapes = schema.get("properties") or schema["$defs"][model.__name__]["properties"]
    for name in built_keys(model):
        field = next(field for key, field in model.model_fields.items() if name in (key, field.alias))
        kind = _kind(shapes[name]) + (", required" if field.is_required() else "")
        yield name, kind, (field.description or "").replace("|", "\\|")


def _kind(schema: dict[str, Any]) -> str:
    """What may stand there, in a word or two."""
    if "$ref" in schema:
        return "map"
    if "enum" in schema:
        return " or ".join(f"`{each}`" for each in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "anyOf" in schema or "oneOf" in schema:
        options = schema.get("anyOf") or schema["oneOf"]
        return " or ".join(dict.fromkeys(_kind(each) for each in options if each.get("type") != "null"))
    if schema.get("type") == "array":
        return "list"
    types = schema.get("type", "anything")
    return " or ".join(_WORDS.get(each, each) for each in ([types] if isinstance(types, str) else types))


_WORDS = {"string": "text", "object": "map", "integer": "whole number", "boolean": "true or false", "array": "list"}


_IDLE = ("deployment", "monitoring")  # kinds that are checked, and that nothing carries out


def _other_kinds() -> str:
    names = ", ".join(f"`{kind.name}`" for kind in kinds.KINDS if kind.name != kinds.PIPELINE)
    idle = " and ".join(f"`{name}`" for name in _IDLE)
    return (
        "### Other kinds of documents\n\n"
        f"{names}: `validate` checks them all. [Tests](testing.md) are run by `test`; {idle} are not carried out yet.\n"
        f"`stream-orchestrator schema KIND` prints their JSON Schema ({DIALECT}).\n"
    )


def _unbuilt() -> str:
    rows = [
        f"| {row.place} | `{row.key}` | {'error' if row.matters else 'warning'} | {row.hint} |"
        for row in sorted(TABLE, key=lambda row: (row.place, not row.matters, row.key))
    ]
    head = "| where | key | then | instead |\n|---|---|---|---|"
    return "\n".join(["### Known, and not built yet", "", head, *rows, ""])


def main(path: str) -> None:
    """Renew the tables of a document in place."""
    document = Path(path)
    document.write_text(renewed(document.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
