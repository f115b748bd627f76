"""A third worker comes and goes, nobody dies: nothing is done twice, and nobody waits long.

FAULTS=full pytest -s tests/faults/test_fault_rebalances.py
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from scene import FULL, Fault, Report, Scene

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(900)]

TURNS = 10 if FULL else 2
LONGEST_PAUSE = 15.0


async def come_and_go(scene: Scene) -> None:
    """Join, serve a moment, leave; both are rebalances for the others."""
    for _ in range(TURNS):
        guest = await scene.add_worker("w3")
        scene.hurt()
        await asyncio.sleep(scene.chance.uniform(0.5, 2.0))
        scene.hurt()
        assert await guest.end(60) == 0, guest.log.read_text()[-2000:]


FAULTS = [
    Fault(
        name=f"a third worker joins and leaves, {TURNS} times",
        strike=come_and_go,
        moves=True,
        short=True,
        pause=LONGEST_PAUSE,
    )
]


async def test_rebalances_repeat_nothing_and_pause_nobody_for_long(stage: Callable[[], Awaitable[Report]]) -> None:
    await stage()
