"""Who finds whom on a LAN, how often one speaks, and what forgers get (DESIGN 3.6), in virtual time."""

from __future__ import annotations

import time

import pytest

from overlay import limits
from overlay.cluster.beacon import ANY, BROADCAST, GROUP_4, GROUP_6, Beacon, Kind, decode, encode, seek, tag_of
from overlay.cluster.discovery import AGAIN, Found
from overlay.cluster.links import Link, Links
from overlay.cluster.rounds import LAN, ways_of
from overlay.machine import Send
from overlay.wire.address import Address, Way
from tests.cluster.segment import AT, OURS, THEIRS, Neighbour, Segment


def keys(machine: Neighbour) -> list[bytes]:
    return [found.exchange for _, found in machine.found]


def forged(number: int, *, overlay_id: bytes = OURS) -> bytes:
    return encode(Beacon(Kind.HERE, tag_of(overlay_id, int(AT // 3600)), number.to_bytes(32, "big"), 7653))


def test_two_nodes_of_one_overlay_find_each_other_at_once() -> None:
    lan = Segment()
    alice, bob = lan.add("192.168.1.2"), lan.add("192.168.1.3")
    lan.run(0.3)
    assert [found for _, found in alice.found] == [Found(b"192.168.1.3".ljust(32, b"k"), Address("192.168.1.3", 7653))]
    assert [found for _, found in bob.found] == [Found(b"192.168.1.2".ljust(32, b"k"), Address("192.168.1.2", 7653))]


def test_two_overlays_on_one_lan_ignore_each_other() -> None:
    lan = Segment()
    ours, theirs = [lan.add(f"192.168.1.{n}") for n in (2, 3)], [lan.add(f"192.168.1.{n}", THEIRS) for n in (4, 5)]
    lan.run(40)
    assert all(key.startswith((b"192.168.1.2", b"192.168.1.3")) for machine in ours for key in keys(machine))
    assert all(key.startswith((b"192.168.1.4", b"192.168.1.5")) for machine in theirs for key in keys(machine))
    assert all(machine.found and machine.discovery.counters["beacons_foreign"] for machine in lan.machines)


def test_who_hears_nothing_is_told_by_unicast_where_multicast_works_one_way_only() -> None:
    deaf = "192.168.1.3"
    lan = Segment(hears=lambda source, target, send: not (target.host == deaf and send.way.proto == LAN))
    alice, bob = lan.add("192.168.1.2"), lan.add(deaf)
    lan.run(0.3)
    assert keys(alice) and keys(bob)


def test_last_known_addresses_are_told_where_an_access_point_drops_multicast_and_broadcast() -> None:
    lan = Segment(hears=lambda source, target, send: send.way.proto != LAN)
    alice, bob, far = lan.add("192.168.1.2"), lan.add("192.168.1.3"), Address("198.51.100.7", 7653)
    lan.run(1)
    assert not keys(alice) and not keys(bob)
    alice.away = [far, Address(bob.host, 7653)]
    lan.run(5)
    assert keys(alice) and keys(bob)
    assert not [send for _, send in alice.sent if send.way.remote == far], "what is not on the LAN hears nothing"


def test_no_more_than_a_few_of_the_away_are_told_a_round() -> None:
    lan = Segment()
    alice = lan.add("192.168.1.2")
    alice.away = [Address(f"192.168.1.{n}", 7653) for n in range(10, 40)]
    lan.run(0.2)
    assert sum(send.way.proto == "udp" for _, send in alice.sent) == limits.LAN_KNOWN
    assert alice.discovery.counters["beacons_untold"] == 30 - limits.LAN_KNOWN


def test_beacons_slow_from_a_second_to_half_a_minute() -> None:
    lan = Segment()
    alice = lan.add("192.168.1.2")
    lan.run(600)
    times = sorted({when for when, send in alice.sent if send.way.remote == GROUP_4})
    gaps = [round(later - earlier, 3) for earlier, later in zip(times, times[1:], strict=False)]
    assert gaps == sorted(gaps)
    assert 0.7 < gaps[0] < 1.0 and 22 < gaps[-1] < 38
    assert len(times) < 35
    assert [decode(send.data).kind for _, send in alice.sent if send.way.remote == GROUP_4][:4] == [Kind.CALL, Kind.CALL, Kind.HERE, Kind.HERE]


def test_a_newcomer_is_answered_at_once_also_by_a_node_that_has_slowed_down() -> None:
    lan = Segment()
    alice = lan.add("192.168.1.2")
    lan.run(300)
    alice.sent.clear()
    for tag, answers in ((ANY, 1), (tag_of(OURS, int(lan.at // 3600)), 1), (tag_of(THEIRS, int(lan.at // 3600)), 0)):
        alice.discovery.heard(seek(tag, 40_000), Way("udp", Address("192.168.1.9", 40_000)), lan.now, lan.at)
        sent = [output for output in alice.discovery.take() if isinstance(output, Send)]
        assert [(send.way, decode(send.data).kind) for send in sent] == [(Way("udp", Address("192.168.1.9", 40_000)), Kind.HERE)] * answers
    assert not alice.found, "a newcomer is no node to dial"


def test_a_neighbour_is_dialled_again_after_a_while_unless_it_is_connected() -> None:
    lan = Segment()
    alice, bob = lan.add("192.168.1.2"), lan.add("192.168.1.3")
    lan.run(2 * AGAIN + 40)
    assert len(alice.found) in (2, 3)
    assert all(later - earlier >= AGAIN for (earlier, _), (later, _) in zip(alice.found, alice.found[1:], strict=False))
    alice.connected = bob.connected = {keys(alice)[0], keys(bob)[0]}
    before = len(alice.found)
    lan.run(4 * AGAIN)
    assert len(alice.found) == before


def test_a_neighbour_that_moved_is_dialled_at_its_new_address() -> None:
    lan = Segment()
    alice, bob = lan.add("192.168.1.2"), lan.add("192.168.1.3")
    lan.run(10)
    bob.host = "192.168.1.77"
    bob.discovery.follow([lan.link(bob.host)])
    lan.run(0.3)
    assert alice.found[-1][1].address == Address("192.168.1.77", 7653)


def test_an_interface_that_vanishes_is_silent_and_one_that_comes_speaks_at_once() -> None:
    lan = Segment()
    alice, bob = lan.add("192.168.1.2"), lan.add("192.168.1.3")
    lan.run(100)
    alice.discovery.follow([])
    alice.sent.clear()
    assert alice.discovery.wake_at() is None
    lan.run(100)
    assert not [send for _, send in alice.sent]
    assert not alice.discovery.links.on_link(bob.host)
    alice.discovery.follow([lan.link(alice.host), lan.link("fe80::2")])
    lan.run(0.2)
    assert {send.way.remote.host for _, send in alice.sent if send.way.proto == LAN} == {GROUP_4.host, BROADCAST.host, f"{GROUP_6.host}%2"}
    assert [when for when, _ in bob.found][-1] == pytest.approx(lan.now, abs=0.2), "what it found then was forgotten long ago"


def test_an_interface_that_has_not_changed_keeps_its_rhythm() -> None:
    lan = Segment()
    alice = lan.add("192.168.1.2")
    lan.run(100)
    alice.sent.clear()
    alice.discovery.follow([lan.link("192.168.1.2"), lan.link("10.0.0.2", 3)])
    lan.run(0.2)
    assert {send.way.link for _, send in alice.sent} == {3}


@pytest.mark.parametrize("clock", ["stands", "goes on"])
def test_a_machine_that_woke_speaks_at_once(clock: str) -> None:
    """Suspended for an hour: its monotonic clock stood (Linux), or went on (others)."""
    lan = Segment()
    alice = lan.add("192.168.1.2")
    lan.run(300)
    alice.sent.clear()
    if clock == "stands":
        lan.slept += 3600
        wake = alice.discovery.wake_at()
        assert wake is not None
        lan.run(wake - lan.now + 0.2)
    else:
        lan.now += 3600
        lan.run(0.2)
    calls = [decode(send.data).kind for _, send in alice.sent if send.way.remote == GROUP_4]
    assert calls and set(calls) == {Kind.CALL}
    assert alice.discovery.counters["lan_woken"] == 1


# -- bad input


def flood(alice: Neighbour, lan: Segment, seconds: int, source: str = "192.168.1.{}", overlay_id: bytes = OURS) -> list[object]:
    """500 forged beacons a second, each with another key."""
    outputs: list[object] = []
    for number in range(seconds * 500):
        lan.now += 0.002
        way = Way("udp", Address(source.format(10 + number % 200), 7654))
        alice.discovery.heard(forged(number, overlay_id=overlay_id), way, lan.now, lan.at)
        outputs += alice.discovery.take()
    return outputs


@pytest.mark.parametrize("source", ["192.168.1.{}", "192.168.1.66"])
def test_a_flood_of_forged_beacons_makes_a_few_dials_and_a_few_answers(source: str) -> None:
    lan = Segment()
    alice = lan.add("192.168.1.2")
    outputs = flood(alice, lan, 20, source)
    dials = sum(isinstance(output, Found) for output in outputs)
    assert 1 <= dials <= limits.BEACON_DIALS + 2
    assert sum(isinstance(output, Send) for output in outputs) <= dials
    assert alice.discovery.counters["drop:beacon-dials"] + alice.discovery.counters["drop:beacon-source"] >= 9_900


def test_a_beacon_played_again_and_again_makes_one_dial_a_minute_at_each_place() -> None:
    lan = Segment()
    alice = lan.add("192.168.1.2")
    outputs: list[object] = []
    for _ in range(20 * 500):
        lan.now += 0.002
        alice.discovery.heard(forged(7), Way("udp", Address("192.168.1.3", 7654)), lan.now, lan.at)
        outputs += alice.discovery.take()
    assert sum(isinstance(output, Found) for output in outputs) == 1


def test_a_flood_of_calls_is_answered_no_more_often_than_one_source_and_all_may_be() -> None:
    lan = Segment()
    alice = lan.add("192.168.1.2")
    answers = 0
    for number in range(5 * 500):
        lan.now += 0.002
        alice.discovery.heard(seek(ANY, 40_000), Way("udp", Address(f"192.168.1.{10 + number % 200}", 40_000)), lan.now, lan.at)
        answers += len(alice.discovery.take())
    assert answers <= limits.BEACON_ANSWERS + 5 * 20 + 1
    assert answers + alice.discovery.counters["drop:beacon-answers"] + alice.discovery.counters["drop:beacon-source"] == 2_500


def test_an_honest_newcomer_is_still_answered_while_one_address_floods() -> None:
    lan = Segment()
    alice = lan.add("192.168.1.2")
    flood(alice, lan, 5, "192.168.1.66")
    alice.discovery.heard(seek(ANY, 40_000), Way("udp", Address("192.168.1.9", 40_000)), lan.now, lan.at)
    assert len(alice.discovery.take()) == 1


def test_what_is_remembered_of_a_flood_is_bounded() -> None:
    lan = Segment()
    alice = lan.add("10.0.0.2")
    alice.discovery.follow([Link("eth0", 2, "10.0.0.2", 8)])
    for number in range(3_000):
        lan.now += 20
        way = Way("udp", Address(f"10.1.{number // 250}.{number % 250 + 1}", 7654))
        data = encode(Beacon(Kind.HERE, tag_of(OURS, int(lan.at // 3600)), number.to_bytes(32, "big"), 7653))
        alice.discovery.heard(data, way, lan.now, lan.at)
    assert len(alice.discovery._met) == limits.BEACON_KEYS
    assert len(alice.discovery._sources) == limits.BEACON_SOURCES


@pytest.mark.parametrize("overlay_id", [OURS, THEIRS])
def test_a_beacon_of_a_flood_costs_microseconds(overlay_id: bytes) -> None:
    lan = Segment()
    alice = lan.add("192.168.1.2")
    began = time.process_time()
    flood(alice, lan, 4, overlay_id=overlay_id)
    assert (time.process_time() - began) / 2_000 < 200e-6, "with room for a busy machine; 5 to 15 us of it are the beacon, the rest the test"


@pytest.mark.parametrize("source", ["198.51.100.7", "192.168.2.3", "127.0.0.1", "fe80::3", "fe80::3%9"])
def test_beacons_from_elsewhere_count_nothing(source: str) -> None:
    lan = Segment()
    alice = lan.add("192.168.1.2")
    alice.discovery.follow([lan.link("192.168.1.2"), lan.link("fe80::2")])
    alice.discovery.heard(forged(1), Way("udp", Address(source, 7654)), lan.now, lan.at)
    assert not alice.discovery.take()
    assert alice.discovery.counters["drop:beacon-off-link"] == 1


def test_what_is_no_beacon_is_counted_and_dropped() -> None:
    lan = Segment()
    alice = lan.add("192.168.1.2")
    for data in (b"\x05", b"\x05" * 44, bytes(44), forged(1) + b"!"):
        alice.discovery.heard(data, Way("udp", Address("192.168.1.3", 7654)), lan.now, lan.at)
    assert alice.discovery.counters["drop:beacon-length"] == 2 and alice.discovery.counters["drop:beacon-form"] == 2


# -- links


def test_the_same_private_range_elsewhere_is_no_lan_of_ours() -> None:
    """What decides is an interface of ours; with none there, 192.168.1.5 is a stranger as any other."""
    home = Links([Link("eth0", 2, "192.168.1.2", 24)])
    rented = Links([Link("eth0", 2, "203.0.113.9", 24)])
    assert home.on_link("192.168.1.5") and not rented.on_link("192.168.1.5")


def test_only_a_straight_way_proves_that_somebody_is_near() -> None:
    home = Links([Link("eth0", 2, "192.168.1.2", 24), Link("eth0", 2, "fe80::2", 64), Link("eth0", 2, "2001:db8:1::2", 64)])
    near = Address("192.168.1.5", 7653)
    assert home.near(Way("udp", near)) and home.near(Way("tcp", near, link=4))
    assert not home.near(Way("relay", near))
    assert home.on_link("fe80::5%2") and home.on_link("fe80::5%eth0") and home.on_link("2001:db8:1::77")
    assert not home.on_link("fe80::5%3") and not home.on_link("2001:db8:2::77") and not home.on_link("::1")


def test_links_are_bounded_and_those_left_out_are_counted() -> None:
    lan = Segment()
    alice = lan.add("192.168.1.2")
    alice.discovery.follow([lan.link(f"10.0.{n}.2", n) for n in range(2, 40)])
    assert len(alice.discovery.links.all) == limits.LAN_LINKS
    assert alice.discovery.counters["drop:lan-links"] == 38 - limits.LAN_LINKS


def test_where_a_network_has_no_broadcast_address_none_is_used() -> None:
    assert [way.remote for way in ways_of([Link("ppp0", 5, "192.0.2.1", 31)])] == [GROUP_4]
    assert [way.remote for way in ways_of([Link("eth0", 2, "2001:db8::2", 64)])] == [], "a link-local address comes along"
