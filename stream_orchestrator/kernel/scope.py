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
    """What a step needs beside its row. `values` are the validated variables, `names` all that the input binds.

    Inside a container `outputs` are those of tasks around it; a skipped one is `SKIPPED`.
    """

    plan: Plan
    run: RunRow
    values: Mapping[str, Any]
    names: Mapping[str, Any]
    env: Mapping[str, str] = {}
    outputs: Mapping[str, Any] = {}

    def run_info(self) -> dict[str, Any]:
        """The name `run` of templates and scripts."""
        run, plan = self.run, self.plan
        return {"id": run.root, "key": run.key, "pipeline": plan.slug, "version": plan.version}


def outputs_of(row: StepRow, *, skipped: Any = None) -> dict[str, Any]:
    """Upstream outputs by task name; a skipped one is `skipped`, one that failed and went on is null."""
    found: dict[str, Any] = {}
    for source, token in row.tokens.items():
        if source != START:
            found |= told_by(token.report, skipped=skipped)
    return found


def told_by(report: Report, *, skipped: Any = None) -> dict[str, Any]:
    """The outputs that a report brings, by name: its task's, and those of what is inside it that others read."""
    found = {report.task: output_of(report, skipped=skipped)}
    if not (report.names or report.shown or report.hidden):
        return found
    if report.names and isinstance(report.output, list):
        found |= {name: value for name, value in zip(report.names, report.output, strict=False) if name}
    return {**found, **report.shown, **dict.fromkeys(report.hidden, skipped)}


def output_of(report: Report, *, skipped: Any = None) -> Any:
    """What a report's task gives to whoever names it."""
    return skipped if report.kind == "skipped" else report.output


def template_scope(around: Surroundings, outputs: Mapping[str, Any]) -> dict[str, Any]:
    """All names of a template. Outputs hide nothing: a task and a variable may not share a name."""
    known = {**around.outputs, **outputs}
    return {
        **around.names,
        **known,
        "inputs": dict(around.values),
        "tasks": known,
        "run": around.run_info(),
        "env": dict(around.env),
    }


def of_step(around: Surroundings, row: StepRow) -> dict[str, Any]:
    """The template scope of a step whose tokens have arrived."""
    return template_scope(around, outputs_of(row, skipped=SKIPPED))
