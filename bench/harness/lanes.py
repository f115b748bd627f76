"""A side in a race: what went into it, and what each of its turns gave."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from bench.harness.lineup import READY_WITHIN
from bench.harness.sides import Side
from bench.harness.topics import Topics

WARM = 400
MOST = 50_000  # events a turn


@dataclass(slots=True)
class Lane:
    """`value(number)` is the record of an event; `by_id`: it has an id.

    `rates` are runs a second, `cpu` microseconds a run, turn by turn.
    """

    side: Side
    value: Callable[[int], bytes]
    by_id: bool = False
    sent: int = 0
    size: int = WARM
    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    async def warm(self, between: Topics) -> None:
        """The first events, sent to a side that may still be joining; and a turn that does not count."""
        for count in (1, WARM):
            await between.fill(self.side.source, self._events(count), by_id=self.by_id)
            await between.reach(self.side.sink, self.sent, within=READY_WITHIN, alive=self.side)
        await self.turn(between, 1.0)
        self.rates.clear()
        self.cpu.clear()

    async def turn(self, between: Topics, seconds: float) -> None:
        """Stop it, fill its input, let it go until its last output is acknowledged. The next turn is of `seconds`."""
        self.side.freeze()
        await between.fill(self.side.source, self._events(self.size), by_id=self.by_id)
        cpu, begun = self.side.cpu(), time.perf_counter()
        self.side.thaw()
        took = await between.reach(self.side.sink, self.sent, within=READY_WITHIN, alive=self.side) - begun
        self.rates.append(self.size / took)
        self.cpu.append((self.side.cpu() - cpu) / self.size * 1e6)
        self.size = int(min(max(self.rates[-1] * seconds, WARM), MOST))

    def _events(self, count: int) -> Iterator[tuple[bytes, bytes]]:
        for number in range(self.sent, self.sent + count):
            yield str(number).encode(), self.value(number)
        self.sent += count
