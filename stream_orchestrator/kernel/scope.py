"""The names a task sees: input variables, upstream outputs, and the reserved ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from stream_orchestrator.kernel.events import Report
from stream_orchestrator.kernel.rows import RunRow, StepRow
from stream_orchestrator.plan.model import START, Plan
from stream_orchestrator.plan.templates import SKIPPED


class Surroundings(Struct, frozen=True):
    """What a step needs beside its row. `values` are the validated variables, `names` all that the input binds."""

    plan: Plan
    run: RunRow
    values: Mapping[str, Any]
    names: Mapping[str, Any]
    env: Mapping[str, str] = {}

    def run_info(self) -> dict[str, Any]:
        """The name `run` of templates and scripts."""
        run, plan = self.run, self.plan
        return {"id": run.run_id, "key": run.key, "pipeline": plan.slug, "version": plan.version}


def outputs_of(row: StepRow, *, skipped: Any = None) -> dict[str, Any]:
    """Upstream outputs by task name; a skipped one is `skipped`, one that failed and went on is null."""
    reports = (token.report for source, token in row.tokens.items() if source != START)
    return {report.task: output_of(report, skipped=skipped) for report in reports}


def output_of(report: Report, *, skipped: Any = None) -> Any:
    """What a report's task gives to whoever names it."""
    return skipped if report.kind == "skipped" else report.output


def template_scope(around: Surroundings, outputs: Mapping[str, Any]) -> dict[str, Any]:
    """All names of a template. Outputs hide nothing: a task and a variable may not share a name."""
    return {
        **around.names,
        **outputs,
        "inputs": dict(around.values),
        "tasks": dict(outputs),
        "run": around.run_info(),
        "env": dict(around.env),
    }


def of_step(around: Surroundings, row: StepRow) -> dict[str, Any]:
    """The template scope of a step whose tokens have arrived."""
    return template_scope(around, outputs_of(row, skipped=SKIPPED))
