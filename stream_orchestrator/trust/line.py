"""Who waits for a sandbox process: the lowest rank first."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

from stream_orchestrator.trust.process import Job


class Line:
    """Jobs that wait. The lowest rank is first; of one rank, who came first, also when it comes back.

    A job whose caller was cancelled waits no more.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Job]] = []

    def __len__(self) -> int:
        return sum(_waits(job) for _, _, job in self._heap)

    def __iter__(self) -> Iterator[Job]:
        return (job for _, _, job in self._heap if _waits(job))

    def join(self, jobs: Iterable[Job]) -> None:
        """They wait, or wait again."""
        for job in jobs:
            heapq.heappush(self._heap, (job.rank, job.number, job))

    def first(self) -> Job | None:
        """Who is next."""
        while self._heap and not _waits(self._heap[0][2]):
            heapq.heappop(self._heap)
        return self._heap[0][2] if self._heap else None

    def leave(self) -> None:
        """The first one's turn has come."""
        heapq.heappop(self._heap)


def _waits(job: Job) -> bool:
    return not job.ended.done() and (job.reserved is None or not job.reserved.done())
