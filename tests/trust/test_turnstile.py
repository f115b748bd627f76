"""Who goes first, and that no turn is ever lost."""

from __future__ import annotations

import asyncio
import random

from hypothesis import given
from hypothesis import strategies as st

from stream_orchestrator.trust.turnstile import Turnstile


async def test_the_lowest_rank_goes_first_and_of_one_rank_who_came_first() -> None:
    turnstile, order = Turnstile(1), []

    async def work(name: str, rank: float) -> None:
        await turnstile.enter(rank)
        order.append(name)
        turnstile.leave()

    await turnstile.enter(0)
    works = [
        asyncio.create_task(work(name, rank)) for name, rank in [("new", 9), ("old", 1), ("old too", 1), ("mid", 5)]
    ]
    await asyncio.sleep(0)
    turnstile.leave()
    await asyncio.gather(*works)
    assert order == ["old", "old too", "mid", "new"]


async def test_a_turn_given_to_somebody_who_was_cancelled_goes_to_the_next() -> None:
    turnstile = Turnstile(1)
    await turnstile.enter(0)
    first, second = (asyncio.create_task(turnstile.enter(rank)) for rank in (1, 2))
    await asyncio.sleep(0)
    turnstile.leave()  # the turn is the first one's, who has not noticed yet
    first.cancel()
    await asyncio.wait_for(second, 1)
    assert first.cancelled()


@given(seed=st.integers(0, 10_000), size=st.integers(1, 4), people=st.integers(1, 30))
def test_never_more_than_so_many_are_inside_and_all_come_in_who_stay(seed: int, size: int, people: int) -> None:
    chance = random.Random(seed)

    async def scenario() -> None:
        turnstile, inside, done = Turnstile(size), 0, 0

        async def visit() -> None:
            nonlocal inside, done
            await turnstile.enter(chance.randrange(3))
            inside += 1
            assert inside <= size
            try:
                for _ in range(chance.randrange(4)):
                    await asyncio.sleep(0)
            finally:
                inside -= 1
                turnstile.leave()
            done += 1

        visits = [asyncio.create_task(visit()) for _ in range(people)]
        cancelled = [visit for visit in visits if chance.random() < 0.3]
        for visit_task in cancelled:
            await asyncio.sleep(0)
            visit_task.cancel()
        await asyncio.gather(*visits, return_exceptions=True)
        assert done >= people - len(cancelled)
        await asyncio.wait_for(asyncio.gather(*(turnstile.enter(0) for _ in range(size))), 1)

    asyncio.run(scenario())
