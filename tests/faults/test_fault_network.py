"""The network between workers and brokers: slow, broken again and again, cut for longer than a session.

FAULTS=full pytest -s tests/faults/test_fault_network.py
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from scene import FULL, SESSION, Fault, Report, Scene

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(600)]

CUT = 30.0 if FULL else SESSION + 5


async def slow(scene: Scene) -> None:
    """300 ms for every round trip."""
    scene.hurt()
    for proxy in scene.proxies:
        proxy.delay = 0.15
    await asyncio.sleep(20 if FULL else 8)
    for proxy in scene.proxies:
        proxy.delay = 0.0
    scene.healed()


async def broken(scene: Scene) -> None:
    """All connections break, ten times, whatever they carry."""
    for _ in range(10):
        await asyncio.sleep(scene.chance.uniform(0.2, 1.5))
        scene.hurt()
        for proxy in scene.proxies:
            proxy.drop()
    print(f"\nconnections broken: {sum(proxy.dropped for proxy in scene.proxies)}")


async def cut(scene: Scene) -> None:
    """Silence, and then everything that was said meanwhile."""
    scene.hurt()
    for proxy in scene.proxies:
        proxy.cut()
    await asyncio.sleep(CUT)
    for proxy in scene.proxies:
        proxy.mend()
    scene.healed()


FAULTS = [
    Fault(name="300 ms delay", strike=slow, proxied=True),
    Fault(name="connections broken ten times", strike=broken, proxied=True, short=True),
    Fault(name=f"network cut for {CUT:g} s", strike=cut, proxied=True, kills=True),
    Fault(name=f"one worker's network cut for {CUT:g} s", strike=cut, proxied=True, kills=True, direct=("w2",)),
]


async def test_a_bad_network_costs_time_and_no_run(stage: Callable[[], Awaitable[Report]]) -> None:
    await stage()
