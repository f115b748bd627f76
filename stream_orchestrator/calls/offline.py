"""The built-in models `offline/…`: no network, no key, no cost, and the same answer to the same request, always.

They really compute (word counts, overlaps, a small lexicon) and are no language models: every answer's `model`
starts with `offline/`, and prose from a stand-in (any model under `--offline`) starts with `[offline]`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import orjson
from msgspec.structs import replace

from stream_orchestrator.calls import offline_json, offline_text
from stream_orchestrator.calls.faults import fault
from stream_orchestrator.calls.tokens import estimate, estimate_messages
from stream_orchestrator.kernel.effects import Answer, CallRequest

Model = Callable[[CallRequest], str]

LABEL = "[offline]"
SLOW_SECONDS = 0.2


def answer(request: CallRequest) -> Answer:
    """The answer of the named offline model, or of the stand-in for any other model."""
    name = request.model.strip()
    known = name.lower().removeprefix("offline/") if name.lower().startswith("offline/") else None
    if known is None:
        return _answered(request, _stand_in, name=f"offline/{name.removeprefix('offline') or 'stand-in'}")
    if known == "fail":
        return fault("offline_fault", "offline/fail always fails, and may be tried again", retryable=True)
    model = MODELS.get(known)
    if model is None:
        return fault("unknown_model", f"there is no model {name}; there are: {', '.join(names())}")
    return _answered(request, model, name=f"offline/{known}")


def delay(model: str) -> float:
    """Seconds that a model takes before it answers."""
    return SLOW_SECONDS if model.strip().lower() == "offline/slow" else 0.0


def names() -> list[str]:
    """The names of all offline models, sorted."""
    return sorted(f"offline/{name}" for name in (*MODELS, "fail"))


def unknown_models(models: Iterable[str]) -> list[str]:
    """Those that are named `offline/…` and are none of ours, sorted: every call of them would fail."""
    asked = {model.strip().lower() for model in models}
    return sorted(model for model in asked if _is_named(model) and model not in names())


def _is_named(model: str) -> bool:
    return model.startswith("offline/") and "{" not in model  # a template is a name only in its run


def last_message(request: CallRequest) -> str:
    """The last message that is not the system's; else the last one."""
    said = [message for message in request.messages if message.get("role") != "system"] or list(request.messages)
    return said[-1].get("content", "") if said else ""


def _answered(request: CallRequest, model: Model, *, name: str) -> Answer:
    try:
        text = model(request)
    except offline_json.CannotFill as error:
        return fault("bad_request", f"{name} found no value for the output schema: {error}")
    given = Answer(model=name, input_tokens=estimate_messages(request.messages))
    limit = request.params.get("max_tokens")
    if isinstance(limit, int) and estimate(text) > limit > 0:
        text, finished = offline_text.first_tokens(text, limit), "length"
    else:
        finished = "stop"
    return replace(given, text=text, finish_reason=finished, output_tokens=estimate(text))


def _echo(request: CallRequest) -> str:
    return last_message(request)


def _summary(request: CallRequest) -> str:
    return offline_text.summary(last_message(request))


def _classify(request: CallRequest) -> str:
    if request.output_schema is not None:
        return _json(request)
    prompt = "\n".join(message.get("content", "") for message in request.messages)
    return offline_text.classify(prompt) or offline_text.sentiment(last_message(request))


def _json(request: CallRequest) -> str:
    """The schema, filled from the prompt; without a schema an object with a summary and the leading words."""
    text = last_message(request)
    if request.output_schema is None:
        return orjson.dumps({"summary": offline_text.summary(text), "keywords": offline_text.keywords(text)}).decode()
    return orjson.dumps(offline_json.fill(request.output_schema, text)).decode()


def _stand_in(request: CallRequest) -> str:
    """What fits the request best: JSON for a schema, one of the options that it names, else a labelled summary."""
    if request.output_schema is not None:
        return _json(request)
    prompt = "\n".join(message.get("content", "") for message in request.messages)
    return offline_text.classify(prompt) or f"{LABEL} {offline_text.summary(last_message(request))}".rstrip()


MODELS: dict[str, Model] = {
    "echo": _echo,
    "summary": _summary,
    "classify": _classify,
    "json": _json,
    "slow": _echo,
}
