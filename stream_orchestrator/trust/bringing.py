"""Brings the files of events: from allowed folders and addresses, past the scanner. The I/O behind `kernel.bringing`.

Promises
  * Never raises for what a file, a folder or the scanner does. What cannot be had is asked for again, and refused when
    the patience of its setting is over; then the event is rejected visibly, and can be redriven.
  * No content passes without a verdict where one is asked for.
  * At most `AT_ONCE` events are worked on; the others wait with their slots open, which holds the topic back.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from stream_orchestrator.errors import MissingError, PassingFault, RunError
from stream_orchestrator.kernel.bringing import Brought, refusal
from stream_orchestrator.spec import settings
from stream_orchestrator.spec.config import Configuration, variable_of
from stream_orchestrator.spec.inputs import InputRules
from stream_orchestrator.spec.uploads import FileRules, decoded
from stream_orchestrator.trust.folders import LARGEST, read_allowed
from stream_orchestrator.trust.scanner import Scanner

AT_ONCE = 8
LONGEST_PAUSE = 15.0
log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bringer:
    """Fetches and scans."""

    folders: tuple[str, ...] = ()
    fetch: Callable[[str, int], Awaitable[bytes]] | None = None
    patience: float = 300.0
    scanner: Scanner | None = None
    scanner_patience: float = 600.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    @classmethod
    def of(cls, config: Configuration, fetch: Callable[[str, int], Awaitable[bytes]] | None = None) -> Bringer:
        """As the settings say; `fetch` is given an address and the most bytes."""
        files, scanner = config.section(settings.Files), config.section(settings.Scanner)
        return cls(
            folders=tuple(files.folders),
            fetch=fetch,
            patience=files.patience,
            scanner=Scanner(scanner.url, scanner.timeout) if scanner.url else None,
            scanner_patience=scanner.patience,
        )

    async def __call__(self, rules: InputRules, payload: bytes) -> Brought:
        """The files of one event, or why there are none."""
        files: dict[str, str] = {}
        async with self._room:
            for name, (asked, value) in rules.to_bring(payload).items():
                try:
                    files[name] = await self._one(asked, value)
                except RunError as refused:
                    return refusal(f"`{name}`: {refused}")
        return Brought(files=files)

    async def _one(self, asked: FileRules, value: dict[str, Any]) -> str:
        content = await self._fetched(asked, value["uri"]) if "uri" in value else decoded(value["content_base64"])
        if content is None:
            return ""  # no base64: its check says so
        if asked.scanned and not asked.too_large(len(content)):
            await self._scanned(content)
        return base64.b64encode(content).decode() if "uri" in value else ""

    async def _fetched(self, asked: FileRules, uri: str) -> bytes:
        most = LARGEST if asked.max_bytes is None else min(asked.max_bytes, LARGEST)
        if uri.lower().startswith(("http://", "https://")) and self.fetch is not None:
            return await self._patiently(partial(self.fetch, uri, most), self.patience)
        read = partial(asyncio.to_thread, read_allowed, uri, self.folders, most=most)
        content = await self._patiently(read, self.patience)
        if len(content) > LARGEST:
            raise RunError(f"it has more than {LARGEST:,} bytes, and so many fit beside an event")
        return content

    async def _scanned(self, content: bytes) -> None:
        if self.scanner is None:
            raise RunError("it must be scanned, and no scanner is set (scanner.url)")
        found = await self._patiently(partial(self.scanner.scan, content), self.scanner_patience)
        if found:
            raise RunError(f"the virus scanner found {found[:100]} (virus_scan)")

    async def _patiently(self, attempt: Callable[[], Awaitable[T]], patience: float) -> T:
        waited, pause = 0.0, 0.5
        while True:
            try:
                return await attempt()
            except PassingFault as fault:
                if waited >= patience:
                    raise
                log.warning("%s; asked again in %g s", fault, pause)
                await self.sleep(pause)
                waited, pause = waited + pause, min(2 * pause, LONGEST_PAUSE)


def refuse_without_scanner(rules: dict[str, InputRules], config: Configuration) -> None:
    """A MissingError when a pipeline (title → rules) has files scanned, and no scanner is set."""
    asking = [title for title, each in rules.items() if each.scans]
    if asking and not config.section(settings.Scanner).url:
        raise MissingError(
            f"{', '.join(f'`{title}`' for title in asking)} has files scanned for viruses, and no scanner is set",
            hint=f"run clamd, and set {variable_of(('scanner', 'url'))}=tcp://host:3310",
        )
