"""Ports are mapped in the best protocol that the router speaks, kept mapped, and taken away again."""

from __future__ import annotations

import pytest

from overlay import limits
from overlay.nat import pcp
from overlay.nat.outputs import Mapped, SendTo, Unmapped
from overlay.nat.portmap import PortMaps
from overlay.wire.address import Address
from tests.nat.gateway import OUTSIDE, ROUTER, Lan, Router

WORDS = ["pcp", "nat-pmp", "upnp"]
OWN = "192.168.1.2"


def lan(*speaks: str, **more: object) -> Lan:
    return Lan(Router(speaks=set(speaks or WORDS), **more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("speaks", "kept"),
    [({"pcp", "nat-pmp", "upnp"}, "pcp"), ({"nat-pmp", "upnp"}, "nat-pmp"), ({"upnp"}, "upnp"), ({"pcp", "upnp"}, "pcp"), ({"pcp"}, "pcp")],
)
def test_the_best_protocol_that_answers_is_kept_within_a_third_of_a_second(speaks: set[str], kept: str) -> None:
    net = lan(*speaks)
    machine = net.client()
    assert machine.protocol is None
    machine.want(7653, "udp", net.now)
    net.run(0.33)
    told = net.mapped()
    assert (told.external_host, told.external_port, told.protocol, told.proved) == (OUTSIDE, 7653, kept, False)
    assert told.expires == pytest.approx(net.now + 7200, abs=1)
    assert machine.protocol == kept
    assert set(net.router.table) == {("udp", 7653)}, "one protocol maps, not three"


@pytest.mark.parametrize("word", WORDS)
def test_each_protocol_maps_udp_and_tcp_renews_before_the_end_and_removes(word: str) -> None:
    net = lan(word)
    machine = net.client()
    machine.want(7653, "udp", net.now)
    machine.want(443, "tcp", net.now)
    for _ in range(12):
        net.run(3600)
        assert {key: one.client for key, one in net.router.table.items() if one.until > net.now} == {("udp", 7653): OWN, ("tcp", 443): OWN}
    assert not [out for _, out in net.told[OWN] if isinstance(out, Unmapped)]
    assert net.mapped(port=443, proto="tcp").expires > net.now
    machine.drop(7653, "udp", net.now)
    machine.drop(443, "tcp", net.now)
    assert not machine.quiet
    net.run(1)
    assert machine.quiet and not net.router.table
    assert net.last() == Unmapped("udp", 7653, "dropped")


def test_renewals_come_between_a_half_and_five_eighths_of_a_life_and_not_in_step() -> None:
    gaps = set()
    for seed in range(20):
        net = Lan(Router(speaks={"pcp"}), seed=seed)
        net.client().want(7653, "udp", net.now)
        net.run(7100)
        first, second = (at for at, out in net.told[OWN] if isinstance(out, Mapped))
        assert 3600 <= second - first <= 4500.1
        gaps.add(round(second - first))
    assert len(gaps) > 15


@pytest.mark.parametrize("word", WORDS)
def test_a_router_that_reboots_and_says_so_has_the_mapping_again_within_a_second(word: str) -> None:
    net = lan(word)
    machine = net.client()
    machine.want(7653, "udp", net.now)
    machine.want(443, "tcp", net.now)
    net.run(600)
    net.router.up = False
    net.run(20)
    net.router.reboot(net.now)
    net.router.location, net.router.http_port = f"http://{ROUTER}:6000/new.xml", 6000
    net.announce()
    net.run(1)
    assert set(net.router.table) == {("udp", 7653), ("tcp", 443)}
    assert machine.counters["portmap_reboots"] + (word == "upnp") >= 1


@pytest.mark.parametrize("word", WORDS)
def test_a_router_whose_epoch_does_not_tell_is_asked_anew_where_it_announces_itself(word: str) -> None:
    """The machine's uptime as epoch, or a second reboot within two seconds (RFC 6887, 8.5 allows for as much)."""
    net = lan(word)
    net.client().want(7653, "udp", net.now)
    net.run(600)
    net.router.table.clear()
    net.announce()
    net.run(1)
    assert set(net.router.table) == {("udp", 7653)}


@pytest.mark.parametrize("word", WORDS)
def test_an_announcement_soon_after_another_is_heeded_a_little_later(word: str) -> None:
    net = lan(word)
    net.client().want(7653, "udp", net.now)
    net.run(600)
    net.announce()
    net.run(0.4)
    net.router.table.clear()
    net.announce()
    net.announce()
    net.run(1.1)
    assert set(net.router.table) == {("udp", 7653)}


@pytest.mark.parametrize(("word", "within"), [("pcp", 35), ("nat-pmp", 35), ("upnp", 70)])
@pytest.mark.parametrize("down", [0, 5, 40, 300])
def test_a_router_that_reboots_in_silence_is_found_out(word: str, within: float, down: float) -> None:
    net = lan(word)
    net.client().want(7653, "udp", net.now)
    net.run(617)
    net.router.up = False
    net.run(down)
    net.router.reboot(net.now)
    net.run(within)
    assert set(net.router.table) == {("udp", 7653)}


@pytest.mark.parametrize("word", WORDS)
def test_a_new_external_address_is_told(word: str) -> None:
    net = lan(word)
    net.client().want(7653, "udp", net.now)
    net.run(600)
    net.router.outside = "198.51.100.9"
    if word == "pcp":
        net.router.reboot(net.now)  # RFC 6887, 8.5: its epoch starts anew with its address
    net.run(70)
    assert net.mapped().external_host == "198.51.100.9"


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("inside", ["192.168.1.10", "10.1.2.3", "172.31.0.1", "100.64.3.4", "127.0.0.1", OWN, "192.0.0.4", "169.254.1.1"])
def test_an_address_behind_another_nat_is_told_as_that_and_never_as_mapped(word: str, inside: str) -> None:
    net = lan(word, outside=inside)
    net.client().want(7653, "udp", net.now)
    net.run(10_000)
    assert {out for _, out in net.told[OWN]} == {Unmapped("udp", 7653, "double-nat")}
    net.router.outside = OUTSIDE
    net.run(4600)
    assert net.mapped().external_host == OUTSIDE, "once the outer NAT is gone it is told"


def test_a_router_without_an_address_is_told_as_that() -> None:
    net = lan("nat-pmp", outside="0.0.0.0")
    net.client().want(7653, "udp", net.now)
    net.run(1)
    assert net.last() == Unmapped("udp", 7653, "no-external")


@pytest.mark.parametrize("word", WORDS)
def test_two_nodes_behind_one_router_get_a_port_each_and_keep_it(word: str) -> None:
    net = lan(word, overwrites=True)
    for own in ("192.168.1.2", "192.168.1.3"):
        net.client(own).want(7653, "udp", net.now)
        net.run(2)
    ports = {own: net.mapped(own).external_port for own in net.clients}
    assert ports["192.168.1.2"] == 7653 != ports["192.168.1.3"]
    net.run(20_000)
    assert {own: net.mapped(own).external_port for own in net.clients} == ports
    net.clients["192.168.1.3"].drop(7653, "udp", net.now)
    net.run(1)
    assert net.router.table["udp", 7653].client == "192.168.1.2" and len(net.router.table) == 1


def test_what_stands_at_the_router_for_somebody_else_is_not_removed_at_leave() -> None:
    net = lan("upnp")
    machine = net.client()
    machine.want(7653, "udp", net.now)
    net.run(1)
    net.router.table["udp", 7653].client = "192.168.1.77"
    machine.drop(7653, "udp", net.now)
    net.run(1)
    assert net.router.table["udp", 7653].client == "192.168.1.77"


def test_a_router_of_permanent_leases_gets_one_and_loses_it_at_leave() -> None:
    net = lan("upnp", permanent_only=True)
    machine = net.client()
    machine.want(7653, "udp", net.now)
    net.run(10_000)
    assert net.router.table["udp", 7653].until == 1e18
    assert net.mapped().expires > net.now
    machine.drop(7653, "udp", net.now)
    net.run(1)
    assert not net.router.table


def test_a_restarted_node_is_known_by_its_nonce_and_gets_its_own_port_back() -> None:
    net = lan("pcp", "upnp")
    net.client().want(7653, "udp", net.now)
    net.run(100)
    net.told.clear()
    net.client().want(7653, "udp", net.now)  # killed: nothing was dropped
    net.run(1)
    assert (net.mapped().external_port, net.mapped().protocol) == (7653, "pcp")


def test_a_protocol_that_maps_nothing_gives_way_to_the_next() -> None:
    net = lan(*WORDS, refuses={"pcp", "nat-pmp"})
    net.client().want(7653, "udp", net.now)
    net.run(3)
    assert net.mapped().protocol == "upnp"
    net = lan(*WORDS, refuses=set(WORDS))
    machine = net.client()
    machine.want(7653, "udp", net.now)
    net.run(30)
    assert net.last() == Unmapped("udp", 7653, "refused") and machine.protocol == "none"
    net.router.refuses.clear()
    net.run(7_200)
    assert net.mapped().protocol == "pcp"


def test_a_silent_router_is_asked_ever_more_rarely_and_an_announcement_ends_that() -> None:
    net = lan()
    net.router.up = False
    machine = net.client()
    machine.want(7653, "udp", net.now)
    net.run(10)
    assert net.last() == Unmapped("udp", 7653, "no-answer") and machine.protocol == "none"
    counts = []
    for _ in range(8):
        before = net.sent
        net.run(7_200)
        counts.append(net.sent - before)
    assert counts[0] > counts[-1] and counts[-1] <= 32, counts
    net.router.reboot(net.now)
    net.announce()
    net.run(1)
    assert net.mapped().protocol == "pcp"


def test_a_mapping_that_cannot_be_renewed_is_told_gone_at_its_end_and_not_before() -> None:
    net = lan("pcp")
    net.client().want(7653, "udp", net.now)
    net.run(1)
    net.router.up = False
    net.run(7_100)
    assert isinstance(net.last(), Mapped)
    net.run(200)
    assert isinstance(net.last(), Unmapped)
    assert [out.reason for _, out in net.told[OWN] if isinstance(out, Unmapped)][0] == "lapsed"


def test_another_router_begins_anew_and_none_ends_it() -> None:
    net = lan()
    machine = net.client()
    machine.want(7653, "udp", net.now)
    net.run(1)
    machine.router(ROUTER, OWN, net.now)
    net.run(1)
    assert len(net.told[OWN]) == 1, "the same router is no news"
    machine.router(None, None, net.now)
    net.run(100)
    assert net.last() == Unmapped("udp", 7653, "no-router") and machine.wake_at() is None and machine.protocol is None
    machine.router(ROUTER, OWN, net.now)
    net.run(1)
    assert net.mapped()


def test_with_nothing_to_map_nothing_is_asked() -> None:
    net = lan()
    machine = net.client()
    net.run(1000)
    assert net.sent == 0 and machine.wake_at() is None


def test_more_ports_than_a_node_has_are_not_taken() -> None:
    net = lan()
    machine = net.client()
    for port in range(1, limits.PORTMAPS + 3):
        machine.want(port, "udp", net.now)
    net.run(1)
    assert len(net.router.table) == limits.PORTMAPS and machine.counters["drop:portmaps-full"] == 2


def test_over_ipv6_a_hole_in_the_firewall_at_our_own_address_is_a_mapping() -> None:
    own, router = "2001:db8::2", "fe80::1%2"
    machine = PortMaps(lambda n: b"x" * n, 0.0, secret=b"s")
    machine.router(router, own, 0.0)
    machine.want(7653, "udp", 0.0)
    (look,) = machine.take()
    assert isinstance(look, SendTo) and look.address == Address(router, 5351)
    machine.receive(Address(router, 5351), bytes((2, 0x80, 0, 0)) + bytes(20), 0.01)
    (ask,) = machine.take()
    assert isinstance(ask, SendTo)
    nonce = ask.data[24:36]
    given = pcp.ask(own, nonce, "udp", 7653, (own, 7653), 7200)
    machine.receive(Address(router, 5351), bytes((2, 0x81, 0, 0)) + given[4:8] + bytes(16) + given[24:], 0.02)
    assert machine.take() == [Mapped("udp", 7653, own, 7653, 7200.02, "pcp")]
