"""The result record: what a run gave, in bytes that are the same in every copy.

Shape: CONTRACT of results (docs/results.md). It is built once, written to the run's row, and published from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson

from stream_orchestrator.errors import RunError
from stream_orchestrator.kernel import events, ids
from stream_orchestrator.kernel.events import Ended, Report
from stream_orchestrator.kernel.limits import excerpt, misfit
from stream_orchestrator.kernel.outcomes import spent
from stream_orchestrator.kernel.rows import RunRow
from stream_orchestrator.kernel.scope import Surroundings, output_of, template_scope, told_by
from stream_orchestrator.plan import templates
from stream_orchestrator.plan.model import RESULT, Plan

FORMAT = 1
STATUS_OF_ITEM = {"value": "succeeded", "skipped": "succeeded", "failed": "failed"}
LAST_INSTANT = 253_402_300_799.0  # the end of the year 9999
REASONS = (
    "not_json",
    "invalid_input",
    "too_large",
    "run_id_conflict",
    "task_failed",
    "timeout",
    "expired",
    "budget_exhausted",
    "sandbox_killed",
    "unknown_version",
    "cancelled",
    "internal",
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run's end: its status, the text of its result record, and the dead letter's headers if it has one."""

    status: str
    result: str
    letter: dict[str, str] | None


def instant(seconds: float) -> str:
    """An instant as RFC 3339 in UTC, to the millisecond."""
    seconds = min(max(seconds, 0.0), LAST_INSTANT)  # a record's timestamp is whatever its producer says
    return _instant(round(seconds * 1e6) // 1000)


@lru_cache(maxsize=4096)  # under load many things happen in one millisecond
def _instant(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{datetime.fromtimestamp(seconds, tz=UTC):%Y-%m-%dT%H:%M:%S}.{rest:03}Z"


def dumps(value: Any) -> bytes:
    """JSON bytes; equal values give equal bytes."""
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)


def build(
    around: Surroundings,
    reports: Mapping[str, Report],
    now: float,
    *,
    error: dict[str, Any] | None = None,
    bare: bool = False,
) -> Outcome:
    """The outcome of a run whose tasks gave these reports. `error` when the run ends without them (expired, cancelled);
    `bare`: without their outputs.
    """
    plan, run = around.plan, around.run
    ordered = [reports[task.name] for task in plan.tasks if task.name in reports]
    error = error or first_error(run, ordered) or _aborted(run, ordered)
    output: Any = None
    if error is None:
        output, error = _output_of(around, reports)
    degraded = [entry for report in ordered for entry in report.degraded]
    status = "failed" if error else "degraded" if degraded else "succeeded"
    record = {
        **_identity(plan, run, status),
        "output": output,
        "output_sha256": ids.sha256(dumps(output)),
        "outputs": {} if bare else _outputs(ordered),
        "error": _public(error),
        "degraded": degraded,
        "cost": _cost(ordered),
        "usage": _usage(ordered),
        "timings": _timings(run, ordered, now),
        "trace_id": run.trace_id,
    }
    return Outcome(status, dumps(record).decode(), _letter(error) if error else None)


def of_item(
    around: Surroundings,
    reports: Mapping[str, Report],
    now: float,
    *,
    shows: Iterable[str],
    error: dict[str, Any] | None = None,
    bare: bool = False,
) -> Outcome:
    """The outcome of an item of a container: what its container is told, as the bytes of that record."""
    run = around.run
    assert run.nest is not None
    ordered = [reports[task.name] for task in around.plan.tasks if task.name in reports]
    error, output = error or first_error(run, ordered) or _aborted(run, ordered), None
    if error is None:
        output, error = _output_of(around, reports)
    last = [reports.get(task.name) for task in around.plan.tasks if task.downstream == (RESULT,)]
    skipped = all(report is not None and report.kind == "skipped" for report in last)
    told = {} if bare else _inside(reports)
    report = Report(
        task=run.nest.label,
        kind="failed" if error else "skipped" if skipped else "value",
        output=output,
        error=error,
        degraded=tuple(_placed(entry, run.nest.label) for each in ordered for entry in each.degraded),
        **spent(ordered),
        started_at=run.accepted_at,
        seconds=round(max(0.0, now - run.accepted_at), 6),
        shown={name: told[name] for name in shows if told.get(name, templates.SKIPPED) is not templates.SKIPPED},
        hidden=tuple(name for name in shows if told.get(name) is templates.SKIPPED),
    )
    ended = Ended(run_id=run.nest.parent, item=run.run_id, index=run.nest.index, report=report)
    return Outcome(STATUS_OF_ITEM[report.kind], events.encode(ended).decode(), None)


def _placed(entry: dict[str, Any], label: str) -> dict[str, Any]:
    """What degraded, by the way to it; what an item of this item has told has the whole way already."""
    task = entry["task"]
    return entry if task.startswith(f"{label}/") else {**entry, "task": f"{label}/{task}"}


def _inside(reports: Mapping[str, Report]) -> dict[str, Any]:
    """Every output of these tasks, and of what is inside them, by name."""
    found: dict[str, Any] = {}
    for report in reports.values():
        found |= told_by(report, skipped=templates.SKIPPED)
    return found


def rejected(plan: Plan, run: RunRow, error: dict[str, Any], now: float, **more: Any) -> Outcome:
    """The outcome of an input event that never became work."""
    record = {
        **_identity(plan, run, "rejected"),
        "output": None,
        "output_sha256": ids.sha256(b"null"),
        "outputs": {},
        "error": _public(error),
        "degraded": [],
        "cost": _cost([]),
        "usage": _usage([]),
        "timings": _timings(run, [], now),
        "trace_id": run.trace_id,
        **more,
    }
    return Outcome("rejected", dumps(record).decode(), _letter(error))


def ended(reason: str, kind: str, message: str) -> dict[str, Any]:
    """The error of a run that ended for a reason of its own."""
    return {"type": kind, "message": message, "task": None, "attempts": 0, "retryable": False, "reason": reason}


def _identity(plan: Plan, run: RunRow, status: str) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "run_id": run.run_id,
        "attempt": run.attempt,
        "retry_of": run.retry_of,
        "pipeline": plan.slug,
        "version": plan.version,
        "status": status,
    }


def first_error(run: RunRow, reports: Iterable[Report]) -> dict[str, Any] | None:
    """Why a run failed: the error of the task that aborted it."""
    errors = {report.task: report.error for report in reports if report.error}
    return errors.get(run.aborted_by) or next(iter(errors.values()), None)


def _aborted(run: RunRow, reports: Iterable[Report]) -> dict[str, Any] | None:
    """A run that was aborted has failed, even if a crash took why: the step that failed then may not fail again."""
    if not run.aborted_by and all(report.kind != "cancelled" for report in reports):
        return None
    error = ended("task_failed", "Aborted", "a task failed, and what it said was lost with a worker")
    return {**error, "task": run.aborted_by or None}


def _output_of(around: Surroundings, reports: Mapping[str, Report]) -> tuple[Any, dict[str, Any] | None]:
    """The run's output, or why there is none."""
    try:
        output = _output(around, reports)
    except RunError as error:
        return None, ended("task_failed", type(error).__name__, excerpt(f"`output:` {error}"))
    fault = misfit(output, "`output:`")
    return (output, None) if fault is None else (None, ended(fault.reason, fault.type, fault.message))


def _output(around: Surroundings, reports: Mapping[str, Report]) -> Any:
    plan = around.plan
    if plan.has_output:
        try:
            return templates.render(plan.output, template_scope(around, _inside(reports)))
        except templates.SkippedReference:
            return None
    last = [task.name for task in plan.tasks if task.downstream == (RESULT,)]
    if len(last) == 1:
        return output_of(reports[last[0]])
    return {name: output_of(reports[name]) for name in last}


def _outputs(reports: Iterable[Report]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for report in reports:
        if report.kind in {"value", "skipped"}:
            found |= told_by(report)
    return found


def _public(error: dict[str, Any] | None) -> dict[str, Any] | None:
    return {name: value for name, value in error.items() if name != "reason"} if error else None


def _letter(error: dict[str, Any]) -> dict[str, str]:
    return {
        "dlq-reason": error["reason"],
        "dlq-message": error["message"][:2000],
        "dlq-task": error["task"] or "",
        "dlq-attempts": str(error["attempts"]),
    }


def _cost(reports: list[Report]) -> dict[str, Any]:
    by_task = {report.task: round(report.usd, 10) for report in reports if report.calls}
    return {"usd": round(sum(by_task.values()), 10), "by_task": by_task}


def _usage(reports: list[Report]) -> dict[str, int]:
    return {
        "input_tokens": sum(report.input_tokens for report in reports),
        "output_tokens": sum(report.output_tokens for report in reports),
        "calls": sum(report.calls for report in reports),
        "cached_calls": 0,
    }


def _timings(run: RunRow, reports: list[Report], now: float) -> dict[str, Any]:
    tasks = {report.task: _timing(report) for report in reports if report.attempts}
    return {"accepted_at": instant(run.accepted_at), "finished_at": instant(now), "tasks": tasks}


def _timing(report: Report) -> dict[str, Any]:
    timing: dict[str, Any] = {
        "started_at": instant(report.started_at),
        "seconds": round(report.seconds, 6),
        "attempts": report.attempts,
    }
    return {**timing, "model": report.model} if report.model else timing
