"""``download`` and ``CHANNEL.download``: whose addresses, in which order, and what is said while there are none."""

from __future__ import annotations

from collections.abc import Sequence

import dns.edns
import dns.message
import dns.rcode
import pytest

from tests.tld import views
from tld.download import Holder, hosts_of
from tld.names import Names

ONE, TWO = Holder(("192.0.2.1",), 3, 2, 5, True), Holder(("192.0.2.2", "2001:db8::2"), 3, 4, 0, True)
OLD, BUSY = Holder(("192.0.2.9",), 2, 9, 0, True), Holder(("192.0.2.3",), 3, 0, 0, True)


def asked(name: str, held: dict[str, Sequence[Holder]], kind: str = "A") -> tuple[str, list[str], list[int]]:
    names = Names(tld="cloud", zone="cloud.example.org")
    names.holders = held.get
    names.update(views.root())
    query = dns.message.make_query(name, kind, use_edns=0)
    reply = names.authoritative.answer(query.to_wire(), ("203.0.113.7", 4000), True)
    assert reply is not None
    answer = dns.message.from_wire(reply)
    told = [item.to_text() for rrset in answer.answer for item in rrset]
    return dns.rcode.to_text(answer.rcode()), told, [option.code for option in answer.options if isinstance(option, dns.edns.EDEOption)]


@pytest.mark.parametrize("suffix", ["cloud.", "cloud.example.org."])
def test_the_freest_holder_of_the_newest_comes_first_in_both_trees(suffix: str) -> None:
    held: dict[str, Sequence[Holder]] = {"app": (ONE, OLD, TWO, BUSY), "kernel": (ONE,)}
    assert asked(f"app.download.{suffix}", held) == ("NOERROR", ["192.0.2.2", "192.0.2.1"], [])
    assert asked(f"app.download.{suffix}", held, "AAAA") == ("NOERROR", ["2001:db8::2"], [])
    assert asked(f"download.{suffix}", held) == ("NOERROR", ["192.0.2.1"], [])


def test_nothing_is_there_before_a_release_and_a_channel_that_is_none_is_no_name() -> None:
    assert asked("download.cloud.", {"kernel": ()}) == ("NOERROR", [], [])
    assert asked("app.download.cloud.", {"app": ()}) == ("NOERROR", [], [])
    assert asked("other.download.cloud.", {"app": (ONE,)}) == ("NXDOMAIN", [], [])
    assert asked("a.app.download.cloud.", {"app": (ONE,)}) == ("NXDOMAIN", [], [])


def test_while_all_are_busy_callers_are_told_to_come_again() -> None:
    assert asked("app.download.cloud.", {"app": (BUSY,)}) == ("SERVFAIL", [], [dns.edns.EDECode.NOT_READY])
    assert asked("app.download.cloud.", {"app": (BUSY, OLD)})[0] == "SERVFAIL"  # who holds an older one is no help
    assert asked("app.download.cloud.", {"app": (BUSY, ONE)}) == ("NOERROR", ["192.0.2.1"], [])


def test_who_has_served_least_comes_first_among_equals_and_port_80_before_others() -> None:
    served = Holder(("192.0.2.4",), 3, 2, 1, True)
    odd = Holder(("192.0.2.5",), 3, 9, 0, False)
    assert hosts_of((ONE, served, odd)) == ("192.0.2.4", "192.0.2.1", "192.0.2.5")


def test_addresses_behind_routers_are_told_only_where_there_are_no_others() -> None:
    home, both = Holder(("192.168.1.2", "fd00::1"), 3, 9, 0, True), Holder(("10.0.0.1", "192.0.2.6"), 3, 1, 0, True)
    assert hosts_of((home,)) == ("192.168.1.2", "fd00::1")
    assert hosts_of((home, both)) == ("192.0.2.6",)
    assert hosts_of((home, both._replace(slots=0))) is None
