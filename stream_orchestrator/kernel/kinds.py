"""What a task kind is to the kernel: a way to begin an attempt, and a way to read what came of it.

A kind is pure. It renders and reads; it never waits, retries or counts: those are the kernel's policies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

from stream_orchestrator.kernel.effects import Answer, Request, RunScript, ScriptDone
from stream_orchestrator.kernel.events import Report
from stream_orchestrator.kernel.rows import StepRow
from stream_orchestrator.kernel.scope import Surroundings
from stream_orchestrator.plan.model import TaskPlan, Variant


class Fault(Struct, frozen=True, kw_only=True):
    """An attempt that failed. `reason` is the dead letter's, should nothing else answer.

    `passing`: another attempt may do better. `retry_after`: seconds, when the service said so.
    """

    type: str
    message: str
    passing: bool = False
    retry_after: float | None = None
    reason: str = "task_failed"


class Value(Struct, frozen=True):
    """An attempt's output."""

    value: Any


class Ask(Struct, frozen=True):
    """The attempt needs the answer to a call; `number` counts the calls of a script, 0 is the task's own."""

    request: Request
    number: int = 0


class Item(Struct, frozen=True, kw_only=True):
    """One item of a container: which body runs, the names that it alone sees (`values` as input variables), and by what
    name its output is known.

    `tasks`: the plan of its tasks, where they are data. `pipeline`: the slug of another pipeline that gets `values` as
    its event, instead of a body. `spread`: its partition depends on its index; else it stays at the home of its run.
    """

    body: int = 0
    names: dict[str, Any] = {}
    values: dict[str, Any] = {}
    name: str = ""
    tasks: str = ""
    pipeline: str = ""
    spread: bool = False


class Spread(Struct, frozen=True, kw_only=True):
    """The items of a container's present wave. At most `limit` run at once, each at most `timeout` seconds."""

    items: tuple[Item, ...]
    limit: int
    timeout: float | None = None


class Again(Struct, frozen=True):
    """A container wants another wave, and keeps this for it."""

    carry: Any


class Gathered(Struct, frozen=True, kw_only=True):
    """A container's output: its value, or that it is skipped; and what of its inside others read (see `Report`)."""

    value: Any
    skipped: bool = False
    names: tuple[str, ...] = ()
    shown: dict[str, Any] = {}
    hidden: tuple[str, ...] = ()


Step = Value | Fault | Ask | RunScript | Spread | Again | Gathered


class Attempt(Struct, frozen=True):
    """One attempt as a kind sees it. `scope` are the template names, `deadline` when the variant's time is over."""

    task: TaskPlan
    variant: Variant
    row: StepRow
    around: Surroundings
    scope: Mapping[str, Any]
    deadline: float
    now: float


class Container(Protocol):
    """What a kind of task with bodies does beside. Both are functions of the row: asked again they say the same."""

    def spread(self, attempt: Attempt) -> Step:
        """The items of the wave that the row is in."""

    def gathered(self, attempt: Attempt, reports: Sequence[Report]) -> Step:
        """What follows when all items of the wave have ended, and none has failed."""


class TaskKind(Protocol):
    """One kind of task. `guarantees` is printed by the docs: what may happen twice, and what never does."""

    name: str
    summary: str
    guarantees: str
    example: str

    def begin(self, attempt: Attempt) -> Step:
        """The first step of an attempt. Raises `RunError` when it cannot even begin (a template fails)."""

    def answered(self, attempt: Attempt, answer: Answer) -> Step:
        """What follows from a call's answer that is no fault."""

    def scripted(self, attempt: Attempt, done: ScriptDone) -> Step:
        """What follows from a script that ended."""
