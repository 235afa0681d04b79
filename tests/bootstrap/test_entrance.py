"""Where a person says to look, and the order of a way's addresses."""

from __future__ import annotations

import pytest

from bootstrap.entrance import Domain, Entrance, Lan, Listener, Place, WayIn, alternate, parse_where
from overlay.errors import Malformed, UsageError
from overlay.wire.address import Address

FOUR, OTHER_FOUR, SIX = Address("192.0.2.1", 7653), Address("192.0.2.2", 7653), Address("2001:db8::1", 7653)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("lan", Lan()), ("cloud.Example.org.", Domain("cloud.example.org")), ("192.0.2.1", Listener("192.0.2.1")),
        ("192.0.2.1:7000", Listener("192.0.2.1", 7000)), ("2001:DB8::1", Listener("2001:db8::1")),
        ("[2001:db8::1]", Listener("2001:db8::1")),
        ("[2001:db8::1]:7000", Listener("2001:db8::1", 7000)), ("10.example.org", Domain("10.example.org")),
    ],
)
def test_where_is_a_domain_an_address_or_the_lan(text: str, place: Place) -> None:
    assert parse_where(text) == place


@pytest.mark.parametrize(
    "text",
    ["", "a b.org", "192.0.2.256", "192.0.2.1:0", "192.0.2.1:99999", "1.2", "[::1", "[::1]x", "[::1]:",
     "example.org:7653", "http://example.org/", "224.0.0.1", "-x-.org"],
)
def test_a_meaningless_where_is_misuse(text: str) -> None:
    with pytest.raises(UsageError):
        parse_where(text)


def test_a_named_port_is_not_second_guessed() -> None:
    assert [a.port for a in Listener("192.0.2.1", 7000).addresses] == [7000]
    assert [a.port for a in Listener("192.0.2.1").addresses] == [7653, 80, 8053]
    assert str(Listener("192.0.2.1")) == "192.0.2.1" and str(Listener("2001:db8::1", 1)) == "[2001:db8::1]:1"


def test_families_alternate_and_ipv6_begins() -> None:
    assert alternate([FOUR, OTHER_FOUR, SIX, FOUR]) == (SIX, FOUR, OTHER_FOUR)


@pytest.mark.parametrize(
    ("addresses", "key"),
    [((), bytes(32)), ((FOUR,), bytes(31)), (tuple(Address("192.0.2.1", n) for n in range(1, 10)), bytes(32))],
)
def test_a_way_in_has_addresses_and_a_key(addresses: tuple[Address, ...], key: bytes) -> None:
    with pytest.raises(Malformed):
        WayIn(addresses, key)


def test_an_overlay_id_has_32_octets() -> None:
    with pytest.raises(Malformed):
        Entrance(bytes(16), "cloud", (), "somebody")
