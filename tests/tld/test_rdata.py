"""Record data: our table says what dnspython says, for every type in it; bad data is refused by name."""

from __future__ import annotations

import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from overlay.errors import UsageError
from tld import codes, rdata
from tld.label import from_text

ORIGIN = from_text("cloud.")
GOOD = [
    ("A", "192.0.2.1"),
    ("AAAA", "2001:db8::1"),
    ("NS", "ns1"),
    ("CNAME", "Web.Example.Org."),
    ("DNAME", "@"),
    ("PTR", "a\\.b.c."),
    ("SOA", "ns1 host\\.master 2026112201 14400 3600 604800 30"),
    ("MX", "10 mail"),
    ("TXT", '"hello world" plain "quo\\"te" "\\009\\255"'),
    ("TXT", '""'),
    ("HINFO", '"RFC8482" ""'),
    ("SRV", "0 5 8000 web"),
    ("NAPTR", '100 10 "S" "SIP+D2U" "!^.*$!sip:info@example.com!" _sip._udp'),
    ("URI", '10 1 "https://example.org/a;b"'),
    ("CAA", '0 issue "letsencrypt.org; x=1"'),
    ("SSHFP", "4 2 123456789abcdef67890123456789abcdef67890123456789abcdef123456789"),
    ("TLSA", "3 1 1 d2abde240d7cd3ee6b4b28c54df034b97983a1d16e8a410e4561cb106618e971"),
    ("OPENPGPKEY", "AQIDBA=="),
    ("SVCB", "0 alias"),
    ("HTTPS", '1 . alpn="h2,h3" port=8443 ipv4hint=192.0.2.1,192.0.2.2 ipv6hint=2001:db8::1'),
    ("HTTPS", "1 @ mandatory=port,alpn port=1 alpn=h2 no-default-alpn key667=hello ech=AATerb7v"),
    ("SVCB", '16 foo alpn="f\\\\\\\\oo\\\\,bar,h2"'),
    ("DS", "60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118"),
    ("CDS", "0 0 0 00"),
    ("DNSKEY", "257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4="),
    ("RRSIG", "A 15 3 30 20261201000000 20261101000000 12345 cloud. l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4="),
    ("NSEC", "web A TXT AAAA RRSIG NSEC CAA TYPE1234"),
    ("A", "\\# 4 C0000201"),
    ("TYPE731", "\\# 3 abcdef"),
    ("TYPE731", "\\# 0"),
]


@pytest.mark.parametrize(("kind", "text"), GOOD)
def test_the_wire_form_is_what_dnspython_makes(kind: str, text: str) -> None:
    rtype = codes.type_number(kind)
    ours = rdata.to_wire(rtype, text, ORIGIN)
    theirs = dns.rdata.from_text(dns.rdataclass.IN, kind, text, dns.name.from_text("cloud."), relativize=False)
    assert ours == theirs.to_wire()


@pytest.mark.parametrize(("kind", "text"), GOOD)
def test_the_text_form_leads_back_to_the_same_octets(kind: str, text: str) -> None:
    rtype = codes.type_number(kind)
    wire = rdata.to_wire(rtype, text, ORIGIN)
    again = rdata.to_text(rtype, wire)
    assert rdata.to_wire(rtype, again) == wire
    assert dns.rdata.from_text(dns.rdataclass.IN, kind, again).to_wire() == wire


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("A", ""), ("A", "1.2.3"), ("A", "1.2.3.4 5"), ("A", "::1"), ("A", "01.2.3.4"), ("AAAA", "1.2.3.4"), ("AAAA", "fe80::1%eth0x:"),
        ("MX", "70000 a"), ("MX", "-1 a"), ("MX", "ten a"), ("MX", "10"), ("SRV", "1 2 3"), ("TXT", ""), ("TXT", '"open'),
        ("TXT", '"' + "x" * 256 + '"'), ("TXT", "\\256"), ("NS", "a..b"), ("CAA", '0 is-sue "x"'), ("DS", "1 8 2 xyz"),
        ("DNSKEY", "257 3 15 !!!"), ("SOA", "a b 1 2 3 4"), ("SOA", "a b 1 2 3 4 x"), ("HTTPS", "1 . port=1 port=2"), ("HTTPS", "1 . port"),
        ("HTTPS", "1 . mandatory=alpn"), ("HTTPS", "1 . ipv4hint=::1"), ("HTTPS", "1 . nonsense=1"), ("HTTPS", "1 . ech=*"),
        ("HTTPS", "1 . no-default-alpn=1"), ("A", "\\# 3 C00002"), ("A", "\\# 5 C0000201"), ("A", "\\# x"),
        ("TYPE731", "text"), ("NSEC", "a NOTYPE"),
        ("RRSIG", "A 15 3 30 20261301000000 20261101000000 1 cloud. AAAA"), ("TLSA", "256 1 1 00"), ("OPENPGPKEY", "AAA"),
    ],
)  # fmt: skip
def test_bad_data_is_a_usage_error(kind: str, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        rdata.to_wire(codes.type_number(kind), text, ORIGIN)
    assert caught.value.what


@settings(max_examples=300, deadline=500)
@given(st.sampled_from(sorted(rdata.FIELDS)), st.text(max_size=40))
def test_any_text_is_data_or_a_usage_error(rtype: int, text: str) -> None:
    try:
        wire = rdata.to_wire(rtype, text)
    except UsageError:
        return
    assert rdata.to_wire(rtype, rdata.to_text(rtype, wire)) == wire


@settings(max_examples=500, deadline=500)
@given(st.sampled_from(sorted(rdata.FIELDS)), st.binary(max_size=60))
@example(257, b"\x00\x07\x00\x00\x00\x00\x00\x00\x80")  # a CAA tag that is no word
def test_any_octets_have_a_text_form(rtype: int, wire: bytes) -> None:
    assert rdata.to_text(rtype, wire).isascii()


@pytest.mark.parametrize("kind", ["", "TYPE", "TYPE65536", "A1", "TYPE-1", "ÄÖ"])
def test_an_unknown_type_is_a_usage_error(kind: str) -> None:
    with pytest.raises(UsageError):
        codes.type_number(kind)


def test_types_without_a_mnemonic_have_a_number() -> None:
    assert codes.type_name(731) == "TYPE731"
    assert codes.type_number("type731") == 731
    assert codes.type_name(codes.ANY) == "ANY"
    assert codes.rcode_name(12) == "RCODE12"
