"""`mocks:` of a test: what models and services answer and helpers return, instead of the real ones.

Promises
  * A mock stands for one test: answers that come in turn begin anew, the last one stays.
  * A name that is neither a model, a service nor a helper of the pipeline is refused: a misspelt mock lets real calls
    through.
  * What a mocked helper gives is a copy: no test sees what another did to it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from stream_orchestrator.errors import UsageError
from stream_orchestrator.kernel.effects import Answer, CallRequest, ServiceRequest
from stream_orchestrator.plan.model import Plan, every
from stream_orchestrator.plan.models import SERVICES as MODEL_SERVICES

ANY_MODEL = "*"
MODELS, FUNCTIONS, SERVICES = ("models",), ("functions", "helpers"), ("services",)
_FAULT = {"error", "type", "retryable"}

ModelMock = Callable[[CallRequest], Any]


class MockedFault(Exception):
    """What a mocked helper raises when it has no type of its own."""


@dataclass(frozen=True, slots=True)
class Mocks:
    """Mocks by name, as the document has them."""

    models: Mapping[str, Any] = field(default_factory=dict)
    functions: Mapping[str, Any] = field(default_factory=dict)
    services: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: Plan, *given: Mapping[str, Any] | None) -> Mocks:
        """Of the document and of the test, the latter first; `models:` and `functions:` may be written out or not."""
        found: dict[tuple[str, ...], dict[str, Any]] = {MODELS: {}, FUNCTIONS: {}, SERVICES: {}}
        for mapping in given:
            for name, value, section in _entries(mapping or {}):
                found[_kind(name, section, plan)][name] = value
        return cls(found[MODELS], found[FUNCTIONS], found[SERVICES])

    def mocks_model(self, name: str) -> bool:
        """Whether a model is answered here."""
        return name in self.models or ANY_MODEL in self.models

    def model_answers(self) -> dict[str, ModelMock]:
        """Fresh answers: functions of the request, which give a text, a map (as JSON) or an `Answer`."""
        return {name: _model(value) for name, value in self.models.items()}

    def service_answers(self) -> dict[str, Callable[[ServiceRequest], Any]]:
        """Fresh answers of services, by name; of an `in_turn` one after the other."""
        return {name: _servant(value) for name, value in self.services.items()}

    def callables(self) -> list[Callable[..., Any]]:
        """Fresh helpers, each with its name."""
        return [_helper(name, value) for name, value in self.functions.items()]


def in_turn(value: Any) -> Iterator[Any]:
    """The items of a list one by one, the last of them for ever; anything else for ever."""
    items = value if isinstance(value, list) and value else [value]
    yield from items[:-1]
    while True:
        yield items[-1]


def _model(value: Any) -> ModelMock:
    turns = in_turn(value)

    return lambda request: _fault_or(next(turns))


def _servant(value: Any) -> Callable[[ServiceRequest], Any]:
    turns = in_turn(value["in_turn"] if isinstance(value, Mapping) and set(value) == {"in_turn"} else [value])
    return lambda request: copy.deepcopy(_fault_or(next(turns)))


def _fault_or(said: Any) -> Any:
    """What a mock says; `{error, type, retryable}` is a fault."""
    if isinstance(said, Mapping) and "error" in said and set(said) <= _FAULT:
        kind = str(said.get("type") or "mocked_fault")
        return Answer(error_type=kind, message=str(said["error"]), retryable=bool(said.get("retryable")))
    return said


def _helper(name: str, value: Any) -> Callable[..., Any]:
    turns = in_turn(value["in_turn"] if isinstance(value, Mapping) and set(value) == {"in_turn"} else [value])

    def helper(*_args: Any, **_named: Any) -> Any:
        given = next(turns)
        if isinstance(given, Mapping) and set(given) == {"raises"}:
            raise MockedFault(str(given["raises"]))
        if isinstance(given, Mapping) and set(given) == {"returns"}:
            given = given["returns"]
        return copy.deepcopy(given)

    helper.__name__ = name
    return helper


def _entries(given: Mapping[str, Any]) -> Iterator[tuple[str, Any, tuple[str, ...] | None]]:
    for name, value in given.items():
        section = next((each for each in (MODELS, FUNCTIONS, SERVICES) if name in each), None)
        if section is None:
            yield name, value, None
        elif isinstance(value, Mapping):
            yield from ((str(inner), mocked, section) for inner, mocked in value.items())
        else:
            raise UsageError(f"`mocks.{name}` must be a map", hint="write a name and what it gives")


def _kind(name: str, section: tuple[str, ...] | None, plan: Plan) -> tuple[str, ...]:
    if name in plan.helpers and section in {None, FUNCTIONS}:
        return FUNCTIONS
    services = [each for each in plan.services if each not in MODEL_SERVICES]
    if section in {None, SERVICES} and (name in services or (section == SERVICES and name == ANY_MODEL)):
        return SERVICES
    known = [*plan.models, *plan.helpers, *services]
    open_ended = any("{" in model for model in plan.models) or _asks_in_scripts(plan)
    if section in {None, MODELS} and (name in plan.models or name == ANY_MODEL or (section == MODELS and open_ended)):
        return MODELS
    nearest = get_close_matches(name, known, 1)
    there = ", ".join(f"`{each}`" for each in known) or "none"
    raise UsageError(
        f"`mocks`: `{name}` is no model, no service and no helper of {plan.title!r}",
        hint=f"did you mean `{nearest[0]}`?" if nearest else f"there are: {there}; `*` is every model",
    )


def _asks_in_scripts(plan: Plan) -> bool:
    """Whether a script may name models at run time."""
    scripts = (variant.options.get("script") for task in every(plan.tasks) for variant in task.variants)
    return any("process_with_llm" in script for script in scripts if isinstance(script, str))
