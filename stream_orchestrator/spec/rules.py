"""What must hold between the keys of a document; models see one key at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from stream_orchestrator.spec import bodies
from stream_orchestrator.spec.located import Located, Path
from stream_orchestrator.spec.pipeline import Variable
from stream_orchestrator.spec.problems import Problem
from stream_orchestrator.spec.unbuilt import tasks_in
from stream_orchestrator.spec.variables import compile_variable

_SAME = (("system", "system_message"),)
_EITHER = (
    *("retry_count", "retry_delay", "retry_backoff", "retry_policy", "on_failure"),
    *("fallback_value", "fallback_response", "circuit_breaker"),
)
_NOT_IN_FALLBACK = {
    "depends_on": "a fallback runs after the task it belongs to, with the same upstream tasks",
    "condition": "a fallback is tried when the one before it failed",
}
_NOT_IN_ITS_ERRORS = ("fallback", "fallback_value", "on_failure")


def problems_of_tasks(located: Located) -> Iterator[Problem]:
    """Conflicts inside tasks."""
    if "output" in located.data and "outputs" in located.data:
        yield _conflict(located, (), "output", "outputs")
    defaults = located.data.get("error_handling")
    if isinstance(defaults, dict) and "fallback" in defaults:
        message, hint = "a fallback belongs to a task", "write it in the tasks that it can stand in for"
        yield located.problem("fallback-key", message, path=("error_handling", "fallback"), hint=hint)
    for path, task in tasks_in(located.data):
        for one, other in _SAME:
            if task.get(one) is not None and task.get(other) is not None:
                yield _conflict(located, path, one, other)
        for one, other in bodies.conflicts(task):
            yield _conflict(located, path, one, other)
        yield from _said_twice(located, path, task)
        yield from _incomplete(located, path, task)
        if "fallback" in path:
            yield from _fallback(located, path)


def problems_of_variables(located: Located, key: str) -> Iterator[Problem]:
    """Rules of input variables that cannot work: bad regexes and schemas, defaults and examples that break them."""
    variables = located.data.get(key)
    for name, raw in variables.items() if isinstance(variables, dict) else ():
        try:
            variable = Variable.model_validate(raw)
        except ValidationError:
            continue  # the model of the whole document reports it
        for flaw in compile_variable(name, variable).flaws:
            path = (key, name, *flaw.path)
            yield located.problem(flaw.rule, flaw.message, path=path, hint=flaw.hint, severity=flaw.severity)


def _incomplete(located: Located, path: Path, task: dict[str, Any]) -> Iterator[Problem]:
    """Containers that do not say what they run."""
    needed = {"dynamic_task_group": bodies.ARRIVING, "pipeline_group": ("pipeline", "pipelines")}
    keys = needed.get(str(task.get("type")), ())
    present = [key for key in keys if task.get(key) is not None]
    if keys and not present:
        message = f"the key `{keys[0]}` is missing in task `{task.get('name', '')}`"
        hint = "name the pipeline" if "pipeline" in keys else 'write a template that gives tasks: "{{ plan.tasks }}"'
        yield located.problem("missing-key", message, path=(*path, keys[0]), hint=hint)
    for other in present[1:]:
        yield _conflict(located, path, present[0], other)


def _conflict(located: Located, path: Path, one: str, other: str) -> Problem:
    return located.problem(
        "conflicting-keys", f"`{one}` and `{other}` say the same", path=(*path, other), hint="keep one of them"
    )


def _said_twice(located: Located, path: Path, task: dict[str, object]) -> Iterator[Problem]:
    """The same of failures at the task and under its `error_handling`, or by two words."""
    errors = task.get("error_handling")
    errors = errors if isinstance(errors, dict) else {}
    for key in _EITHER:
        if key in task and key in errors:
            yield _conflict(located, path, f"error_handling.{key}", key)
    for where, said in ((path, task), ((*path, "error_handling"), errors)):
        if "fallback_value" in said and "fallback_response" in said:
            yield _conflict(located, where, "fallback_value", "fallback_response")


def _fallback(located: Located, path: Path) -> Iterator[Problem]:
    task = located.data
    for part in path:
        task = task[part]
    if task.get("type") in (*bodies.KEYS, "component") or task.get("for_each") is not None:
        hint = "write it as a task of its own, with a `condition` that looks whether the first one answered"
        message = "a fallback cannot be a group, a loop, a condition or a component"
        yield located.problem("fallback-container", message, path=(*path, "type"), hint=hint)
    for key, why in _NOT_IN_FALLBACK.items():
        if key in task:
            yield located.problem("fallback-key", f"`{key}` means nothing in a fallback", path=(*path, key), hint=why)
    errors = task.get("error_handling")
    for key in _NOT_IN_ITS_ERRORS if isinstance(errors, dict) else ():
        if key in errors:
            message = f"`{key}` means nothing in a fallback"
            place = (*path, "error_handling", key)
            yield located.problem("fallback-key", message, path=place, hint="write it in the task it belongs to")
