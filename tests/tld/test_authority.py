"""The authority as a whole: RFC 8906's probes, and that caches change the cost of an answer and never its octets."""

from __future__ import annotations

import random

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay import limits
from tld import codes
from tld.authority import Authority, Source
from tld.engine import Answer
from tld.label import from_text, to_wire
from tld.master import parse
from tld.query import Query, ask
from tld.zone import RRset, Zones

TEXT = """
cloud. 60 IN SOA ns1.cloud. host.cloud. 1 14400 3600 604800 30
cloud. 60 NS ns1
ns1 60 A 192.0.2.1
www 30 A 192.0.2.10
*.w 30 TXT any
big 30 TXT """ + " ".join(["x" * 200] * 4)
ASKER: Source = ("192.0.2.99", 5353)


def authority() -> Authority:
    return Authority(Zones([parse(TEXT)]))


def exchange(data: bytes, *, udp: bool = True, server: Authority | None = None) -> dns.message.Message:
    reply = (server or authority()).answer(data, ASKER, udp)
    assert reply is not None
    return dns.message.from_wire(reply)


def probe(name: str = "cloud", kind: str = "SOA", **more: object) -> dns.message.QueryMessage:
    message = dns.message.make_query(name, kind, **more)  # type: ignore[arg-type]
    message.flags = 0
    return message


@pytest.mark.parametrize("flag", [0, codes.AA, codes.TC, codes.RD, codes.RA, 0x40, codes.AD, codes.CD])
def test_flags_are_ignored_and_z_is_clear(flag: int) -> None:
    data = ask(3, to_wire(from_text("cloud.")), codes.SOA, flags=flag)
    reply = authority().answer(data, ASKER, True)
    assert reply is not None
    assert int.from_bytes(reply[2:4], "big") == codes.QR | codes.AA | (flag & codes.RD)
    assert len(dns.message.from_wire(reply).answer) == 1


def test_an_unknown_opcode_is_not_implemented() -> None:
    reply = authority().answer(b"\0\3\x78\0" + bytes(8), ASKER, True)
    assert reply == b"\0\3\xf8\x04" + bytes(8)


def test_an_unknown_type_is_nodata_with_the_soa() -> None:
    message = exchange(probe(kind="TYPE666").to_wire())
    assert (message.rcode(), bool(message.flags & dns.flags.AA), message.answer) == (dns.rcode.NOERROR, True, [])
    assert message.authority[0].rdtype == dns.rdatatype.SOA


@pytest.mark.parametrize("options", [[], [dns.edns.GenericOption(100, b"x")]])
def test_an_unknown_edns_version_is_badvers_without_an_answer(options: list[dns.edns.Option]) -> None:
    message = exchange(probe(use_edns=1, options=options).to_wire())
    assert (message.rcode(), message.edns, message.answer, message.options) == (dns.rcode.BADVERS, 0, [], ())


def test_unknown_edns_flags_and_options_are_not_echoed() -> None:
    message = exchange(probe(use_edns=0, ednsflags=0x80, options=[dns.edns.GenericOption(100, b"x")]).to_wire())
    assert (message.rcode(), message.edns, message.ednsflags, message.options, len(message.answer)) == (0, 0, 0, (), 1)


def test_a_list_of_known_options_does_no_harm() -> None:
    options = [
        dns.edns.NSIDOption(b""),
        dns.edns.ECSOption("0.0.0.0", 0),
        dns.edns.GenericOption(9, b""),
        dns.edns.GenericOption(10, b"12345678"),
    ]
    message = exchange(probe(use_edns=0, options=options).to_wire())
    assert (message.rcode(), len(message.answer)) == (0, 1)


def test_do_is_echoed() -> None:
    message = exchange(probe(want_dnssec=True).to_wire())
    assert message.ednsflags == dns.flags.DO


def test_a_truncated_answer_still_carries_opt_and_tcp_carries_the_whole() -> None:
    data = probe("big.cloud", "TXT", use_edns=0, payload=512).to_wire()
    cut = exchange(data)
    assert (bool(cut.flags & dns.flags.TC), cut.edns, cut.answer) == (True, 0, [])
    assert len(exchange(data, udp=False).answer) == 1


def test_other_classes_and_transfers_are_refused() -> None:
    assert exchange(dns.message.make_query("version.bind", "TXT", rdclass="CH").to_wire()).rcode() == dns.rcode.REFUSED
    assert exchange(probe(kind="AXFR").to_wire(), udp=False).rcode() == dns.rcode.REFUSED


def test_a_foreign_name_is_refused_with_the_reason() -> None:
    message = exchange(probe("example.org", use_edns=0).to_wire())
    assert message.rcode() == dns.rcode.REFUSED
    assert [(option.code, option.text) for option in message.options if isinstance(option, dns.edns.EDEOption)] == [
        (20, "no zone here holds this name")
    ]


def test_silence_is_counted_by_reason() -> None:
    server = authority()
    assert server.answer(b"short", ASKER, True) is None
    assert server.answer(b"\0\1\x80\0" + bytes(8), ASKER, True) is None
    assert (server.counters["drop:dns-short"], server.counters["drop:dns-reply"]) == (1, 1)


def queries() -> list[bytes]:
    found = []
    for name in ("www.cloud.", "cloud.", "none.cloud.", "a.w.cloud.", "b.w.cloud.", "big.cloud.", "example.org."):
        for kind in (codes.A, codes.TXT, codes.SOA):
            for edns in (0, 512, 1232, 4096):
                for flags in (0, codes.RD):
                    for spelled in (str.lower, str.upper):
                        wire = b"".join(bytes((len(x),)) + x.encode() for x in spelled(name).split("."))
                        found.append(ask(1, wire, kind, edns=edns, flags=flags))
    return found


def test_a_warm_cache_gives_the_same_octets_as_an_empty_one() -> None:
    warm = authority()
    order = queries() * 3
    random.Random(7).shuffle(order)
    for number, data in enumerate(order):
        data = number.to_bytes(2, "big") + data[2:]
        udp = number % 5 != 0
        assert warm.answer(data, ASKER, udp) == authority().answer(data, ASKER, udp)


def test_a_change_of_the_zone_is_seen_by_the_next_query() -> None:
    zones = Zones([parse(TEXT)])
    server = Authority(zones)
    data = ask(1, to_wire(from_text("www.cloud.")), codes.A)
    for _ in range(3):
        assert b"\xc0\0\2\x0a" in (server.answer(data, ASKER, True) or b"")
    zones.put(parse(TEXT.replace("192.0.2.10", "192.0.2.11")))
    assert b"\xc0\0\2\x0b" in (server.answer(data, ASKER, True) or b"")
    zones.drop(from_text("cloud."))
    assert exchange(data, server=server).rcode() == dns.rcode.REFUSED


def test_what_was_asked_before_is_answered_without_parsing_and_then_without_looking() -> None:
    server = authority()
    data = ask(1, to_wire(from_text("www.cloud.")), codes.A)
    assert server.reply(data) is None
    first = server.answer(data, ASKER, True)
    assert server.reply(data) == first
    other = data.replace(b"www", b"wWw")
    assert server.reply(other) == first.replace(b"www", b"wWw") if first else False
    assert server.answers.reply(data) is None
    assert [server.answer(data, ASKER, True) for _ in range(2)] == [first, first]
    assert server.answers.reply(data) == first
    assert server.answers.reply(other) is None


def test_odd_queries_are_never_answered_from_a_plain_ones_memory() -> None:
    server = authority()
    name = to_wire(from_text("www.cloud."))
    plain, edns = ask(1, name, codes.A), ask(1, name, codes.A, edns=1232)
    for data in (plain, edns) * 3:
        server.answer(data, ASKER, True)
    odd = [
        plain + b"x",
        plain[:11] + b"\1" + plain[12:],
        edns[:11] + b"\0" + edns[12:],
        edns[:-2] + b"\0\1",
        edns[:-2] + b"\0\5\0\x0a\0\2x",
        edns[:-5] + b"\1" + edns[-4:],  # version 1
        edns[:11] + b"\2" + edns[12:] + edns[-11:],
        plain[:-1] + b"\3",  # class CH
        plain[:2] + b"\x28" + plain[3:],  # opcode UPDATE
        plain[:2] + b"\x80" + plain[3:],  # a reply
        plain[:16] + b"\0" + plain[17:],  # NUL where a letter was
    ]
    for data in odd * 3:
        fresh = authority().answer(data, ASKER, True)
        assert server.answer(data, ASKER, True) == fresh


def test_cookies_and_nsid_get_what_they_ask_for_from_a_warm_cache() -> None:
    server = Authority(Zones([parse(TEXT)]), nsid=b"alice")
    for number in range(4):
        cookie = dns.edns.GenericOption(10, bytes([number] * 8))
        assert len(exchange(probe("www.cloud", "A", use_edns=0, options=[cookie]).to_wire(), server=server).answer) == 1
        (option,) = exchange(probe("www.cloud", "A", use_edns=0, options=[dns.edns.NSIDOption(b"")]).to_wire(), server=server).options
        assert option.to_wire() == b"alice"


def test_random_names_that_do_not_exist_leave_the_cache_empty() -> None:
    server = authority()
    for number in range(100):
        server.answer(ask(1, to_wire(from_text(f"r{number}.cloud.")), codes.A), ASKER, True)
    assert len(server.answers) == 0


def test_the_cache_is_bounded_by_number_and_octets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ANSWERS_CACHED", 50)
    server = authority()
    for number in range(200):
        for _ in range(3):
            server.answer(ask(1, to_wire(from_text(f"r{number}.w.cloud.")), codes.TXT), ASKER, True)
        assert len(server.answers) <= 100
    assert server.counters["dns_cache_evicted"] > 0
    monkeypatch.setattr(limits, "ANSWERS_CACHED", 10_000)
    monkeypatch.setattr(limits, "ANSWERS_OCTETS", 5_000)
    server = authority()
    for number in range(200):
        server.answer(ask(1, to_wire(from_text(f"r{number}.w.cloud.")), codes.TXT), ASKER, True)
        assert len(server.answers) <= 25


def test_answers_that_depend_on_the_asker_are_made_for_each() -> None:
    def whoami(query: Query, source: Source) -> Answer | None:
        if query.qname != from_text("whoami.cloud."):
            return None
        return Answer(aa=True, answer=(RRset(query.qname, codes.A, 0, (bytes(map(int, source[0].split("."))),)),))

    server = Authority(Zones([parse(TEXT)]), special=whoami)
    data = ask(1, to_wire(from_text("whoami.cloud.")), codes.A)
    for host in ("192.0.2.7", "192.0.2.7", "192.0.2.8"):
        assert (server.answer(data, (host, 53), True) or b"").endswith(bytes(map(int, host.split("."))))


@settings(max_examples=300, deadline=500)
@given(st.binary(max_size=100), st.booleans())
def test_any_octets_get_a_reply_with_their_id_or_silence(data: bytes, udp: bool) -> None:
    server = authority()
    for octets in (data, ask(5, to_wire(from_text("www.cloud.")), codes.A)[:20] + data):
        reply = server.answer(octets, ASKER, udp)
        assert reply is None or (reply[:2] == octets[:2] and reply[2] & 0x80)
