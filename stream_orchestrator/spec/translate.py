"""Pydantic's errors in the user's words, each at the key that it is about."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError
from pydantic_core import ErrorDetails

from stream_orchestrator.spec.custom import installed
from stream_orchestrator.spec.fields import kind_name
from stream_orchestrator.spec.located import Located, Path, path_text
from stream_orchestrator.spec.pipeline import Component, Pipeline
from stream_orchestrator.spec.problems import Problem
from stream_orchestrator.spec.scalars import BadScalar, plain
from stream_orchestrator.spec.tasks import BUILT_TASK_TYPES, BUILT_TASKS, TASK_TAGS, CustomTask, ErrorHandling
from stream_orchestrator.spec.unbuilt import TABLE, Place

_WANTED = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "list_type": "a list",
    "dict_type": "a map",
    "model_type": "a map",
    "model_attributes_type": "a map",
}
# What the same thing is called elsewhere.
OTHER_WORDS = {
    "retries": "error_handling.retry_count",
    "retry": "error_handling.retry_count",
    "max_retries": "error_handling.retry_count",
    "on_error": "error_handling.on_failure",
    "code": "script",
    "run": "script",
    "needs": "depends_on",
    "after": "depends_on",
    "if": "condition",
    "when": "condition",
    "steps": "tasks",
    "variables": "input_variables",
    "inputs": "input_variables",
    "parameters": "input_variables",
    "system_prompt": "system",
    "kind": "type",
    "id": "name",
    "env": "sandbox.env",
    "network": "sandbox.network",
}


def problems_of(error: ValidationError, model: type[BaseModel], located: Located) -> Iterator[Problem]:
    """One problem for each thing that is wrong; alternatives of one value count as one."""
    found: dict[Path, ErrorDetails] = {}
    for detail in error.errors(include_url=False, include_input=True):
        found.setdefault(_real_path(detail["loc"], located.data, missing=detail["type"] == "missing"), detail)
    for path, detail in found.items():
        # A map that fits one alternative but for a key deep inside fails the others as a whole: noise.
        if not any(len(other) > len(path) and other[: len(path)] == path for other in found):
            yield _problem(detail, path, model=model, located=located)


def _problem(detail: ErrorDetails, path: Path, *, model: type[BaseModel], located: Located) -> Problem:
    kind = detail["type"]
    if kind == "extra_forbidden":
        return _unknown_key(path, _model_at(model, detail["loc"][:-1]), located)
    if kind == "missing":
        return _missing_key(path, _model_at(model, detail["loc"][:-1]), located)
    if kind.startswith("union_tag"):
        return _task_type(path, detail["input"], located)
    if kind == "bad_value":
        message, hint = detail["ctx"]["message"], detail["ctx"]["hint"]
        joint = " " if message.startswith(("must ", "is ")) else ": "
        return located.problem("bad-value", f"{_key(path)}{joint}{message}", path=path, hint=hint)
    if kind == "literal_error":
        return _not_one_of(path, detail, located)
    if kind in _WANTED:
        return _wrong_type(path, detail, _model_at(model, detail["loc"]), located)
    if kind == "too_short":
        return located.problem("bad-value", f"{_key(path)} is empty", path=path, hint="add at least one item")
    message = detail["msg"].replace("Input should be", "must be")
    return located.problem("bad-value", f"{_key(path)} {message}", path=path, hint="mend the value")


def _unknown_key(path: Path, model: type[BaseModel] | None, located: Located) -> Problem:
    key = str(path[-1])
    return located.problem(
        "unknown-key",
        f"unknown key `{key}` {_where(path[:-1], located.data)}",
        path=path,
        label=f"{getattr(model, 'noun', 'this map')} has: {', '.join(built_keys(model))}",
        hint=_nearest(key, model) or f"remove it, or call it `x-{key}` to keep it as a note",
    )


def _nearest(key: str, model: type[BaseModel] | None) -> str:
    """What was meant: a key of this map, a word of another dialect, or a key of a map inside."""
    fields = built_keys(model)
    inside = _inside(key, model, 0.85) if not get_close_matches(key, fields, 1, 0.8) else ""
    near = get_close_matches(key, fields, 1, 0.6)
    if inside or near:
        return inside or f"did you mean `{near[0]}`?"
    for word in get_close_matches(key, list(OTHER_WORDS), 3, 0.7):
        place, _, name = OTHER_WORDS[word].rpartition(".")
        if (place or name) in fields:
            return f"did you mean `{name}`" + (f" under `{place}`?" if place else "?")
    return _inside(key, model, 0.75)


def _inside(key: str, model: type[BaseModel] | None, cutoff: float) -> str:
    """A key of a map inside this one, that is so much alike."""
    for name in built_keys(model):
        near = get_close_matches(key, built_keys(_model_at(model, (name,))), 1, cutoff)
        if near:
            return f"did you mean `{near[0]}` under `{name}`?"
    return ""


def _missing_key(path: Path, model: type[BaseModel] | None, located: Located) -> Problem:
    key = str(path[-1])
    field = _fields(model).get(key)
    meaning = f": {field}" if field else ""
    message = f"the key `{key}` is missing {_where(path[:-1], located.data)}"
    return located.problem("missing-key", message, path=path, hint=f"add `{key}:`{meaning}")


def _task_type(path: Path, task: Any, located: Located) -> Problem:
    known = (*BUILT_TASK_TYPES, *sorted(installed().keys() - BUILT_TASKS.keys()))
    label = f"a task is one of: {', '.join(known)}"
    if not isinstance(task, dict):
        hint = "write a map with `name:` and `type:`"
        return located.problem("wrong-type", f"a task must be a map, not {kind_name(task)}", path=path, hint=hint)
    if "type" not in task:
        message = f"the key `type` is missing {_where(path, located.data)}"
        return located.problem(
            "missing-key", message, path=path, label=label, hint="add `type:`, such as `python_task`"
        )
    written = task["type"]
    nearest = get_close_matches(written, known, 1, 0.5) if isinstance(written, str) else []
    message = f"there is no task type `{written}`" if isinstance(written, str) else "a task's type must be text"
    hint = (
        f"did you mean `{nearest[0]}`?" if nearest else f"use {' or '.join(f'`{name}`' for name in BUILT_TASK_TYPES)}"
    )
    return located.problem("unknown-task-type", message, path=(*path, "type"), label=label, hint=hint)


def _not_one_of(path: Path, detail: ErrorDetails, located: Located) -> Problem:
    expected = str(detail["ctx"]["expected"]).replace("'", "`")
    written = detail["input"]
    shown = f"`{written}`" if isinstance(written, str) else kind_name(written)
    names = [name.strip("`") for name in expected.replace(" or ", ", ").split(", ")]
    nearest = get_close_matches(str(written), names, 1, 0.5)
    hint = f"did you mean `{nearest[0]}`?" if nearest else f"use {expected}"
    return located.problem(
        "bad-value", f"{_key(path)} cannot be {shown}", path=path, label=f"it is {expected}", hint=hint
    )


def _wrong_type(path: Path, detail: ErrorDetails, model: type[BaseModel] | None, located: Located) -> Problem:
    wanted = _WANTED[detail["type"]]
    needed = [name for name, field in (model.model_fields if model else {}).items() if field.is_required()]
    hint = f"write {wanted}" + (f" with {', '.join(f'`{name}:`' for name in needed)}" if needed else "")
    if isinstance(detail["input"], str) and wanted in _BARE:
        hint = "remove the quotes" if _is_bare(detail["input"]) else hint
    message = f"{_key(path)} must be {wanted}, not {kind_name(detail['input'])}"
    return located.problem("wrong-type", message, path=path, hint=hint)


def _is_bare(text: str) -> bool:
    try:
        return not isinstance(plain(text.strip()), str)
    except BadScalar:
        return False


_BARE = ("true or false", "a whole number", "a number")
_PLACES: dict[type[BaseModel], Place] = {
    Pipeline: "pipeline",
    Component: "component",
    **dict.fromkeys((*BUILT_TASKS.values(), CustomTask), "task"),
}


def _real_path(loc: tuple[str | int, ...], data: Any, *, missing: bool) -> Path:
    """Pydantic's place without the names of alternatives, which stand in no document. A missing key comes last."""
    path: list[str | int] = []
    after_item = False
    for place, part in enumerate(loc):
        is_tag = after_item and part in TASK_TAGS
        if not is_tag and _has(data, part):
            path.append(part)
            data = data[part]
        elif missing and place == len(loc) - 1:
            path.append(part)
        after_item = isinstance(part, int)
    return tuple(path)


def _has(data: Any, part: str | int) -> bool:
    if isinstance(part, int):
        return isinstance(data, list) and part < len(data)
    return isinstance(data, dict) and part in data


def _model_at(annotation: Any, loc: tuple[str | int, ...]) -> type[BaseModel] | None:
    """The model whose keys stand at `loc`."""
    options = [annotation]
    for part in loc:
        options = [step for option in options for step in _step(option, part)]
    models = [option for option in _flat(options) if isinstance(option, type) and issubclass(option, BaseModel)]
    return models[0] if models else None


def _step(annotation: Any, part: str | int) -> Iterator[Any]:
    for option, tag in _alternatives(annotation):
        if tag == part:
            yield option
        elif isinstance(option, type) and issubclass(option, BaseModel):
            yield from (field.annotation for name, field in option.model_fields.items() if part in (name, field.alias))
            if part == option.__name__:  # the name of an alternative of a plain union
                yield option
        elif get_origin(option) is list and isinstance(part, int):
            yield get_args(option)[0]
        elif get_origin(option) is dict:
            yield get_args(option)[1]


def _alternatives(annotation: Any, tag: str | None = None) -> Iterator[tuple[Any, str | None]]:
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        found = next((each.tag for each in metadata if isinstance(each, Tag)), tag)
        yield from _alternatives(inner, found)
    elif get_origin(annotation) in (Union, UnionType):
        for option in get_args(annotation):
            yield from _alternatives(option)
    else:
        yield annotation, tag


def _flat(options: list[Any]) -> Iterator[Any]:
    for option in options:
        yield from (each for each, _ in _alternatives(option))


def _fields(model: type[BaseModel] | None) -> dict[str, str]:
    fields = model.model_fields if model else {}
    return {field.alias or name: field.description or "" for name, field in fields.items()}


def built_keys(model: type[BaseModel] | None) -> list[str]:
    """The keys of a model that this version carries out; all of them where it carries out none."""
    if model is None:
        return []
    later = {row.key for row in TABLE if row.place == _PLACES.get(model)}
    if model is ErrorHandling:
        later = {row.key.removeprefix("error_handling.") for row in TABLE if row.key.startswith("error_handling.")}
    fields = list(_fields(model))
    return [name for name in fields if name not in later] or fields


def _where(path: Path, data: Any) -> str:
    """`in task `score``, or the path, or `in the document`."""
    task = ""
    for part in path:
        inside_tasks = isinstance(data, list)
        data = data[part]
        if inside_tasks and isinstance(data, dict) and isinstance(data.get("name"), str):
            task = data["name"]
    rest = [part for part in path if isinstance(part, str)]
    if task:
        inner = rest[-1] if rest and rest[-1] not in ("tasks", "fallback") else ""
        return f"in `{inner}` of task `{task}`" if inner else f"in task `{task}`"
    return f"in `{path_text(path)}`" if path else "in the document"


def _key(path: Path) -> str:
    names = [part for part in path if isinstance(part, str)]
    if path and isinstance(path[-1], int) and names:
        return f"item {path[-1] + 1} of `{names[-1]}`"
    return f"`{names[-1]}`" if names else "the document"
