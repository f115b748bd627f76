"""Output schemas on the wire: both services want an object at the root, and ours may be anything."""

from __future__ import annotations

from typing import Any

WRAPPED = "value"


def is_wrapped(schema: dict[str, Any]) -> bool:
    """Whether a schema must be wrapped: its root is not plainly an object."""
    return schema.get("type") != "object"


def as_object(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema itself, or an object with the one property `value`; `$defs` stay at the root for its references."""
    if not is_wrapped(schema):
        return schema
    definitions: dict[str, Any] = {name: schema[name] for name in ("$defs", "definitions") if name in schema}
    inner = {name: value for name, value in schema.items() if name not in {"$defs", "definitions", "$schema", "$id"}}
    return {
        "type": "object",
        "properties": {WRAPPED: inner},
        "required": [WRAPPED],
        "additionalProperties": False,
        **definitions,
    }


def unwrapped(value: Any, schema: dict[str, Any]) -> Any:
    """The value that the schema is about. A service that ignored the wrapping is taken at its word."""
    if is_wrapped(schema) and isinstance(value, dict) and set(value) == {WRAPPED}:
        return value[WRAPPED]
    return value
