"""What a failure means to a task: its own words, whichever way they are written, over the pipeline's defaults.

Nearest wins: `error_handling` of the task (its `retry_policy` last), the same keys at the task itself, then the
pipeline's `error_handling`.
"""

from __future__ import annotations

from typing import Any

from stream_orchestrator.plan.readings import ANYTHING
from stream_orchestrator.plan.scripts import Script
from stream_orchestrator.spec.tasks import BaseTask, ErrorHandling, RetryPolicy

_AT_TASK = ("retry_count", "retry_delay", "retry_backoff", "on_failure", "fallback_value", "circuit_breaker")


def errors_of(task: BaseTask, defaults: ErrorHandling | None) -> ErrorHandling:
    """All that is said of a task's failures, in one place; what nobody says is unset."""
    found: dict[str, Any] = {}
    for said in (defaults, task, task.error_handling):
        if said is not None:
            found |= _said(said)
    return ErrorHandling.model_construct(set(found), **found)


def breaker_options(task: BaseTask, errors: ErrorHandling, options: dict[str, Any]) -> dict[str, Any]:
    """The options of a variant's breaker. A script that records by itself is not watched and not held back."""
    spec, text = errors.circuit_breaker, options.get("script")
    if spec is None:
        return {}
    limits = {
        name: value
        for name, value in (
            ("threshold", spec.failure_threshold),
            ("recovery", spec.recovery_timeout),
            ("probes", spec.half_open_max_calls),
        )
        if value is not None
    }
    script = Script.parse(text) if text else None
    literal = sorted(script.breakers - {ANYTHING}) if script else []
    if script is not None and script.records:
        return {"breakers": dict.fromkeys([spec.name] if spec.name else literal or [task.name], limits)}
    name = spec.name or (literal[0] if len(literal) == 1 else _model(options) or task.name)
    return {"breaker": {"name": name, "limits": limits}, "breakers": {name: limits}}


def _model(options: dict[str, Any]) -> str:
    """The model that a prompt goes to, where it is known."""
    model = "" if options.get("script") else str(options.get("model") or "")
    return "" if "{{" in model else model


def _said(where: BaseTask | ErrorHandling) -> dict[str, Any]:
    policy = where.retry_policy
    found = {} if policy is None else _of_policy(policy)
    if "fallback_response" in where.model_fields_set:
        found["fallback_value"] = where.fallback_response
    names = _AT_TASK if isinstance(where, BaseTask) else tuple(ErrorHandling.model_fields)
    for name in names:
        if name in where.model_fields_set and name not in ("retry_policy", "fallback_response"):
            found[name] = getattr(where, name)
    return found


def _of_policy(policy: RetryPolicy) -> dict[str, Any]:
    retries = _first(policy.retry_count, policy.max_retries)
    if retries is None and policy.max_attempts is not None:
        retries = max(0, policy.max_attempts - 1)
    found = {
        "retry_count": retries,
        "retry_delay": _first(policy.retry_delay, policy.delay, policy.initial_delay),
        "retry_backoff": _first(policy.retry_backoff, policy.backoff, policy.backoff_factor, policy.backoff_strategy),
    }
    return {name: value for name, value in found.items() if value is not None}


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)
