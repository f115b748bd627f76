"""What follows from an event: the new row, and what is to be carried out. Data only."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from stream_orchestrator.kernel.breaker import Signal
from stream_orchestrator.kernel.effects import Request, RunScript
from stream_orchestrator.kernel.events import Token
from stream_orchestrator.kernel.kinds import Spread
from stream_orchestrator.kernel.rows import StepRow, Transition
from stream_orchestrator.plan.model import TaskPlan


class Call(Struct, frozen=True):
    """Ask a service. The same id asked twice is one call."""

    call_id: str
    request: Request
    traceparent: str = ""


class Decision(Struct, frozen=True, kw_only=True):
    """What follows from an event. `tokens` go to `task.downstream`.

    `first`: the row is durable before the effects; `durable`: it is written beside them. `hollow`: the one token
    carries all that the row knows, so once it is acknowledged the row is written without content, to be known as done.
    `spread`: these items are under way from now on. `abort`: the run takes no new steps. `duplicate`: nothing happened.
    `signals` go to breakers.
    """

    row: StepRow
    tokens: tuple[Token, ...] = ()
    call: Call | None = None
    script: RunScript | None = None
    spread: Spread | None = None
    first: bool = False
    durable: bool = True
    hollow: bool = False
    abort: bool = False
    duplicate: bool = False
    transitions: tuple[Transition, ...] = ()
    signals: tuple[Signal, ...] = ()

    def edges(self, task: TaskPlan) -> Iterator[tuple[str, Token]]:
        """Where each token goes; nothing when there are none yet."""
        return zip(task.downstream, self.tokens, strict=bool(self.tokens))
