"""A TCP proxy on loopback that can be slow, silent or rude: the network between a client and a broker.

Promises
  * Bytes keep their order and none is invented. `delay` is latency, each way; it costs no throughput.
  * `cut` is a cable pulled out: nobody is told, nothing passes, new connections hang. `mend` puts it back, and what was
    under way arrives late, as TCP would have it.
  * `drop` breaks every connection that there is, in the middle of whatever it carries; new ones are welcome.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

PIECE = 64 * 1024
PIECES_UNDER_WAY = 256


class Proxy:
    """Listens at `port` and carries everything to `target`, both of 127.0.0.1."""

    def __init__(self, port: int, target: int) -> None:
        self.delay = 0.0
        self.dropped = 0
        self._port, self._target = port, target
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)

    async def stop(self) -> None:
        """Break everything and listen no more."""
        if self._server is not None:
            self._server.close()
        self.drop()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Let nothing pass."""
        self._open.clear()

    def mend(self) -> None:
        """Let it pass again."""
        self._open.set()

    def drop(self) -> None:
        """Break every connection."""
        self.dropped += len(self._writers) // 2
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        there: asyncio.StreamWriter | None = None
        try:
            await self._open.wait()
            back, there = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(there)
            carried = [asyncio.ensure_future(self._carry(*ends)) for ends in ((reader, there), (back, writer))]
            try:
                await asyncio.gather(*carried)
            finally:  # with one of them the other ends: left alone, it would outlive the test
                for each in carried:
                    each.cancel()
                await asyncio.gather(*carried, return_exceptions=True)
        except OSError:
            pass  # an end is gone, so the other goes too
        except asyncio.CancelledError:
            pass  # stopped: the server's own task callback must not see it
        finally:
            for each in (writer, there):
                if each is not None:
                    self._writers.discard(each)
                    each.transport.abort()
            self._tasks.discard(task)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(PIECES_UNDER_WAY)
        sending = asyncio.ensure_future(self._send(under_way, writer))
        try:
            data = b"first"
            while data:
                data = await reader.read(PIECE)
                await under_way.put((asyncio.get_running_loop().time() + self.delay, data))
            await sending
        finally:
            sending.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await sending

    async def _send(self, under_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        """Until an empty piece, which is the end of the stream, comes; then the whole connection ends."""
        while True:
            due, data = await under_way.get()
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            await self._open.wait()
            if not data:
                raise ConnectionResetError("the other end has closed")
            writer.write(data)
            await writer.drain()
