"""Starting and stopping clients of aiokafka 0.14, so that nothing stays open.

The fetcher of a consumer whose broker is away cancels the requests it waits for and then awaits them: one that sleeps
between two tries hands that cancellation on, as if whoever stops the consumer were cancelled, and the client stays
open. A thread that ends so does not say that it has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any

WHOLE_WITHIN = 2.0  # seconds, for a start that is cancelled


async def stopped(stopping: Awaitable[None], consumer: Any) -> None:
    """Await a consumer's stop. A cancellation that is nobody's is passed over, one that is ours is passed on."""
    try:
        await stopping
    except asyncio.CancelledError:
        us = asyncio.current_task()
        if us is None or us.cancelling():
            raise
        await consumer._client.close()


async def started(start: Coroutine[Any, Any, Any]) -> None:
    """Start a client whole, even when we are cancelled meanwhile; stop it afterwards, as ever.

    aiokafka cancelled in the middle of its first request leaves that connection open.
    """
    starting = asyncio.ensure_future(start)
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.wait({starting}, timeout=WHOLE_WITHIN)
        starting.cancel()
        raise
