"""Stopping a consumer of aiokafka 0.14 whose broker is away.

Its fetcher cancels the requests it waits for and then awaits them: one that sleeps between two tries hands that
cancellation on, as if whoever stops the consumer were cancelled, and the client stays open. A thread that ends so does
not say that it has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

__all__ = ["stopped"]


async def stopped(stopping: Awaitable[None], consumer: Any) -> None:
    """Await a consumer's stop. A cancellation that is nobody's is passed over, one that is ours is passed on."""
    try:
        await stopping
    except asyncio.CancelledError:
        us = asyncio.current_task()
        if us is None or us.cancelling():
            raise
        await consumer._client.close()
