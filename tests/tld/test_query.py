"""Queries off the wire: what is silent, what is a fault and which one (RFC 8906), and that no octets do harm."""

from __future__ import annotations

import struct

import dns.message
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay.errors import Malformed
from tld import codes
from tld.label import from_text, to_wire
from tld.query import ask, options, parse

WWW = to_wire(from_text("www.cloud."))


def message(flags: int = 0, counts: tuple[int, int, int, int] = (1, 0, 0, 0), body: bytes = WWW + b"\0\1\0\1") -> bytes:
    return struct.pack("!HHHHHH", 7, flags, *counts) + body


def opt(size: int = 1232, ttl: int = 0, data: bytes = b"", name: bytes = b"\0") -> bytes:
    return name + struct.pack("!HHIH", codes.OPT, size, ttl, len(data)) + data


def test_a_question_is_taken_as_it_came_and_compared_without_case() -> None:
    query = parse(ask(7, b"\3wWw\5cLOUD\0", codes.A))
    assert (query.ident, query.qname, query.qtype, query.qclass, query.fault) == (7, from_text("www.cloud."), codes.A, codes.IN, 0)
    assert query.question == b"\3wWw\5cLOUD\0\0\1\0\1"
    assert query.key == b"\3www\5cloud\0\0\1\0\1"


def test_the_type_keeps_its_octets_in_the_key() -> None:
    assert parse(ask(7, WWW, 0x4142)).key.endswith(b"AB\0\1")


@pytest.mark.parametrize(("data", "rule"), [(b"", "dns-short"), (b"x" * 11, "dns-short"), (message(codes.QR), "dns-reply")])
def test_half_a_header_and_replies_get_silence(data: bytes, rule: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse(data)
    assert caught.value.rule == rule


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (message(15 << 11, (0, 0, 0, 0), b""), codes.NOTIMP),  # an unknown opcode without a question
        (message(5 << 11), codes.NOTIMP),  # UPDATE
        (message(counts=(0, 0, 0, 0), body=b""), codes.FORMERR),
        (message(counts=(2, 0, 0, 0), body=(WWW + b"\0\1\0\1") * 2), codes.FORMERR),  # RFC 9619
        (message(body=WWW), codes.FORMERR),
        (message(body=b"\xc0\x0c\0\1\0\1"), codes.FORMERR),  # a question that points at itself
        (message(body=b"\x40" + b"a" * 64 + b"\0\0\1\0\1"), codes.FORMERR),
        (message(body=(b"\x3f" + b"a" * 63) * 4 + b"\0\0\1\0\1"), codes.FORMERR),
        (message(body=WWW + b"\0\1\0\1x"), codes.FORMERR),  # octets behind the end
        (message(counts=(1, 0, 0, 1)), codes.FORMERR),
        (message(counts=(1, 0, 0, 2), body=WWW + b"\0\1\0\1" + opt() * 2), codes.FORMERR),
        (message(counts=(1, 0, 0, 1), body=WWW + b"\0\1\0\1" + opt(name=b"\1a\0")), codes.FORMERR),
        (message(counts=(1, 1, 0, 0), body=WWW + b"\0\1\0\1" + opt()), codes.FORMERR),
        (message(counts=(1, 0, 0, 1), body=WWW + b"\0\1\0\1" + opt(data=b"\0\3\0\5x")), codes.FORMERR),
        (message(counts=(1, 0, 0, 17), body=WWW + b"\0\1\0\1" + b"\0\0\1\0\1\0\0\0\0\0\0" * 17), codes.FORMERR),
        (message(counts=(1, 0, 0, 1), body=WWW + b"\0\1\0\1" + opt(ttl=1 << 16)), codes.BADVERS),
        (message(body=WWW + b"\0\x29\0\1"), codes.FORMERR),  # QTYPE OPT
        (message(body=WWW + b"\0\xf9\0\1"), codes.NOTIMP),  # QTYPE TKEY
    ],
)
def test_faults_are_told_by_their_rcode(data: bytes, fault: int) -> None:
    assert parse(data).fault == fault


@pytest.mark.parametrize("flags", [codes.AA, codes.TC, codes.RD, codes.RA, 0x40, codes.AD, codes.CD, 0x0F])
def test_flags_of_a_query_are_no_fault(flags: int) -> None:
    assert parse(message(flags)).fault == 0


def test_edns_is_read_with_unknown_flags_and_options_ignored() -> None:
    query = parse(message(counts=(1, 0, 0, 1), body=WWW + b"\0\1\0\1" + opt(4096, 0x8080, b"\0\x64\0\2ab\0\3\0\0")))
    assert query.fault == 0
    assert query.edns is not None
    assert (query.edns.size, query.edns.do, query.edns.options) == (4096, True, ((100, b"ab"), (3, b"")))
    assert query.edns.option(3) == b""
    assert query.edns.option(4) is None


def test_records_that_are_not_opt_are_skipped() -> None:
    tsig = b"\3key\0" + struct.pack("!HHIH", 250, 255, 0, 3) + b"abc"
    assert parse(message(counts=(1, 0, 0, 2), body=WWW + b"\0\1\0\1" + tsig + opt())).edns is not None


@pytest.mark.parametrize(
    ("size", "limit"),
    [(0, 512), (511, 512), (512, 512), (1000, 512), (1024, 1024), (1220, 1220), (1232, 1232), (4096, 1232), (65535, 1232)],
)
def test_the_size_of_udp_answers_is_what_the_client_takes_and_at_most_1232(size: int, limit: int) -> None:
    query = parse(message(counts=(1, 0, 0, 1), body=WWW + b"\0\1\0\1" + opt(size)))
    assert query.limit(udp=True) == limit
    assert query.limit(udp=False) == 65_535
    assert parse(ask(1, WWW, codes.A)).limit(udp=True) == 512


@settings(max_examples=500, deadline=500)
@given(st.binary(max_size=120))
def test_any_octets_are_a_query_or_malformed(data: bytes) -> None:
    for octets in (data, message(body=data), message(counts=(1, 0, 0, 1), body=WWW + b"\0\1\0\1" + data)):
        try:
            query = parse(octets)
        except Malformed:
            continue
        assert query.fault in (0, codes.FORMERR, codes.NOTIMP, codes.BADVERS)


@settings(max_examples=300, deadline=500)
@given(st.binary(max_size=30))
def test_any_octets_are_options_or_malformed(data: bytes) -> None:
    try:
        assert sum(4 + len(value) for _, value in options(data)) == len(data)
    except Malformed as fault:
        assert fault.rule == "dns-opt"


def test_every_query_of_dnspython_parses() -> None:
    for edns in (-1, 0):
        query = parse(dns.message.make_query("WWW.cloud", "AAAA", use_edns=edns, want_dnssec=edns == 0).to_wire())
        assert (query.fault, query.qname, query.qtype, query.edns is not None and query.edns.do) == (
            0,
            from_text("www.cloud."),
            codes.AAAA,
            edns == 0,
        )
