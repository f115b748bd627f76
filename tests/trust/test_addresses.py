"""The address guard: what is the public internet, however it is written."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_orchestrator.trust.addresses import AddressGuard, BlockedAddress, is_public

NOT_PUBLIC = [
    *("127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "0.0.0.0"),
    *("169.254.169.254", "100.64.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "198.18.0.1", "192.0.2.1"),
    *("::1", "::", "fe80::1", "fc00::1", "fd12::1", "ff02::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "2002:a00:1::", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe"),
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_of_our_own_networks_is_refused(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(BlockedAddress, match="FETCH__ALLOWED_HOSTS"):
        AddressGuard().check_host(host, 80)
    with pytest.raises(BlockedAddress):
        AddressGuard().check_found("some.example", 80, ["93.184.216.34", address])


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_an_address_of_the_internet_passes(address: str) -> None:
    AddressGuard().check_host(address, 443)
    AddressGuard().check_found("some.example", 443, [address])


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f.1", "0x7f000001", "017700000001", "1.2.3.4.5", "::1::"])
def test_what_only_looks_like_an_address_is_refused(host: str) -> None:
    with pytest.raises(BlockedAddress):
        AddressGuard().check_host(host, 80)


def test_a_scope_does_not_hide_a_link_local_address() -> None:
    with pytest.raises(BlockedAddress):
        AddressGuard().check_host("fe80::1%eth0", 80)
    with pytest.raises(BlockedAddress):
        AddressGuard().check_found("some.example", 80, ["fe80::1%2"])


def test_a_listed_host_is_let_through_and_no_other() -> None:
    guard = AddressGuard.of(["Intranet.example", " 10.0.0.5:8080 ", ""])
    guard.check_host("10.0.0.5", 8080)
    guard.check_found("intranet.EXAMPLE", 80, ["10.9.9.9"])
    for host, port in (("10.0.0.5", 80), ("10.0.0.6", 8080)):
        with pytest.raises(BlockedAddress):
            guard.check_host(host, port)
    with pytest.raises(BlockedAddress):
        guard.check_found("other.example", 80, ["10.9.9.9"])


@given(st.ip_addresses(v=4))
def test_an_address_inside_an_ipv6_address_is_judged_as_itself(inner: ipaddress.IPv4Address) -> None:
    mapped = ipaddress.ip_address(f"::ffff:{inner}")
    nat64 = ipaddress.IPv6Address(int(ipaddress.ip_address("64:ff9b::")) | int(inner))
    sixtofour = ipaddress.IPv6Address((0x2002 << 112) | (int(inner) << 80))
    if not is_public(inner):
        assert not any(map(is_public, (mapped, nat64, sixtofour)))
    else:
        assert is_public(nat64)
