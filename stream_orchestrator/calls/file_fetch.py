"""Files that events name by an address: fetched through the address guard, for `trust.bringing`."""

from __future__ import annotations

from stream_orchestrator.calls.faults import RETRYABLE_STATUS
from stream_orchestrator.calls.fetch import Fetcher
from stream_orchestrator.calls.provider import ServiceFault
from stream_orchestrator.errors import PassingFault, RunError
from stream_orchestrator.spec.config import Configuration
from stream_orchestrator.spec.settings import Fetch
from stream_orchestrator.trust.addresses import AddressGuard


class FileFetch:
    """Fetches a file by its address. One request: a redirect is not followed, and refused."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    @classmethod
    def of(cls, config: Configuration) -> FileFetch:
        """As the settings say which hosts are let through."""
        return cls(Fetcher(AddressGuard.of(config.section(Fetch).allowed_hosts)))

    async def __call__(self, url: str, most: int) -> bytes:
        """At most `most` bytes; more, a host that is not let through and a client's error are a RunError, all that may
        be better later a PassingFault.
        """
        try:
            page = await self._fetcher.send("GET", url, max_size=most)
        except ServiceFault as fault:
            kind = PassingFault if fault.retryable else RunError
            raise kind(f"its `uri` cannot be fetched: {fault}") from fault
        if page.status == 200:
            return page.body
        kind = PassingFault if page.status >= 500 or page.status in RETRYABLE_STATUS else RunError
        raise kind(f"its `uri` was answered with {page.status}")

    async def close(self) -> None:
        """Close every connection."""
        await self._fetcher.close()
