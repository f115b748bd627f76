"""SIGTERM ends what runs as Ctrl-C does, also where Ctrl-C itself is ignored."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stream_orchestrator.cli.interrupts import terminated_as_interrupted

Handler = Callable[[int, Any], Any] | int | None


@pytest.fixture(params=["asked", "ignored"], autouse=True)
def _interrupts(request: pytest.FixtureRequest) -> Iterator[None]:
    """With SIGINT as at a terminal, and as in a job in the background of a script."""
    handler: Handler = signal.default_int_handler if request.param == "asked" else signal.SIG_IGN
    before = signal.signal(signal.SIGINT, handler)
    terminate = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGINT, before)
    assert signal.getsignal(signal.SIGTERM) == terminate, "it is as it was"


def running(work: Callable[[], Any]) -> None:
    async def whole() -> None:
        with terminated_as_interrupted():
            await work()

    asyncio.run(whole())


def test_the_first_is_an_interrupt_after_what_was_begun_has_ended() -> None:
    ended = []

    async def work() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            ended.append("drained")

    with pytest.raises(KeyboardInterrupt):
        running(work)
    assert ended == ["drained"]


def test_the_second_waits_for_nothing() -> None:
    async def work() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await asyncio.sleep(60)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.Event().wait()

    with pytest.raises(KeyboardInterrupt):
        running(work)


def test_a_cancellation_that_no_signal_asked_for_stays_one() -> None:
    async def work() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        running(work)
