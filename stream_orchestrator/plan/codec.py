"""Plans as bytes, and the hash of what they do.

Promises
  * `from_json(to_json(plan)) == plan`, and equal plans have equal bytes.
  * The hash covers all that can change what a run does; titles, descriptions and examples are not part of it.
  * A document that uses nothing new keeps its hash in a new release: its version is deployed already.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import PurePath
from typing import Any

import orjson

from stream_orchestrator.errors import HouseError
from stream_orchestrator.plan.model import Body, Guards, Plan, TaskPlan, Variant

FORMAT = 1
_OPTIONS = orjson.OPT_SORT_KEYS
_TOLD = ("title", "hash", "helpers", "dependencies", "beside")  # for people, derived, or of one machine
_LATER = ("bodies", "pipelines", "also")  # what a task has none of leaves the hash as releases had it that knew none
_TOLD_OF_INPUTS = frozenset({"description", "example"})


def to_json(plan: Plan) -> bytes:
    """The plan as canonical JSON."""
    return orjson.dumps(asdict(plan), option=_OPTIONS)


def from_json(data: bytes) -> Plan:
    """The plan that was written. HouseError when a later release wrote it, or something else did."""
    try:
        fields = orjson.loads(data)
        if fields["format"] != FORMAT:
            raise HouseError(
                f"a plan of format {fields['format']} cannot be read", hint="use the release that wrote it"
            )
        fields["tasks"] = tuple(map(_task, fields["tasks"]))
        fields["guards"] = Guards(**fields.get("guards", {}))
        return Plan(**_tuples(fields, "functions", "helpers", "models", "services", "env", "beside", "dependencies"))
    except (ValueError, KeyError, TypeError) as error:
        raise HouseError(f"these bytes are no plan: {error}") from error


def tasks_to_json(tasks: Iterable[TaskPlan]) -> bytes:
    """Tasks that travel as data."""
    return orjson.dumps([asdict(task) for task in tasks], option=_OPTIONS)


def tasks_from_json(data: str | bytes) -> tuple[TaskPlan, ...]:
    """The tasks that were written."""
    return tuple(map(_task, orjson.loads(data)))


def content_hash(plan: Plan) -> str:
    """Hex SHA-256 of what the plan does."""
    fields = {key: value for key, value in asdict(plan).items() if key not in _TOLD}
    fields["functions"] = [PurePath(name).name for name in plan.functions]  # a checkout may lie anywhere
    fields["inputs"] = {name: _without(variable, _TOLD_OF_INPUTS) for name, variable in plan.inputs.items()}
    fields["tasks"] = [_undescribed(task) for task in fields["tasks"]]
    if plan.guards == Guards():
        del fields["guards"]
    return hashlib.sha256(orjson.dumps(fields, option=_OPTIONS)).hexdigest()


def _undescribed(task: dict[str, Any]) -> Any:
    bodies = [{**body, "tasks": [_undescribed(inner) for inner in body["tasks"]]} for body in task["bodies"]]
    empty = {key for key in _LATER if not task[key]}
    return _without({**task, "bodies": bodies}, {"description", *empty})


def _without(value: Any, keys: frozenset[str] | set[str]) -> Any:
    return {key: item for key, item in value.items() if key not in keys} if isinstance(value, dict) else value


def _task(fields: dict[str, Any]) -> TaskPlan:
    fields["variants"] = tuple(Variant(**variant) for variant in fields["variants"])
    fields["bodies"] = tuple(_body(body) for body in fields.get("bodies", ()))
    return TaskPlan(**_tuples(fields, "upstream", "downstream", "pipelines"))


def _body(fields: dict[str, Any]) -> Body:
    return Body(**_tuples({**fields, "tasks": map(_task, fields["tasks"])}, "tasks", "reads", "shows"))


def _tuples(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    return {**fields, **{name: tuple(fields[name]) for name in names if name in fields}}
