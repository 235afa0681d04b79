"""NATs in virtual time: what RFC 4787 says of each kind, and the whole matrix of them in seconds (DESIGN 3.7)."""

from __future__ import annotations

import itertools
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay.lab.nat import KINDS, By, Kind, Nat, Ports
from overlay.lab.world import Host, World, reboot
from overlay.records.kinds import Cluster
from overlay.records.kinds import Host as HostBody
from overlay.reports import Reports
from overlay.wire.address import Address
from tests.lab.scenes import node

INSIDE = Address("10.0.0.2", 7653)
FARS = [Address(host, port) for host in ("198.51.100.1", "198.51.100.2") for port in (7653, 7654)]

moves = st.lists(st.tuples(st.sampled_from(FARS), st.floats(0, 50)), min_size=1, max_size=30)


@given(moves, st.sampled_from(By), st.sampled_from(Ports), st.integers(0, 2**16))
def test_a_mapping_depends_on_what_its_kind_says_and_on_nothing_else(said: list[tuple[Address, float]], by: By, ports: Ports, seed: int) -> None:
    nat = Nat(Kind(mapping=by, ports=ports), "203.0.113.7", Random(seed))
    now, ports_of = 0.0, dict[object, set[int]]()
    for to, pause in said:
        now += pause
        seen = nat.out(INSIDE, to, now)
        assert seen is not None
        key = {By.ENDPOINT: None, By.ADDRESS: to.host, By.PORT: to}[by]
        ports_of.setdefault(key, set()).add(seen.port)
        assert nat.into(seen.port, to, now) == INSIDE
    assert all(len({*found}) == 1 for found in ports_of.values()) or now > nat.kind.timeout


@given(st.sampled_from(By), st.sampled_from(FARS), st.sampled_from(FARS), st.floats(0, 300))
def test_a_filter_lets_in_who_was_written_to_as_far_as_its_kind_looks(by: By, asked: Address, stranger: Address, later: float) -> None:
    nat = Nat(Kind(filtering=by), "203.0.113.7", Random(1))
    seen = nat.out(INSIDE, asked, 0.0)
    assert seen is not None
    known = {By.ENDPOINT: True, By.ADDRESS: asked.host == stranger.host, By.PORT: asked == stranger}[by]
    assert (nat.into(seen.port, stranger, later) == INSIDE) is (known and later <= nat.kind.timeout)


def test_two_inside_never_share_a_port_and_a_reboot_forgets_all() -> None:
    nat = Nat(KINDS["full-cone"], "203.0.113.7", Random(1))
    seen = {nat.out(Address(f"10.0.0.{number}", 7653), FARS[0], 0.0) for number in range(2, 50)}
    assert len(seen) == 48
    nat.reboot("203.0.113.8")
    assert all(nat.into(address.port, FARS[0], 0.0) is None for address in seen if address is not None)


# -- the matrix

UNLIKE = ("full-cone", "restricted", "port-restricted", "symmetric")
CLOSED = ("udp-blocked", "tcp443-only")


def met(world: World, host: Host, other: Host) -> str | None:
    """How one reaches the other now."""
    peer = node(host).peers.by_exchange(other.identity.exchange_public)
    return Reports(node(host), zone="cloud.example.net", tld="cloud").path_of(peer) if peer is not None and peer.admitted else None


def knock(world: World, host: Host, other: Host) -> None:
    """Dial as `overlay ping` does: with what the other's record says, wherever it is held."""
    presence = node(other).presence
    assert presence is not None
    addresses, relays = presence.addresses, presence.relays
    world.do(host, lambda one, at: one.dial(other.identity.exchange_public, addresses, world.now, at, relays))


@pytest.mark.parametrize("seed", range(2))
def test_every_pair_of_nats_connects_at_once_and_goes_direct_where_it_can(seed: int) -> None:
    world = World(seed, delay=(0.01, 0.03))
    world.found("hub/hub")
    for name in ("one/one", "two/two"):
        world.join(name)
    assert world.run_until(lambda: all(world.joined(host) for host in world.hosts.values()), 20) is not None
    sites = {}
    for kind, place in itertools.product((*UNLIKE, *CLOSED), "ab"):
        sites[kind, place] = world.join(f"{kind}-{place}/{kind}-{place}", nats=(KINDS[kind],))
    assert world.run_until(lambda: all(world.joined(host) for host in world.hosts.values()), 60) is not None
    world.run(5)
    for a, b in itertools.combinations_with_replacement((*UNLIKE, *CLOSED), 2):
        one, other = sites[a, "a"], sites[b, "b"]
        knock(world, one, other)
        first = world.run_until(lambda one=one, other=other: met(world, one, other) is not None, 2.0, step=0.01)  # type: ignore[misc]
        assert first is not None, (a, b)
        assert first <= 0.6, (a, b, first)
        relayed = bool({a, b} & set(CLOSED)) or a == b == "symmetric"
        wanted = ("relay",) if relayed else ("direct", "punched")
        took = world.run_until(lambda one=one, other=other, wanted=wanted: met(world, one, other) in wanted, 14.0, step=0.05)  # type: ignore[misc]
        assert took is not None, (a, b, met(world, one, other))


def test_customers_of_carriers_who_stand_behind_two_nats_reach_each_other_directly() -> None:
    world = World(3, delay=(0.01, 0.03))
    world.found("hub/hub")
    world.join("one/one")
    world.join("two/two")
    row = (KINDS["port-restricted"], KINDS["port-restricted"])
    alice, bob = (world.join(f"{name}/{name}", nats=row) for name in ("alice", "bob"))
    assert world.run_until(lambda: all(world.joined(host) for host in world.hosts.values()), 60) is not None
    world.run(3)
    knock(world, alice, bob)
    assert world.run_until(lambda: met(world, alice, bob) == met(world, bob, alice) == "punched", 5.0) is not None


def test_a_router_that_reboots_with_a_new_address_costs_two_seconds_at_most() -> None:
    world = World(4, delay=(0.01, 0.03))
    world.found("hub/hub")
    world.join("one/one")
    world.join("two/two")
    alice, bob = (world.join(f"{name}/{name}", nats=(KINDS["port-restricted"],)) for name in ("alice", "bob"))
    assert world.run_until(lambda: all(world.joined(host) for host in world.hosts.values()), 60) is not None
    world.run(3)
    knock(world, alice, bob)
    assert world.run_until(lambda: met(world, alice, bob) == "punched", 5.0) is not None
    world.run(10)
    reboot(world, alice)
    peer = node(alice).peers.by_exchange(bob.identity.exchange_public)
    assert peer is not None
    rtt = peer.rtt
    world.do(alice, lambda one, at: one.ping(peer, world.now) and None)
    took = world.run_until(lambda: peer.rtt != rtt, 5.0, step=0.02)
    assert took is not None
    assert took <= 2.0
    assert world.run_until(lambda: met(world, alice, bob) == "punched", 15.0) is not None


def test_three_liars_among_ten_never_decide_what_our_address_is() -> None:
    world = World(5, delay=(0.01, 0.03))
    world.found("hub/hub")
    others = [world.join(f"n{number}/n{number}") for number in range(9)]
    alice = world.join("alice/alice", nats=(KINDS["port-restricted"],))
    assert world.run_until(lambda: all(world.joined(host) for host in world.hosts.values()), 60) is not None
    for other in others:
        knock(world, alice, other)
    world.run(3)
    reach = node(alice).reach
    for liar in others[:3]:
        peer = node(alice).peers.by_exchange(liar.identity.exchange_public)
        assert peer is not None
        reach.seen_as(peer, Address("203.0.113.66", 7653), world.now)
    assert node(alice).outlook.outside(world.now) == alice.nats[0].outside


def test_a_nat_that_forgets_after_twenty_seconds_is_learnt_of_and_reminded_in_time() -> None:
    world = World(6, delay=(0.01, 0.03))
    world.found("hub/hub")
    world.join("one/one")
    world.join("two/two")
    forgetful = Kind(timeout=20.0)
    alice, bob = (world.join(f"{name}/{name}", nats=(forgetful,)) for name in ("alice", "bob"))
    assert world.run_until(lambda: all(world.joined(host) for host in world.hosts.values()), 60) is not None
    world.run(3)
    knock(world, alice, bob)
    assert world.run_until(lambda: met(world, alice, bob) == "punched", 5.0) is not None
    peer = node(alice).peers.by_exchange(bob.identity.exchange_public)
    assert peer is not None
    took = []
    for _ in range(6):
        world.run(24)  # quiet for longer than the NATs remember, and for less than a keepalive's pause
        rtt = peer.rtt
        world.do(alice, lambda one, at: one.ping(peer, world.now) and None)
        took.append(world.run_until(lambda rtt=rtt: peer.rtt != rtt, 5.0, step=0.02))  # type: ignore[misc]
        assert world.run_until(lambda: met(world, alice, bob) == "punched", 20.0) is not None
    assert all(one is not None and one <= 2.0 for one in took), took
    assert took[-1] is not None
    assert took[-1] < 0.2
    assert node(alice).sessions.paths.keepalive < 20.0


def test_lan_addresses_are_in_no_record_that_leaves_the_lan_and_in_its_own_nodes_answers() -> None:
    world = World(7, delay=(0.01, 0.03))
    world.found("hub/hub")
    world.join("one/one")
    world.join("two/two")
    mates = []
    for name in ("home/alice", "home/bob"):
        host = world.host(name, lan="home", nats=(KINDS["port-restricted"],))
        mates.append(world.join(name, host=host))
        assert world.run_until(lambda: all(world.joined(one) for one in world.hosts.values()), 60) is not None
    world.run(30)
    for host in world.hosts.values():
        told = [body for record in node(host).book.records.values() if record.kind in ("host", "cluster") for body in [node(host).book.body(record)]]
        addresses = {address.host for body in told if isinstance(body, HostBody | Cluster) for address in body.addresses}
        assert addresses
        assert not any(address.startswith("10.") for address in addresses), addresses
    belonging = node(mates[0]).belonging
    assert belonging is not None
    assert set(belonging.near().values()) == {(mate.address,) for mate in mates}


def test_a_newcomer_reaches_who_may_let_it_in_through_whoever_pointed_there() -> None:
    world = World(8, delay=(0.01, 0.03))
    world.found("hub/hub")
    world.join("one/one")
    world.join("two/two")
    world.join("home/alice", nats=(KINDS["symmetric"],))
    assert world.run_until(lambda: all(world.joined(host) for host in world.hosts.values()), 60) is not None
    bob = world.join("home/bob", nats=(KINDS["symmetric"],))  # from elsewhere, into a cluster whose only gateway no stranger reaches
    assert world.run_until(lambda: world.joined(bob), 30) is not None
