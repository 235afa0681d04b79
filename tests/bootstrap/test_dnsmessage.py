"""A newcomer's DNS: questions as a reference library reads them, answers as it writes them, and hostile ones."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootstrap.dnsmessage import NXDOMAIN, SERVFAIL, Answer, query, question, read
from overlay.errors import Malformed

IDENT = b"\x12\x34"


def reply(name: str, rtype: str, *answers: tuple[str, str, str], rcode: int = 0, flags: int = 0) -> bytes:
    message = dns.message.make_response(dns.message.from_wire(query(IDENT, question(name, rtype), edns=True)), recursion_available=True)
    message.set_rcode(dns.rcode.Rcode(rcode))
    message.flags |= flags
    message.answer = [dns.rrset.from_text(owner + ".", 60, "IN", kind, data) for owner, kind, data in answers]
    return message.to_wire()


def read_reply(name: str, rtype: str, *answers: tuple[str, str, str], rcode: int = 0, flags: int = 0) -> Answer:
    return read(reply(name, rtype, *answers, rcode=rcode, flags=flags), IDENT, question(name, rtype))


@pytest.mark.parametrize("edns", [True, False])
def test_a_reference_library_reads_our_query(edns: bool) -> None:
    message = dns.message.from_wire(query(IDENT, question("_node._overlay.Cloud.neonics.com.", "TXT"), edns=edns))
    assert (message.id, message.payload) == (0x1234, 1232 if edns else 0)
    assert message.question[0].to_text() == "_node._overlay.Cloud.neonics.com. IN TXT"
    assert message.flags & dns.flags.RD


def test_values_of_each_type_are_read() -> None:
    assert read_reply("a.b", "A", ("a.b", "A", "192.0.2.1"), ("a.b", "A", "192.0.2.2")).values == ("192.0.2.1", "192.0.2.2")
    assert read_reply("a.b", "AAAA", ("a.b", "AAAA", "2001:db8::1")).values == ("2001:db8::1",)
    assert read_reply("a.b", "NS", ("a.b", "NS", "NS1.a.b.")).values == ("ns1.a.b",)
    assert read_reply("a.b", "TXT", ("a.b", "TXT", '"v=overlay1;" "id=x"')).values == (b"v=overlay1;id=x",)


def test_aliases_are_followed_and_other_owners_are_not_ours() -> None:
    answers = [("a.b", "CNAME", "c.d."), ("c.d", "CNAME", "e.f."), ("e.f", "A", "192.0.2.1"), ("x.y", "A", "192.0.2.66")]
    assert read_reply("a.b", "A", *answers).values == ("192.0.2.1",)


def test_a_loop_of_aliases_ends() -> None:
    assert read_reply("a.b", "A", ("a.b", "CNAME", "c.d."), ("c.d", "CNAME", "a.b.")).values == ()


def test_codes_and_the_cut_are_told() -> None:
    assert read_reply("a.b", "A", rcode=NXDOMAIN) == Answer(NXDOMAIN, False, ())
    assert read_reply("a.b", "A", rcode=SERVFAIL) == Answer(SERVFAIL, False, ())
    assert read_reply("a.b", "A", flags=dns.flags.TC).truncated
    assert read(IDENT + b"\x80\x01" + bytes(8), IDENT, question("a.b", "A")) == Answer(1, False, ())


@pytest.mark.parametrize(
    "other",
    [
        b"", bytes(11), b"\x12\x35" + reply("a.b", "A")[2:], query(IDENT, question("a.b", "A"), edns=False), reply("a.c", "A"),
        reply("a.b", "AAAA"),
    ],
)
def test_what_answers_something_else_is_not_our_answer(other: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        read(other, IDENT, question("a.b", "A"))
    assert caught.value.rule == "dns-other"


HEAD = IDENT + b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00" + question("a.b", "A")


@pytest.mark.parametrize(
    ("rest", "rule"),
    [
        (b"", "dns-short"), (b"\x01", "dns-short"), (b"\xc0", "dns-short"), (b"\xc0\x0c\x00\x01", "dns-short"),
        (b"\xc0\x15", "dns-pointer"), (b"\xff\xff", "dns-pointer"),
        (b"\x40a\x00", "dns-label"), ((b"\x3f" + b"a" * 63) * 5 + b"\x00", "dns-name"),
        (b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04abc", "dns-short"),
        (b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x03abc", "dns-address"),
    ],
)
def test_a_broken_answer_is_malformed_with_a_rule(rest: bytes, rule: str) -> None:
    with pytest.raises(Malformed) as caught:
        read(HEAD + rest, IDENT, question("a.b", "A"))
    assert caught.value.rule == rule


def test_a_string_that_runs_over_its_record_is_malformed() -> None:
    asked = question("a.b", "TXT")
    head = IDENT + b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00" + asked
    with pytest.raises(Malformed, match="ends early"):
        read(head + b"\xc0\x0c\x00\x10\x00\x01\x00\x00\x00\x3c\x00\x03\x05ab", IDENT, asked)


@pytest.mark.parametrize("name", ["", ".", "a..b", "a" * 64 + ".b", ".".join(["a" * 60] * 5), "ä.b"])
def test_what_is_no_dns_name_is_not_asked(name: str) -> None:
    with pytest.raises(Malformed):
        question(name, "A")


@settings(deadline=500, max_examples=150)
@given(st.binary(max_size=80), st.integers(0, 5))
def test_any_bytes_are_read_or_malformed(tail: bytes, count: int) -> None:
    asked = question("a.b", "TXT")
    data = IDENT + b"\x81\x80\x00\x01" + count.to_bytes(2, "big") + bytes(4) + asked + tail
    try:
        assert len(read(data, IDENT, asked).values) <= count
    except Malformed as why:
        assert why.rule.startswith("dns-")
