"""When rows want to be woken: a heap of due times, rebuilt from rows, kept by nobody else."""

from __future__ import annotations

import heapq


class Timers:
    """Due times by key; the last one armed counts.

    Promises: a key is given out once per arming, never before its time, the earliest first; no clock of its own.
    """

    __slots__ = ("_due", "_heap")

    def __init__(self) -> None:
        self._due: dict[bytes, float] = {}
        self._heap: list[tuple[float, bytes]] = []

    def arm(self, key: bytes, due: float | None) -> None:
        """Wake `key` at `due`; None disarms it."""
        if due is None:
            self._due.pop(key, None)
        elif self._due.get(key) != due:
            self._due[key] = due
            heapq.heappush(self._heap, (due, key))
            self._prune()

    def next_due(self) -> float | None:
        """The earliest due time."""
        heap = self._heap
        while heap and self._due.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def pop(self, now: float) -> bytes | None:
        """The key that is due first, disarmed; None when none is due yet."""
        due = self.next_due()
        if due is None or due > now:
            return None
        _, key = heapq.heappop(self._heap)
        del self._due[key]
        return key

    def __len__(self) -> int:
        return len(self._due)

    def _prune(self) -> None:
        # Re-arming leaves dead entries; past half of the heap they cost more than building it again.
        if len(self._heap) > 64 and len(self._heap) > 2 * len(self._due):
            self._heap = [(due, key) for key, due in self._due.items()]
            heapq.heapify(self._heap)
