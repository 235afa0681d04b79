"""Addresses: as people write them, as records carry them, and which may leave a LAN."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay.errors import Malformed, UsageError
from overlay.wire.address import Address, on_link, parse_address, routable, unpack_address, worldwide
from tests.records.actors import refused

IPS = st.ip_addresses().filter(lambda ip: ip.version == 4 or ip.ipv4_mapped is None)


@given(IPS, st.integers(1, 65_535))
@settings(max_examples=150, deadline=500)
def test_an_address_packs_and_reads_back(ip: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> None:
    address = Address(str(ip), port)
    assert unpack_address(address.packed) == address and parse_address(str(address), 1) == address
    assert address.family == ip.version


@given(st.binary(max_size=20) | st.none() | st.integers() | st.text() | st.lists(st.integers(), max_size=2))
@settings(max_examples=200, deadline=500)
def test_what_comes_from_outside_raises_nothing_but_malformed(data: object) -> None:
    try:
        address = unpack_address(data)
    except Malformed as why:
        assert why.rule == "address"
    else:
        assert address.packed == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(6),
        bytes(5),
        bytes(7),
        bytes(18),
        bytes(17),
        bytes(10) + b"\xff\xff\x01\x02\x03\x04\x00\x01",
        bytearray(b"123456"),
        "123456",
        True,
    ],
)
def test_lengths_port_0_and_mapped_addresses_are_malformed(data: object) -> None:
    with refused("address", Malformed):
        unpack_address(data)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("1.2.3.4", "1.2.3.4", 7653),
        ("1.2.3.4:80", "1.2.3.4", 80),
        ("::1", "::1", 7653),
        ("[::1]", "::1", 7653),
        ("[::1]:80", "::1", 80),
        (" 1.2.3.4 ", "1.2.3.4", 7653),
        ("2001:DB8::0:1", "2001:db8::1", 7653),
        ("[2001:db8::1]:65535", "2001:db8::1", 65_535),
    ],
)
def test_addresses_as_people_write_them(text: str, host: str, port: int) -> None:
    assert parse_address(text, 7653) == Address(host, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.4:",
        "1.2.3.4:0",
        "1.2.3.4:65536",
        "1.2.3.4:-1",
        "1.2.3.4:x",
        "1.2.3.4:8 0",
        "1.2.3.4:\u0663",
        "1.2.3.256",
        "01.2.3.4",
        "[::1",
        "[::1]x",
        "[::1]80",
        "[::1]:",
        "[]:80",
        ":::1",
        "1.2.3.4:" + "9" * 5000,
        "x" * 10_000,
        "\x00",
    ],
)
def test_other_texts_are_told_what_to_write(text: str) -> None:
    with refused("address", UsageError):
        parse_address(text, 7653)


@pytest.mark.parametrize(
    "host", ["203.0.113.1", "192.0.2.1", "127.0.0.1", "10.0.0.1", "192.168.1.1", "2001:db8::1", "::1", "fd00::1", "100.64.0.1"]
)
def test_loopback_documentation_and_private_addresses_may_stand_in_records(host: str) -> None:
    assert routable(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "224.0.0.1", "239.1.1.1", "255.255.255.255", "240.0.0.1", "169.254.1.1", "fe80::1", "fe80::1%eth0", "ff02::1"]
)
def test_addresses_that_mean_something_here_only_do_not_leave(host: str) -> None:
    assert not routable(host)


@pytest.mark.parametrize(
    ("host", "networks", "near"),
    [
        ("192.168.1.7", ["192.168.1.0/24"], True), ("192.168.1.7", [], False), ("192.168.1.7", ["192.168.2.0/24", "10.0.0.0/8"], False),
        ("127.0.0.1", [], True), ("::1", [], True), ("fe80::1%eth0", [], True), ("fe80::1", [], False),
        ("2001:db8::7", ["192.168.1.0/24", "2001:db8::/64"], True), ("203.0.113.7", ["0.0.0.0/0"], False), ("203.0.113.7", ["203.0.113.7/32"], True),
    ],
)  # fmt: skip
def test_on_link_is_what_an_own_interface_reaches_without_a_router_never_a_private_range(host: str, networks: list[str], near: bool) -> None:
    assert on_link(host, networks) is near


@pytest.mark.parametrize(("host", "told"), [
    ("203.0.113.7", True), ("127.0.0.5", True), ("2001:db8::1", True), ("10.1.2.3", False), ("172.31.0.1", False), ("172.32.0.1", True),
    ("192.168.1.1", False), ("100.64.0.1", False), ("fd00::1", False), ("fe80::1", False), ("fe80::1%eth0", False), ("224.0.0.1", False),
])  # fmt: skip
def test_worldwide_are_addresses_that_mean_the_same_everywhere(host: str, told: bool) -> None:
    assert worldwide(host) is told
