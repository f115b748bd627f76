"""Who goes first, and that nobody who waits is forgotten."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from stream_orchestrator.trust.line import Line
from stream_orchestrator.trust.process import Job


async def nothing(question: object) -> dict[str, object]:
    raise AssertionError(question)


def job(rank: float, number: int) -> Job:
    ended = asyncio.get_running_loop().create_future()
    return Job(step=b"", source="", timeout=1, answer=nothing, rank=rank, number=number, asked=0, ended=ended)


def emptied(line: Line) -> list[tuple[float, int]]:
    order = []
    while (first := line.first()) is not None:
        order.append((first.rank, first.number))
        line.leave()
    return order


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["stays", "is cancelled", "comes back"])), max_size=30))
def test_the_lowest_rank_is_first_and_of_one_rank_who_came_first_also_when_it_comes_back(
    people: list[tuple[int, str]],
) -> None:
    async def scenario() -> None:
        line, stay = Line(), []
        jobs = [job(rank, number) for number, (rank, _) in enumerate(people)]
        line.join(jobs)
        back = []
        for one, (_, does) in zip(jobs, people, strict=True):
            if does == "is cancelled":
                one.ended.cancel()
            else:
                stay.append((one.rank, one.number))
        while (first := line.first()) is not None and people[first.number][1] == "comes back":
            line.leave()
            back.append(first)
        line.join(reversed(back))
        assert len(line) == len(stay)
        assert {(one.rank, one.number) for one in line} == set(stay)
        assert emptied(line) == sorted(stay)

    asyncio.run(scenario())
