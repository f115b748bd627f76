"""Which service carries out which kind of task, and what a task asks of it as its document says it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from stream_orchestrator.spec.tasks import SERVICE_TASKS, ServiceTask, own_keys

# One topic of calls for each: `orchestrator.calls.<service>`.
SERVICE_OF_KIND = {
    "web_scraping_task": "web",
    "web_search_task": "search",
    "api_task": "api",
    "file_task": "files",
    "database_task": "database",
    "email_task": "email",
}
# What templates of these tasks read beside the names that all templates have.
SECRET = "secret"  # noqa: S105  a function's name: `secret('name')`
_BEGINS_LIKE_A_URL = "^https?"


def services_of_kinds(kinds: Iterable[str]) -> tuple[str, ...]:
    """The services of these kinds of tasks, once each, in one order."""
    wanted = {SERVICE_OF_KIND[kind] for kind in kinds if kind in SERVICE_OF_KIND}
    return tuple(service for service in SERVICE_OF_KIND.values() if service in wanted)


def rendered_keys(kind: str) -> tuple[str, ...]:
    """The keys of a service's task that are templates."""
    model = SERVICE_TASKS.get(kind)
    return () if model is None else tuple(key for key in own_keys(model) if key not in model.FIXED)


def asked_keys(kind: str) -> tuple[str, ...]:
    """The keys of a service's task that are its request; others say how it is asked."""
    model = SERVICE_TASKS.get(kind)
    return () if model is None else tuple(own_keys(model))


def options_of(task: ServiceTask) -> dict[str, Any]:
    """What the task's own keys say, by key, without those that are left out."""
    said = {key: getattr(task, name) for key, name in own_keys(type(task)).items() if key != "type"}
    return {key: _plain(value) for key, value in said.items() if value is not None}


def _plain(value: Any) -> Any:
    return value.model_dump(exclude_none=True) if hasattr(value, "model_dump") else value


def url_variables(variables: Mapping[str, Any]) -> list[str]:
    """The input variables that hold an address: texts whose name ends in `url` or whose regex begins with `^https?`."""
    return [name for name, variable in variables.items() if _holds_url(name, variable)]


def _holds_url(name: str, variable: Any) -> bool:
    if getattr(variable, "type", "") != "string":
        return False
    rules = getattr(variable, "validation", None)
    regex = rules if isinstance(rules, str) else getattr(rules, "regex", None)
    return name.lower().endswith("url") or (regex or "").startswith(_BEGINS_LIKE_A_URL)
