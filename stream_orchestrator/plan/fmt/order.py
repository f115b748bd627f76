"""The order of keys: what a thing is, when it runs, how it is done, what happens when it fails.

It is derived from the models, so a new key has its place. A key that no model has (`x-…`) stays behind its neighbour.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from pydantic import BaseModel

from stream_orchestrator.spec import kinds
from stream_orchestrator.spec.bodies import ELSE, THEN
from stream_orchestrator.spec.pipeline import Change, Variable
from stream_orchestrator.spec.tasks import BaseTask, ErrorHandling

TASK_HOLDERS = frozenset(("tasks", "fallback", *THEN, *ELSE))
_INTRODUCTION = (
    *("name", "type", "version", "description", "author", "contact", "documentation_url", "changelog"),
    *("functions", "env", "timeout"),
)
_END = ("tasks", "output", "outputs")
_TASK_BEGIN = (
    *("name", "type", "description", "depends_on", "condition", "for_each", "component"),
    *("tier", "use_case", "model", "max_tokens", "temperature", "timeout"),
)
_VARIABLE = ("type", "description", "required", "options", "default", "validation", "example")
_TASK_END = (
    *("inputs", "parameters", "system", "system_message", "prompt", "script", "tasks", *THEN, *ELSE),
    *("output", "outputs", "error_handling"),
)


def role_below(role: str, key: str) -> str:
    """What stands below a key: a role, `each <role>` for lists and maps of it, or nothing that has an order."""
    if role in ("document", "task", "errors") and key in TASK_HOLDERS:
        return "each task"
    if role in ("document", "task") and key == "error_handling":
        return "errors"
    if role == "document" and key in ("input_variables", "parameters"):
        return "each variable"
    return "each change" if role == "document" and key == "changelog" else ""


def ranked(keys: Sequence[str], role: str, kind: str) -> list[int]:
    """The places of keys in their new order; a key that is not known stays behind its neighbour."""
    places = {key: place for place, key in enumerate(_order(role, kind))}
    rank, ranks = -1, []
    for key in keys:
        rank = places.get(key, rank)
        ranks.append(rank)
    return sorted(range(len(keys)), key=lambda index: (ranks[index], index))


@lru_cache(maxsize=64)
def _order(role: str, kind: str) -> tuple[str, ...]:
    if role == "document":
        return _framed(_INTRODUCTION, kinds.BY_NAME[kind].model.model_fields, _END)
    if role == "task":
        # what is special about a kind of task stands before what all of them have
        special = [key for model in _models(BaseTask) for key in model.model_fields if key not in BaseTask.model_fields]
        return _framed(_TASK_BEGIN, (*special, *BaseTask.model_fields), _TASK_END)
    if role == "variable":
        return _framed(_VARIABLE, Variable.model_fields, ())
    models: dict[str, type[BaseModel]] = {"errors": ErrorHandling, "change": Change}
    return tuple(models[role].model_fields) if role in models else ()


def _framed(begin: Sequence[str], middle: Iterable[str], end: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*begin, *(key for key in middle if key not in end), *end)))


def _models(base: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for model in base.__subclasses__():
        yield model
        yield from _models(model)
