"""What a script may use, and what of state its pipeline says: options that the sandbox and the notebook keep to."""

from __future__ import annotations

import math
from typing import Any

from stream_orchestrator.spec.pipeline import Pipeline, StateManagement
from stream_orchestrator.spec.tasks import BaseTask


def limits_of(task: BaseTask, pipeline: Pipeline) -> dict[str, Any]:
    """Memory, processors and time of one script: the task's own words over the pipeline's."""
    management = pipeline.resource_management
    whole = management.resource_limits if management is not None else None
    said = [each for each in (task.resource_limits, whole) if each is not None]
    memory = next((each.memory for each in said if each.memory is not None), None)
    cpu = next((each.cpu for each in said if each.cpu is not None), None)
    seconds = next((each.timeout for each in said if each.timeout is not None), None)
    found = {"memory_bytes": memory, "cores": cpu and math.ceil(cpu), "script_seconds": seconds}
    return {name: value for name, value in found.items() if value is not None}


def state_options(said: StateManagement | None) -> dict[str, Any]:
    """`state_management` as scripts meet it; nothing where the document says nothing."""
    if said is None:
        return {}
    found = {
        "off": said.enabled is False or None,
        "ttl": said.ttl if said.ttl is not None else said.default_ttl,
        "cache_ttl": said.cache_ttl,
        "namespace": said.namespace,
        "max_value": said.max_value_size,
        "max_size": said.max_size,
        "initial": said.initial_state if said.initial_state is not None else said.initial,
    }
    return {name: value for name, value in found.items() if value is not None}
