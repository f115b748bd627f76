"""`llm_task`: a prompt to a model, or a script that asks models."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import jsonschema_rs
import orjson

from stream_orchestrator.errors import RunError
from stream_orchestrator.kernel.effects import Answer, CallRequest, ScriptDone
from stream_orchestrator.kernel.kinds import Ask, Attempt, Fault, Step, Value
from stream_orchestrator.plan import templates
from stream_orchestrator.plan.models import current
from stream_orchestrator.tasks.scripts import run_script, script_ended

PARAMS = ("max_tokens", "temperature", "top_p", "stop", "presence_penalty", "frequency_penalty", "seed")


class LlmTask:
    """Asks a model. The prompt is rendered once; what the model answers is never rendered."""

    name = "llm_task"
    summary = "Sends a prompt to a model; the output is its text, or a typed value."
    guarantees = (
        "One attempt per call id. A call is made again only after a crash or an ambiguous time-out between sending it "
        "and recording its answer (`on_ambiguous: fail` forbids even that); never in rebalances or drains."
    )
    example = """\
name: "Summary"
tasks:
  - name: "summary"
    type: "llm_task"
    model: "offline/summary"
    prompt: "Summarise in one sentence: {{ text }}"
"""

    def begin(self, attempt: Attempt) -> Step:
        """Render and ask; with `script:`, run it."""
        if attempt.variant.options.get("script"):
            return run_script(attempt, journal=True)
        if (schema := attempt.variant.options.get("output_schema")) is not None:
            _validator(schema)  # one that no answer can be held against is found before anything is paid
        return Ask(_request(attempt))

    def scripted(self, attempt: Attempt, done: ScriptDone) -> Step:
        """The script's output is the task's."""
        return script_ended(attempt, done)

    def answered(self, attempt: Attempt, answer: Answer) -> Step:
        """The text, or the value it spells when `output_schema` or `output_type` asks for one."""
        options = attempt.variant.options
        schema, kind = options.get("output_schema"), options.get("output_type")
        if schema is None and kind in {None, "string", "text"}:
            return Value(answer.text)
        try:
            return Value(_typed(answer.text, schema, kind))
        except ValueError as error:
            message = f"the answer of {answer.model} is not what was asked for: {error}"
            return Fault(type="InvalidOutput", message=message, passing=True)


def _request(attempt: Attempt) -> CallRequest:
    options, scope = attempt.variant.options, attempt.scope
    messages = [
        {"role": role, "content": _text(templates.render(options[key], scope))}
        for role, key in (("system", "system"), ("user", "prompt"))
        if options.get(key) is not None
    ]
    model = templates.render(options["model"], scope)
    if not isinstance(model, str) or not model:
        raise RunError(f"`model` must be a name, and is {model!r}")
    given = {name: templates.render(options[name], scope) for name in PARAMS if options.get(name) is not None}
    return CallRequest(
        model=current(model),
        messages=tuple(messages),
        params=given,
        output_schema=options.get("output_schema"),
        deadline=attempt.deadline,
        on_ambiguous=attempt.variant.on_ambiguous,
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else templates.text_of(value)


def _typed(text: str, schema: dict[str, Any] | None, kind: str | None) -> Any:
    """The value that an answer spells. ValueError says what is wrong with it."""
    try:
        value = json.loads(_unfenced(text), parse_constant=_refuse)
        orjson.dumps(value)
    except (TypeError, RecursionError) as error:  # numbers beyond 64 bits, half characters, depth
        raise ValueError(str(error)) from error
    if schema is not None:
        problems = [error.message for error in _validator(schema).iter_errors(value)]
        if problems:
            raise ValueError("; ".join(problems[:3]))
    wanted = _TYPES.get(kind or "")
    if wanted is not None and (not isinstance(value, wanted) or (isinstance(value, bool) and kind != "boolean")):
        raise ValueError(f"expected {kind}, got {json.dumps(value)[:80]}")
    return value


_TYPES: dict[str, tuple[type, ...]] = {
    "integer": (int,),
    "number": (int, float),
    "float": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


def _validator(schema: dict[str, Any]) -> jsonschema_rs.Validator:
    """What holds an answer against a schema. RunError when the schema is none; it never fetches anything."""
    try:
        return _compiled(json.dumps(schema))
    except ValueError as error:
        raise RunError(f"`output_schema` is not a JSON Schema: {str(error)[:300]}") from error


@lru_cache(maxsize=256)
def _compiled(schema: str) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(json.loads(schema), retriever=_refuse)


def _unfenced(text: str) -> str:
    """Models like to wrap JSON in a Markdown fence; the fence is not part of the value."""
    stripped = text.strip()
    if stripped.startswith("```") and stripped.endswith("```") and "\n" in stripped:
        return stripped[stripped.index("\n") + 1 : -3]
    return stripped


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is refused")
