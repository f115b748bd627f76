"""What tasks with a script share: how one is asked for, and how its end is read."""

from __future__ import annotations

from typing import Any

from stream_orchestrator.errors import RunError
from stream_orchestrator.kernel.effects import MEMORY_BYTES, CallRequest, RunScript, ScriptDone
from stream_orchestrator.kernel.kinds import Ask, Attempt, Fault, Step, Value
from stream_orchestrator.kernel.outside import until_of
from stream_orchestrator.kernel.scope import outputs_of
from stream_orchestrator.plan import templates
from stream_orchestrator.plan.models import current
from stream_orchestrator.plan.scripts import Script
from stream_orchestrator.plan.templates import SKIPPED

LEAST_SECONDS = 0.05  # an attempt whose time is over still gets a moment to say so itself


def run_script(attempt: Attempt, *, journal: bool = False) -> RunScript:
    """The script of an attempt, its values bound. `journal`: it may ask models and finds their answers by number."""
    options = attempt.variant.options
    script = Script.parse(options["script"])
    prepared = script.prepare(attempt.scope)
    around = {name: _plain(value) for name, value in attempt.around.outputs.items()}
    outputs = {**around, **outputs_of(attempt.row)}
    bound = {**attempt.scope, "tasks": outputs}
    return RunScript(
        source=prepared.source,
        digest=prepared.digest,
        bindings=dict(prepared.bindings),
        names={name: _plain(bound[name]) for name in prepared.names},
        journal=dict(attempt.row.journal) if journal else {},
        info=_info(attempt, outputs),
        timeout=max(LEAST_SECONDS, min(attempt.deadline - attempt.now, _seconds(attempt))),
        cores=int(options.get("cores") or 0),
        memory_bytes=int(options.get("memory_bytes") or MEMORY_BYTES),
        network=bool(options.get("network")),
        env=tuple(options.get("env") or ()),
        rank=attempt.around.run.accepted_at,
    )


def _seconds(attempt: Attempt) -> float:
    """What one run of the script may take."""
    return float(attempt.variant.options.get("script_seconds") or attempt.variant.timeout)


def _plain(value: Any) -> Any:
    return None if value is SKIPPED else value


def _pipelines(attempt: Attempt) -> dict[str, Any]:
    """What other pipelines gave that this run ran before, by name."""
    kinds = {task.name: task for task in attempt.around.plan.tasks if task.pipelines}
    found: dict[str, Any] = {}
    for source, token in attempt.row.tokens.items():
        if source in kinds:
            task, report = kinds[source], token.report
            found |= report.shown or dict.fromkeys((*task.pipelines, task.name), report.output)
    return found


def _info(attempt: Attempt, outputs: dict[str, Any]) -> dict[str, Any]:
    options = attempt.variant.options
    return {
        **attempt.around.run_info(),
        "run_id": attempt.row.run_id,
        "task": attempt.task.name,
        "attempt": attempt.row.attempts,
        "variables": dict(attempt.around.values),
        "outputs": outputs,
        "deadline": attempt.deadline,
        "until": until_of(attempt.around.run),
        **{name: options[name] for name in ("state", "breakers") if name in options},
        **({"secrets": False} if attempt.variant.options.get("secrets") is False else {}),
        **({"pipelines": members} if (members := _pipelines(attempt)) else {}),
        **({"loop": loop} if isinstance(loop := attempt.around.names.get("loop"), dict) else {}),
    }


def script_ended(attempt: Attempt, done: ScriptDone) -> Step:
    """A script's value, its fault, or the call it waits for."""
    match done.kind:
        case "value":
            return Value(done.value)
        case "call":
            return Ask(_request(attempt, done.request or {}), done.call_number)
        case "timeout":
            seconds = min(attempt.variant.timeout, _seconds(attempt))
            message = f"the script did not end within {seconds:g} s"
            return Fault(type="Timeout", message=message, passing=True, reason="timeout")
        case "killed":
            return Fault(type="SandboxKilled", message=done.message, passing=True, reason="sandbox_killed")
        case _:
            return Fault(type=done.error_type, message=done.message, passing=True)


def _request(attempt: Attempt, asked: dict[str, Any]) -> CallRequest:
    """What a script asks. It can write into its own pipe, so nothing is believed of it but that it is a map."""
    model = asked.get("model") or templates.render(attempt.variant.options.get("model"), attempt.scope)
    if not isinstance(model, str) or not model:
        raise RunError(f"`process_with_llm` needs a model's name, and has {model!r}")
    return CallRequest(
        model=current(model),
        messages=({"role": "user", "content": str(asked.get("text", ""))},),
        params=params if isinstance(params := asked.get("params"), dict) else {},
        deadline=attempt.deadline,
        on_ambiguous=attempt.variant.on_ambiguous,
    )
