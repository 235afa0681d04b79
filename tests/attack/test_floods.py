"""Floods against whole nodes: what strangers and members make them send, keep and count (issue 3, "Under attack").

``Weighed`` is a node that keeps a ledger of each address: octets that came from it, octets that went there, and whether
it has proved itself. It also plays the attacker on the path, who copies what arrives and lets the copy come first, from
an address of somebody else.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from trio_util import RepeatedEvent

from overlay import limits
from overlay.cli.plugged import Plugged
from overlay.lab.world import Host, World
from overlay.machine import Send, Step
from overlay.node import Node
from overlay.raised import PassportGood, SessionEnded
from overlay.setup import Setup
from overlay.wire.address import Address, Way
from overlay.wire.codec import encode
from overlay.wire.messages import Frame, Method, Packet
from tests.lab.scenes import digests, enter, node

VICTIMS = [Address(f"198.51.100.{number}", 4_000 + number) for number in range(1, 60)]


PROBE = 94  # octets of the packet that tries a way
PROBED = (60 * 12 + limits.GUESSES) * PROBE  # octets to one host in minutes with deaths and silences: 60 attempts, and a run of guesses


class Weighed(Node):
    """Fails at once where more goes to an address that has not proved itself than came from it, or than it takes to try it."""

    attack = 0.0  # the part of arriving datagrams that an attacker copies
    dice = Random(1)

    def __init__(self, setup: Setup, now: float, at: float) -> None:
        self.came: Counter[Address] = Counter()
        self.went: Counter[Address] = Counter()
        self.dialled: Counter[Address] = Counter()  # octets of handshakes that this node began, and of knocks for others
        self.proved: set[Address] = set()
        self.named: set[str] = set()  # hosts that a peer, or our own dial, named as ways: they get some probes
        self.probed: Counter[str] = Counter()
        super().__init__(setup, now, at)

    def datagram(self, data: bytes, way: Way, now: float, at: float) -> None:
        if way.proto == "udp" and self.dice.random() < self.attack:
            victim = self.dice.choice(VICTIMS)
            self._weighed(data, Way("udp", victim, way.local), now, at)
        self._weighed(data, way, now, at)

    def _weighed(self, data: bytes, way: Way, now: float, at: float) -> None:
        if way.proto == "udp":
            self.came[way.remote] += len(data)
        super().datagram(data, way, now, at)
        self._look()

    def take(self, now: float, at: float) -> Step:
        step = super().take(now, at)
        self._look()
        for effect in step.then:
            if isinstance(effect, Send) and effect.way.proto == "udp":
                where = effect.way.remote
                if effect.data[0] in (Packet.INITIATION, Packet.KNOCK):
                    self.dialled[where] += len(effect.data)
                elif len(effect.data) == PROBE and where.host in self.named:
                    self.probed[where.host] += PROBE
                    assert self.probed[where.host] <= PROBED, where
                else:
                    self.went[where] += len(effect.data)
                    assert where in self.proved or self.went[where] <= self.came[where], (where, effect.data[0], len(effect.data))
        return step

    def _look(self) -> None:
        """An address has proved itself when a session goes there: the machine's own rules are tested in ``tests/session``."""
        self.named |= {one.way.remote.host for session in self.sessions._numbers.values() for one in session.tries}
        self.named |= {run.host for run in self.sessions.guessing._runs.values()}
        self.proved |= {session.way.remote for session in self.sessions._numbers.values() if session.way.proto == "udp"}


def weighed(host: Host) -> Weighed:
    one = node(host)
    assert isinstance(one, Weighed)
    return one


def sealed(host: Host, to: Host, frames: list[Any]) -> bytes:
    """A packet of that host's session with the other, as its keys make it."""
    peer = node(host).peers.by_exchange(to.identity.exchange_public)
    assert peer is not None
    return node(host).sessions._numbers[peer.session].link.seal(encode(frames))


def arrive(world: World, host: Host, data: bytes, source: Address) -> None:
    """Octets reach a host from wherever they say."""
    world.do(host, lambda one, at: one.datagram(data, Way("udp", source, host.address), world.now, at))


@pytest.mark.parametrize("seed", range(3))
def test_over_a_whole_life_no_unproven_address_gets_more_octets_than_came_from_it(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overlay.lab.world.Node", Weighed)
    monkeypatch.setattr(Weighed, "attack", 0.15)
    monkeypatch.setattr(Weighed, "dice", Random(seed))
    world = World(seed, loss=0.03, duplicate=0.05)
    founder = world.found("hq/founder")
    world.run(1)
    hosts = [founder, *enter(world, "eu/home/alice", "eu/home/bob", "us/office/carol", limit=60)]
    walled = world.host("asia/lab/dave")
    world.network.udp_blocked.add(walled.address)
    world.join("asia/lab/dave", host=walled)
    assert world.run_until(lambda: world.joined(walled), 60) is not None  # over TCP
    world.partition(hosts[:2], hosts[2:])
    world.run(40)
    world.network.heal()
    world.crash(hosts[1])
    world.run(20)
    world.start(hosts[1])
    world.stop(hosts[2])
    world.run(5)
    world.start(hosts[2])
    world.run(90)
    attacked = [weighed(host) for host in hosts]
    assert sum(one.came[victim] for one in attacked for victim in VICTIMS) > 5_000
    assert sum(one.went[victim] for one in attacked for victim in VICTIMS) > 500
    assert not any(victim in one.proved for one in attacked for victim in VICTIMS)
    monkeypatch.setattr(Weighed, "attack", 0.0)
    assert world.run_until(lambda: len(digests(hosts)) == 1, 120) is not None


def test_a_member_that_lets_its_packets_come_from_a_victims_address_gets_the_victim_no_more_than_it_sends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("overlay.lab.world.Node", Weighed)
    world = World(9)
    founder = world.found("hq/founder")
    world.run(1)
    (mallory, _) = enter(world, "eu/home/mallory", "eu/home/bob")
    dice = Random(9)
    looks: list[list[Any]] = [
        [Frame.CHALLENGE.value, bytes(8)], [Frame.PROBE.value, bytes(8), bytes(50)], [Frame.PROOF.value, bytes(8)], [Frame.KEEPALIVE.value],
        [99], [Frame.PAGE.value, 3, 1],
    ]  # fmt: skip
    for ticket in range(1, 400):
        calls = [[Frame.CALL.value, 10_000 + ticket, method.value, {}, 10_000 + ticket] for method in Method]
        frames = [dice.choice([*looks, *calls]) for _ in range(dice.randrange(1, 30))]
        arrive(world, founder, sealed(mallory, founder, frames), dice.choice(VICTIMS))
        world.run(0.05)
    one = weighed(founder)
    assert 0 < sum(one.went[victim] for victim in VICTIMS) <= sum(one.came[victim] for victim in VICTIMS)
    assert not one.proved & set(VICTIMS)
    assert world.joined(mallory)


def test_the_words_of_a_peer_make_no_counters() -> None:
    world = World(10)
    founder = world.found("hq/founder")
    world.run(1)
    (mallory,) = enter(world, "eu/home/mallory")
    before = len(node(founder).counters)
    for number in range(300):
        ticket: list[int] = []
        session = node(founder).peers.by_exchange(mallory.identity.exchange_public)
        assert session is not None
        world.do(founder, lambda one, at: ticket.append(one.ping(session, world.now)))  # noqa: B023
        answer = [Frame.REPLY.value, ticket[0], 1, f"because {number}", 0, 0]
        arrive(world, founder, sealed(mallory, founder, [answer]), Address(mallory.address, 7653))
    assert len(node(founder).counters) <= before + 2
    assert not [event for event in founder.events if isinstance(event, SessionEnded)]


def test_strangers_that_come_and_go_leave_nothing_behind_in_the_plugs() -> None:
    plugged = Plugged.__new__(Plugged)  # what it remembers of keys, without sockets
    plugged._good, plugged._lost, plugged._news = {}, {bytes(32): ""}, RepeatedEvent()
    for number in range(1_000):
        plugged._heard(PassportGood(number.to_bytes(32, "big"), bytes(32)))
        plugged._heard(SessionEnded(number.to_bytes(32, "big"), "silent"))
    assert not plugged._good
    assert plugged._lost == {bytes(32): "silent"}  # the one that somebody waits for
