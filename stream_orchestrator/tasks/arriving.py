"""Tasks that arrive as data: checked and compiled like those of a file, and held to what their pipeline allows."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import orjson

from stream_orchestrator.errors import SpecError
from stream_orchestrator.kernel.kinds import Attempt, Fault
from stream_orchestrator.plan.checks import IN_TEMPLATES, RESERVED
from stream_orchestrator.plan.codec import tasks_to_json
from stream_orchestrator.plan.compile import compile_document
from stream_orchestrator.plan.model import Plan, TaskPlan
from stream_orchestrator.spec.loader import load_text
from stream_orchestrator.spec.located import path_text
from stream_orchestrator.spec.tasks import BUILT_TASKS
from stream_orchestrator.spec.unbuilt import tasks_in

ANY = {"type": "object", "required": False}  # what is around is there, whatever it is
MOST_PROBLEMS = 5  # told of tasks that are wrong


def compiled(attempt: Attempt, tasks: list[Any]) -> str | Fault:
    """The plan of these tasks, as data; or what is wrong with them, or what they take that they may not."""
    options = attempt.variant.options
    scope = attempt.scope
    seen = sorted(name for name in scope if name.isidentifier() and name not in IN_TEMPLATES | RESERVED)
    document = {
        **options["defaults"],
        "name": "arriving",
        "tasks": tasks,
        "input_variables": dict.fromkeys(seen, ANY),
    }
    if (refused := _refused(tasks, options["allowed_types"])) is not None:
        return Fault(type="TasksNotAllowed", message=refused, reason="invalid_input")
    try:
        text = orjson.dumps(document).decode()
        plan = _plan(text, options.get("model", ""), attempt.task.name)
    except (SpecError, TypeError, UnicodeError) as error:
        return Fault(type="InvalidTasks", message=_told(error), reason="invalid_input")
    beyond = _beyond(plan, attempt)
    if beyond:
        return Fault(type="TasksNotAllowed", message=beyond, reason="invalid_input")
    return tasks_to_json(map(_without_secrets, plan.tasks)).decode()


def _refused(tasks: list[Any], allowed: list[str]) -> str | None:
    """A type that may not arrive: told before anything else is looked at, files that it names among them."""
    for path, task in tasks_in({"tasks": tasks}):
        kind = task.get("type")
        if isinstance(kind, str) and kind in BUILT_TASKS and kind not in allowed:
            return f"{path_text(path)} is a `{kind}`, and allowed are {_listed(allowed)}"
        if task.get("for_each") is not None:
            return f"{path_text(path)} has a `for_each`: tasks that arrive are not repeated"
    return None


def _without_secrets(task: TaskPlan) -> TaskPlan:
    """Whoever writes the event writes the script: the secrets of the worker are not for it."""
    variants = (replace(way, options={**way.options, "secrets": False}) for way in task.variants)
    return replace(task, variants=tuple(variants))


@lru_cache(maxsize=256)
def _plan(text: str, model: str, group: str) -> Plan:
    return compile_document(load_text(text, file=f"<tasks of {group}>")[0], default_model=model)


def _told(error: Exception) -> str:
    problems = [each for each in getattr(error, "problems", ()) if each.severity == "error"]
    if not problems:
        return str(error)
    told = "; ".join(f"{each.path}: {each.message}" for each in problems[:MOST_PROBLEMS])
    more = len(problems) - MOST_PROBLEMS
    return f"{told}; and {more} more" if more > 0 else told


def _beyond(plan: Plan, attempt: Attempt) -> str:
    """What these tasks take that their pipeline does not allow, or nothing."""
    options, allowed = attempt.variant.options, attempt.variant.options["allowed_types"]
    sandbox = options["defaults"].get("sandbox") or {}
    for task in plan.tasks:
        if task.kind not in allowed:
            return f"`{task.name}` is a `{task.kind}`, and allowed are {_listed(allowed)}"
        kind = next((way.kind for way in task.variants if way.kind not in allowed), None)
        if kind is not None:
            return f"a fallback of `{task.name}` is a `{kind}`, and allowed are {_listed(allowed)}"
        beyond = next((told for way in task.variants if (told := _of_sandbox(task, way.options, sandbox))), "")
        if beyond:
            return beyond
    missing = sorted(set(plan.helpers) - set(attempt.around.plan.helpers))
    if missing:
        hint = "let the group `depends_on` the task of that name, or call the helper somewhere in the pipeline"
        return f"they use `{missing[0]}`, which is not there: {hint}"
    return ""


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{each}`" for each in names)


def _of_sandbox(task: TaskPlan, options: dict[str, Any], sandbox: dict[str, Any]) -> str:
    if options.get("network") and not sandbox.get("network"):
        return f"the script of `{task.name}` wants the network: say `sandbox: {{network: true}}` in the pipeline"
    missing = sorted(set(options.get("env") or ()) - set(sandbox.get("env") or ()))
    if missing:
        return f"the script of `{task.name}` reads `{missing[0]}`: name it under `sandbox.env` in the pipeline"
    return ""
