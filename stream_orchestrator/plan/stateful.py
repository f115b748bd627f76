"""Whether a plan needs the state that outlives runs: by what its scripts ask of `context`, and its breakers."""

from __future__ import annotations

from stream_orchestrator.plan.model import Plan, Variant, every
from stream_orchestrator.plan.scripts import Script

METHODS = frozenset(
    f"{verb}_{what}"
    for verb in ("get", "set")
    for what in ("global_state", "persistent_state", "shared_state", "cache", "task_cache")
) | {
    *("get_circuit_breaker_state", "record_circuit_breaker_success", "record_circuit_breaker_failure"),
    "update_progress",
}
WHOLE = ""  # `context` itself is handed on: whoever gets it may ask for anything


def uses_state(plan: Plan) -> bool:
    """Whether any of its tasks may read or write state."""
    return any(_uses(variant) for task in every(plan.tasks) for variant in task.variants)


def _uses(variant: Variant) -> bool:
    if "breaker" in variant.options:
        return True
    return touches_state(variant.options.get("script") or "")


def touches_state(script: str) -> bool:
    """Whether a script may read or write state."""
    return bool(Script.parse(script).context_methods & (METHODS | {WHOLE}))
