"""What an event must be to become a run. Order: size, parse, sanitise, validate; `kernel.privacy` anonymises after.

Promises
  * `check` is a pure function of the bytes: the same payload is accepted or refused in the same words for ever.
  * Nothing is coerced, and no number changes: what JSON says beyond 64 bits is refused.
  * Time is linear in the payload, whatever patterns and schemas say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from stream_orchestrator.errors import RunError
from stream_orchestrator.spec.fields import kind_name
from stream_orchestrator.spec.pipeline import InputValidation, Variable
from stream_orchestrator.spec.sanitizing import sanitized
from stream_orchestrator.spec.scalars import holds_large_integer
from stream_orchestrator.spec.uploads import Brought, FileRules
from stream_orchestrator.spec.variables import VariableRule, compile_variable

Reason = Literal["not_json", "invalid_input", "too_large"]

MAX_DEPTH = 100
_WRITER_DEPTH = 254  # orjson writes so many levels; the rest is for what results wrap around a value
_SHOWN_ERRORS = 20


class InvalidInput(RunError):
    """An event that can be no run. `reason` is the dead letter's; `errors` name variables and rules, not values."""

    def __init__(self, reason: Reason, errors: tuple[str, ...]) -> None:
        more = len(errors) - _SHOWN_ERRORS
        shown = (*errors[:_SHOWN_ERRORS], f"and {more} more") if more > 0 else errors
        super().__init__("; ".join(shown))
        self.reason: Reason = reason
        self.errors = errors


@dataclass(frozen=True, slots=True)
class InputRules:
    """The compiled `input_variables` and `input_validation` of a plan."""

    variables: tuple[VariableRule, ...] = ()
    enabled: bool = True
    strict: bool = False
    max_bytes: int | None = None
    sanitize: bool = False
    anonymize: bool = False

    @classmethod
    def from_plan(
        cls, inputs: Mapping[str, Any], input_validation: Mapping[str, Any], *, anonymize: bool = False
    ) -> InputRules:
        """From the document's own maps, which compiling has checked."""
        asks = InputValidation.model_validate(dict(input_validation))
        return cls(
            variables=tuple(compile_variable(name, Variable.model_validate(raw)) for name, raw in inputs.items()),
            enabled=asks.enabled is not False,
            strict=bool(asks.strict_mode),
            max_bytes=asks.max_input_size,
            sanitize=bool(asks.sanitization),
            anonymize=anonymize,
        )

    @property
    def scans(self) -> bool:
        """Whether a variable asks for the virus scanner."""
        return any(rule.file is not None and rule.file.scanned for rule in self.variables)

    @property
    def has_files(self) -> bool:
        """Whether an event may name files, which are fetched and scanned before it is checked."""
        return any(rule.file is not None for rule in self.variables)

    def to_bring(self, raw: bytes) -> dict[str, tuple[FileRules, dict[str, Any]]]:
        """The files of a payload that have to be fetched or scanned; none of a payload that is broken anyway."""
        if not self.has_files or (self.max_bytes is not None and len(raw) > self.max_bytes):
            return {}
        try:
            payload = parse(raw)
        except InvalidInput:
            return {}
        asked = ((rule.name, rule.file) for rule in self.variables if rule.file is not None and rule.name in payload)
        return {name: (rules, payload[name]) for name, rules in asked if rules.needs(payload[name])}

    def check(self, raw: bytes, brought: Brought | None = None) -> dict[str, Any]:
        """The variables' values, then undeclared keys of the payload; else `InvalidInput` with all that is wrong.

        `brought` are the contents of files that were fetched, and which were scanned.
        """
        if self.max_bytes is not None and len(raw) > self.max_bytes:
            said = f"the payload has {len(raw)} bytes, at most {self.max_bytes} are allowed (max_input_size)"
            raise InvalidInput("too_large", (said,))
        values, _, errors = self._read(raw, brought or {})
        if errors:
            raise InvalidInput("invalid_input", tuple(errors))
        return values

    def admitted(self, raw: bytes, brought: Brought | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """`(values, names)` of a payload that was checked before: the same values, and all names that the input binds:
        its values, and `input_data`, the whole payload unless a key is called so.

        `input_data` holds what was checked and sanitised, without the defaults. A payload that was anonymised since
        need not pass again: a mark may be longer, or another text, than the rules allow.
        """
        values, keys, errors = self._read(raw, brought or {})
        if errors and not self.anonymize:
            raise InvalidInput("invalid_input", tuple(errors))
        given = {key: values[key] for key in keys}
        return values, values if "input_data" in values else {**values, "input_data": given}

    def _read(self, raw: bytes, brought: Brought) -> tuple[dict[str, Any], Iterable[str], list[str]]:
        """The values, the keys that the payload has of its own, and what is wrong."""
        payload = parse(raw)
        if self.sanitize:
            payload = sanitized(payload)
        errors: list[str] = []
        values = {rule.name: self._value(rule, payload, errors, brought) for rule in self.variables}
        errors.extend(self._undeclared(payload))
        return {**values, **{key: value for key, value in payload.items() if key not in values}}, payload, errors

    def undeclared(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """Keys that are no variable; none where the document declares none."""
        declared = {rule.name for rule in self.variables}
        return tuple(key for key in values if key not in declared) if declared else ()

    def _value(self, rule: VariableRule, payload: dict[str, Any], errors: list[str], brought: Brought) -> Any:
        if rule.name not in payload:
            if rule.required and self.enabled:
                errors.append(f"`{rule.name}` is required and missing (required)")
            return rule.fresh_default()
        value = payload[rule.name]
        if rule.sanitize and not self.sanitize:
            value = sanitized(value)
        nothing_is_fine = value is None and not rule.required and rule.default is None
        if rule.file is not None and not nothing_is_fine:
            # Also where `enabled: false` lets all else through: a script gets a file, or nothing.
            file, said = rule.file.read(value, brought.get(rule.name))
            errors.extend([f"`{rule.name}` {said}"] if said else [])
            return file
        if self.enabled and not nothing_is_fine:
            errors.extend(f"`{rule.name}` {said}" for said in rule.wrong(value))
        return value

    def _undeclared(self, payload: dict[str, Any]) -> Iterator[str]:
        if self.strict and self.enabled:
            for key in self.undeclared(payload):
                yield f"`{key[:100]}` is not an input variable (strict_mode)"


def parse(raw: bytes) -> dict[str, Any]:
    """The JSON object that a payload is; else `InvalidInput`. Of two equal keys the last counts."""
    try:
        payload = orjson.loads(raw)
    except orjson.JSONDecodeError as wrong:
        raise InvalidInput("not_json", (f"the payload is not JSON: {wrong}",)) from wrong
    if not isinstance(payload, dict):
        said = f"the payload must be a JSON object (a map), not {kind_name(payload)}"
        raise InvalidInput("invalid_input", (said,))
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _too_deep(payload):
        raise InvalidInput("invalid_input", (f"the payload is nested more than {MAX_DEPTH} levels deep",))
    if holds_large_integer(raw):
        raise InvalidInput("invalid_input", ("an integer in the payload has more than 64 bits; send it as text",))
    return payload


def _too_deep(value: Any) -> bool:
    # The writer counts levels in C, 50 times faster than a walk here: leave it `MAX_DEPTH` of its own.
    for _ in range(_WRITER_DEPTH - MAX_DEPTH):
        value = [value]
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError:
        return True
    return False
