"""The words of this room: what an app is made of, and what its agents and rows promise to the runtime."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from stream_orchestrator.streaming.records import Record

if TYPE_CHECKING:
    from stream_orchestrator.streaming.core.partition import Partition

Work = Coroutine[Any, Any, None]
APPLY_HINT = "`stream-orchestrator topics apply` makes and mends topics"


class PartitionLost(BaseException):
    """The partition is somebody else's now. A `BaseException`, so that no `except Exception` keeps lost work alive."""


class Published(NamedTuple):
    """Where a record landed, once all in-sync replicas have it."""

    partition: int
    offset: int


class Agent(Protocol):
    """The behaviour behind one inbox.

    Promises asked of it: `receive` decides synchronously, on the rows of `part`; it returns None when nothing is left
    to wait for, else a coroutine that ends when all it publishes and writes is acknowledged. Raising ends the process.
    """

    @property
    def topic(self) -> str:
        """The inbox it reads."""
        ...

    @property
    def contiguous(self) -> bool:
        """Whether the topic's offsets have no holes: ours have none, a user's may (compaction, transaction markers)."""
        ...

    def receive(self, record: Record, part: Partition) -> Work | None:
        """Take one record."""
        ...


class RowCodec(Protocol):
    """What a table needs to know of its rows."""

    def encode(self, row: Any) -> bytes:
        """The row's bytes, as they go to the changelog."""
        ...

    def decode(self, data: bytes) -> Any:
        """The row; raising means that the partition's rows cannot be trusted, and it is not served."""
        ...

    def due(self, row: Any) -> float | None:
        """When the row wants to be woken (UNIX seconds), or None."""
        ...


def nothing(_part: Partition) -> Work | None:
    """A hook that has nothing to do."""
    return None


def nothing_due(_part: Partition, _key: bytes) -> Work | None:
    """The `on_due` of an app whose rows never wait."""
    return None


@dataclass(frozen=True, slots=True)
class AppSpec:
    """One consumer group: its inboxes, its rows, and what to do at the turns of a partition's life.

    `foreign` are inboxes whose records may be anybody's bytes: what only looks sealed there is a record like any other.
    `on_recovered` ends before the first record is delivered. `on_revoking` posts what it has to say before it returns
    (nothing is sent afterwards); its work has 2 s for all partitions together, and the partition may come back.
    """

    id: str
    agents: tuple[Agent, ...]
    partitions: int
    table: str | None = None
    codec: RowCodec | None = None
    on_due: Callable[[Partition, bytes], Work | None] = nothing_due
    on_recovered: Callable[[Partition], Work | None] = nothing
    on_revoking: Callable[[Partition], Work | None] = nothing
    max_in_flight: int = 1024
    foreign: frozenset[str] = frozenset()

    @property
    def topics(self) -> tuple[str, ...]:
        """The inboxes, sorted."""
        return tuple(sorted(agent.topic for agent in self.agents))


@dataclass(frozen=True, slots=True, kw_only=True)
class AppStatistics:
    """One look at an app, for health, metrics and tests.

    `lag` counts records that the broker has and no finished slot covers. `stuck_for` is how long nothing was finished
    although there was something to do (0 when idle). `halted` says by partition why it is not served.
    """

    id: str
    generation: int = -1
    assigned: tuple[int, ...] = ()
    recovering: tuple[int, ...] = ()
    halted: dict[int, str] = field(default_factory=dict)
    open_slots: int = 0
    lag: int = 0
    stuck_for: float = 0.0
    rows: int = 0
    commits: int = 0
    records: int = 0
    adopted: int = 0
    rebalances: int = 0
    partitions_lost: int = 0


def mark_retrieved(future: asyncio.Future[Any]) -> None:
    """Say that a failed future was looked at: its failure is reported elsewhere, not by the garbage collector."""
    if future.done() and not future.cancelled():
        future.exception()
