"""Which addresses of the network a pipeline's requests may go to: those of the public internet, and listed hosts.

Promises
  * The addresses that were checked are those that are connected to: a name that changes changes nothing.
  * An address is judged by what it leads to: IPv4 inside IPv6 (mapped, 6to4, Teredo, NAT64) is looked into.
  * A host that is listed (`host`, or `host:port`) is let through, wherever it is.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Shared address space of providers; not private by the standard library's reading, and not the internet either.
_SHARED = ipaddress.ip_network("100.64.0.0/10")


class BlockedAddress(OSError):
    """The address is not to be connected to. An OSError, so that clients treat it as a failed connection."""


def is_public(address: Address) -> bool:
    """Whether an address is one of the public internet, and so is every address inside of it."""
    inner = _inside(address)
    if any(not is_public(each) for each in inner):
        return False
    shared = isinstance(address, ipaddress.IPv4Address) and address in _SHARED
    if inner and address in _NAT64:
        return True  # a way to a public address
    return address.is_global and not (address.is_multicast or address.is_reserved or shared)


def _inside(address: Address) -> list[Address]:
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found: list[Address] = [each for each in (address.ipv4_mapped, address.sixtofour) if each is not None]
    if address.teredo is not None:
        found += address.teredo
    if address in _NAT64:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return found


def literal(host: str) -> Address | None:
    """The address that a host is written as, or None for a name. BlockedAddress for what only looks like an address."""
    bare = host.strip("[]").partition("%")[0]
    try:
        return ipaddress.ip_address(bare)
    except ValueError:
        pass
    # `127.1`, `2130706433`, `0x7f.1`: some clients take these for addresses without asking anyone.
    if ":" in bare or bare.replace(".", "").isdigit() or bare.lower().startswith("0x"):
        raise BlockedAddress(f"`{host}` is neither a name nor an address")
    return None


@dataclass(frozen=True, slots=True)
class AddressGuard:
    """Lets hosts through. `allowed` are hosts, or `host:port`, in lower case."""

    allowed: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def of(cls, hosts: Iterable[str]) -> AddressGuard:
        """The guard that lets these hosts through beside the public internet."""
        return cls(frozenset(host.strip().lower() for host in hosts if host.strip()))

    def lets_through(self, host: str, port: int) -> bool:
        """Whether a host is listed."""
        name = host.strip("[]").lower().rstrip(".")
        return name in self.allowed or f"{name}:{port}" in self.allowed

    def check_host(self, host: str, port: int) -> None:
        """Refuse a host that is an address which is not public. A name passes: its addresses are checked when known."""
        if self.lets_through(host, port):
            return
        address = literal(host)
        if address is not None:
            self._refuse(host, address)

    def check_found(self, host: str, port: int, addresses: Iterable[str]) -> None:
        """Refuse a name if any of its addresses is not public: which of them is taken is not ours to say."""
        if self.lets_through(host, port):
            return
        for each in addresses:
            self._refuse(host, ipaddress.ip_address(each.partition("%")[0]))

    def _refuse(self, host: str, address: Address) -> None:
        if not is_public(address):
            raise BlockedAddress(
                f"{host} is not on the public internet; FETCH__ALLOWED_HOSTS lists hosts that may be asked all the same"
            )


@lru_cache(maxsize=64)  # asked with every call, of a few services
def is_this_machine(url: str) -> bool:
    """Whether an address, or a host, is on loopback."""
    host = (urlsplit(url).hostname or "") if "//" in url else url
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_plain(url: str) -> bool:
    """Whether what is sent there could be read on the way."""
    return urlsplit(url).scheme == "http" and not is_this_machine(url)
