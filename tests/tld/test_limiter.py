"""Response rate limiting: victims are spared, and who asks honestly gets through."""

from __future__ import annotations

import random

import dns.flags
import dns.message
import pytest

from overlay import limits
from tests.tld.test_cookies import AT, CLIENT, SECRET, ZONE, with_cookie
from tld import codes
from tld.authority import Authority
from tld.cookies import Cookies
from tld.label import from_text, to_wire
from tld.limiter import SLOTS, Limited
from tld.master import parse
from tld.query import ask
from tld.zone import Zones

VICTIM = ("203.0.113.7", 53)
MORE = "*.w 5 A 192.0.2.11\nsub 5 NS ns.sub\nns.sub 5 A 192.0.2.12\n"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Limited:
    monkeypatch.setattr(limits, "DNS_RATE", 10)
    monkeypatch.setattr(limits, "DNS_RATE_ALL", 40)
    return Limited(Authority(Zones([parse(ZONE + MORE)]), cookies=Cookies(SECRET, AT)))


def query(name: str, rtype: int = codes.A, edns: int = 1232) -> bytes:
    return ask(7, to_wire(from_text(name)), rtype, edns=edns)


def sent(server: Limited, queries: list[bytes], host: str = VICTIM[0], *, udp: bool = True) -> tuple[int, int, int]:
    """How many got their answer, a TC, nothing."""
    whole = cut = nothing = 0
    for data in queries:
        reply = server.answer(data, (host, 53), udp)
        if reply is None:
            nothing += 1
        elif reply[2] & 2:
            cut += 1
        else:
            whole += 1
    return whole, cut, nothing


def test_over_the_limit_every_second_reply_is_a_tc_and_the_others_are_dropped(server: Limited) -> None:
    assert sent(server, [query("www.cloud.")] * 30) == (10, 10, 10)
    assert (server.counters["drop:dns-rate"], server.counters["dns_slipped"]) == (10, 10)
    server.tick()
    assert sent(server, [query("www.cloud.")] * 10) == (10, 0, 0)


def test_a_tc_is_no_longer_than_its_query_and_sends_to_tcp(server: Limited) -> None:
    data = ask(7, b"\3WwW\5cloud\0", codes.A)
    sent(server, [data] * 11)
    reply = server.answer(data, VICTIM, True)
    assert reply is not None and len(reply) <= len(data)
    message = dns.message.from_wire(reply)
    assert message.flags & dns.flags.TC and not message.answer and message.question[0].name.to_text() == "WwW.cloud."
    assert sent(server, [data] * 30, udp=False) == (30, 0, 0), "over TCP there is an answer"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
def test_loopback_is_never_limited(server: Limited, host: str) -> None:
    assert sent(server, [query("www.cloud.")] * 200, host) == (200, 0, 0)


def test_neighbours_share_a_budget_and_other_networks_do_not(server: Limited) -> None:
    assert sent(server, [query("www.cloud.")] * 10, "203.0.113.7")[0] == 10
    assert sent(server, [query("www.cloud.")] * 2, "203.0.113.200")[0] == 0
    assert sent(server, [query("www.cloud.")] * 10, "203.0.114.7")[0] == 10
    assert sent(server, [query("www.cloud.")] * 10, "2001:db8:0:1::1")[0] == 10
    assert sent(server, [query("www.cloud.")] * 2, "2001:db8:0:2::9%eth0")[0] == 0
    assert sent(server, [query("www.cloud.")] * 10, "2001:db8:0:100::1")[0] == 10


def test_another_name_or_type_has_a_budget_of_its_own_and_letter_case_has_not(server: Limited) -> None:
    assert sent(server, [query("www.cloud.")] * 10)[0] == 10
    assert sent(server, [query("wWw.CLOUD.", edns=0)] * 2)[0] == 0
    assert sent(server, [query("big.cloud.", codes.TXT)] * 10)[0] == 10


@pytest.mark.parametrize(
    "pattern", ["n{}.cloud.", "n{}.www.cloud.", "n{}.elsewhere.", "n{}.x.sub.cloud."], ids=["nxdomain", "below", "refused", "referral"]
)
def test_random_names_that_are_told_the_same_share_a_budget(server: Limited, pattern: str) -> None:
    assert sent(server, [query(pattern.format(number)) for number in range(30)]) == (10, 10, 10)


def test_random_names_below_a_wildcard_end_at_the_budget_of_all_replies(server: Limited) -> None:
    assert sent(server, [query(f"n{number}.w.cloud.") for number in range(80)]) == (40, 20, 20)


def test_a_right_cookie_is_never_limited_and_a_wrong_one_is(server: Limited) -> None:
    right = Cookies(SECRET, AT).answer(CLIENT, VICTIM[0])[4:]
    assert sent(server, [with_cookie("www.cloud.", right)] * 60) == (60, 0, 0)
    assert sent(server, [with_cookie("www.cloud.", right)] * 60, "203.0.113.8")[0] == 0, "another's cookie"
    assert sent(server, [with_cookie("www.cloud.", CLIENT)] * 4)[0] == 0


def test_a_tc_brings_the_cookie_that_lets_its_holder_through(server: Limited) -> None:
    data = with_cookie("www.cloud.", CLIENT)
    replies = [reply for _ in range(12) if (reply := server.answer(data, VICTIM, True)) is not None]
    option = dns.message.from_wire(replies[-1]).options[0].to_wire()
    assert replies[-1][2] & 2 and option is not None
    assert sent(server, [with_cookie("www.cloud.", option)] * 20) == (20, 0, 0)


def test_a_flood_from_forged_networks_takes_no_memory_and_does_not_lift_the_limit(server: Limited) -> None:
    dice = random.Random(1)
    data = query("www.cloud.")
    for _ in range(6_000):
        server.answer(data, (".".join(str(dice.randrange(1, 120)) for _ in range(4)), 53), True)
    assert len(server._counts) == SLOTS and len(server._nets) <= 4_096
    assert sent(server, [data] * 30)[0] <= 10


def test_silence_and_faults_are_no_trouble(server: Limited) -> None:
    assert server.answer(b"", VICTIM, True) is None
    faults = [b"\0\7\0\0" + bytes(8)] * 30
    assert sent(server, faults) == (10, 10, 10)
    assert sent(server, [ask(7, b"\0", codes.NS)] * 11, "198.51.100.1")[0] == 10
