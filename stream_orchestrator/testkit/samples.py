"""An event for a pipeline that says what its variables are, when nobody gave one."""

from __future__ import annotations

from typing import Any

import orjson

from stream_orchestrator.errors import UsageError
from stream_orchestrator.plan.model import Plan
from stream_orchestrator.spec.inputs import InputRules, InvalidInput

TEXT = "The quick brown fox jumps over the lazy dog. "
_BY_TYPE: dict[str, Any] = {"integer": 1, "number": 1.0, "float": 1.0, "boolean": True, "object": {}}


def sample_event(plan: Plan) -> dict[str, Any]:
    """Examples and options of the variables, else a value of the type; UsageError when the pipeline refuses it.

    An example that breaks its variable's own rules (a warning of compiling) is passed over.
    """
    rules = InputRules.from_plan(plan.inputs, plan.input_validation)
    good = {rule.name for rule in rules.variables if not rule.wrong(plan.inputs[rule.name].get("example"))}
    event = {name: _sample(each, name in good) for name, each in plan.inputs.items() if _is_needed(each)}
    try:
        rules.check(orjson.dumps(event))
    except InvalidInput as refused:
        raise UsageError(
            f"no event for {plan.title!r} can be made from its `input_variables`: {refused}",
            hint="give `inputs:`, or write an `example:` for each variable",
        ) from refused
    return event


def _is_needed(variable: dict[str, Any]) -> bool:
    return variable.get("example") is not None or ("default" not in variable and variable.get("required") is not False)


def _sample(variable: dict[str, Any], has_good_example: bool) -> Any:
    if variable.get("example") is not None and has_good_example:
        return variable["example"]
    rules = variable.get("validation")
    rules = rules if isinstance(rules, dict) else {}
    options, kind = variable.get("options"), variable.get("type")
    if kind == "array":
        return [(options or [TEXT.strip()])[0]] * max(1, rules.get("min_items") or 1)
    if options:
        return options[0]
    if kind == "string":
        return _text(rules.get("min_length") or 1, rules.get("max_length"))
    number = rules.get("minimum") if rules.get("minimum") is not None else rules.get("maximum")
    return _BY_TYPE.get(str(kind)) if number is None else number


def _text(least: int, most: int | None) -> str:
    text = TEXT * (least // len(TEXT) + 1)
    return text[: most if most is not None else max(least, len(TEXT) - 1)]
