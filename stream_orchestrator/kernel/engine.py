"""The engine of one pipeline version: an agent per task, and the implicit first and last; and the same for each body
of a container, whose items are runs inside a run.

Promises
  * An agent decides synchronously, on the rows of its partition, and returns what is left to wait for; when that has
    ended, all that it published and wrote is acknowledged, and the record may be acked.
  * A record of a run that is over, or unknown here, changes nothing and is counted.
  * Whatever a crash left half done is done again from the rows (`on_recovered`), with the same ids and bytes.

It knows no broker: `ports` is all it needs of one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from stream_orchestrator.kernel import ids
from stream_orchestrator.kernel.inbox import Handle, Inbox, Work, ended_by
from stream_orchestrator.kernel.items import Items
from stream_orchestrator.kernel.lifecycle import Lifecycle
from stream_orchestrator.kernel.ports import Part
from stream_orchestrator.kernel.rows import MemberRow, RunRow, StepRow, Stub
from stream_orchestrator.kernel.site import Site
from stream_orchestrator.kernel.steps import Steps
from stream_orchestrator.kernel.telling import Telling
from stream_orchestrator.plan.model import RESULT, START


@dataclass(frozen=True, slots=True)
class _Room:
    """The pipeline itself, or the body of a container: where its runs begin, go on and end."""

    site: Site
    runs: Lifecycle
    steps: Steps

    def agents(self) -> Iterator[Inbox]:
        """One agent per task, and `start` and `result`."""
        yield self._inbox(START, self.steps.on_begin)
        for task in self.site.plan.tasks:
            yield self._inbox(task.slug, self.steps.inbox_of(task))
        yield self._inbox(RESULT, self.runs.on_last)

    def _inbox(self, slug: str, handle: Handle) -> Inbox:
        return Inbox(self.site.wires.inbox(slug), self.site.wires.internal_dlq, handle)


def _room(site: Site) -> _Room:
    telling, items = Telling(site), Items(site)
    runs = Lifecycle(site, telling, items)
    return _Room(site, runs, Steps(site, runs, telling, items))


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine(Site):
    """One version's agents, and what wakes them."""

    _rooms: dict[tuple[str, ...], _Room] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        Site.__post_init__(self)
        self._rooms.update((site.path, _room(site)) for site in (self, *self.bodies()))

    def agents(self) -> tuple[Inbox, ...]:
        """One agent per task, and `start` and `result`, of the pipeline and of each body in it."""
        return tuple(agent for room in self._rooms.values() for agent in room.agents())

    def on_due(self, part: Part, key: bytes) -> Work | None:
        """A row's time has come."""
        match part.get(key):
            case StepRow() as row:
                return self._room_of(part.get(ids.run_key(row.run_id))).steps.on_due(part, key, row)
            case RunRow() | Stub() as row:
                return self._room_of(row).runs.on_due(part, key, row)
        return None

    def on_recovered(self, part: Part) -> Work | None:
        """What a crash may have left half done: results not seen to be published, effects that a timer began."""
        for key in [key for key, each in self.gatherings.items() if each.part.number == part.number]:
            del self.gatherings[key]  # what was known before the rows came from elsewhere is not believed
        for work in [self._resume(part, key) for key in list(part.keys())]:
            if work is not None:
                part.spawn(work)
        return None

    def cancel(self, part: Part, run_id: str) -> Work | None:
        """End a run now, as cancelled. None: it is not running here."""
        return self._rooms[()].runs.cancel(part, run_id)

    def _resume(self, part: Part, key: bytes) -> Work | None:
        match part.get(key):
            case StepRow() as row:
                return self._room_of(part.get(ids.run_key(row.run_id))).steps.resume(part, key, row)
            case RunRow() as row:
                return self._room_of(row).runs.resume(part, key, row)
            case MemberRow() as row if not isinstance(part.get(ids.run_key(row.run_id)), RunRow):
                return ended_by(part.delete(key))
        return None

    def _room_of(self, run: object) -> _Room:
        return self._rooms[run.nest.path if isinstance(run, RunRow) and run.nest else ()]
