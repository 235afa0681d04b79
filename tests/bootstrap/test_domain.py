"""The bootstrap zone's texts: what counts, what is dropped and why, and that what we write is read back."""

from __future__ import annotations

import re
from collections import Counter

import dns.rdatatype
import dns.zone
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootstrap.domain import OverlayText, read_overlays, read_ways, way_text, zone_lines
from bootstrap.entrance import WayIn
from overlay import limits
from overlay.units import b64
from overlay.wire.address import Address

ID, KEY = bytes(range(32)), bytes(range(32, 64))
ID_TEXT, KEY_TEXT = b64(ID), b64(KEY)
OVERLAY = f"v=overlay1;id={ID_TEXT};tld=cloud"
WAY = WayIn((Address("2001:db8::1", 7653), Address("203.0.113.10", 7653)), KEY)


def test_the_overlay_text_of_the_contract_is_read() -> None:
    counters: Counter[str] = Counter()
    assert read_overlays([OVERLAY.encode()], counters) == (OverlayText(ID, "cloud"),)
    assert str(OverlayText(ID, "cloud")) == OVERLAY and not counters


def test_the_way_text_of_the_contract_is_read_ipv6_first() -> None:
    counters: Counter[str] = Counter()
    assert read_ways([f"v=overlay1;at=203.0.113.10:7653,[2001:db8::1]:7653;key={KEY_TEXT}".encode()], counters) == (WAY,)
    assert not counters


@pytest.mark.parametrize("text", [OVERLAY + ";", OVERLAY.replace(";", " ; "), OVERLAY + ";new=thing", OVERLAY + ";x="])
def test_blanks_a_last_semicolon_and_unknown_keys_are_forgiven(text: str) -> None:
    assert read_overlays([text.encode()], Counter()) == (OverlayText(ID, "cloud"),)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "txt-version"), (b"v=spf1 -all", "txt-version"), (OVERLAY.replace("overlay1", "overlay2").encode(), "txt-version"),
        (f"id={ID_TEXT};v=overlay1;tld=cloud".encode(), "txt-version"), ((OVERLAY + ";tld=cloud").encode(), "txt-field"),
        ((OVERLAY + ";v=overlay1").encode(), "txt-field"), ((OVERLAY + ";word").encode(), "txt-field"),
        ((OVERLAY + ";;a=b").encode(), "txt-field"),
        (b"v=overlay1;tld=cloud", "txt-id"), (f"v=overlay1;id={ID_TEXT}=;tld=cloud".encode(), "txt-id"),
        (f"v=overlay1;id={ID_TEXT[:-1]};tld=cloud".encode(), "txt-id"), (f"v=overlay1;id={ID_TEXT}".encode(), "txt-tld"),
        (f"v=overlay1;id={ID_TEXT};tld=a..b".encode(), "txt-tld"), ((OVERLAY + "\xff").encode("latin-1"), "txt-not-ascii"),
        ((OVERLAY + ";a=\x00").encode(), "txt-not-ascii"), ((OVERLAY + ";a=" + "b" * limits.WAY_TEXT).encode(), "txt-too-long"),
    ],
)
def test_a_bad_overlay_text_is_dropped_with_a_reason(text: bytes, reason: str) -> None:
    counters: Counter[str] = Counter()
    assert read_overlays([text, OVERLAY.encode()], counters) == (OverlayText(ID, "cloud"),)
    assert counters == {f"drop:{reason}": 1}


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        ("203.0.113.10", "txt-at"), ("203.0.113.10:0", "txt-at"), ("203.0.113.10:65536", "txt-at"), ("node.example.org:7653", "txt-at"),
        ("", "txt-at"),
        ("203.0.113.10:7653,", "txt-at"), ("2001:db8::1", "txt-at"), ("203.0.113.10:٣", "txt-not-ascii"),
    ],
)
def test_a_bad_way_text_is_dropped_with_a_reason(at: str, reason: str) -> None:
    counters: Counter[str] = Counter()
    assert read_ways([f"v=overlay1;at={at};key={KEY_TEXT}".encode()], counters) == ()
    assert counters == {f"drop:{reason}": 1}


@pytest.mark.parametrize("host", ["224.0.0.1", "0.0.0.0", "169.254.1.1", "255.255.255.255", "[ff02::1]", "[fe80::1]"])
def test_nobody_is_sent_to_an_address_where_nobody_listens(host: str) -> None:
    counters: Counter[str] = Counter()
    (way,) = read_ways([f"v=overlay1;at={host}:7653,203.0.113.10:7653;key={KEY_TEXT}".encode()], counters)
    assert way.addresses == (Address("203.0.113.10", 7653),)
    assert counters == {"drop:at-unreachable": 1}


def test_a_way_without_a_key_of_32_octets_is_dropped() -> None:
    counters: Counter[str] = Counter()
    assert read_ways([b"v=overlay1;at=203.0.113.10:7653", b"v=overlay1;at=203.0.113.10:7653;key=AAAA"], counters) == ()
    assert counters == {"drop:txt-key": 2}


def test_ways_addresses_and_overlays_are_bounded() -> None:
    counters: Counter[str] = Counter()
    many = ",".join(f"203.0.113.{n}:7653" for n in range(1, 12))
    assert len(read_ways([f"v=overlay1;at={many};key={KEY_TEXT}".encode()], counters)[0].addresses) == limits.WAY_ADDRESSES
    assert len(read_ways([f"v=overlay1;at=203.0.113.{n}:1;key={KEY_TEXT}".encode() for n in range(1, 30)], counters)) == limits.WAYS_IN
    assert len(read_overlays([f"v=overlay1;id={b64(bytes([n]) * 32)};tld=cloud".encode() for n in range(12)], counters)) == 8
    assert counters == {"drop:at-too-many": 3, "drop:ways-too-many": 29 - limits.WAYS_IN, "drop:overlays-too-many": 4}


def test_the_same_text_twice_is_one() -> None:
    assert read_overlays([OVERLAY.encode()] * 2, Counter()) == (OverlayText(ID, "cloud"),)
    assert read_ways([way_text(WAY).encode()] * 2, Counter()) == (WAY,)


addresses = st.builds(
    Address, st.one_of(st.ip_addresses(v=4, network="198.51.100.0/24"), st.ip_addresses(v=6, network="2001:db8::/32")).map(str),
    st.integers(1, 65_535),
)


@settings(deadline=500, max_examples=60)
@given(st.lists(addresses, min_size=1, max_size=8, unique=True), st.binary(min_size=32, max_size=32))
def test_every_way_that_we_write_is_read_back(at: list[Address], key: bytes) -> None:
    found = read_ways([way_text(WayIn(tuple(at), key)).encode()], Counter())
    assert [(set(way.addresses), way.key) for way in found] == [(set(at), key)]


@settings(deadline=500, max_examples=100)
@given(st.binary(max_size=300) | st.text(alphabet="v=overlay1;idatkey.:[],", max_size=120).map(lambda t: f"v=overlay1;{t}".encode()))
def test_any_text_is_read_or_dropped_with_a_reason(text: bytes) -> None:
    counters: Counter[str] = Counter()
    assert len(read_overlays([text], counters)) + counters.total() == 1
    ways: Counter[str] = Counter()
    assert read_ways([text], ways) or ways.total() >= 1


def test_init_prints_master_file_lines_that_a_name_server_takes() -> None:
    second = WayIn((Address("203.0.113.11", 7653),), bytes(32))
    text = zone_lines("cloud.neonics.com", "cloud", ID, [WAY, second], ["203.0.113.10", "2001:db8::1"])
    lines = text.splitlines()
    comments = [line.partition(":")[0] for line in lines if line.startswith(";")]
    assert comments == ["; keep your DNS host", "; delegate cloud.neonics.com to the nodes"]
    assert all(re.fullmatch(r"\S+\. \d+ IN (A|AAAA|NS|TXT) \S.*", line) for line in lines if not line.startswith(";"))
    keep, delegate = (block.splitlines()[1:] for block in re.split(r"^(?=; delegate)", text, flags=re.M))
    soa = "neonics.com. 60 IN SOA ns.neonics.com. root.neonics.com. 1 1 1 1 1\nneonics.com. 60 IN NS ns.elsewhere.net.\n"
    zone = dns.zone.from_text(soa + "\n".join(keep), origin="neonics.com.")
    texts = [b"".join(r.strings) for r in zone.find_rdataset("_overlay.cloud", dns.rdatatype.TXT)]
    assert read_overlays(texts, Counter()) == (OverlayText(ID, "cloud"),)
    texts = [b"".join(r.strings) for r in zone.find_rdataset("_node._overlay.cloud", dns.rdatatype.TXT)]
    assert set(read_ways(texts, Counter())) == {WAY, second}
    assert {str(r) for r in zone.find_rdataset("cloud", dns.rdatatype.A)} == {"203.0.113.10"}
    zone = dns.zone.from_text(soa + "\n".join(delegate), origin="neonics.com.")
    assert {str(r) for r in zone.find_rdataset("cloud", dns.rdatatype.NS)} == {"ns1.cloud", "ns2.cloud"}
    assert {str(r) for r in zone.find_rdataset("ns1.cloud", dns.rdatatype.AAAA)} == {"2001:db8::1"}
    assert "DS" not in text.split()


def test_a_text_of_more_than_255_octets_is_several_strings() -> None:
    long = WayIn(tuple(Address(f"2001:db8:aaaa:bbbb:cccc:dddd:eeee:{n:x}", 65_000) for n in range(0xF000, 0xF008)), KEY)
    (line,) = (line for line in zone_lines("a.b", "cloud", ID, [long], []).splitlines() if line.startswith("_node"))
    strings = re.findall(r'"([^"]*)"', line)
    assert len(strings) == 2 and max(map(len, strings)) == 255
    assert read_ways(["".join(strings).encode()], Counter()) == (long,)
