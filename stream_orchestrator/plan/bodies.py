"""Containers compiled: the options of their kind, and the bodies that it runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from stream_orchestrator.plan.components import declared_by
from stream_orchestrator.plan.drafts import Draft, Frame, Sketch, Text
from stream_orchestrator.plan.failure import errors_of
from stream_orchestrator.plan.model import EVERYTHING, Body, TaskPlan, Variant
from stream_orchestrator.plan.readings import ANYTHING
from stream_orchestrator.spec import bodies
from stream_orchestrator.spec.tasks import (
    BaseTask,
    ComponentTask,
    ConditionTask,
    DynamicTaskGroup,
    ForLoop,
    ParallelGroup,
    PipelineGroup,
    WhileLoop,
)

CONTAINER_SECONDS = 86_400.0  # a container has the time of its run, unless it says otherwise
MOST_ITERATIONS = 100
_REPEATED = {"for_each": None, "depends_on": None, "max_concurrency": None}

_CONTAINERS = (ParallelGroup, ConditionTask, ForLoop, WhileLoop, ComponentTask, DynamicTaskGroup, PipelineGroup)
MOST_ARRIVING = 50
Inner = Callable[[Iterable[BaseTask], Sketch, "Asked", Frame], tuple[TaskPlan, ...]]


@dataclass(frozen=True, slots=True)
class Asked:
    """Names and patterns of outputs that somebody asks for."""

    names: frozenset[str] = frozenset()
    patterns: frozenset[str] = frozenset()

    @staticmethod
    def by(texts: Iterable[Text], also: Iterable[str] = ()) -> Asked:
        """What these texts ask for."""
        read = tuple(texts)
        names = frozenset(also).union(*(text.asks() for text in read))
        return Asked(names, frozenset().union(*(text.patterns() for text in read)))

    def __or__(self, other: Asked) -> Asked:
        return Asked(self.names | other.names, self.patterns | other.patterns)

    def wants(self, alias: str) -> bool:
        """Whether an output of that name, which may be computed, is asked for."""
        if ANYTHING in self.patterns or alias in self.names:
            return True
        constant, *rest = re.split(r"\{\{.*?\}\}", alias)
        sample = "0".join((constant, *rest))
        if any(re.fullmatch(pattern, sample) for pattern in self.patterns):
            return True
        computed = ".+".join(map(re.escape, (constant, *rest)))
        return bool(rest) and any(re.fullmatch(computed, name) for name in self.names)


def asked_in(sketch: Sketch, outside: Asked) -> dict[str, Asked]:
    """By container, what others ask of its inside: tasks beside it, the pipeline's output, and itself (a condition)."""
    each = {task.name: Asked.by(task.every_text()) for task in sketch.tasks}
    output = Asked.by(sketch.output) | outside
    found = {}
    for task in sketch.tasks:
        if task.frames:
            asked = output | Asked.by(task.texts)
            for name, others in each.items():
                asked |= others if name != task.name else Asked()
            found[task.name] = asked
    return found


def also_of(task: BaseTask) -> dict[str, str]:
    """Further names of a task's output and of its parts."""
    return {**({task.output: ""} if task.output else {}), **(task.outputs or {})}


def is_container(task: BaseTask) -> bool:
    """Whether a task runs other tasks."""
    return task.for_each is not None or isinstance(task, _CONTAINERS)


def kind_of(task: BaseTask) -> str:
    """The kind that runs a task: one that is repeated is a group of itself."""
    if task.for_each is not None:
        return "parallel_group"
    return "condition" if task.type == "conditional_task" else task.type


def compiled(task: BaseTask, draft: Draft, sketch: Sketch, *, asked: Asked, inner: Inner) -> tuple[Body, ...]:
    """The bodies of a container. `inner` compiles the tasks of one."""
    if isinstance(task, DynamicTaskGroup) and not draft.frames:
        return (Body(tasks=(), reads=(EVERYTHING,), open=True),)
    return tuple(
        _body(frame, models, sketch, asked=asked, inner=inner)
        for frame, models in zip(draft.frames, _models(task, draft), strict=True)
    )


def _models(task: BaseTask, draft: Draft) -> Iterator[tuple[BaseTask, ...]]:
    if draft.frames and draft.frames[0].document is not None:
        model: Any = draft.frames[0].document.model
        yield tuple(model.tasks if model is not None else ())
        return
    for inside in bodies.modelled(task):
        repeated = inside.role in {"each", "child"}
        yield (
            tuple(each.model_copy(update=_of_child(task, each)) for each in inside.tasks) if repeated else inside.tasks
        )


def _of_child(group: BaseTask, child: BaseTask) -> dict[str, Any]:
    """What a child has of its group: not what repeats it, and no more time than each may take.

    A child that is no container ends by its own time, so that its own `on_failure` has the word.
    """
    given = [each for each in (child.timeout, group.timeout) if each is not None]
    bounded = isinstance(group, ParallelGroup) and group.for_each is None and not isinstance(child, _CONTAINERS)
    return {**_REPEATED, "timeout": min(given, default=None)} if bounded else _REPEATED


def _body(frame: Frame, models: tuple[BaseTask, ...], sketch: Sketch, *, asked: Asked, inner: Inner) -> Body:
    inside = sketch.inside(frame)
    if frame.closed:
        data = frame.located.data
        output = data.get("output", data.get("outputs"))
        tasks = inner(models, inside, Asked(), frame)
        return Body(tasks=tasks, has_output=output is not None, output=output)
    role = frame.inside.role
    aliases = [alias for task in frame.tasks for alias in (task.name, *task.aliases())]
    # Of what is there once, all is shown in the result; of what is repeated, what somebody asks for.
    shown = role in {"then", "else"} or (role == "child" and not frame.named)
    wanted = [alias for alias in aliases if role != "each" and (asked.wants(alias) or (shown and "{{" not in alias))]
    tasks = inner(models, inside, asked, frame)
    if role in {"each", "child"}:
        return Body(tasks=tasks, reads=frame.reads(), name=wanted[0] if wanted else "")
    return Body(tasks=tasks, reads=frame.reads(), shows=tuple(wanted))


def slugs_of(task: BaseTask, find: Callable[[str], str]) -> tuple[str, ...]:
    """The slugs of the pipelines that a task runs, in order; `find` knows them by what is written."""
    if not isinstance(task, PipelineGroup) or task.for_each is not None:
        return ()
    return tuple(find(each) for each in _members(task))


def _members(task: PipelineGroup) -> list[str]:
    return [task.pipeline] if task.pipeline is not None else [each.pipeline for each in task.pipelines or ()]


def variant(task: BaseTask, draft: Draft, more: dict[str, Any]) -> Variant:
    """How a container is done: what its kind reads; `more` is what the pipeline says beside."""
    errors = errors_of(task, None) if task.for_each is None else None
    own = kind_of(task) == "parallel_group"
    given = {name: value for name in ("retry_delay", "retry_backoff") if (value := getattr(errors, name, None))}
    return Variant(
        name=task.name,
        kind=kind_of(task),
        options=_options(task, draft, more),
        timeout=CONTAINER_SECONDS if own or task.timeout is None else task.timeout,
        retries=getattr(errors, "retry_count", None) or 0,
        **given,
    )


def _options(task: BaseTask, draft: Draft, more: dict[str, Any]) -> dict[str, Any]:
    if task.for_each is not None:
        return {"each": [bodies.elements(task.for_each)], "limit": task.max_concurrency}
    match task:
        case ParallelGroup():
            each = [bodies.elements(child.for_each) for child in task.tasks]
            limits = [limit for child in task.tasks if child.for_each and (limit := child.max_concurrency)]
            more = {"limits": limits} if limits else {}
            inner = any(isinstance(child, _CONTAINERS) or _falls_back(child) for child in task.tasks)
            times = {"child_timeout": task.timeout} if inner else {}
            return {"each": each, "limit": task.max_concurrency, **times, **more}
        case ConditionTask():
            roles = [frame.inside.role for frame in draft.frames]
            branches = {role: roles.index(role) if role in roles else None for role in ("then", "else")}
            return {"condition": task.condition, **branches}
        case ForLoop():
            names = {"item_variable": task.item_variable, "index_variable": task.index_variable}
            most = {"max_iterations": task.max_iterations, "limit": task.max_concurrency}
            return {"iterate_over": bodies.elements(task.iterate_over), **names, **most}
        case WhileLoop():
            most = {
                "max_iterations": task.max_iterations or MOST_ITERATIONS,
                "bounded": task.max_iterations is not None,
            }
            return {"condition": task.condition, "loop_state": task.loop_state or {}, **most}
        case ComponentTask():
            declared = declared_by(draft.frames[0].located.data) if draft.frames else {}
            return {"declared": declared, "parameters": task.parameters or {}, "inputs": task.inputs or {}}
        case DynamicTaskGroup():
            tasks = next((value for key in bodies.ARRIVING if (value := getattr(task, key)) is not None), None)
            types = task.allowed_types or ["python_task", "llm_task"]
            return {"tasks": tasks, "max_tasks": task.max_tasks or MOST_ARRIVING, "allowed_types": types, **more}
        case PipelineGroup():
            one = {"one": task.pipeline is not None, "limit": task.max_concurrency}
            return {"members": _events(task), **one}
    raise AssertionError(f"{task.type} is no container")


def _falls_back(task: BaseTask) -> bool:
    return bool(task.error_handling and task.error_handling.fallback)


def _events(task: PipelineGroup) -> list[dict[str, Any]]:
    if task.pipeline is not None:
        return [{"name": "", "inputs": task.inputs or {}}]
    return [{"name": each.name or "", "inputs": each.inputs or {}} for each in task.pipelines or ()]
