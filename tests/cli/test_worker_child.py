"""The serving process ends, whatever does not want to."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from stream_orchestrator.cli.commands.worker_child import ended

STUBBORN = """
import asyncio
from stream_orchestrator.cli.commands import worker_child

worker_child.PATIENCE = 0.1

async def stubborn():
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass

async def serving():
    serving.kept = asyncio.create_task(stubborn(), name="stubborn")
    await asyncio.sleep(0)
    {then}

worker_child.ended(serving())
"""


@pytest.mark.parametrize(("then", "code"), [("return 0", 0), ("return 3", 3), ("raise asyncio.CancelledError", 1)])
def test_a_task_that_swallows_its_cancellation_is_left_behind(then: str, code: int) -> None:
    script = STUBBORN.format(then=then)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (code, "1 tasks would not end and are left behind: stubborn\n")


def test_what_ends_when_it_is_told_to_is_waited_for() -> None:
    cleaned = []

    async def tidy() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            cleaned.append(True)

    async def serving() -> int:
        tidying = asyncio.create_task(tidy())
        await asyncio.sleep(0)
        return 0 if not tidying.done() else 1

    assert ended(serving()) == 0
    assert cleaned == [True]


def test_a_failure_of_serving_is_passed_on() -> None:
    async def serving() -> int:
        raise RuntimeError("ours")

    with pytest.raises(RuntimeError, match="ours"):
        ended(serving())
