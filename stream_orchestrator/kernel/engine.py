"""The engine of one pipeline version: an agent per task, and the implicit first and last.

Promises
  * An agent decides synchronously, on the rows of its partition, and returns what is left to wait for; when that has
    ended, all that it published and wrote is acknowledged, and the record may be acked.
  * A record of a run that is over, or unknown here, changes nothing and is counted.
  * Whatever a crash left half done is done again from the rows (`on_recovered`), with the same ids and bytes.

It knows no broker: `ports` is all it needs of one.
"""

from __future__ import annotations

from dataclasses import dataclass

from stream_orchestrator.kernel.inbox import Handle, Inbox, Work
from stream_orchestrator.kernel.lifecycle import Lifecycle
from stream_orchestrator.kernel.ports import Part
from stream_orchestrator.kernel.rows import RunRow, StepRow, Stub
from stream_orchestrator.kernel.site import Site
from stream_orchestrator.kernel.steps import Steps
from stream_orchestrator.kernel.telling import Telling
from stream_orchestrator.plan.model import RESULT, START


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine(Site):
    """One version's agents, and what wakes them."""

    def agents(self) -> tuple[Inbox, ...]:
        """One agent per task, and `start` and `result`."""
        return (
            self._inbox(START, self._steps.on_begin),
            *(self._inbox(task.slug, self._steps.inbox_of(task)) for task in self.plan.tasks),
            self._inbox(RESULT, self._runs.on_last),
        )

    def on_due(self, part: Part, key: bytes) -> Work | None:
        """A row's time has come."""
        match part.get(key):
            case StepRow() as row:
                return self._steps.on_due(part, key, row)
            case RunRow() | Stub() as row:
                return self._runs.on_due(part, key, row)
        return None

    def on_recovered(self, part: Part) -> Work | None:
        """What a crash may have left half done: results not seen to be published, effects that a timer began."""
        for work in [self._resume(part, key) for key in list(part.keys())]:
            if work is not None:
                part.spawn(work)
        return None

    def cancel(self, part: Part, run_id: str) -> Work | None:
        """End a run now, as cancelled. None: it is not running here."""
        return self._runs.cancel(part, run_id)

    def _resume(self, part: Part, key: bytes) -> Work | None:
        match part.get(key):
            case StepRow() as row:
                return self._steps.resume(part, key, row)
            case RunRow() as row:
                return self._runs.resume(part, key, row)
        return None

    def _inbox(self, slug: str, handle: Handle) -> Inbox:
        return Inbox(self.wires.inbox(slug), self.wires.internal_dlq, handle)

    @property
    def _runs(self) -> Lifecycle:
        return Lifecycle(self, Telling(self))

    @property
    def _steps(self) -> Steps:
        return Steps(self, self._runs, Telling(self))
