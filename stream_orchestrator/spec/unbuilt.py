"""Keys of the dialect that this version knows and does not carry out. One table: building one means deleting its line.

Promises
  * Ignoring a key that changes what a pipeline means, or how safe it is, is an error `not-yet-supported`.
  * Ignoring one that only costs time, money or comfort is a warning `no-effect-yet`.
  * A key that is switched off (`false`, nothing, `enabled: false`) is neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from stream_orchestrator.spec import bodies
from stream_orchestrator.spec.located import Located, Path
from stream_orchestrator.spec.problems import Problem

Place = Literal["pipeline", "component", "task", "config"]


def _is_on(value: Any) -> bool:
    if isinstance(value, dict):
        return bool(value) and value.get("enabled", True) is not False
    return value is not None and value is not False and value != []


@dataclass(frozen=True, slots=True)
class Unbuilt:
    """A key below `place` (dots lead into maps). `matters`: ignoring it would change meaning or safety."""

    place: Place
    key: str
    matters: bool
    hint: str
    is_on: Callable[[Any], bool] = _is_on


def _matters(place: Place, key: str, hint: str, is_on: Callable[[Any], bool] = _is_on) -> Unbuilt:
    return Unbuilt(place, key, True, hint, is_on)


def _costs(place: Place, key: str, hint: str) -> Unbuilt:
    return Unbuilt(place, key, False, hint)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_key(value: Any) -> bool:
    return bool(value == "key")


_HOSTS = "a list of hosts would not be kept: write `true` to open the network, or `false`"

_TABLES = "state is kept in topic tables, always"

TABLE = (
    _matters("pipeline", "sensitive_variables", "the values would not be masked"),
    _matters("pipeline", "ordering", "runs of one key would not wait for each other", _is_key),
    _matters("pipeline", "sandbox.network", _HOSTS, _is_list),
    _costs("pipeline", "sandbox.packages", "scripts import what is installed beside the worker"),
    _costs("pipeline", "state_management.persistence", _TABLES),
    _costs("pipeline", "state_management.persistent", _TABLES),
    _costs("pipeline", "state_management.storage", _TABLES),
    _costs("pipeline", "state_management.backend", _TABLES),
    _costs("pipeline", "state_management.type", _TABLES),
    _costs("pipeline", "state_management.scope", "the method that a script calls decides"),
    _costs("pipeline", "state_management.checkpointing", "every step is a checkpoint"),
    _costs("pipeline", "state_management.checkpoint_interval", "every step is a checkpoint"),
    _costs("pipeline", "resource_management.auto_scaling", "start more workers by hand"),
    _costs("pipeline", "cost_management.optimization_mode", "tasks use the models they name"),
    _costs("pipeline", "model_strategy.cost_optimization", "tasks use the models they name"),
    _costs("pipeline", "model_settings.cost_optimization", "tasks use the models they name"),
    _costs("pipeline", "cache_strategy", "nothing is cached yet"),
    _costs("pipeline", "cache_config", "nothing is cached yet"),
    _costs("pipeline", "cache", "nothing is cached yet"),
    _costs("pipeline", "alerting", "watch the metrics instead"),
    _costs("pipeline", "monitoring.alerting", "watch the metrics instead"),
    _costs("pipeline", "logging", "the worker decides what is logged"),
    _matters("component", "error_handling", "write it in each task"),
    _costs("component", "cache_config", "nothing is cached yet"),
    _costs("config", "channels", "nobody is told yet; watch the metrics instead"),
    _costs("task", "cache_config", "nothing is cached yet"),
    _costs("task", "cache_key", "nothing is cached yet"),
    _costs("task", "cache_ttl", "nothing is cached yet"),
    _matters("task", "sandbox.network", _HOSTS, _is_list),
    _costs("task", "sandbox.packages", "scripts import what is installed beside the worker"),
    _matters("task", "batch", "events are processed one by one; loop in the script"),
)

# Sections of a config that pipelines have as well: what is not built for them is not built here. The log's level is.
SHARED_WITH_CONFIG = (
    "monitoring",
    "model_settings",
    "model_strategy",
    "model_tier_strategy",
    "cost_management",
    "cache",
    "cache_strategy",
    "alerting",
    "security",
    "resource_management",
)

_STRATEGIES = {
    "batch_processing": "every event is a batch of its own: `get_current_batch()` holds one member",
    "intelligent_caching": "remove it, or set `enabled: false`",
    "request_coalescing": "remove it, or set `enabled: false`",
}
_FILE_HINT = "pass text as a string, or base64 text that a script decodes"


def unbuilt_in_pipeline(located: Located, *, place: Place = "pipeline") -> Iterator[Problem]:
    """Problems of all keys of the table that this document sets."""
    data = located.data
    yield from _in_table(located, place, (), data)
    for path, task in tasks_in(data):
        yield from _in_table(located, "task", path, task)
    yield from _strategies(located)
    if place == "component":
        yield from _files(located, "parameters")


def unbuilt_in_config(located: Located) -> Iterator[Problem]:
    """The same of a config file."""
    yield from _in_table(located, "config", (), located.data)
    for row in TABLE:
        if is_shared(row):
            parts = tuple(row.key.split("."))
            if row.is_on(_get(located.data, parts)):
                yield _problem(located, parts, row.matters, f"`{row.key}`", row.hint)


def is_shared(row: Unbuilt) -> bool:
    """Whether a key of pipelines may stand in a config as well."""
    return row.place == "pipeline" and row.key.split(".")[0] in SHARED_WITH_CONFIG


def tasks_in(data: Any, path: Path = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every task that is a map, fallbacks and tasks inside tasks included, with its path."""
    for key in (*dict.fromkeys(("tasks", *bodies.THEN, *bodies.ELSE)), "fallback"):
        items = data.get(key) if isinstance(data, dict) else None
        for index, task in enumerate(items) if isinstance(items, list) else ():
            yield from _task_and_below(task, (*path, key, index))
        if key != "tasks" and isinstance(items, dict):
            yield from _task_and_below(items, (*path, key))


def _task_and_below(task: Any, path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    if isinstance(task, dict):
        yield path, task
        yield from tasks_in(task, path)
        yield from tasks_in(task.get("error_handling"), (*path, "error_handling"))


def _in_table(located: Located, place: Place, path: Path, data: Any) -> Iterator[Problem]:
    for row in TABLE:
        parts = tuple(row.key.split("."))
        if row.place == place and row.is_on(_get(data, parts)):
            yield _problem(located, (*path, *parts), row.matters, f"`{row.key}`", row.hint)


def _strategies(located: Located) -> Iterator[Problem]:
    found = located.data.get("optimization_strategies")
    for index, strategy in enumerate(found) if isinstance(found, list) else ():
        name = strategy.get("name") if isinstance(strategy, dict) else None
        if isinstance(name, str) and name in _STRATEGIES and _is_on(strategy):
            path = ("optimization_strategies", index, "name")
            yield _problem(located, path, False, f"the strategy `{name}`", _STRATEGIES[name])


def _files(located: Located, key: str) -> Iterator[Problem]:
    variables = located.data.get(key)
    for name, variable in variables.items() if isinstance(variables, dict) else ():
        if isinstance(variable, dict) and variable.get("type") == "file":
            yield _problem(located, (key, name, "type"), True, "an input of type `file`", _FILE_HINT)


def _get(data: Any, parts: tuple[str, ...]) -> Any:
    for part in parts:
        data = data.get(part) if isinstance(data, dict) else None
    return data


def _problem(located: Located, path: Path, matters: bool, what: str, hint: str) -> Problem:
    if matters:
        return located.problem("not-yet-supported", f"{what} is not supported yet", path=path, hint=hint)
    message = f"{what} has no effect yet"
    return located.problem("no-effect-yet", message, path=path, hint=hint, severity="warning")
