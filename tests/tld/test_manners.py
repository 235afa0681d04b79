"""How the world is answered: cookies by the published vectors, answers to strangers in bounds (RFC 7873, RFC 9018)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay import limits
from tld import codes, master
from tld.authority import Authority
from tld.cookies import FRESH, GOOD, Cookies, siphash
from tld.label import from_text, to_wire
from tld.manners import AGE, Polite, cookie_of
from tld.query import ask, options
from tld.zone import Zones

AT = 1_700_000_000
STRANGER = ("198.51.100.7", 5353)
ZONE = "$ORIGIN example.\n@ 30 SOA ns1 host 1 1 1 1 30\n@ 30 NS ns1\nns1 30 A 192.0.2.1\n*.any 30 A 192.0.2.2\n"


@pytest.mark.parametrize(("secret", "client", "host", "at", "cookie"), [  # RFC 9018, appendix A
    ("e5e973e5a6b2a43f48e7dc849e37bfcf", "2464c4abcf10c957", "198.51.100.100", 1_559_731_985, "010000005cf79f111f8130c3eee29480"),
    ("e5e973e5a6b2a43f48e7dc849e37bfcf", "2464c4abcf10c957", "198.51.100.100", 1_559_734_385, "010000005cf7a871d4a564a1442aca77"),
    ("e5e973e5a6b2a43f48e7dc849e37bfcf", "fc93fc62807ddb86", "203.0.113.203", 1_559_734_700, "010000005cf7a9acf73a7810aca2381e"),
    ("445536bcd2513298075a5d379663c962", "22681ab97d52c298", "2001:db8:220:1:59de:d0f4:8769:82b8", 1_559_741_961, "010000005cf7c609a6bb79d16625507a"),
])  # fmt: skip
def test_cookies_are_those_of_the_standard(secret: str, client: str, host: str, at: int, cookie: str) -> None:
    cookies = Cookies(bytes.fromhex(secret))
    made = cookies.make(bytes.fromhex(client), host, at)
    assert made.hex() == client + cookie
    assert Cookies(bytes.fromhex(secret)).good(made, host, at)
    assert not Cookies(bytes.fromhex(secret)).good(made, "198.51.100.101", at)
    assert not Cookies(bytes(16)).good(made, host, at)


def test_reserved_octets_are_hashed_as_they_came() -> None:
    cookies = Cookies(bytes.fromhex("e5e973e5a6b2a43f48e7dc849e37bfcf"))
    assert cookies.good(bytes.fromhex("fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5"), "203.0.113.203", 1_559_727_985)


def test_siphash_is_that_of_its_authors() -> None:
    key = bytes(range(16))
    assert siphash(key, bytes(range(15))) == 0xA129CA6149BE45E5  # appendix A of the paper
    assert siphash(key, b"") == 0x726FDB47DD0E0E31
    assert siphash(key, bytes(range(8))) == 0x93F5F5799A932462


@pytest.mark.parametrize(("later", "good"), [(-301, False), (-300, True), (0, True), (GOOD, True), (GOOD + 1, False)])
def test_a_cookie_has_its_hour(later: int, good: bool) -> None:
    cookies = Cookies(bytes(16))
    assert cookies.good(cookies.make(b"clientco", "192.0.2.1", AT), "192.0.2.1", AT + later) is good


def test_another_is_given_after_half_an_hour() -> None:
    cookies = Cookies(bytes(16))
    first = cookies.make(b"clientco", "192.0.2.1", AT)
    assert cookies.make(b"clientco", "192.0.2.1", AT + FRESH - 1) == first != cookies.make(b"clientco", "192.0.2.1", AT + FRESH)


class World:
    """A polite server on virtual time."""

    def __init__(self) -> None:
        self.now = 100.0
        self.server = Polite(Authority(Zones([master.parse(ZONE)])), Cookies(bytes(16)), now=lambda: self.now, at=lambda: AT + self.now)

    def ask(
        self, name: str = "ns1.example.", *, cookie: bytes = b"", source: tuple[str, int] = STRANGER, udp: bool = True,
    ) -> bytes | None:
        query = ask(7, to_wire(from_text(name)), codes.A, edns=1_232)
        if cookie:
            option = codes.OPTION_COOKIE.to_bytes(2, "big") + len(cookie).to_bytes(2, "big") + cookie
            query = query[:-2] + len(option).to_bytes(2, "big") + option
        return self.server.answer(query, source, udp)


def given_cookie(reply: bytes | None) -> bytes:
    assert reply is not None
    found = dict(options(reply[reply.rindex(b"\0\0\x29") + 11 :]))
    return found.get(codes.OPTION_COOKIE, b"")


def rcode(reply: bytes | None) -> int:
    assert reply is not None
    return (reply[reply.rindex(b"\0\0\x29") + 5] << 4 if b"\0\0\x29" in reply else 0) | reply[3] & 15


def test_who_shows_the_cookie_that_it_was_given_is_never_limited() -> None:
    world = World()
    cookie = given_cookie(world.ask(cookie=b"clientco"))
    assert len(cookie) == 24 and cookie[:8] == b"clientco"
    for _ in range(1_000):
        reply = world.ask(cookie=cookie)
        assert rcode(reply) == 0 and given_cookie(reply) == cookie
    assert world.server.counters["dns_limited"] == 0


def test_who_shows_none_is_answered_at_the_rate_and_every_second_time_above_it_cut_short() -> None:
    world = World()
    replies = [world.ask() for _ in range(2 * limits.DNS_RATE + 100)]
    whole = [r for r in replies if r is not None and not r[2] & 2]
    short = [r for r in replies if r is not None and r[2] & 2]
    assert (len(whole), len(short)) == (2 * limits.DNS_RATE, 50)
    assert all(r[6:10] == b"\0\0\0\0" and len(r) <= 41 for r in short), "no longer than what was asked"
    world.now += 1.0
    assert sum(r is not None and not r[2] & 2 for r in [world.ask() for _ in range(100)]) == limits.DNS_RATE


def test_a_wrong_cookie_is_answered_with_a_right_one_where_others_are_cut_short() -> None:
    world = World()
    replies = [world.ask(cookie=b"clientco" + bytes(16)) for _ in range(2 * limits.DNS_RATE + 10)]
    bad = [r for r in replies if r is not None and rcode(r) == codes.BADCOOKIE]
    assert len(bad) == 5
    assert rcode(world.ask(cookie=given_cookie(bad[0]))) == 0


@pytest.mark.parametrize("source", [("127.0.0.1", 5353), ("::1", 5353), ("::ffff:127.0.0.1", 5353)])
def test_loopback_is_never_limited(source: tuple[str, int]) -> None:
    world = World()
    assert all(world.ask(source=source) is not None for _ in range(500))


def test_tcp_is_never_limited_and_gets_its_cookie() -> None:
    world = World()
    assert all(given_cookie(world.ask(cookie=b"clientco", udp=False)) for _ in range(500))


def test_networks_and_answers_are_counted_apart_and_names_below_a_wildcard_together() -> None:
    world = World()
    for _ in range(2 * limits.DNS_RATE + 1):
        world.ask()
    assert world.server.counters["dns_limited"] == 1
    for whole in (world.ask("example."), world.ask(source=("198.51.101.7", 1))):  # another question, another network
        assert whole is not None and not whole[2] & 2
    many = [world.ask(f"n{number}.any.example.", source=("203.0.113.9", 1)) for number in range(1_000)]
    assert sum(r is not None and not r[2] & 2 for r in many) == 2 * limits.DNS_RATE_ALL


def test_names_that_are_not_are_counted_together() -> None:
    world = World()
    many = [world.ask(f"n{number}.example.") for number in range(200)]
    assert sum(r is not None and not r[2] & 2 for r in many) == 2 * limits.DNS_RATE


def test_counts_are_bounded_and_forgotten() -> None:
    world = World()
    for number in range(2 * limits.DNS_RATES + 10):
        world.ask(source=(f"{11 + (number >> 16)}.{number >> 8 & 255}.{number & 255}.1", 1))
    assert len(world.server._rates._new) + len(world.server._rates._old) <= 2 * limits.DNS_RATES + 2
    world.now += 3 * AGE
    world.ask()
    world.now += 3 * AGE
    world.ask()
    assert len(world.server._rates._new) + len(world.server._rates._old) <= 4


@pytest.mark.parametrize("cookie", [b"short", b"x" * 9, b"x" * 15, b"x" * 41])
def test_a_cookie_of_a_wrong_length_is_an_error_of_form(cookie: bytes) -> None:
    world = World()
    world.ask(cookie=b"clientco")
    reply = world.ask(cookie=cookie)
    assert reply is not None and reply[3] & 15 == codes.FORMERR


def test_what_a_later_version_of_edns_puts_in_its_options_is_not_looked_at() -> None:
    query = bytearray(ask(7, to_wire(from_text("ns1.example.")), codes.A, edns=1_232))
    query[-5] = 1  # version
    query[-2:] = b"\0\3xyz"
    reply = World().server.answer(bytes(query), STRANGER, True)
    assert rcode(reply) == codes.BADVERS


@given(st.binary(max_size=80))
def test_no_octets_stop_it(data: bytes) -> None:
    cookie_of(data)
    World().server.answer(data, STRANGER, True)
