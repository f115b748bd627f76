"""Stopping a consumer whose broker is away."""

from __future__ import annotations

import asyncio

import pytest

from stream_orchestrator.streaming.ending import stopped


class Client:
    closed = False

    async def close(self) -> None:
        self.closed = True


class Consumer:
    """As aiokafka's: it awaits a request of its own that it has cancelled, and never comes to its client."""

    def __init__(self) -> None:
        self._client = Client()

    async def stop(self) -> None:
        request = asyncio.ensure_future(asyncio.sleep(3600))
        await asyncio.sleep(0)
        request.cancel()
        await request


async def test_a_cancellation_that_is_nobodys_ends_nothing_and_the_client_is_closed() -> None:
    consumer = Consumer()
    await stopped(consumer.stop(), consumer)
    assert consumer._client.closed


async def test_a_cancellation_of_ours_is_passed_on() -> None:
    consumer = Consumer()
    stopping = asyncio.create_task(stopped(asyncio.sleep(3600), consumer))
    await asyncio.sleep(0)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert not consumer._client.closed
