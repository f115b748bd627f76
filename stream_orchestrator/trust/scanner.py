"""clamd, asked about one content at a time (INSTREAM over TCP).

Promise: `scan` returns only what the scanner has said. That it is away, slow or confused is a `ScannerAway`, and never
a pass.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from urllib.parse import urlsplit

from stream_orchestrator.errors import PassingFault

CHUNK = 256 * 1024
_LONGEST_ANSWER = 4096


class ScannerAway(PassingFault):
    """The scanner gave no verdict. It may later."""


@dataclass(frozen=True, slots=True)
class Scanner:
    """A clamd at `tcp://host:port`; `timeout` bounds one scan, seconds."""

    url: str
    timeout: float = 60.0

    async def scan(self, content: bytes) -> str:
        """The name of what was found, or empty text: clean."""
        try:
            async with asyncio.timeout(self.timeout):
                answer = await self._ask(b"zINSTREAM\0", content)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as fault:
            raise ScannerAway(f"the virus scanner at {self.url} gave no answer: {type(fault).__name__}") from fault
        return _verdict(answer, self.url)

    async def _ask(self, command: bytes, content: bytes) -> str:
        address = urlsplit(self.url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=_LONGEST_ANSWER)
        try:
            writer.write(command)
            for start in range(0, len(content), CHUNK):
                chunk = content[start : start + CHUNK]
                writer.write(struct.pack(">I", len(chunk)) + chunk)
                await writer.drain()
            writer.write(struct.pack(">I", 0))
            await writer.drain()
            return (await reader.readuntil(b"\0")).rstrip(b"\0").decode("utf-8", "replace")
        finally:
            writer.close()


def _verdict(answer: str, url: str) -> str:
    _, _, said = answer.partition(": ")
    if said == "OK":
        return ""
    if said.endswith(" FOUND"):
        return said.removesuffix(" FOUND")
    # For example "INSTREAM size limit exceeded. ERROR": it has not looked at all of it.
    raise ScannerAway(f"the virus scanner at {url} gave no verdict: {answer[:200]}")
