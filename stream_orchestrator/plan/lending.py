"""What a config lends to every pipeline: the sections that both have, below what the pipeline itself says.

Promises
  * A pipeline that says a key keeps what it says, except `cache: {enabled: false}` in a config, which wins.
  * A problem in what was lent is reported where the config says it.
  * What is not built yet is not lent: the config's own check has said so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stream_orchestrator.plan.codec import content_hash
from stream_orchestrator.plan.model import Plan, TaskPlan
from stream_orchestrator.spec.config import Configuration
from stream_orchestrator.spec.documents import Document, read
from stream_orchestrator.spec.kinds import PIPELINE
from stream_orchestrator.spec.layers import Layers, Origin, leaves
from stream_orchestrator.spec.located import Path
from stream_orchestrator.spec.unbuilt import SHARED_WITH_CONFIG, TABLE, is_shared

_SAME = ("model_strategy", "model_settings")  # two names of one section


def with_config(document: Document, config: Configuration) -> Document:
    """The document as it stands in this environment."""
    data = document.located.data
    if document.kind != PIPELINE or not isinstance(data, dict):
        return document
    lent, origins = Layers(), dict[Path, Origin]()
    for path, value in leaves({key: config.data[key] for key in SHARED_WITH_CONFIG if key in config.data}):
        place = _place(path, data)
        if not _is_unbuilt(path) and not _is_said(place, data):
            origins[place] = config.origins.get(path, Origin())
            lent.lay_value(place, value, origins[place])
    if config.data.get("cache", {}).get("enabled") is False:
        lent.lay_value(("cache", "enabled"), False, Origin())
    if not lent.data:
        return document
    places = {path: (origin.file or origin.variable, origin.mark, origin.source) for path, origin in origins.items()}
    return read(replace(document.located, data=_over(data, lent.data), lent=places), kind=PIPELINE)


def without_network(plan: Plan) -> Plan:
    """The plan with no script on the network: `trust.network: deny`."""
    denied = replace(plan, tasks=tuple(map(_denied, plan.tasks)), hash="")
    return plan if denied.tasks == plan.tasks else replace(denied, hash=content_hash(denied))


def _denied(task: TaskPlan) -> TaskPlan:
    variants = (
        replace(each, options={**each.options, "network": False}) if each.options.get("network") else each
        for each in task.variants
    )
    return replace(task, variants=tuple(variants))


def _place(path: Path, data: Mapping[Any, Any]) -> Path:
    """Where a lent value goes: a pipeline that writes a section under its other name has it there."""
    if path[0] not in _SAME:
        return path
    return (next((name for name in _SAME if isinstance(data.get(name), dict)), _SAME[0]), *path[1:])


def _is_said(place: Path, data: Mapping[Any, Any]) -> bool:
    names = _SAME if place[0] in _SAME else (place[0],)
    return any(_says(data.get(name), place[1:]) for name in names)


def _says(value: Any, rest: Path) -> bool:
    """Whether a document says a value, or something that is no map where the value's map would be."""
    for part in rest:
        if not isinstance(value, dict):
            return value is not None
        value = value.get(part)
    return value is not None


def _is_unbuilt(path: Path) -> bool:
    keys = (tuple(row.key.split(".")) for row in TABLE if is_shared(row))
    return any(path[: len(key)] == key for key in keys)


def _over(data: dict[str, Any], lent: dict[str, Any]) -> dict[str, Any]:
    merged = dict(data)
    for key, value in lent.items():
        below = merged.get(key)
        merged[key] = _over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged
