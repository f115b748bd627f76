"""One partition while this process owns it: its rows, its way out, and the work it started."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import Any

from stream_orchestrator.errors import HouseError
from stream_orchestrator.streaming.core.changelog import Entry
from stream_orchestrator.streaming.core.model import PartitionLost, Published, Work, mark_retrieved
from stream_orchestrator.streaming.core.outlet import Letter, Outlet
from stream_orchestrator.streaming.core.room import Room
from stream_orchestrator.streaming.core.table import Table


class State(Enum):
    """Where a partition stands. `HALTED`: ours, but its rows or records cannot be trusted, so it is not served."""

    RECOVERING = "recovering"
    LIVE = "live"
    FROZEN = "frozen"
    HALTED = "halted"
    LOST = "lost"


class Partition:
    """The rows of one partition and its way out. Everything an agent does goes through here.

    Promises
      * Frozen (a rebalance is on): work in flight goes on in memory, nothing is sent, no acknowledgement arrives.
      * Thawed: it all goes on as if nothing had been. Lost: the work is cancelled, or gets `PartitionLost`.
      * `write` appends the row as it is at that moment; writes and publishes keep their order, each per target.
    """

    def __init__(
        self,
        number: int,
        app_id: str,
        *,
        outlet: Outlet,
        changelog: str | None,
        fail: Callable[[BaseException], None],
        room: Room,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.number = number
        self.app_id = app_id
        self.state = State.RECOVERING
        self.reason = ""
        self.leaving = False  # nothing more is delivered: a rebalance, or the end
        self.table: Table | None = None
        self.on_rearmed: Callable[[], None] = lambda: None
        self._outlet = outlet
        self._changelog = changelog
        self._fail = fail
        self._room = room
        self.now = clock  # UNIX seconds, by the app's clock
        self._work: dict[asyncio.Future[None], Callable[[], None] | None] = {}
        self._held: list[tuple[asyncio.Future[Published], Published]] = []
        self._last_words = False
        self._decided = asyncio.Event()
        self._decided.set()

    # ------------------------------------------------------------------ what agents use

    @property
    def owned(self) -> bool:
        """False once lost: nothing it started may go on."""
        return self.state is not State.LOST

    def get(self, key: bytes) -> Any | None:
        """The row, or None."""
        return self._rows().get(key)

    def set(self, key: bytes, row: Any) -> None:
        """Change the row in memory only, and re-arm its timer."""
        self._rows().set(key, row)
        self.on_rearmed()

    def keys(self) -> Iterator[bytes]:
        """All keys, as of now."""
        return self._rows().keys()

    def write(self, key: bytes) -> asyncio.Future[Any]:
        """Append the row as it is now to the changelog; done when acknowledged."""
        self._check()
        return self.append(self._rows().write(key))

    def delete(self, key: bytes) -> asyncio.Future[Any] | None:
        """Forget the row at once; the future says that nobody can recover it any more. None: it was never written."""
        self._check()
        future = None
        for entry in self._rows().delete(key):
            future = self.append(entry)  # one lane, in order: the last one acknowledged means all are
        return future

    def publish(
        self,
        topic: str,
        *,
        partition: int | None,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> asyncio.Future[Published]:
        """Append a record to a topic; done when acknowledged. Without a partition the key's hash chooses it."""
        self._check()
        done: asyncio.Future[Published] = asyncio.get_running_loop().create_future()
        self._outlet.post(Letter(self, topic, partition, key, value, headers, done, self._last_words))
        return done

    def spawn(self, work: Work) -> None:
        """Work without a slot; drained like slots, and its failure ends the process as theirs does."""
        self._check()
        self.run(work, None)

    # ------------------------------------------------------------------ what the runtime uses

    def append(self, entry: Entry) -> asyncio.Future[Published]:
        """Append to this partition's changelog."""
        if self._changelog is None:
            raise HouseError(f"app {self.app_id} has no table")
        return self.publish(
            self._changelog, partition=self.number, key=entry.key, value=entry.value, headers=entry.headers
        )

    def run(self, work: Work, finished: Callable[[], None] | None) -> None:
        """Watch over work in flight; `finished` is called when it ended well and the partition is still ours."""
        future = asyncio.Task(work, loop=asyncio.get_running_loop())
        self._work[future] = finished
        self._room.take()
        future.add_done_callback(self._done)

    @property
    def in_flight(self) -> int:
        """Work that runs."""
        return len(self._work)

    async def may_go_on(self) -> bool:
        """Wait while nothing may be sent; then whether the partition is still ours."""
        await self._decided.wait()
        return self.owned

    def lets_out(self, *, last: bool) -> bool:
        """Whether a letter may be sent now. Last words may while sending is held, but not once it is frozen."""
        if last and self.state is State.LIVE:
            return True
        return self._decided.is_set() and self.state is not State.LOST

    def last_words(self, tell: Callable[[Partition], Work | None]) -> Work | None:
        """Let somebody post what still has to go out, whatever is held afterwards; what is left to wait for."""
        self._last_words = True
        try:
            return tell(self)
        finally:
            self._last_words = False

    def acknowledge(self, done: asyncio.Future[Published], published: Published) -> None:
        """The broker has it. A frozen partition learns of it later: another owner may have begun before it landed."""
        if self.state is State.FROZEN:
            self._held.append((done, published))
        elif not done.done():
            self._conclude(done, published)

    def hold(self) -> None:
        """Send nothing more; what is under way may still land."""
        self._decided.clear()

    def freeze(self) -> None:
        """A rebalance is on: send nothing, learn nothing."""
        self.hold()
        self.state = State.FROZEN

    def thaw(self) -> None:
        """The partition is ours in the next generation too."""
        self.state = State.LIVE
        self._decide()

    def lose(self) -> None:
        """The partition is somebody else's."""
        self.state = State.LOST
        self._decide()
        for future in list(self._work):
            future.cancel()

    def halt(self, reason: str) -> None:
        """Keep it, serve nothing of it."""
        self.state = State.HALTED
        self.reason = reason

    def _decide(self) -> None:
        held, self._held = self._held, []
        for done, published in held:
            if not done.done():
                self._conclude(done, published)
        self._decided.set()

    def _conclude(self, done: asyncio.Future[Published], published: Published) -> None:
        if self.owned:
            done.set_result(published)
        else:
            done.set_exception(PartitionLost())
            mark_retrieved(done)

    def _done(self, future: asyncio.Future[None]) -> None:
        finished = self._work.pop(future)
        self._room.give_back()
        if not self.owned:
            mark_retrieved(future)
        elif future.cancelled():
            self._fail(HouseError(f"work of {self.app_id}/{self.number} was cancelled while its partition is ours"))
        elif (fault := future.exception()) is not None:
            self._fail(fault)
        elif finished is not None:
            finished()

    def _check(self) -> None:
        if self.state is State.LOST:
            raise PartitionLost

    def _rows(self) -> Table:
        if self.state is State.LOST:
            raise PartitionLost
        if self.table is None:
            raise HouseError(f"app {self.app_id} has no table, or it is not recovered yet")
        return self.table
