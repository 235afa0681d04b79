"""Clusters in the lab: one gateway and one standby each in the table, whoever crashes, goes, parts or was thrown out (DESIGN 3.6)."""

from __future__ import annotations

from overlay import acts
from overlay.cluster.outputs import Role
from overlay.directory import roll
from overlay.lab.crypto import NULL
from overlay.lab.world import Host, World
from overlay.name import parse_path
from overlay.node import Node
from overlay.raised import PeerChanged
from overlay.wire.messages import Method, Note
from tests.lab.scenes import invite, node

HOME, OFFICE = "eu/home", "us/office"
CRASH = 4.0  # seconds without a gateway (GOALS)
KNOWN = 5.0  # seconds more until the table of all follows: a change and its push


def role(host: Host) -> Role:
    belonging = node(host).belonging
    assert belonging is not None
    return belonging.lease.role


def gateways(hosts: list[Host]) -> list[Host]:
    return [host for host in hosts if host.node is not None and role(host) is Role.GATEWAY]


def listed(host: Host, cluster: str) -> set[bytes]:
    """Who speaks for that cluster, by that host's table."""
    return {entry.node_id for entry in node(host).book.outline.gateways_of([parse_path(cluster)])}


def led(hosts: list[Host]) -> bool:
    """Whether those that run have one gateway, one standby, and agree on both."""
    up = [host for host in hosts if host.node is not None]
    standings = {(lease.gateway, lease.standby) for host in up if (lease := node(host).belonging.lease)}  # type: ignore[union-attr]
    return len(gateways(up)) == 1 and len(standings) == 1 and (len(up) == 1 or None not in standings.pop())


def two_homes(seed: int = 1, each: int = 4) -> tuple[World, list[Host], list[Host]]:
    """A home and an office of so many nodes each; the founder stands in the home."""
    world = World(seed, crypto=NULL)
    home = [world.found(f"{HOME}/n0")]
    world.run(1.0)
    office = [world.join(f"{OFFICE}/n0")]
    assert world.run_until(lambda: world.joined(office[0]), 20.0) is not None
    for hosts, path in ((home, HOME), (office, OFFICE)):
        seed_of = invite(world, hosts[0], path, uses=each)  # who was asked in may speak
        hosts += [world.join(f"{path}/n{n}", seed=seed_of, through=hosts[0]) for n in range(1, each)]
    assert world.run_until(lambda: all(map(world.joined, (*home, *office))), 30.0) is not None
    assert world.run_until(lambda: led(home) and led(office), 15.0) is not None
    world.run(KNOWN)
    return world, home, office


def test_the_table_lists_a_gateway_and_a_standby_of_each_cluster_and_no_member() -> None:
    _, home, office = two_homes()
    for host in (*home, *office):
        for hosts, path in ((home, HOME), (office, OFFICE)):
            speaking = {one.identity.node_id for one in hosts if role(one) in (Role.GATEWAY, Role.STANDBY)}
            assert len(speaking) == 2 and listed(host, path) == speaking


def test_a_gateway_that_crashes_is_followed_within_four_seconds_and_the_table_with_it() -> None:
    for seed in range(3):
        world, home, office = two_homes(seed)
        crashed = gateways(office)[0]
        world.crash(crashed)
        assert world.run_until(lambda office=office: bool(gateways(office)), CRASH) is not None  # type: ignore[misc]
        successor = gateways(office)[0]
        assert world.run_until(lambda home=home, one=successor: one.identity.node_id in listed(home[-1], OFFICE), KNOWN) is not None  # type: ignore[misc]
        world.start(crashed)
        assert world.run_until(lambda office=office: led(office), 15.0) is not None  # type: ignore[misc]
        assert gateways(office) == [successor]


def test_a_gateway_that_goes_hands_over_within_three_tenths_of_a_second() -> None:
    world, _, office = two_homes()
    leaving = gateways(office)[0]
    world.do(leaving, lambda one, at: None if acts.hand_over(one, world.now) else None)
    assert world.run_until(lambda: leaving not in gateways(office) and len(gateways(office)) == 1, 0.5, 0.02) is not None
    world.stop(leaving)
    assert world.run_until(lambda: led(office), 5.0) is not None


def test_a_split_cluster_has_a_gateway_in_each_part_and_one_when_it_is_healed() -> None:
    world, home, office = two_homes()
    here, there = [*office[:2], *home], office[2:]
    world.partition(here, there)
    assert world.run_until(lambda: len(gateways(office[:2])) == len(gateways(there)) == 1, 10.0) is not None
    world.network.heal()
    assert world.run_until(lambda: led(office), 20.0) is not None
    world.run(KNOWN)
    assert listed(home[0], OFFICE) == {host.identity.node_id for host in office if role(host) is not Role.MEMBER}


def test_the_last_of_a_cluster_speaks_for_it_and_two_are_gateway_and_standby() -> None:
    world, _, office = two_homes(each=2)
    assert {role(host) for host in office} == {Role.GATEWAY, Role.STANDBY}
    world.crash(gateways(office)[0])
    assert world.run_until(lambda: bool(gateways(office)), CRASH) is not None


def test_who_is_no_member_is_not_heard_among_members() -> None:
    world, home, office = two_homes()
    here, there = gateways(home)[0], gateways(office)[0]
    world.do(here, lambda one, at: one.dial(there.identity.exchange_public, [], world.now, at))
    assert world.run_until(lambda: node(here).peers.by_node(there.identity.node_id) is not None, 10.0) is not None
    peer = node(here).peers.by_node(there.identity.node_id)
    assert peer is not None
    belonging = node(there).belonging
    assert belonging is not None
    for note in Note:
        world.do(here, lambda one, at, note=note: one.sessions.message(peer.session, note, {1: 1, 2: 1, 3: [1, 1]}, world.now))  # type: ignore[misc]
    world.run(1.0)
    assert belonging.counters["drop:message-stranger"] == len(Note)
    assert here.identity.node_id not in belonging.members.members()


def test_who_loses_its_name_is_no_longer_in_the_cluster() -> None:
    world, _, office = two_homes()
    loser = next(host for host in office if role(host) is Role.MEMBER)
    own = node(loser).peers.own
    assert own is not None
    giver = next(host for host in office if host.identity.node_id == own.chain[0].signer)
    world.do(giver, lambda one, at: None if acts.revoke(one, own.chain[0].digest, at) else None)
    others = [host for host in office if host is not loser]

    def parted() -> bool:
        return not any(node(host).peers.by_node(loser.identity.node_id) for host in others)

    assert world.run_until(parted, 10.0) is not None
    assert [event for event in others[0].events if isinstance(event, PeerChanged)]


def test_islands_of_one_overlay_merge_when_they_meet() -> None:
    """Two clusters that lost sight of each other: their gateways keep trying, and find."""
    world, home, office = two_homes(each=2)
    world.partition(home, office)
    world.run(120.0)
    assert all(node(host).belonging.astray for host in (*gateways(home), *gateways(office)))  # type: ignore[union-attr]
    world.do(office[1], lambda one, at: acts.set_data(one, parse_path(f"{OFFICE}/n1/said"), "TXT", ("alone",), 30, at))
    world.network.heal()
    marks = {host.name: node(host).book.units for host in home}

    def known() -> bool:
        return all(marks[host.name][f"zone:{OFFICE}"].digest == node(office[1]).book.units[f"zone:{OFFICE}"].digest for host in home)

    assert world.run_until(known, 90.0) is not None


def test_a_far_cluster_tells_its_members_on_request_and_no_more_of_them_than_names() -> None:
    world, home, office = two_homes()
    here, there = gateways(home)[0], gateways(office)[0]
    world.do(here, lambda one, at: one.dial(there.identity.exchange_public, [], world.now, at))
    assert world.run_until(lambda: node(here).peers.by_node(there.identity.node_id) is not None, 10.0) is not None
    peer = node(here).peers.by_node(there.identity.node_id)
    assert peer is not None
    answers: list[object] = []
    path = parse_path(OFFICE)
    for method, body in ((Method.MEMBERS, roll.question(path)), (Method.MATES, {})):
        world.do(here, lambda one, at, method=method, body=body: ask(one, peer.session, method, body, answers, world.now))  # type: ignore[misc]
        world.run(1.0)
    told = roll.read(answers[0], path)
    assert {member.node_id for member in told.members} == {host.identity.node_id for host in office} and not told.more
    assert answers[1] is None  # incarnations and LAN addresses are for members


def ask(one: Node, session: int, method: Method, body: object, answers: list[object], now: float) -> None:
    one.calling.call(session, method, body, lambda answer, now, at: answers.append(answer), now)


def test_members_hear_at_once_of_addresses_that_change() -> None:
    world, _, office = two_homes()
    moved, other = office[1], office[2]
    world.do(moved, lambda one, at: one.interfaces(["10.9.9.9"]))

    def heard() -> bool:
        card = node(other).belonging.members.card(moved.identity.node_id)  # type: ignore[union-attr]
        return card is not None and [address.host for address in card.addresses] == ["10.9.9.9"]

    assert world.run_until(heard, 2.0) is not None


def test_whoever_can_be_reached_from_outside_ranks_above_those_who_cannot() -> None:
    world, _, office = two_homes()
    reached = next(host for host in office if role(host) is Role.MEMBER)
    public = "9.9.9.9"
    world.do(reached, lambda one, at: one.interfaces([reached.address, public]))
    world.do(reached, lambda one, at: one.presence.witnessed(public))  # type: ignore[union-attr]
    world.do(reached, lambda one, at: one.belonging.look_soon())  # type: ignore[union-attr]
    world.run(5.0)
    assert node(reached).belonging.lease._rank.reach == 1  # type: ignore[union-attr]


def test_a_node_that_does_not_hold_a_cluster_refuses_to_tell_its_members() -> None:
    world, home, _ = two_homes()
    first, second = home[:2]
    peer = node(first).peers.by_node(second.identity.node_id)
    assert peer is not None
    answers: list[object] = []
    world.do(first, lambda one, at: ask(one, peer.session, Method.MEMBERS, roll.question(parse_path("xx/nowhere")), answers, world.now))
    world.run(1.0)
    assert answers == [None]
