"""JSON Schema of every document kind, for editors: made from the same models that validate."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from stream_orchestrator.errors import UsageError
from stream_orchestrator.spec import kinds

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def kinds_of_documents() -> tuple[str, ...]:
    """The names that `json_schema` knows."""
    return tuple(kinds.BY_NAME)


def json_schema(kind: str = kinds.PIPELINE) -> dict[str, Any]:
    """The schema of a document kind; an unknown kind is a `UsageError`."""
    if kind not in kinds.BY_NAME:
        nearest = get_close_matches(kind, list(kinds.BY_NAME), 1)
        guess = f"did you mean `{nearest[0]}`? " if nearest else ""
        raise UsageError(f"there is no kind of document `{kind}`", hint=f"{guess}kinds: {', '.join(kinds.BY_NAME)}")
    schema = kinds.BY_NAME[kind].model.model_json_schema()
    return {"$schema": DIALECT, **_tidy(schema)}


def _tidy(schema: Any) -> Any:
    """Without what editors show and nobody wrote: generated titles, `default: null`, and alternatives of null."""
    if isinstance(schema, list):
        return [_tidy(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {
        key: _properties(value) if key in ("properties", "$defs") else _tidy(value)
        for key, value in schema.items()
        if not (key == "title" and isinstance(value, str)) and not (key == "default" and value is None)
    }
    return _without_null(kept)


def _properties(properties: dict[str, Any]) -> dict[str, Any]:
    # A property may be called `title` or `default`: names are not keywords.
    return {name: _tidy(value) for name, value in properties.items()}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    alternatives = schema.get("anyOf")
    if not isinstance(alternatives, list):
        return schema
    left = [option for option in alternatives if option != {"type": "null"}]
    if len(left) == 1 and len(alternatives) == 2:
        return {**left[0], **{key: value for key, value in schema.items() if key != "anyOf"}}
    return {**schema, "anyOf": left}
