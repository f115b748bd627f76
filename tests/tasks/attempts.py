"""Attempts made by hand, and a stage that plays documents in memory with the real sandbox."""

from __future__ import annotations

from typing import Any

from stream_orchestrator.kernel.events import Report, Token
from stream_orchestrator.kernel.kinds import Attempt
from stream_orchestrator.kernel.rows import RunRow, StepRow
from stream_orchestrator.kernel.scope import Surroundings, of_step
from stream_orchestrator.plan.model import RESULT, START, Plan, TaskPlan, Variant

NOW = 1_700_000_000.0


def attempt(
    kind: str,
    options: dict[str, Any],
    *,
    inputs: dict[str, Any] | None = None,
    outputs: dict[str, Any] | None = None,
    skipped: tuple[str, ...] = (),
    **more: Any,
) -> Attempt:
    """An attempt of a task `t` after the tasks that `outputs` and `skipped` name."""
    given = {**(outputs or {}), **dict.fromkeys(skipped)}
    values = dict(inputs or {})
    names = {"input_data": values, **values}
    variant = Variant(name="t", kind=kind, options=options, timeout=more.pop("timeout", 60.0), **more)
    task = TaskPlan(
        name="t", slug="t", kind=kind, upstream=tuple(given) or (START,), downstream=(RESULT,), variants=(variant,)
    )
    plan = Plan(title="Made", slug="made", version="1.2.3", tasks=(task,))
    run = RunRow(
        run_id="run-1",
        payload="{}",
        key="k",
        headers=(),
        position="made.input/0/0",
        accepted_at=NOW,
        deadline=NOW + 3600,
        at="",
    )
    tokens = {name: token(name, value, kind="skipped" if name in skipped else "value") for name, value in given.items()}
    row = StepRow(run_id="run-1", task="t", tokens=tokens, attempt=1, attempts=3, variant_started_at=NOW - 10)
    around = Surroundings(plan, run, values, names, {"REGION": "eu"})
    return Attempt(task, variant, row, around, of_step(around, row), NOW + 50, NOW)


def token(name: str, value: Any, *, kind: Any = "value") -> Token:
    """What another task has sent."""
    return Token(run_id="run-1", source=name, report=Report(task=name, kind=kind, output=value))
