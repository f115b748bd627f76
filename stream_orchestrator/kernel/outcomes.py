"""Readings of what an attempt gave: faults, parts of outputs, and what an answer leaves behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from stream_orchestrator.errors import RunError
from stream_orchestrator.kernel.effects import Answer, CallRequest, Request
from stream_orchestrator.kernel.events import Report, TokenKind
from stream_orchestrator.kernel.kinds import Fault, Gathered
from stream_orchestrator.kernel.limits import claimed
from stream_orchestrator.kernel.rows import StepRow
from stream_orchestrator.plan.claims import is_claim
from stream_orchestrator.plan.model import START, TaskPlan

SPENT = ("usd", "input_tokens", "output_tokens", "calls")


def told_by_item(failed: Report, error: Mapping[str, Any]) -> str:
    """What went wrong in an item, with the way to the task that said it."""
    message = str(error.get("message", "failed"))
    if message.startswith(f"{failed.task}/"):
        return message  # an item of that item has said where
    place = f"{failed.task}/{error['task']}" if error.get("task") else failed.task
    return f"{place}: {message}"


def afresh(row: StepRow) -> StepRow:
    """A container's row before an attempt: what the items of the one before gave, and how, is nobody's output."""
    return replace(row, wave=0, carry=None, degraded=row.degraded if row.variant else ())


def with_items(row: StepRow, reports: Sequence[Report]) -> StepRow:
    """A container's row with what its items cost, and where they were degraded."""
    more = {name: getattr(row, name) + value for name, value in spent(reports).items()}
    return replace(row, **more, degraded=(*row.degraded, *(entry for report in reports for entry in report.degraded)))


def spent(reports: Sequence[Report]) -> dict[str, Any]:
    """What steps have cost together, by the names that reports and rows have for it."""
    return {name: sum(getattr(report, name) for report in reports) for name in SPENT}


def inside_of(
    task: TaskPlan, kind: TokenKind, output: Any, inside: Gathered | None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What a report shows beside its output: further names of it, and names inside a container; and what it hides."""
    if not (task.also or task.gathers):
        return {}, ()
    valued = kind == "value"
    shown = {**(inside.shown if inside else {}), **(parts_of(task, output) if valued else {})}
    return shown, (*(inside.hidden if inside else shown_by(task)), *(() if valued else task.also))


def parts_of(task: TaskPlan, output: Any) -> dict[str, Any]:
    """A task's output under its further names, and the parts of it that have names; null where there is none."""
    parts = output if isinstance(output, dict) else {}
    return {name: parts.get(key) if key else output for name, key in task.also.items()}


def lacking(task: TaskPlan, output: Any) -> Fault | None:
    """The fault of an output without a part that has a name: others would read nothing, and not know why."""
    if task.also and is_claim(output):
        return claimed(output, task.name)
    parts = output if isinstance(output, dict) else {}
    missing = [key for key in task.also.values() if key and key not in parts]
    if not missing:
        return None
    got = f"has {', '.join(f'`{key}`' for key in parts)}" if parts else "is no map"
    return Fault(type="MissingOutput", message=f"`outputs` names `{missing[0]}`, and the output {got}")


def shown_by(task: TaskPlan) -> tuple[str, ...]:
    """The names inside a container that are read outside."""
    return tuple(
        dict.fromkeys(name for body in task.bodies for name in (*body.shows, body.name) if name and "{{" not in name)
    )


def trail_of(row: StepRow) -> tuple[Report, ...]:
    """Every report that came with a row's tokens, once each: what the next token must carry when no row keeps it."""
    reports: dict[str, Report] = {}
    for token in row.tokens.values():
        for report in (*token.trail, token.report):
            reports.setdefault(report.task, report)
    reports.pop(START, None)
    return tuple(reports.values())


def fault_of(answer: Answer) -> Fault:
    """A call's fault as the policies see it."""
    reason = "timeout" if answer.error_type.lower().endswith("timeout") else "task_failed"
    return Fault(
        type=answer.error_type,
        message=answer.message,
        passing=answer.retryable,
        retry_after=answer.retry_after,
        reason=reason,
    )


def told_of(request: Request, call_id: str) -> dict[str, Any]:
    """What the audit keeps of a request: whom it asks, never what it says."""
    name = "model" if isinstance(request, CallRequest) else "service"
    return {name: request.asks, "call_id": call_id}


def journaled(answer: Answer) -> dict[str, Any]:
    """An answer as the script that asked for it finds it."""
    if answer.error_type:
        return {"error_type": answer.error_type, "message": answer.message}
    tokens = answer.input_tokens + answer.output_tokens
    return {"text": answer.text, "tokens": tokens, "cost": answer.usd, "model": answer.model}


def fatal(error: RunError) -> Fault:
    """An error of our own reading as a fault that no retry mends."""
    return Fault(type=type(error).__name__, message=str(error))
