"""The Plan: what a pipeline document compiles to. Immutable, serialisable, content-hashed.

Promises
  * A plan is data only: every template and script in it is source text, compiled again (and cached) where it is used.
  * `from_json(to_json(plan)) == plan`; the hash covers all that can change what a run does, and nothing else.
  * `tasks` are in topological order; every name in `upstream` and `downstream` is a task of the plan, or `RESULT`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

START = ":start"  # no slug and no name in a template looks like these, so no task can be mistaken for one
RESULT = ":result"
SHARED = "task"  # the one inbox of the tasks of an open body
EVERYTHING = "*"  # in what a body reads: it asks by names that only a run computes

OnFailure = Literal["abort_pipeline", "skip", "continue"]
OnAmbiguous = Literal["retry", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way to do a task: the task itself (the first variant) or one of its fallbacks, in order.

    `options` are the fields of the task kind, defaults filled in, templates and scripts as source text. Times are
    seconds. `timeout` bounds all attempts of this variant together; `retries` counts attempts after the first.
    """

    name: str
    kind: str
    options: dict[str, Any]
    timeout: float
    retries: int = 0
    retry_delay: float = 1.0
    retry_backoff: float = 2.0
    on_ambiguous: OnAmbiguous = "retry"


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The tasks inside a container, which runs them once per item, each time as a run of its own inside its run.

    `reads` are the names of the scope around it that its texts read. `shows` are those of its tasks that are read from
    outside. `name` is a template: by what name one item's output is known outside; empty when nobody asks.
    `open`: its tasks come with each item, as data, and share one inbox.
    """

    tasks: tuple[TaskPlan, ...]
    reads: tuple[str, ...] = ()
    shows: tuple[str, ...] = ()
    name: str = ""
    has_output: bool = False
    output: Any = None
    open: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPlan:
    """A node. `upstream` are the edges in, `downstream` the edges out (a leaf has `RESULT` alone).

    A container has `bodies`: what it repeats, or chooses from; `pipelines` are the slugs of pipelines that it runs.
    `also` are further names of its output (""), or of what stands in it under a key.
    """

    name: str
    slug: str
    kind: str
    upstream: tuple[str, ...]
    downstream: tuple[str, ...]
    variants: tuple[Variant, ...]
    condition: str | None = None
    inputs: dict[str, Any] = field(default_factory=dict)
    on_failure: OnFailure = "abort_pipeline"
    has_fallback_value: bool = False
    fallback_value: Any = None
    description: str = ""
    bodies: tuple[Body, ...] = ()
    pipelines: tuple[str, ...] = ()
    also: dict[str, str] = field(default_factory=dict)

    @property
    def gathers(self) -> bool:
        """Whether it is a container: it waits for items."""
        return bool(self.bodies or self.pipelines)


def every(tasks: Iterable[TaskPlan]) -> Iterator[TaskPlan]:
    """These tasks and all inside them."""
    for task in tasks:
        yield task
        for body in task.bodies:
            yield from every(body.tasks)


def ways(tasks: Iterable[TaskPlan]) -> Iterator[Variant]:
    """Every way to do one of these tasks, or one inside them, that is work of its own: a container only waits."""
    for task in every(tasks):
        yield from task.variants[1:] if task.gathers else task.variants


@dataclass(frozen=True, slots=True, kw_only=True)
class Guards:
    """What a pipeline says of its data, whatever its tasks do with it. `retention` in seconds.

    `anonymize`: texts of an event lose what tells who a person is before anything is written. `residency`: the region
    of every service that is asked. `tls`: nothing goes in plain text to another machine. `at_rest`: nothing is
    stored in plain text. `budget`: how much a period may cost, as it is written.
    """

    anonymize: bool = False
    residency: str = ""
    retention: float | None = None
    tls: bool = False
    at_rest: bool = False
    budget: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A compiled pipeline version. `inputs` and `input_validation` are the document's own maps (see `spec.inputs`).

    `beside` are the files of other pipelines that it runs, where it names files.
    """

    title: str
    slug: str
    version: str
    tasks: tuple[TaskPlan, ...]
    inputs: dict[str, Any] = field(default_factory=dict)
    input_validation: dict[str, Any] = field(default_factory=dict)
    has_output: bool = False
    output: Any = None
    timeout: float = 86_400.0
    functions: tuple[str, ...] = ()
    helpers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    dependencies: tuple[str, ...] = ()
    guards: Guards = Guards()
    hash: str = ""
    format: int = 1

    @property
    def pipelines(self) -> tuple[str, ...]:
        """The slugs of other pipelines that it runs, sorted."""
        return tuple(sorted({slug for task in every(self.tasks) for slug in task.pipelines}))

    def task(self, name: str) -> TaskPlan:
        """The task of that name; KeyError when the plan has none."""
        for task in self.tasks:
            if task.name == name:
                return task
        raise KeyError(name)
