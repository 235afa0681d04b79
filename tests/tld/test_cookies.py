"""Server cookies: the vectors of RFC 9018, which ones count and for how long, and that no rendering carries another's."""

from __future__ import annotations

import dns.edns
import dns.message
import pytest

from overlay import limits
from tld import codes
from tld.authority import Authority
from tld.cookies import AHEAD, LIFE, RENEW, ROLL, Cookies, siphash
from tld.label import from_text, to_wire
from tld.master import parse
from tld.query import ask
from tld.zone import Zones

SECRET = bytes.fromhex("e5e973e5a6b2a43f48e7dc849e37bfcf")
CLIENT = bytes.fromhex("2464c4abcf10c957")
HOST = "198.51.100.100"
AT = 1_559_731_985
ZONE = "cloud. 60 IN SOA ns1.cloud. host.cloud. 1 2 3 4 30\nwww 5 A 192.0.2.10\nbig 5 TXT " + " ".join(["x" * 255] * 4 + ["x" * 140]) + "\n"


def never(count: int) -> bytes:
    raise AssertionError("no entropy is due")


def test_siphash_is_that_of_its_authors() -> None:
    assert siphash(bytes(range(16)), bytes(range(15))).hex() == "e545be4961ca29a1"  # the paper's appendix A
    assert siphash(bytes(range(16)), b"").hex() == "310e0edd47db6f72"


@pytest.mark.parametrize(
    ("secret", "host", "at", "sent", "answered"),
    [
        ("e5e973e5a6b2a43f48e7dc849e37bfcf", HOST, AT, "2464c4abcf10c957", "2464c4abcf10c957010000005cf79f111f8130c3eee29480"),
        (
            "e5e973e5a6b2a43f48e7dc849e37bfcf", HOST, 1_559_734_385, "2464c4abcf10c957010000005cf79f111f8130c3eee29480",
            "2464c4abcf10c957010000005cf7a871d4a564a1442aca77",
        ),
        (
            "e5e973e5a6b2a43f48e7dc849e37bfcf", "203.0.113.203", 1_559_734_700, "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5",
            "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e",
        ),
        (
            "445536bcd2513298075a5d379663c962", "2001:db8:220:1:59de:d0f4:8769:82b8", 1_559_741_961,
            "22681ab97d52c298010000005cf7c57926556bd0934c72f8", "22681ab97d52c298010000005cf7c609a6bb79d16625507a",
        ),
    ],
)  # fmt: skip
def test_the_examples_of_rfc_9018_hold(secret: str, host: str, at: int, sent: str, answered: str) -> None:
    assert Cookies(bytes.fromhex(secret), at).answer(bytes.fromhex(sent), host).hex() == "000a0018" + answered


def test_reserved_octets_are_hashed_as_they_came() -> None:
    assert Cookies(SECRET, 1_559_727_985).right(bytes.fromhex("fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5"), "203.0.113.203")


def test_a_cookie_of_the_secret_before_counts_and_one_of_the_secret_before_that_does_not() -> None:
    cookies = Cookies(bytes.fromhex("dd3bdf9344b678b185a6f5cb60fca715"), 1_559_741_817)
    sent = cookies.answer(bytes.fromhex("22681ab97d52c298"), "2001:db8::1")[4:]
    early = Cookies(bytes.fromhex("dd3bdf9344b678b185a6f5cb60fca715"), 1_559_741_817 - ROLL)
    early.tick(1_559_741_817, lambda count: b"n" * count)
    assert early.right(sent, "2001:db8::1")
    early.tick(1_559_741_817 + ROLL, lambda count: b"m" * count)
    early.tick(1_559_741_817, lambda count: b"o" * count)  # the clock goes back: the secrets in use are new all the same
    assert not early.right(sent, "2001:db8::1")


@pytest.mark.parametrize(("age", "right"), [(-AHEAD - 1, False), (-AHEAD, True), (0, True), (LIFE, True), (LIFE + 1, False)])
def test_a_cookie_counts_an_hour_and_not_from_the_future(age: int, right: bool) -> None:
    sent = Cookies(SECRET, AT).answer(CLIENT, HOST)[4:]
    cookies = Cookies(SECRET, AT - 1_000)
    cookies.tick(AT + age, never)
    assert cookies.right(sent, HOST) is right


def test_a_young_cookie_comes_back_as_it_is_and_an_old_one_fresh() -> None:
    cookies = Cookies(SECRET, AT)
    sent = cookies.answer(CLIENT, HOST)[4:]
    cookies.tick(AT + RENEW, never)
    assert cookies.answer(sent, HOST)[4:] == sent
    cookies.tick(AT + RENEW + 61, never)
    assert cookies.answer(sent, HOST)[4:] != sent


def test_neither_another_address_nor_another_client_nor_a_turned_bit_is_right() -> None:
    cookies = Cookies(SECRET, AT)
    sent = cookies.answer(CLIENT, HOST)[4:]
    assert cookies.right(sent, HOST)
    assert not cookies.right(sent, "198.51.100.101")
    assert not cookies.right(b"x" * 8 + sent[8:], HOST)
    assert not cookies.right(CLIENT, HOST)
    assert not any(cookies.right(sent[:n] + bytes((sent[n] ^ 1,)) + sent[n + 1 :], HOST) for n in range(len(sent)))


def test_what_is_remembered_of_clients_is_bounded() -> None:
    cookies = Cookies(SECRET, AT)
    limit = 32
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "COOKIES_KNOWN", limit)
        for number in range(limit + 1):
            cookies.answer(number.to_bytes(8, "big"), HOST)
    assert cookies.counters["dns_cookies_forgotten"] == limit


def with_cookie(name: str, sent: bytes, *, size: int = 1232, rtype: int = codes.A) -> bytes:
    option = b"\0\x0a" + len(sent).to_bytes(2, "big") + sent
    return ask(7, to_wire(from_text(name)), rtype, edns=size)[:-2] + len(option).to_bytes(2, "big") + option


def cookie_of(reply: bytes | None) -> bytes:
    assert reply is not None
    (option,) = [option for option in dns.message.from_wire(reply).options if option.otype == dns.edns.OptionType.COOKIE]
    return option.to_wire() or b""


@pytest.mark.parametrize("udp", [True, False])
@pytest.mark.parametrize("name", ["www.cloud.", "no.cloud.", "elsewhere."])
def test_every_reply_carries_the_askers_own_cookie_from_every_level_of_memory(name: str, udp: bool) -> None:
    server = Authority(Zones([parse(ZONE)]), cookies=Cookies(SECRET, AT), nsid=b"us")
    for round_ in range(4):
        for host in ("192.0.2.1", "192.0.2.2", "2001:db8::1"):
            reply = server.answer(with_cookie(name, CLIENT), (host, 5353), udp)
            assert cookie_of(reply) == Cookies(SECRET, AT).answer(CLIENT, host)[4:], (round_, host)
            plain = server.answer(ask(7, to_wire(from_text(name)), codes.A, edns=1232), (host, 5353), udp)
            assert plain is not None and CLIENT not in plain


@pytest.mark.parametrize("rtype", [codes.TXT, codes.A, 249])
def test_no_reply_is_longer_than_it_may_be_with_its_cookie(rtype: int) -> None:
    server = Authority(Zones([parse(ZONE)]), cookies=Cookies(SECRET, AT))
    for size in (512, 1024, 1220, 1232, 4096):
        for _ in range(3):
            reply = server.answer(with_cookie("big.cloud.", CLIENT, size=size, rtype=rtype), ("192.0.2.1", 1), True)
            assert reply is not None and len(reply) <= min(size, limits.EDNS)
            dns.message.from_wire(reply)
    without = server.answer(ask(7, to_wire(from_text("big.cloud.")), codes.TXT, edns=1232), ("192.0.2.1", 1), True)
    assert without is not None and len(without) > limits.EDNS - 28 and not without[2] & 2, "the set fits where no cookie does"


def test_whoever_has_no_cookies_ignores_them() -> None:
    reply = Authority(Zones([parse(ZONE)])).answer(with_cookie("www.cloud.", CLIENT), ("192.0.2.1", 1), True)
    assert reply is not None and not dns.message.from_wire(reply).options
