"""Which offset may be committed, and whether a record was dropped on its way to us."""

from __future__ import annotations

from collections import deque

from stream_orchestrator.errors import HouseError


class OffsetTracker:
    """Lets one inbox partition's records finish in any order, and acks them in offset order.

    Promises
      * `ackable` never passes an open slot, nor an offset that was only seen: finished ones count.
      * At most `span` offsets lie between the oldest open slot and the newest. Full is the back-pressure.
      * A record that comes again (a rebalance seeks back) is told apart: its old slot, running or done, stands for it.
      * On a contiguous topic a jump means that a record was dropped between the broker and here: it raises, so the
        process ends with the dropped record unacked. On a topic with holes, fetch positions are compared instead.
    Synchronous: between two awaits nobody else can look.
    """

    __slots__ = ("_contiguous", "_line", "_next", "_open", "_span", "_where")

    def __init__(self, start: int, *, contiguous: bool, span: int = 1 << 14, where: str = "") -> None:
        self._next = start
        self._contiguous = contiguous
        self._span = span
        self._where = where
        self._line: deque[int] = deque()  # entered, oldest first; finished ones leave when they reach the head
        self._open: set[int] = set()

    def arrive(self, start: int) -> None:
        """A chunk was fetched from position `start`: everything before it must have been seen."""
        if start > self._next:
            raise HouseError(f"records {self._next} to {start - 1} of {self._where} were dropped on the way")

    @property
    def full(self) -> bool:
        """Whether the oldest open slot holds everything up."""
        return bool(self._open) and self._next - self.ackable >= self._span

    def enter(self, offset: int) -> bool:
        """Open a slot; False when the record has one already (or had, and it is finished)."""
        if offset < self._next:
            return False
        if self._contiguous and offset != self._next:
            raise HouseError(f"record {offset} of {self._where} came where {self._next} was expected")
        self._next = offset + 1
        self._line.append(offset)
        self._open.add(offset)
        return True

    def finish(self, offset: int) -> None:
        """Everything the record caused is acknowledged. Finished twice is our bug: it raises."""
        self._open.remove(offset)

    def pass_to(self, position: int) -> None:
        """All up to `position` was delivered: what follows the last record (markers, compacted away) counts as seen."""
        self._next = max(self._next, position)

    @property
    def next(self) -> int:
        """The next offset never seen."""
        return self._next

    @property
    def open(self) -> int:
        """How many slots are open."""
        return len(self._open)

    @property
    def ackable(self) -> int:
        """The offset to read first after a restart."""
        line, unfinished = self._line, self._open
        while line and line[0] not in unfinished:
            line.popleft()
        return line[0] if line else self._next
