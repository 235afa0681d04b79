"""Answers as octets: dnspython reads back what the engine found; nothing needed is dropped without TC."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tld import codes, rdata
from tld.engine import Answer, lookup
from tld.label import from_text, to_wire
from tld.master import parse as zone_of
from tld.query import Query, ask, parse
from tld.render import refuse, render
from tld.zone import RRset, Zones


def query_of(
    name: str = "www.cloud", kind: str = "A", *, edns: int = 1232, do: bool = False, options: tuple[dns.edns.Option, ...] = ()
) -> Query:
    message = dns.message.make_query(name, kind, use_edns=0 if edns else -1, payload=edns or 512, want_dnssec=do, options=list(options))
    if not do:
        message.flags &= ~dns.flags.RD
    return parse(message.to_wire())


def rrset(name: str, kind: str, *texts: str) -> RRset:
    rtype = codes.type_number(kind)
    return RRset(from_text(name), rtype, 30, tuple(rdata.to_wire(rtype, text) for text in texts))


def many(count: int, name: str = "www.cloud.") -> RRset:
    return rrset(name, "A", *(f"192.0.2.{index}" for index in range(count)))


def read(query: Query, answer: Answer, *, udp: bool = True, **more: bool) -> dns.message.Message:
    octets = render(query, answer, udp=udp, **more).reply(query)
    assert not udp or len(octets) <= query.limit(udp=True)
    return dns.message.from_wire(octets)


def test_sections_come_back_as_they_were() -> None:
    answer = Answer(
        aa=True,
        answer=(rrset("www.cloud.", "CNAME", "x.home.cloud."), rrset("x.home.cloud.", "A", "192.0.2.1", "192.0.2.2")),
        authority=(rrset("cloud.", "SOA", "ns1.cloud. host.cloud. 1 2 3 4 5"),),
        additional=(rrset("ns1.cloud.", "AAAA", "2001:db8::1"),),
    )
    message = read(query_of(), answer)
    assert [rrset.to_text() for section in (message.answer, message.authority, message.additional) for rrset in section] == [
        "www.cloud. 30 IN CNAME x.home.cloud.",
        "x.home.cloud. 30 IN A 192.0.2.1\nx.home.cloud. 30 IN A 192.0.2.2",
        "cloud. 30 IN SOA ns1.cloud. host.cloud. 1 2 3 4 5",
        "ns1.cloud. 30 IN AAAA 2001:db8::1",
    ]
    assert message.flags & (dns.flags.QR | dns.flags.AA | dns.flags.TC) == dns.flags.QR | dns.flags.AA


def test_the_order_of_records_is_kept() -> None:
    message = read(query_of(), Answer(answer=(rrset("www.cloud.", "A", "192.0.2.9", "192.0.2.1", "192.0.2.5"),)))
    assert [rdata.to_text() for rdata in message.answer[0]] == ["192.0.2.9", "192.0.2.1", "192.0.2.5"]


def test_names_are_compressed_where_every_reader_understands_it() -> None:
    query = query_of("cloud", "MX", edns=0)
    octets = render(query, Answer(answer=(rrset("cloud.", "MX", "10 mail.cloud.", "20 mail.cloud."),)), udp=True).reply(query)
    assert octets.count(b"\5cloud") == 1
    assert octets.count(b"\4mail") == 1
    srv = query_of("cloud", "SRV", edns=0)
    octets = render(srv, Answer(answer=(rrset("cloud.", "SRV", "0 0 1 mail.cloud."),)), udp=True).reply(srv)
    assert octets.count(b"\5cloud") == 2  # RFC 3597 4: not in newer types


def test_the_question_is_echoed_in_its_own_spelling() -> None:
    query = parse(ask(9, b"\3WwW\5cLoUd\0", codes.A))
    octets = render(query, Answer(answer=(many(1),)), udp=True).reply(query)
    assert octets[12 : 12 + len(query.question)] == query.question
    assert octets[:2] == b"\0\x09"


def test_names_in_data_keep_their_spelling() -> None:
    message = read(query_of("x.cloud", "CNAME"), Answer(answer=(RRset(from_text("x.cloud."), codes.CNAME, 1, (b"\4MaIl\3Org\0",)),)))
    assert message.answer[0][0].to_text() == "MaIl.Org."


def test_rd_is_copied_and_every_other_flag_of_the_query_is_not() -> None:
    query = parse(
        ask(1, to_wire(from_text("www.cloud.")), codes.A, flags=codes.RD | codes.AD | codes.CD | codes.TC | codes.AA | codes.RA | 0x40)
    )
    octets = render(query, Answer(), udp=True).reply(query)
    assert int.from_bytes(octets[2:4], "big") == codes.QR | codes.RD
    octets = render(query, Answer(aa=True), udp=True, ra=True).reply(query)
    assert int.from_bytes(octets[2:4], "big") == codes.QR | codes.RD | codes.AA | codes.RA


def test_opt_answers_opt_and_only_opt() -> None:
    assert read(query_of(edns=0), Answer()).edns == -1
    message = read(query_of(do=True, options=(dns.edns.GenericOption(100, b"x"),)), Answer())
    assert (message.edns, message.payload, bool(message.ednsflags & dns.flags.DO), message.options) == (0, 1232, True, ())
    assert not read(query_of(), Answer()).ednsflags & dns.flags.DO


def test_extended_errors_go_to_who_speaks_edns() -> None:
    answer = Answer(rcode=codes.SERVFAIL, ede=(codes.EDE_NOT_READY, "no head of the root zone"))
    (option,) = read(query_of(), answer).options
    assert isinstance(option, dns.edns.EDEOption)
    assert (option.code, option.text) == (14, "no head of the root zone")
    assert read(query_of(edns=0), answer).options == ()


def test_the_server_names_itself_to_whoever_asks() -> None:
    asking = query_of(options=(dns.edns.GenericOption(codes.OPTION_NSID, b""),))
    (option,) = dns.message.from_wire(render(asking, Answer(), udp=True, nsid=b"alice").reply(asking)).options
    assert option.to_wire() == b"alice"
    quiet = query_of()
    assert dns.message.from_wire(render(quiet, Answer(), udp=True, nsid=b"alice").reply(quiet)).options == ()


@pytest.mark.parametrize(("edns", "fits", "breaks"), [(0, 30, 31), (1232, 74, 75)])
def test_a_set_that_does_not_fit_goes_as_a_whole_and_sets_tc(edns: int, fits: int, breaks: int) -> None:
    whole = read(query_of(edns=edns), Answer(aa=True, answer=(many(fits),)))
    assert (len(whole.answer[0]), bool(whole.flags & dns.flags.TC)) == (fits, False)
    cut = read(query_of(edns=edns), Answer(aa=True, answer=(many(breaks),)))
    assert (cut.answer, bool(cut.flags & dns.flags.TC)) == ([], True)
    assert cut.edns == (0 if edns else -1)
    tcp = read(query_of(edns=edns), Answer(aa=True, answer=(many(breaks),)), udp=False)
    assert (len(tcp.answer[0]), bool(tcp.flags & dns.flags.TC)) == (breaks, False)


def test_courtesy_records_are_dropped_in_silence_and_smaller_ones_still_fit() -> None:
    answer = Answer(answer=(many(20),), additional=(many(20, "a.cloud."), many(1, "b.cloud.")))
    message = read(query_of(edns=0), answer)
    assert not message.flags & dns.flags.TC
    assert [rrset.name.to_text() for rrset in message.additional] == ["b.cloud."]


def test_glue_that_does_not_fit_sets_tc() -> None:
    answer = Answer(authority=(rrset("eu.cloud.", "NS", "ns.eu.cloud."),), additional=(many(40, "ns.eu.cloud."),), glue=1)
    message = read(query_of("www.eu.cloud", edns=0), answer)
    assert message.flags & dns.flags.TC
    assert len(message.authority) == 1


@pytest.mark.parametrize("rcode", [codes.FORMERR, codes.NOTIMP, codes.REFUSED, codes.SERVFAIL, codes.BADVERS])
def test_refusals_carry_their_rcode_and_the_opcode(rcode: int) -> None:
    message = dns.message.from_wire(refuse(query_of(), rcode))
    assert message.rcode() == rcode
    assert message.question
    header_only = parse(b"\0\7\x78\0" + bytes(8))
    octets = refuse(header_only, header_only.fault)
    assert (len(octets), octets[2] & 0x78, octets[3] & 15) == (12, 0x78, codes.NOTIMP)


labels = st.lists(st.sampled_from([b"a", b"bb", b"cloud", b"eu", b"x" * 63]), min_size=1, max_size=3).map(tuple)
servers = st.builds(lambda name, target: RRset(name, codes.NS, 5, (to_wire(target),)), labels, labels)
addresses = st.builds(
    lambda name, count: RRset(name, codes.A, 5, tuple(map(b"\xc0\0\2%c".__mod__, range(count)))), labels, st.integers(1, 40)
)
sets = st.one_of(servers, addresses)


@settings(max_examples=200, deadline=1000)
@given(st.lists(sets, max_size=6), st.lists(sets, max_size=6), st.integers(0, 3), st.sampled_from([0, 512, 1232]))
def test_every_answer_fits_and_is_readable(answer: list[RRset], more: list[RRset], glue: int, edns: int) -> None:
    message = read(query_of(edns=edns), Answer(answer=tuple(answer), additional=tuple(more), glue=min(glue, len(more))))
    if not message.flags & dns.flags.TC:
        assert {(x.name.to_text(), x.rdtype) for x in message.answer} == {
            (".".join(label.decode() for label in x.name) + ".", x.type) for x in answer
        }


def test_an_answer_beyond_16_kib_over_tcp_is_readable() -> None:
    text = "z. 60 SOA a. b. 1 2 3 4 5\n" + "".join(f"big.z. 60 MX {index} host{index}.z.\n" for index in range(2_000))
    zones = Zones([zone_of(text)])
    query = parse(ask(1, b"\3big\1z\0", codes.MX))
    octets = render(query, lookup(zones, query.qname, query.qtype), udp=False).reply(query)
    assert len(octets) > 0x4000
    assert len(dns.message.from_wire(octets).answer[0]) == 2_000
