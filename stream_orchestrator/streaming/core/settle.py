"""Taking a partition: say so in its changelog, read what is there, and bring it under our own epoch."""

from __future__ import annotations

import asyncio
import logging
import os
import socket

from stream_orchestrator.streaming.core.changelog import begin
from stream_orchestrator.streaming.core.model import RowCodec
from stream_orchestrator.streaming.core.partition import Partition, State
from stream_orchestrator.streaming.core.recovery import read_changelog
from stream_orchestrator.streaming.core.table import Table
from stream_orchestrator.streaming.settings import StreamSettings

log = logging.getLogger(__name__)

LOAD_PIECE = 1000  # rows decoded before the loop gets a turn
TAKEOVER_PIECE = 500  # records in flight of a takeover; what agents write goes in between


async def settle(part: Partition, settings: StreamSettings, topic: str, codec: RowCodec) -> None:
    """Give the partition its rows. A row that cannot be read halts it: rows are not guessed."""
    owner = f"{settings.instance_id or socket.gethostname()}/{os.getpid()}".encode()
    begun = await part.append(begin(os.urandom(12), owner))
    inheritance = await read_changelog(settings, topic, part.number, epoch=begun.offset)
    if part.state is not State.RECOVERING:
        return
    table = Table(codec, begun.offset, inheritance)
    try:
        for count, _ in enumerate(table.load()):
            if not count % LOAD_PIECE:
                await asyncio.sleep(0)
    except Exception as fault:  # a codec may raise anything; the partition is kept, unserved and reported as not ready
        log.exception("partition %s of %s has a row that cannot be read", part.number, topic)
        part.halt(f"a row of {topic} cannot be read: {fault!r}")
        return
    part.table = table


async def take_over(part: Partition) -> None:
    """In the background: append inherited rows under our epoch, and bury what older epochs left."""
    table = part.table
    while table is not None and part.state is State.LIVE:
        entries = table.takeover(TAKEOVER_PIECE)
        if not entries:
            return
        futures = [part.append(entry) for entry in entries]
        await futures[-1]
