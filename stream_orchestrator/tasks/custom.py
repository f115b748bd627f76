"""Task types that others bring: a function that runs in the sandbox, or a whole `TaskKind`.

A package names it in its metadata, under the group `stream_orchestrator.task_types`:

    [project.entry-points."stream_orchestrator.task_types"]
    translate_task = "acme.tasks:translate"

Promises
  * A function `(options, inputs) -> output` runs in the sandbox, as a script does; the worker never calls it.
  * A type that is not installed, or does not load, is a fault of its task and of no other.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable, Iterator
from importlib.metadata import EntryPoint
from typing import Any

import msgspec

from stream_orchestrator.errors import RunError
from stream_orchestrator.kernel.effects import Answer, ScriptDone
from stream_orchestrator.kernel.kinds import Attempt, Step, TaskKind
from stream_orchestrator.plan import templates
from stream_orchestrator.plan.model import Plan, every
from stream_orchestrator.spec.custom import installed
from stream_orchestrator.spec.tasks import BUILT_TASKS
from stream_orchestrator.tasks.scripts import run_script, script_ended

_SCRIPT = """\
import importlib
target = importlib.import_module({module!r})
for part in {attribute!r}.split("."):
    target = getattr(target, part)
return target(options, given)
"""


class FunctionTask:
    """A function of the task's `options` and its `inputs` (without any, the input variables)."""

    guarantees = "At least once, as a script: it runs again after a crash that came before its output was recorded."
    example = ""

    def __init__(self, entry: EntryPoint) -> None:
        self.name = entry.name
        self.summary = f"Runs {entry.value} in the sandbox."
        self._script = _SCRIPT.format(module=entry.module, attribute=entry.attr)

    def begin(self, attempt: Attempt) -> Step:
        """Ask for the function, its options rendered."""
        options = attempt.variant.options
        given = {name: attempt.scope[name] for name in attempt.task.inputs} or dict(attempt.around.values)
        scope = {**attempt.scope, "options": templates.render(options.get("options") or {}, attempt.scope)}
        variant = dataclasses.replace(attempt.variant, options={**options, "script": self._script})
        return run_script(msgspec.structs.replace(attempt, variant=variant, scope={**scope, "given": given}))

    def scripted(self, attempt: Attempt, done: ScriptDone) -> Step:
        """What it gave is the output."""
        return script_ended(attempt, done)

    def answered(self, attempt: Attempt, answer: Answer) -> Step:
        """It makes no call; this is never asked of it."""
        raise AssertionError("a function has no call of its own")


class Kinds(dict[str, TaskKind]):
    """The built-in kinds, and those that are installed, made when one is first needed."""

    def __missing__(self, name: str) -> TaskKind:
        made = self[name] = kind_of(name)
        return made


def kind_of(name: str) -> TaskKind:
    """An installed kind. RunError when there is none, or when what is installed is no kind."""
    entry = installed().get(name)
    if entry is None:
        raise RunError(f"there is no task type `{name}` here: install the package that brings it, on every worker")
    try:
        found: Any = entry.load()
    except Exception as error:  # somebody else's module: its task fails, and says why
        raise RunError(f"the task type `{name}` ({entry.value}) cannot be loaded: {error}") from error
    if inspect.isfunction(found):
        return FunctionTask(entry)
    made: Any = found() if inspect.isclass(found) else found
    if not all(callable(getattr(made, each, None)) for each in ("begin", "answered", "scripted")):
        raise RunError(f"the task type `{name}` ({entry.value}) is neither a function nor a `TaskKind`")
    kind: TaskKind = made
    return kind


def unknown_kinds(plans: Iterable[Plan]) -> Iterator[tuple[str, str, str]]:
    """Types of these plans that cannot be used here: the plan's title, the type, and why."""
    for plan in plans:
        kinds = {variant.kind for task in every(plan.tasks) for variant in task.variants}
        for name in sorted(kinds & installed().keys() - BUILT_TASKS.keys()):
            try:
                kind_of(name)
            except RunError as error:
                yield plan.title, name, str(error)
