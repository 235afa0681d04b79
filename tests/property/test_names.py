"""Names under whatever members publish and whoever asks: zones are built, answers are DNS, a reply is never answered.

Judge of the answers is dnspython. Views are made of statements as the directory lets them through: their text is a
member's own, in any characters.
"""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from overlay import limits
from overlay.directory.view import CarryEntry, DataEntry, HostEntry, ZoneView
from overlay.name import Path, parse_path
from overlay.records.kinds import Carry, Data, Host
from overlay.wire.address import Address
from tests.fuzz.dns_decoders import DATA, LINES
from tests.tld import views
from tld import codes
from tld.label import from_text, to_wire
from tld.names import Names
from tld.query import ask

ASKER = ("198.51.100.7", 5353)
TYPES = sorted(codes.TYPE_NUMBERS) + ["TYPE1", "TYPE65280", "TYPE0", "TYPE99999", "OPT", "NONSENSE", "0"]
PATHS = ["web", "www/a", "eu/home/x", "eu/home", "hq", "hq/founder", "eu/home/alice", "*", "eu/*", "deep/a/b/c/d", "id/x", "whoami", "_dns/_tcp"]

text = st.one_of(
    st.sampled_from([line.partition(" ")[2] for line in LINES]), st.text(max_size=40),
    st.text(st.sampled_from('\\"0123456789.²٣ @;()#=,-ahlpn/'), max_size=30),
)  # fmt: skip
paths = st.sampled_from(PATHS).map(parse_path)
addresses = st.sampled_from(["203.0.113.1", "2001:db8::1", "10.0.0.1", "::1", "127.0.0.1"])
data = st.builds(
    DataEntry, name=paths, rtype=st.sampled_from(TYPES), signer=st.just(views.node(2)), expires=st.just(views.AT + 9),
    data=st.builds(Data, values=st.lists(text, min_size=1, max_size=3).map(tuple), ttl=st.integers(0, 604_800)),
)  # fmt: skip
hosts = st.builds(
    lambda name, number, at: HostEntry(name=name, node_id=views.node(number), host=Host(exchange=bytes(32), addresses=(Address(at, 7653),))),
    paths, st.integers(3, 6), addresses,
)  # fmt: skip
carries = st.builds(
    lambda name, number, at, node, healthy, proto: CarryEntry(
        name=name, node_id=views.node(number), proto=proto, carry=Carry(port=80, node=node, healthy=healthy), reach=(at,),
    ),
    paths, st.integers(3, 6), addresses, paths, st.booleans(), st.sampled_from(["tcp", "udp"]),
)  # fmt: skip
questions = st.builds(
    lambda name, tree, kind, edns, flags: ask(7, to_wire(from_text(f"{name.dotted}.{tree}.")), kind, edns=edns, flags=flags),
    paths, st.sampled_from(["cloud", "cloud.example.org", "example.org"]), st.sampled_from([*DATA, codes.ANY, codes.AXFR, 0, 65_280]),
    st.sampled_from([0, 512, 1_232, 65_535]), st.sampled_from([0, codes.RD, codes.CD | codes.AD]),
)  # fmt: skip


def names_of(root: ZoneView) -> Names:
    names = Names(tld="cloud", zone="cloud.example.org")
    names.update(root)
    names.update(views.home())
    names.evidence(at=views.AT, peers=3)
    return names


def judged(query: bytes, answer: bytes, *, udp: bool) -> None:
    """An answer to that query, well-formed, and no longer than may be sent."""
    told, asked = dns.message.from_wire(answer), dns.message.from_wire(query)
    assert told.id == asked.id and told.flags & dns.flags.QR and told.question == asked.question
    assert told.rcode() in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN, dns.rcode.REFUSED, dns.rcode.SERVFAIL, dns.rcode.NOTIMP, dns.rcode.YXDOMAIN}
    assert not udp or len(answer) <= max(512, min(asked.payload, limits.EDNS))


@settings(max_examples=150)
@given(
    plain=st.lists(data, max_size=5).map(tuple), there=st.lists(hosts, max_size=3).map(tuple), carried=st.lists(carries, max_size=3).map(tuple),
    asked=st.lists(questions, min_size=1, max_size=6), cuts=st.lists(paths, max_size=2),
)  # fmt: skip
def test_every_question_about_whatever_members_say_has_an_answer_that_others_can_read(
    plain: tuple[DataEntry, ...], there: tuple[HostEntry, ...], carried: tuple[CarryEntry, ...], asked: list[bytes], cuts: list[Path],
) -> None:
    names = names_of(views.root(plain=plain, hosts=there, carries=carried, cuts=tuple({views.HOME, *cuts} - {parse_path("*"), parse_path("eu/*")})))
    for query in asked:
        for udp in (True, False):
            answer = names.authoritative.answer(query, ASKER, udp)
            assert isinstance(answer, bytes)
            judged(query, answer, udp=udp)
            assert names.authoritative.answer(answer, ASKER, udp) is None, "a reply was answered"
            assert names.stub(answer, ASKER, udp) is None, "the stub answered a reply"
            local = names.stub(query, ASKER, udp)
            if isinstance(local, bytes):
                judged(query, local, udp=udp)


@example(b"\0\7\x80\0\0\1\0\0\0\0\0\0\0\0\1\0\1")
@given(st.one_of(st.binary(max_size=80), st.builds(lambda head, cut, tail: head[:cut] + tail, questions, st.integers(0, 60), st.binary(max_size=60))))
def test_whatever_octets_come_the_answer_is_a_reply_or_nothing(octets: bytes) -> None:
    names = names_of(views.root())
    for udp in (True, False):
        for answer in (names.authoritative.answer(octets, ASKER, udp), names.stub(octets, ASKER, udp)):
            if isinstance(answer, bytes):
                assert answer[:2] == octets[:2] and answer[2] & 0x80 and not octets[2] & 0x80
                assert not udp or len(answer) <= limits.EDNS
                dns.message.from_wire(answer, one_rr_per_rrset=True)


@pytest.mark.parametrize("value", ["1 . alpn=\\²", "1 . alpn=\\٣", "1 . key7=é", "1 . port=٣"])
def test_digits_that_are_not_ascii_are_left_out_of_zones_and_end_nobody(value: str) -> None:
    """A member's SVCB data with such a digit once ended every node that held its zone."""
    names = names_of(views.root(plain=(views.data("hq/web", "SVCB", value), views.data("hq/web", "TXT", "here"))))
    answer = names.authoritative.answer(ask(7, to_wire(from_text("web.hq.cloud.")), codes.ANY), ASKER, False)
    assert isinstance(answer, bytes)
    assert b"here" in answer
    assert names.counters
