"""Filling a JSON Schema from a text, without a model: what the text says by name is taken, the rest is made to fit.

Promise: the value is valid under the schema, or `CannotFill` is raised (a `pattern` is not solved, only tried).
"""

from __future__ import annotations

import math
import re
from typing import Any

import jsonschema_rs

from stream_orchestrator.calls import offline_text

_DEPTH = 12
_FORMATS = {
    "date-time": "2000-01-01T00:00:00Z", "date": "2000-01-01", "time": "00:00:00Z", "email": "offline@example.com",
    "uri": "https://example.com/", "uuid": "00000000-0000-4000-8000-000000000000", "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1", "hostname": "example.com", "duration": "PT0S",
}  # fmt: skip
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_YES = frozenset({"true", "yes", "1", "on"})


class CannotFill(Exception):
    """No valid value was found; the message says which schema and why, in the validator's words."""


def fill(schema: dict[str, Any], text: str) -> Any:
    """A value for the schema: deterministic, and valid."""
    value = _Filler(schema, text).value(schema, "", 0)
    try:
        jsonschema_rs.validate(schema, value)
    except (jsonschema_rs.ValidationError, ValueError) as error:
        raise CannotFill(str(error).splitlines()[0]) from error
    return value


class _Filler:
    def __init__(self, root: dict[str, Any], text: str) -> None:
        self._root = root
        self._text = text

    def value(self, schema: Any, name: str, depth: int) -> Any:
        """A value for a part of the schema; `name` is the property that it stands in."""
        if not isinstance(schema, dict):
            return None
        schema = self._resolved(schema)
        for fixed in ("const", "default"):
            if fixed in schema:
                return schema[fixed]
        if schema.get("enum"):
            return self._one_of(schema["enum"], name)
        for kind in _types(schema):
            return self._of_type(kind, schema, name=name, depth=depth)
        return offline_text.summary(self._text, limit=1)

    def _of_type(self, kind: str, schema: dict[str, Any], *, name: str, depth: int) -> Any:
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, name, depth)
            case "string":
                return self._string(schema, name)
            case "integer" | "number":
                return _number(schema, self._said(name), integer=kind == "integer")
            case "boolean":
                return (self._said(name) or "").lower() in _YES
            case _:
                return None

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        """References followed, `allOf` merged, the first of `anyOf` and `oneOf` taken that is not null."""
        for _ in range(_DEPTH):
            if isinstance(schema.get("$ref"), str):
                rest = {key: value for key, value in schema.items() if key != "$ref"}
                schema = {**_pointed_at(self._root, schema["$ref"]), **rest}
            elif schema.get("allOf"):
                schema = _merged(schema, "allOf", schema["allOf"])
            elif several := schema.get("anyOf") or schema.get("oneOf"):
                key = "anyOf" if schema.get("anyOf") else "oneOf"
                best = next((one for one in several if isinstance(one, dict) and one.get("type") != "null"), several[0])
                schema = _merged(schema, key, [best])
            else:
                break
        return schema

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties")
        properties = properties if isinstance(properties, dict) else {}
        required = [name for name in schema.get("required", ()) if isinstance(name, str)]
        # A schema may contain itself: deep down only what it demands is filled, so that it ends.
        wanted = list(dict.fromkeys([*properties, *required])) if depth < 3 else required
        if depth > _DEPTH:
            raise CannotFill("the schema demands itself without end")
        extra = schema.get("additionalProperties", True)
        return {name: self.value(properties.get(name, extra or {}), name, depth + 1) for name in wanted}

    def _array(self, schema: dict[str, Any], name: str, depth: int) -> list[Any]:
        least, most = int(schema.get("minItems", 0)), int(schema.get("maxItems", 5))
        prefix = [self.value(part, name, depth + 1) for part in schema.get("prefixItems", ())]
        items = schema.get("items", {})
        if depth > _DEPTH:
            raise CannotFill("the schema demands itself without end")
        resolved = self._resolved(items) if isinstance(items, dict) else {}
        if _types(resolved) == ["string"] and not {"enum", "const", "format", "pattern"} & resolved.keys():
            found = offline_text.keywords(self._text, max(least, min(most, 5)))
            found += [f"item {n}" for n in range(1, least - len(found) + 1)]
            return prefix + [_fitted(word, resolved) for word in found[: max(0, most - len(prefix))]]
        enum = resolved.get("enum")
        if enum and schema.get("uniqueItems"):
            return prefix + list(enum)[:least]
        return prefix + [self.value(items, name, depth + 1) for _ in range(least - len(prefix))]

    def _string(self, schema: dict[str, Any], name: str) -> str:
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        return _fitted(self._said(name) or offline_text.summary(self._text, limit=1), schema)

    def _one_of(self, values: list[Any], name: str) -> Any:
        said = (self._said(name) or "").lower()
        texts = [value for value in values if isinstance(value, str)]
        for text in texts:
            if text.lower() == said:
                return text
        return offline_text.choose(texts, self._text) if texts else values[0]

    def _said(self, name: str) -> str | None:
        """What the text says under a name: `name: value`, `"name": "value"`, `name = value`, `name is value`."""
        if not name:
            return None
        spelled = re.escape(name).replace("_", "[_ -]?")
        match = re.search(
            rf"\b{spelled}[\"']?\s*(?::|=|\bis\b)\s*(?:\"([^\"\n]*)\"|'([^'\n]*)'|([^,;\n}}\]]+))", self._text, re.I
        )
        if match is None:
            return None
        return next(part for part in match.groups() if part is not None).strip().rstrip(".")


def _types(schema: dict[str, Any]) -> list[str]:
    """The types to try, in order; what has properties is an object, though it may not say so."""
    kind = schema.get("type")
    if isinstance(kind, str):
        return [kind]
    if isinstance(kind, list):
        return [one for one in kind if one != "null"] or ["null"]
    if "properties" in schema or "required" in schema:
        return ["object"]
    if "items" in schema or "prefixItems" in schema:
        return ["array"]
    return ["number"] if {"minimum", "maximum", "multipleOf"} & schema.keys() else []


def _pointed_at(root: dict[str, Any], reference: str) -> dict[str, Any]:
    target: Any = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        if part:
            target = target.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(target, dict) else None
    if not isinstance(target, dict):
        raise CannotFill(f"the reference {reference} points at nothing")
    return target


def _merged(schema: dict[str, Any], key: str, parts: list[Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {name: value for name, value in schema.items() if name != key}
    for part in parts:
        for name, value in part.items() if isinstance(part, dict) else ():
            if name == "properties":
                merged[name] = {**merged.get(name, {}), **value}
            elif name == "required":
                merged[name] = [*merged.get(name, []), *value]
            else:
                merged[name] = value
    return merged


def _number(schema: dict[str, Any], said: str | None, *, integer: bool) -> float | int:
    """The number in what was said, moved to the nearest one that the bounds allow."""
    match = _NUMBER.search(said or "")
    value = float(match[0]) if match else 0.0
    step = float(schema.get("multipleOf") or (1.0 if integer else 0.0))
    low = float(schema.get("minimum", -math.inf))
    high = float(schema.get("maximum", math.inf))
    nudge = step or 1e-6
    if isinstance(schema.get("exclusiveMinimum"), (int, float)):
        low = max(low, schema["exclusiveMinimum"] + nudge)
    if isinstance(schema.get("exclusiveMaximum"), (int, float)):
        high = min(high, schema["exclusiveMaximum"] - nudge)
    value = min(max(value, low), high)
    if step:
        value = (math.ceil if value == low else math.floor)(value / step) * step
    return int(value) if integer or value.is_integer() else value


def _fitted(text: str, schema: dict[str, Any]) -> str:
    """Cut to `maxLength`, filled up to `minLength`."""
    text = text[: int(schema.get("maxLength", 2_000))]
    return text.ljust(int(schema.get("minLength", 0)), ".")
