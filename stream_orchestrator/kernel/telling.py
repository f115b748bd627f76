"""What is told of a version's work: audit records, spans, counters, and what scripts say. It only looks."""

from __future__ import annotations

import logging
from asyncio import Future
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from stream_orchestrator.kernel import audit, events, ids
from stream_orchestrator.kernel.effects import RunScript, ScriptDone
from stream_orchestrator.kernel.events import Report
from stream_orchestrator.kernel.limits import misfit
from stream_orchestrator.kernel.ports import Part
from stream_orchestrator.kernel.rows import RunRow, StepRow, Transition
from stream_orchestrator.kernel.site import Site
from stream_orchestrator.kernel.watch import SpanRecord
from stream_orchestrator.plan.model import Plan, TaskPlan

log = logging.getLogger(__name__)

Attributes = dict[str, str | int | float | bool]


@dataclass(frozen=True, slots=True)
class Telling:
    """Tells of one version. Nothing here changes what becomes of a run."""

    site: Site

    def audit(self, part: Part, run: RunRow, at: str, transitions: Sequence[Transition]) -> Future[Any] | None:
        """One slot's audit record, or None when nothing happened."""
        if not transitions:
            return None
        value = audit.record(self.site.plan, run, at, now=part.now(), transitions=transitions)
        told = part.publish(self.site.wires.audit, partition=None, key=run.root.encode(), value=value)
        known = self.site.last_told.get(part)
        if known is None:
            known = self.site.last_told[part] = WeakValueDictionary()
        known[run.run_id] = told
        return told

    def under_way(self, part: Part, run: RunRow) -> Future[Any] | None:
        """The last audit record of a run that is not acknowledged yet; those before it land before it."""
        known = self.site.last_told.get(part)
        last = None if known is None else known.get(run.run_id)
        return None if last is None or last.done() else last

    def heard(self, task: TaskPlan, script: RunScript, done: ScriptDone) -> list[Transition]:
        """What a script said: lines to the log, metrics to the watchers, entries to the audit.

        A script can write into its own pipe, so nothing is believed of a report but that it is a map.
        """
        told = []
        attempt = int(script.info.get("attempt", 0))
        for report in done.reports:
            match report.get("kind"):
                case "audit":
                    told.append(Transition("noted", attempt, _noted(report.get("entry"))))
                case "metric":
                    self._metric(task, report)
                case _:
                    self._line(task, script, report)
        return told

    def _metric(self, task: TaskPlan, report: dict[str, Any]) -> None:
        name, value = report.get("name"), report.get("value")
        if isinstance(name, str) and isinstance(value, int | float):
            self.site.watch.gauge(f"custom_{name}", float(value), pipeline=self.site.plan.slug, task=task.name)

    def _line(self, task: TaskPlan, script: RunScript, report: dict[str, Any]) -> None:
        said = logging.getLevelName(str(report.get("level", "info")).upper())
        level, text = said if isinstance(said, int) else logging.INFO, report.get("message", "")
        about = {"pipeline": self.site.plan.slug, "task": task.name, "run_id": script.info.get("run_id", "")}
        log.log(level, "%s/%s: %s", about["pipeline"], task.name, text, extra=about)

    def began(self, run: RunRow) -> None:
        """A run has begun; an item of a container is none of its own."""
        if run.nest is not None:
            return
        plan = self.site.plan
        self.site.watch.count("runs_started_total", pipeline=plan.slug, version=plan.version)

    def step_ended(self, run: RunRow, task: TaskPlan, row: StepRow) -> None:
        """A step has its outcome, and whoever waits for it has been told."""
        report, site = row.report, self.site
        if report is None:
            return
        site.watch.count("steps_total", pipeline=site.plan.slug, task=task.name, outcome=report.kind)
        site.watch.observe("step_seconds", report.seconds, pipeline=site.plan.slug, task=task.name)
        parents = [
            token.traceparent.split("-")[2] for token in row.tokens.values() if token.traceparent.count("-") == 3
        ]
        site.watch.span(
            SpanRecord(
                name=f"task {task.name}",
                trace_id=run.trace_id,
                span_id=ids.span_of(site.plan.slug, run.run_id, task.name),
                parent_span_id=parents[0] if parents else "",
                started_at=report.started_at,
                ended_at=report.started_at + report.seconds,
                ok=report.kind != "failed",
                attributes=_attributes(site.plan, run, report),
                links=tuple((run.trace_id, parent) for parent in parents[1:]),
            )
        )

    def run_ended(self, run: RunRow, now: float) -> None:
        """A run has its result, and it is published."""
        site = self.site
        if run.nest is not None:
            return
        site.watch.count("runs_total", pipeline=site.plan.slug, version=site.plan.version, status=run.status)
        site.watch.observe("run_seconds", now - run.accepted_at, pipeline=site.plan.slug)
        slug = site.plan.slug
        span, publish = ids.span_of(slug, run.run_id, "result"), ids.span_of(slug, run.run_id, "publish")
        about: Attributes = {"run.id": run.run_id, "run.status": run.status}
        shared: dict[str, Any] = {"trace_id": run.trace_id, "started_at": now, "ended_at": now, "attributes": about}
        parent = ids.span_of(slug, run.run_id, "ingest")
        site.watch.span(SpanRecord(name=f"result {site.plan.slug}", span_id=span, parent_span_id=parent, **shared))
        site.watch.span(
            SpanRecord(name=f"publish {site.wires.results}", span_id=publish, parent_span_id=span, **shared)
        )

    def late(self, event: events.Event) -> None:
        """A copy, or a token of a run that is over: nothing happens, and it is counted."""
        self.site.watch.count("late_events_total", pipeline=self.site.plan.slug, kind=type(event).__name__.lower())

    def duplicate(self) -> None:
        """An event came again from elsewhere."""
        self.site.watch.count("duplicates_total", pipeline=self.site.plan.slug)


def _noted(entry: Any) -> dict[str, Any]:
    """An entry of a script; of one that no record can hold, why."""
    unfit = misfit(entry, "the entry")
    return {"entry": entry} if unfit is None else {"omitted": unfit.message}


def _attributes(plan: Plan, run: RunRow, report: Report) -> Attributes:
    found: Attributes = {
        "pipeline": plan.slug,
        "pipeline.version": plan.version,
        "run.id": run.run_id,
        "task.name": report.task,
        "task.outcome": report.kind,
        "task.attempts": report.attempts,
    }
    if report.degraded:
        found["task.degraded"] = True
    return found
