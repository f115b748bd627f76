"""The way out of one app: ordered lanes into the worker's producer, which partitions can hold shut."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from stream_orchestrator.errors import RunError
from stream_orchestrator.streaming.core.fence import Fence
from stream_orchestrator.streaming.core.model import PartitionLost, Published, mark_retrieved
from stream_orchestrator.streaming.core.producer import Producer

if TYPE_CHECKING:
    from stream_orchestrator.streaming.core.partition import Partition


class Letter(NamedTuple):
    """One record on its way out."""

    part: Partition
    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    done: asyncio.Future[Published]
    last: bool = False


class _Count:
    """A count that can be waited for to be zero."""

    def __init__(self) -> None:
        self._zero = asyncio.Event()
        self._count = 0

    def add(self) -> None:
        self._count += 1

    def take(self) -> None:
        self._count -= 1
        if not self._count:
            self._zero.set()

    async def zero(self) -> None:
        if self._count:
            self._zero.clear()
            await self._zero.wait()


class Outlet:
    """Sends what the app's partitions publish and write.

    Promises
      * Records of one partition of ours to one partition of a topic keep the order in which they were posted.
      * Nothing of a frozen partition is sent, and no acknowledgement reaches it, before it is thawed.
      * Nothing is sent while the fence is closed. A letter of a lost partition ends in `PartitionLost`.
      * A letter that the broker refuses for its own sake (too large) raises a `RunError` where it is waited for; any
        other refusal goes to `fail` as well: the process ends with its slot unfinished.
    """

    def __init__(self, producer: Producer, fence: Fence, fail: Callable[[BaseException], None]) -> None:
        self._producer = producer
        self._fence = fence
        self._fail = fail
        self._lanes: dict[tuple[int, str, int | None], deque[Letter]] = {}
        self._pumps: set[asyncio.Task[None]] = set()
        self._posted = _Count()
        self._in_air = _Count()

    def post(self, letter: Letter) -> None:
        """Put a letter in its lane."""
        self._posted.add()
        name = (letter.part.number, letter.topic, letter.partition)
        lane = self._lanes.get(name)
        if lane is not None:
            lane.append(letter)
            return
        if letter.part.lets_out(last=letter.last) and self._fence.open and self._hand_over(letter):
            return
        self._lanes[name] = deque((letter,))
        pump = asyncio.get_running_loop().create_task(self._pump(name))
        self._pumps.add(pump)
        pump.add_done_callback(self._pumps.discard)

    async def flushed(self) -> None:
        """Wait until all that was posted is acknowledged (or lost)."""
        await self._posted.zero()

    async def landed(self) -> None:
        """Wait until all that was handed to the producer is acknowledged; what is held in its lane is not asked."""
        await self._in_air.zero()

    def close(self) -> None:
        """Send nothing more."""
        for pump in self._pumps:
            pump.cancel()

    async def _pump(self, name: tuple[int, str, int | None]) -> None:
        lane = self._lanes[name]
        try:
            while lane:
                await self._send(lane[0], lane)
                lane.popleft()
        except Exception as fault:
            # Whatever it was, its record is not out: the slot stays open and the process ends.
            self._fail(fault)
        finally:
            del self._lanes[name]

    def _hand_over(self, letter: Letter) -> bool:
        """Into the producer at once, if nothing has to be waited for."""
        taken = self._producer.append_now(
            letter.topic,
            partition=letter.partition,
            key=letter.key,
            value=letter.value,
            headers=letter.headers,
            told=partial(self._told, letter),
        )
        if taken:
            self._in_air.add()
        return taken

    async def _send(self, letter: Letter, lane: deque[Letter]) -> None:
        part = letter.part
        while not (self._may_go(part, lane) and self._fence.open):
            # In this order: the answer that opens the fence may have cost us the partition.
            await self._fence.opened()
            if not await part.may_go_on():
                self._settle(letter, None)
                return
        self._in_air.add()
        try:
            future = await self._producer.append(
                letter.topic, partition=letter.partition, key=letter.key, value=letter.value, headers=letter.headers
            )
        except RunError as fault:
            self._in_air.take()
            self._refuse(letter, fault)
        else:
            future.add_done_callback(partial(self._sent, letter))

    def _may_go(self, part: Partition, lane: deque[Letter]) -> bool:
        """What stands before last words in its lane goes out with them; looked for only while sending is held."""
        return part.lets_out(last=False) or (part.lets_out(last=True) and any(one.last for one in lane))

    def _sent(self, letter: Letter, sent: asyncio.Future[object]) -> None:
        if sent.cancelled():
            self._in_air.take()
        elif (fault := sent.exception()) is not None:
            self._told(letter, None, fault)
        else:
            where = sent.result()
            self._told(letter, Published(where.partition, where.offset), None)  # type: ignore[attr-defined]

    def _told(self, letter: Letter, published: Published | None, fault: BaseException | None) -> None:
        self._in_air.take()
        if fault is None:
            self._settle(letter, published)
        elif not letter.part.owned:
            self._settle(letter, None)
        else:
            ours = self._producer.ours(fault)
            self._refuse(letter, ours)
            if not isinstance(ours, RunError):
                self._fail(ours)

    def _refuse(self, letter: Letter, fault: BaseException) -> None:
        """Tell the work why its record is not out; if it does not handle that, it ends the process unfinished."""
        self._posted.take()
        if not letter.done.done():
            letter.done.set_exception(fault)
            mark_retrieved(letter.done)

    def _settle(self, letter: Letter, published: Published | None) -> None:
        self._posted.take()
        if published is not None:
            letter.part.acknowledge(letter.done, published)
        elif not letter.done.done():
            letter.done.set_exception(PartitionLost())
            mark_retrieved(letter.done)
