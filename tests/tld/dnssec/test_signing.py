"""Signatures against dnspython, which judges them by code of its own."""

from __future__ import annotations

import dns.dnssec
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest

from overlay.errors import Malformed
from overlay.identity.keys import Signer
from overlay.units import DAY
from tld import codes, master
from tld.dnssec.canonical import canonical_rdata
from tld.dnssec.keys import SigningKey, ZoneKey, ds_rdata
from tld.dnssec.signing import AGAIN, BACKDATED, LIFE, Rrsig, sign, sign_zone, valid
from tld.label import Name, from_text, to_text
from tld.zone import RRset, Zone

AT = 1_700_000_000
KEY = SigningKey(Signer.from_seed(bytes(31) + b"\1"))
OTHER = SigningKey(Signer.from_seed(bytes(31) + b"\2"))
ZONE = """
$ORIGIN home.eu.cloud.
$TTL 30
@ SOA ns1 hostmaster.ns1 1 14400 3600 604800 30
@ NS Alice
@ MX 10 Mail.Home.EU.cloud.
Alice A 192.0.2.1
alice AAAA 2001:db8::1
*.www A 192.0.2.7
a.b.c TXT "deep" "er"
_x._tcp SRV 1 2 443 Alice
alias CNAME ALICE
sub NS ns.sub
sub DS 1 15 2 0000000000000000000000000000000000000000000000000000000000000000
ns.sub A 192.0.2.9
open NS ns.sub
away DNAME else.where.
"""


def oracle(rrset: RRset) -> dns.rrset.RRset:
    found = dns.rrset.RRset(dns.name.from_text(to_text(rrset.name)), dns.rdataclass.IN, dns.rdatatype.RdataType.make(rrset.type))
    for rdata in rrset.rdatas:
        found.add(dns.rdata.from_wire(dns.rdataclass.IN, found.rdtype, rdata, 0, len(rdata)), rrset.ttl)
    return found


def accepted(rrset: RRset, rrsig: Rrsig, key: ZoneKey, origin: Name, at: float = AT) -> bool:
    keys = {dns.name.from_text(to_text(origin)): oracle(RRset(origin, codes.DNSKEY, 300, (key.rdata,)))}
    try:
        dns.dnssec.validate(oracle(rrset), oracle(RRset(rrset.name, codes.RRSIG, rrset.ttl, (rrsig.rdata,))), keys, now=at)
    except dns.dnssec.ValidationFailure:
        return False
    return True


@pytest.fixture(scope="module")
def zone() -> Zone:
    return master.parse(ZONE)


def test_every_signature_of_a_zone_is_good_to_another_validator_and_to_our_own(zone: Zone) -> None:
    signed = sign_zone(zone, KEY, AT, {})
    assert len(signed) == 20
    for entry in signed.values():
        assert accepted(entry.rrset, entry.rrsigs[0], KEY.key, zone.origin)
        assert valid(entry.rrset, entry.rrsigs[0], KEY.key, AT)
        assert not valid(entry.rrset, entry.rrsigs[0], OTHER.key, AT)
        assert Rrsig.read(entry.rrsigs[0].rdata) == entry.rrsigs[0]


def test_what_the_zone_does_not_speak_for_is_not_signed_and_nsec_says_what_is_there(zone: Zone) -> None:
    signed = sign_zone(zone, KEY, AT, {})
    text = {to_text(name).removesuffix("home.eu.cloud."): master.rdata.to_text(codes.NSEC, entry.rrset.rdatas[0])
            for (name, rtype), entry in signed.items() if rtype == codes.NSEC}
    assert text == {
        "": "_x._tcp.home.eu.cloud. NS SOA MX RRSIG NSEC", "alias.": "alice.home.eu.cloud. CNAME RRSIG NSEC",
        "alice.": "away.home.eu.cloud. A AAAA RRSIG NSEC", "away.": "a.b.c.home.eu.cloud. DNAME RRSIG NSEC",
        "a.b.c.": "open.home.eu.cloud. TXT RRSIG NSEC", "open.": "sub.home.eu.cloud. NS RRSIG NSEC",
        "sub.": "*.www.home.eu.cloud. NS DS RRSIG NSEC", "*.www.": "home.eu.cloud. A RRSIG NSEC",
        "_x._tcp.": "alias.home.eu.cloud. SRV RRSIG NSEC",
    }
    assert (from_text("sub.home.eu.cloud."), codes.NS) not in signed
    assert not any(name[0] == b"ns" for name, _ in signed)


@pytest.mark.parametrize(("at", "good"), [
    (AT - BACKDATED - 1, False), (AT - BACKDATED, True), (AT + LIFE, True), (AT + LIFE + 1, False),
])  # fmt: skip
def test_a_signature_has_its_time(zone: Zone, at: int, good: bool) -> None:
    rrsig = sign(zone.soa, KEY, zone.origin, AT)
    assert valid(zone.soa, rrsig, KEY.key, at) is accepted(zone.soa, rrsig, KEY.key, zone.origin, at) is good


def test_a_set_that_a_wildcard_stands_for_is_good_and_a_changed_one_is_not(zone: Zone) -> None:
    wildcard = zone.nodes[from_text("*.www.home.eu.cloud.")][codes.A]
    rrsig = sign(wildcard, KEY, zone.origin, AT)
    expanded = RRset(from_text("a.b.www.home.eu.cloud."), codes.A, 30, wildcard.rdatas)
    assert valid(expanded, rrsig, KEY.key, AT)
    assert accepted(expanded, rrsig, KEY.key, zone.origin)
    assert not valid(RRset(expanded.name, codes.A, 30, (b"\xc0\0\2\x08",)), rrsig, KEY.key, AT)
    assert not valid(RRset(from_text("www.home.eu.cloud."), codes.A, 30, wildcard.rdatas), rrsig, KEY.key, AT)


def test_what_did_not_change_keeps_its_signature_until_half_of_its_life_is_over(zone: Zone) -> None:
    first = sign_zone(zone, KEY, AT, {})
    changed = master.parse(ZONE.replace("192.0.2.7", "192.0.2.8"))
    second = sign_zone(changed, KEY, AT + DAY, first)
    fresh = {place for place, entry in second.items() if first[place] is not entry}
    assert fresh == {(from_text("*.www.home.eu.cloud."), codes.A)}
    third = sign_zone(changed, KEY, AT + LIFE - AGAIN, first)
    assert all(entry.rrsigs[0].expiration == AT + LIFE - AGAIN + LIFE for entry in third.values())
    assert all(entry.rrsigs[0].tag == OTHER.key.tag for entry in sign_zone(changed, OTHER, AT, first).values())


def test_keys_have_the_tag_and_the_ds_of_the_standard() -> None:
    public = dns.rdata.from_text("IN", "DNSKEY", "257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=")  # RFC 8080 6.1
    key = ZoneKey(public.key, entry=True)
    assert key.tag == 3613
    ds = dns.rdata.from_wire("IN", "DS", ds_rdata((b"example", b"com"), key), 0, 36)
    assert ds.to_text() == "3613 15 2 3aa5ab37efce57f737fc1627013fee07bdf241bd10f3b1964ab55c78e79a304b"


@pytest.mark.parametrize("rdata", [b"", b"\0" * 18, b"\0\1\x0f\1" + b"\0" * 14 + b"\0" + b"\0" * 63, b"\0\1\x08\1" + b"\0" * 14 + b"\0" + b"\0" * 64])
def test_rrsigs_of_others_are_refused(rdata: bytes) -> None:
    with pytest.raises(Malformed):
        Rrsig.read(rdata)


def test_names_in_data_are_lowered_where_the_standard_says_so_and_nowhere_else() -> None:
    assert canonical_rdata(codes.MX, b"\0\1\3AbC\0") == b"\0\1\3abc\0"
    assert canonical_rdata(codes.NAPTR, b"\0\1\0\1\1U\0\1!\3AbC\0") == b"\0\1\0\1\1U\0\1!\3abc\0"
    assert canonical_rdata(codes.TXT, b"\3AbC") == b"\3AbC"
    with pytest.raises(Malformed):
        canonical_rdata(codes.NS, b"\3Ab")
