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

from dataclasses import dataclass, field
from typing import cast

from stream_orchestrator.kernel import ids
from stream_orchestrator.kernel.inbox import Inbox, ended_by
from stream_orchestrator.kernel.ports import Part, Work
from stream_orchestrator.kernel.rooms import OpenRoom, Room, room
from stream_orchestrator.kernel.rows import MemberRow, RunRow, StepRow, Stub
from stream_orchestrator.kernel.site import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine(Site):
    """One version's agents, and what wakes them."""

    _rooms: dict[tuple[str, ...], Room | OpenRoom] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        Site.__post_init__(self)
        self._rooms[()] = room(self)
        for site in self.bodies():
            self._rooms[site.path] = OpenRoom(site) if site.open else room(site)

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
        self.last_told.pop(part, None)
        self.gatherings.pop(part, None)  # what was known before the rows came from elsewhere is not believed
        for work in [self._resume(part, key) for key in list(part.keys())]:
            if work is not None:
                part.spawn(work)
        return None

    def cancel(self, part: Part, run_id: str) -> Work | None:
        """End a run now, as cancelled. None: it is not running here."""
        return self._room_of(None).runs.cancel(part, run_id)

    def _resume(self, part: Part, key: bytes) -> Work | None:
        match part.get(key):
            case StepRow() as row:
                return self._room_of(part.get(ids.run_key(row.run_id))).steps.resume(part, key, row)
            case RunRow() as row:
                return self._room_of(row).runs.resume(part, key, row)
            case MemberRow() as row if not isinstance(part.get(ids.run_key(row.run_id)), RunRow):
                return ended_by(part.delete(key))
        return None

    def _room_of(self, run: object) -> Room:
        found = self._rooms[run.nest.path if isinstance(run, RunRow) and run.nest else ()]
        return found if isinstance(found, Room) else found.of(cast("RunRow", run))
