"""One input variable: what its value must be. Compiled once, checked for every event.

Promises
  * A value is accepted as it is or not at all: `"5"` is no integer, `5.0` is no integer, `true` is no number.
  * What is said of a bad value names the rule and never quotes the value, which may be private.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import jsonschema_rs

from stream_orchestrator.spec.fields import kind_name
from stream_orchestrator.spec.located import Path
from stream_orchestrator.spec.patterns import BadPattern, pattern
from stream_orchestrator.spec.pipeline import Validation, Variable
from stream_orchestrator.spec.problems import Severity
from stream_orchestrator.spec.sanitizing import sanitized
from stream_orchestrator.spec.uploads import FileRules

Check = Callable[[Any], str]  # what is wrong with the value, or ""

_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "string": ((str,), "text"),
    "integer": ((int,), "a whole number without a decimal point"),
    "number": ((int, float), "a number"),
    "float": ((int, float), "a number"),
    "boolean": ((bool,), "true or false"),
    "array": ((list,), "a list"),
    "object": ((dict,), "a map"),
    "file": ((dict,), "a file"),
}
_NUMBERS = ("integer", "number", "float")
_APPLIES = {
    "min_length": ("string",),
    "max_length": ("string",),
    "regex": ("string",),
    "minimum": _NUMBERS,
    "maximum": _NUMBERS,
    "min_items": ("array",),
    "max_items": ("array",),
    "sanitization": ("string", "array", "object"),
    "schema": ("string", "array", "object", *_NUMBERS),
    "allowed_extensions": ("file",),
    "max_size": ("file",),
    "virus_scan": ("file",),
}
_PAIRS = (("min_length", "max_length"), ("minimum", "maximum"), ("min_items", "max_items"))
_SCHEMA_ERRORS = 3  # of one value; more help nobody
_REGEX = jsonschema_rs.RegexOptions(size_limit=1 << 20, dfa_size_limit=1 << 20)  # linear time; 1 MB a pattern


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something wrong with the declaration of a variable; `path` begins below the variable."""

    rule: str
    path: Path
    message: str
    hint: str
    severity: Severity = "error"


@dataclass(frozen=True, slots=True)
class VariableRule:
    """A compiled variable. `flaws` are those of its declaration."""

    name: str
    type: str
    required: bool
    has_default: bool
    default: Any
    sanitize: bool
    checks: tuple[Check, ...]
    file: FileRules | None = None
    flaws: tuple[Flaw, ...] = field(default=(), compare=False)

    def wrong(self, value: Any) -> list[str]:
        """What is wrong with a value, in the order of the rules. Of a file: with its shape alone."""
        if self.file is not None:
            return [said] if (said := self.file.shape(value)) else []
        if not is_of_type(value, self.type):
            got = "" if isinstance(value, float) else f", not {kind_name(value)}"
            return [f"must be {_TYPES[self.type][1]}{got} (type)"]
        return [said for said in (check(value) for check in self.checks) if said]

    def fresh_default(self) -> Any:
        """The default, a copy for each event; null when there is none."""
        return copy.deepcopy(self.default)


def is_of_type(value: Any, kind: str) -> bool:
    """True when the value is of that type as it stands. A boolean is no number."""
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _TYPES[kind][0])


def compile_variable(name: str, variable: Variable) -> VariableRule:
    """The rules of a variable; what is wrong with them is in `flaws`, and those rules are left out."""
    flaws: list[Flaw] = []
    checks = [*_options(variable, flaws), *_validation(variable, flaws)]
    given = variable.model_fields_set
    has_default = "default" in given
    asks = variable.validation if isinstance(variable.validation, Validation) else None
    rule = VariableRule(
        name=name,
        type=variable.type,
        required=not has_default if variable.required is None else variable.required,
        has_default=has_default,
        default=variable.default,
        sanitize=bool(asks and asks.sanitization),
        checks=tuple(checks),
        file=FileRules.of(variable) if variable.type == "file" else None,
    )
    return replace(rule, flaws=(*flaws, *_bad_default(rule, variable), *_bad_example(rule, variable)))


def _bad_default(rule: VariableRule, variable: Variable) -> Iterator[Flaw]:
    if not rule.has_default:
        return
    if variable.required:
        hint = "remove `required`, or the default"
        yield Flaw("conflicting-keys", ("default",), f"`{rule.name}` is required, so its default is never used", hint)
    if rule.file is not None and rule.default is not None:
        hint = "leave the default out: a file that is not given is null"
        yield Flaw("bad-default", ("default",), f"`{rule.name}` is a file, which has no default", hint)
        return
    # `default: null` says that nothing is a good value of an optional variable.
    for said in rule.wrong(rule.default) if rule.default is not None else ():
        yield Flaw("bad-default", ("default",), f"the default of `{rule.name}` {said}", "mend the default or the rule")


def _bad_example(rule: VariableRule, variable: Variable) -> Iterator[Flaw]:
    if variable.example is None:
        return
    value = sanitized(variable.example) if rule.sanitize else variable.example
    for said in rule.wrong(value):
        message = f"the example of `{rule.name}` {said}"
        yield Flaw("bad-example", ("example",), message, "mend the example or the rule", "warning")


def _options(variable: Variable, flaws: list[Flaw]) -> Iterator[Check]:
    options = variable.options
    if options is None:
        return
    if not options:
        flaws.append(
            Flaw("bad-value", ("options",), "`options` is empty: no value can be right", "list what it may be")
        )
    if variable.type == "array":
        yield lambda value: "" if all(_among(item, options) for item in value) else _not_among(options, "items ")
        return
    for index, option in enumerate(options):
        if not is_of_type(option, variable.type):
            message = f"this option must be {_TYPES[variable.type][1]}, not {kind_name(option)}"
            flaws.append(Flaw("bad-value", ("options", index), message, f"the variable's type is `{variable.type}`"))
    yield lambda value: "" if _among(value, options) else _not_among(options, "")


def _among(value: Any, options: list[Any]) -> bool:
    return any(isinstance(value, bool) == isinstance(option, bool) and value == option for option in options)


def _not_among(options: list[Any], what: str) -> str:
    shown = ", ".join(str(option) for option in options[:20])
    return f"{what}must be among: {shown} (options)" if what else f"must be one of: {shown} (options)"


def _validation(variable: Variable, flaws: list[Flaw]) -> Iterator[Check]:
    validation = variable.validation
    if validation is None:
        return
    if isinstance(validation, str):
        if variable.type != "string":
            hint = f"write a map of rules; a `{variable.type}` has {_rules_of(variable.type)}"
            flaws.append(Flaw("bad-rule", ("validation",), "a regex is for text", hint))
        else:
            yield from _regex(validation, ("validation",), flaws)
        return
    yield from _rules(validation, variable.type, flaws)


def _rules(validation: Validation, kind: str, flaws: list[Flaw]) -> Iterator[Check]:
    given = {name.rstrip("_"): getattr(validation, name) for name in validation.model_fields_set}
    for name in [name for name, value in given.items() if value is not None and kind not in _APPLIES[name]]:
        hint = f"a `{kind}` has {_rules_of(kind)}"
        flaws.append(Flaw("bad-rule", ("validation", name), f"`{name}` is not for the type `{kind}`", hint))
        del given[name]
    for low, high in _PAIRS:
        if given.get(low) is not None and given.get(high) is not None and given[low] > given[high]:
            message = f"`{low}` is above `{high}`: no value can be right"
            flaws.append(Flaw("bad-rule", ("validation", low), message, "swap them"))
    yield from (check for name, limit in _in_order(given) for check in _limit(name, limit))
    if given.get("regex") is not None:
        yield from _regex(given["regex"], ("validation", "regex"), flaws)
    if given.get("schema") is not None:
        yield from _schema(given["schema"], flaws)


def _in_order(given: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, given[name]) for name in _APPLIES if given.get(name) is not None)


def _limit(name: str, limit: Any) -> Iterator[Check]:
    if name == "min_length":
        yield lambda value: "" if len(value) >= limit else f"must have at least {limit} characters (min_length)"
    elif name == "max_length":
        yield lambda value: "" if len(value) <= limit else f"must have at most {limit} characters (max_length)"
    elif name == "minimum":
        yield lambda value: "" if value >= limit else f"must be at least {limit} (minimum)"
    elif name == "maximum":
        yield lambda value: "" if value <= limit else f"must be at most {limit} (maximum)"
    elif name == "min_items":
        yield lambda value: "" if len(value) >= limit else f"must have at least {limit} items (min_items)"
    elif name == "max_items":
        yield lambda value: "" if len(value) <= limit else f"must have at most {limit} items (max_items)"


def _regex(text: str, path: Path, flaws: list[Flaw]) -> Iterator[Check]:
    try:
        compiled = pattern(text)
    except BadPattern as wrong:
        flaws.append(Flaw("bad-regex", path, str(wrong), wrong.hint))
        return
    shown = text if len(text) <= 100 else f"{text[:100]}…"
    yield lambda value: "" if compiled.matches(value) else f"must match the pattern {shown} (regex)"


def _schema(schema: dict[str, Any], flaws: list[Flaw]) -> Iterator[Check]:
    try:
        # Nothing is fetched for a `$ref`; values are masked, because they may be private.
        validator = jsonschema_rs.validator_for(schema, pattern_options=_REGEX, offline=True, mask="the value")
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as wrong:
        reason = str(wrong).split("\n", 1)[0][:200]
        hint = "see json-schema.org; references to other files are not followed"
        flaws.append(Flaw("bad-schema", ("validation", "schema"), f"not a JSON Schema: {reason}", hint))
        return
    yield lambda value: _against(validator, value)


def _against(validator: Any, value: Any) -> str:
    found = []
    for error in validator.iter_errors(value):
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.instance_path)
        found.append(f"{place or '.'}: {error.message[:200]}")
        if len(found) == _SCHEMA_ERRORS:
            break
    return f"does not meet its schema: {', '.join(found)} (schema)" if found else ""


def _rules_of(kind: str) -> str:
    return ", ".join(f"`{name}`" for name, kinds in _APPLIES.items() if kind in kinds) or "no rules"
