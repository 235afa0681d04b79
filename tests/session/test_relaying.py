"""Relays and the ways of a session: it starts over a relay at once, moves to what is better, and leaves what has died."""

from __future__ import annotations

import pytest

from overlay import limits
from overlay.machine import Send
from overlay.session import events
from overlay.session.relaying import RELAY, SHORT
from overlay.wire.address import Address, Way
from overlay.wire.codec import encode
from tests.session.wire_pair import End, Wire


def kept_apart(seed: int = 1, relays: int = 1) -> tuple[Wire, End, End, list[End], set[frozenset[str]]]:
    """Two ends that reach only their relays; ``apart`` holds pairs of hosts between which no datagram passes."""
    wire = Wire(seed)
    a, b = wire.end(1), wire.end(2)
    middle = [wire.end(3 + n) for n in range(relays)]
    apart = {frozenset((a.addresses[0].host, b.addresses[0].host))}

    def drop(end: End, send: Send) -> bool:
        return frozenset((end.addresses[0].host, send.way.remote.host)) in apart

    wire.drop = drop
    for relay in middle:
        wire.join(a, relay)
        wire.join(b, relay)
        relay.sessions.admit(relay.of(events.Opened)[0].session)
        relay.sessions.admit(relay.of(events.Opened)[1].session)
    return wire, a, b, middle, apart


def dial(wire: Wire, a: End, b: End, relays: list[End]) -> None:
    a.sessions.dial(b.key, b.addresses, wire.now, wire.at(), tcp=False, relays=[relay.key for relay in relays])
    wire.settle(a)
    wire.run(0.3)
    for end in (a, b):
        end.sessions.admit(end.number)


def way_of(end: End, number: int | None = None) -> Way:
    return end.sessions._numbers[end.number if number is None else number].way


def ask(wire: Wire, end: End) -> float | None:
    """Seconds until a call is answered; None where it is not within five."""
    began, ticket = wire.now, wire.call(end, {1: 1})
    while wire.now < began + 5:
        wire.run(0.01)
        if ticket in wire.answers(end):
            return wire.now - began
    return None


def test_two_ends_that_cannot_reach_each_other_are_joined_by_a_relay_within_two_round_trips() -> None:
    wire, a, b, (relay,), _ = kept_apart()
    began = wire.now
    a.sessions.dial(b.key, b.addresses, wire.now, wire.at(), relays=[relay.key])
    wire.settle(a)
    while a.open_now() < 2 or b.open_now() < 2:
        wire.run(0.005)
        assert wire.now < began + 0.2
    assert way_of(a).proto == way_of(b).proto == RELAY
    assert ask(wire, a) is not None
    assert ask(wire, b) is not None
    assert relay.sessions.counters["relayed"] >= 6


def test_a_relay_sees_nothing_of_what_it_carries_and_what_it_alters_is_dropped() -> None:
    wire, a, b, (relay,), _ = kept_apart()
    dial(wire, a, b, [relay])
    secret = b"a secret of some length"
    before = len(relay.sent)
    a.sessions.message(a.number, 1, secret, wire.now)
    wire.settle(a)
    wire.run(0.2)
    assert [event.body for event in b.of(events.Message)] == [secret]
    opened = relay.sessions._sessions[a.key].link
    assert all(secret not in send.data for send in relay.sent[before:])
    assert opened.peer == a.key
    forged = b"\x04" + bytes(60)
    target = relay.sessions._sessions[b.key]
    wire.inject(b, target.link.seal(encode([[17, a.key[:SHORT], forged]])), source=relay.addresses[0].host, port=7653)
    assert b.sessions.counters["drop:no-session"] == 1


def test_the_session_moves_to_the_direct_way_when_there_is_one_and_loses_nothing() -> None:
    wire, a, b, (relay,), apart = kept_apart()
    dial(wire, a, b, [relay])
    apart.clear()
    tickets = []
    for n in range(20):
        if n == 5:
            a.sessions.paths.attempt(a.number, [Way("udp", b.addresses[0])], wire.now)
        tickets.append(wire.call(a, {1: n}))
        wire.run(0.02)
    wire.run(1)
    assert all(ticket in wire.answers(a) for ticket in tickets)
    assert way_of(a).proto == way_of(b).proto == "udp"
    before = relay.sessions.counters["relayed"]
    assert ask(wire, a) is not None
    assert ask(wire, b) is not None
    assert relay.sessions.counters["relayed"] == before


def test_a_direct_way_that_dies_is_left_for_the_relay_within_two_seconds_and_taken_again() -> None:
    wire, a, b, (relay,), apart = kept_apart()
    pair = set(apart)
    dial(wire, a, b, [relay])
    apart.clear()
    a.sessions.paths.attempt(a.number, [Way("udp", b.addresses[0])], wire.now)
    wire.settle(a)
    wire.run(1)
    assert way_of(a).proto == "udp"
    apart |= pair
    took = ask(wire, a)
    assert took is not None
    assert took < 2.0
    assert way_of(a).proto == way_of(b).proto == RELAY
    apart.clear()
    a.sessions.paths.attempt(a.number, [Way("udp", b.addresses[0])], wire.now)
    wire.settle(a)
    wire.run(1)
    assert ask(wire, b) is not None
    assert way_of(a).proto == way_of(b).proto == "udp"
    assert a.open_now() == b.open_now() == 2


@pytest.mark.parametrize("seed", range(3))
def test_the_death_of_a_relay_is_survived_by_another_within_two_seconds(seed: int) -> None:
    wire, a, b, (first, second), _ = kept_apart(seed, relays=2)
    dial(wire, a, b, [first, second])
    used = a.sessions.relaying.through(way_of(a))
    other = next(relay for relay in (first, second) if relay.key != used)
    a.sessions.paths.attempt(a.number, [a.sessions.relaying.way(other.key, b.key)], wire.now)
    wire.settle(a)
    wire.run(0.5)
    next(relay for relay in (first, second) if relay.key == used).alive = False
    took = ask(wire, a)
    assert took is not None
    assert took < 2.0


def test_a_relay_that_does_not_know_the_far_end_says_so_and_the_dial_ends_at_once() -> None:
    wire, a, _, (relay,), _ = kept_apart()
    stranger = wire.end(9)
    a.sessions.dial(stranger.key, [], wire.now, wire.at(), relays=[relay.key])
    wire.settle(a)
    wire.run(0.1)
    assert [event.reason for event in a.of(events.DialFailed)] == ["no-relay"]
    assert relay.sessions.counters["relay_refused"] == 1


def test_a_relay_carries_no_more_for_one_session_than_its_share() -> None:
    wire, a, b, (relay,), _ = kept_apart()
    link = a.sessions._sessions[relay.key].link
    datagram = b"\x04" + bytes(1_170)
    carried = 0
    for _ in range(4_000):
        before = len(relay.sent)
        wire.inject(relay, link.seal(encode([[16, b.key[:SHORT], datagram]])), source=a.addresses[0].host, port=7653)
        carried += sum(len(datagram) for send in relay.sent[before:] if send.way.remote == b.addresses[0])
    assert carried <= limits.RELAY_BURST
    assert relay.sessions.counters["drop:relay-rate"] > 0


def test_a_stranger_is_carried_as_far_as_it_needs_to_join_and_strangers_not_to_each_other() -> None:
    wire = Wire()
    a, b, c, relay = wire.end(1), wire.end(2), wire.end(4), wire.end(3)
    for end in (a, b, c):
        wire.dial(end, relay)
        wire.run(0.5)
    relay.sessions.admit(relay.of(events.Opened)[1].session)  # b
    link = a.sessions._sessions[relay.key].link
    wire.inject(relay, link.seal(encode([[16, c.key[:SHORT], bytes(100)]])), source=a.addresses[0].host, port=7653)
    assert relay.sessions.counters["relay_refused"] == 1
    for _ in range(200):
        wire.inject(relay, link.seal(encode([[16, b.key[:SHORT], bytes(1_000)]])), source=a.addresses[0].host, port=7653)
    assert relay.sessions.counters["relayed"] == limits.RELAY_STRANGER // 1_000


def test_a_node_that_relays_for_nobody_says_so_at_once() -> None:
    wire, a, b, (relay,), _ = kept_apart()
    relay.sessions.relaying.allowed = False
    a.sessions.dial(b.key, [], wire.now, wire.at(), relays=[relay.key])
    wire.settle(a)
    wire.run(0.1)
    assert [event.reason for event in a.of(events.DialFailed)] == ["no-relay"]


def test_no_relay_is_reached_through_another() -> None:
    wire, a, b, (relay,), _ = kept_apart()
    dial(wire, a, b, [relay])
    far = wire.end(7)
    a.sessions.dial(far.key, [], wire.now, wire.at(), relays=[b.key])
    wire.settle(a)
    assert a.sessions.counters["drop:relay-gone"] >= 1


def test_a_named_victim_gets_a_bounded_number_of_octets() -> None:
    wire, a, b, (relay,), _ = kept_apart()
    dial(wire, a, b, [relay])
    victims = [Address(f"198.51.100.{n}", 53) for n in range(40)]
    before = len(b.sent)
    for _ in range(5):
        b.sessions.paths.attempt(b.number, [Way("udp", victim) for victim in victims], wire.now)
        wire.settle(b)
        wire.run(6)
    sent = [send for send in b.sent[before:] if send.way.remote in victims]
    assert sum(len(send.data) for send in sent) <= 5 * limits.TRIES * 12 * 93
    assert b.sessions.counters["drop:tries-full"] > 0
    assert way_of(b).proto == RELAY
