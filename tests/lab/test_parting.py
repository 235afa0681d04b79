"""Partitions, revocations, leaving, and zones that only some keep (DESIGN 3.2, 3.5)."""

from __future__ import annotations

import pytest

from overlay import acts
from overlay.lab.world import Host, World
from overlay.name import ROOT, parse_path
from overlay.records.record import Record
from tests.lab.scenes import counted, digests, enter, invite, node, say, text, zone


def small_world(*names: str, seed: int = 1, loss: float = 0.0) -> tuple[World, list[Host]]:
    world = World(seed, loss=loss)
    founder = world.found("hq/founder")
    world.run(1)
    return world, [founder, *enter(world, *names)]


# -- partition


@pytest.mark.parametrize("seed", range(3))
def test_after_healing_all_agree_and_the_highest_seq_has_won(seed: int) -> None:
    world, hosts = small_world("eu/home/alice", "us/office/bob", "asia/lab/carol", seed=seed, loss=0.02)
    founder, alice, bob, carol = hosts
    token = invite(world, alice, "eu/home", uses=1)
    dave = world.join("eu/home/dave", seed=token, through=alice)
    assert world.run_until(lambda: world.joined(dave), 20) is not None
    say(world, alice, "eu/home/wiki", "alice, before")
    world.run(2)
    world.partition([founder, alice, bob], [carol, dave])
    world.run(1)
    say(world, alice, "eu/home/wiki", "alice, parted")
    world.run(1)
    say(world, carol, "asia/lab/motd", "carol, parted")
    world.run(40)  # long enough for sessions to end
    assert text(dave, "eu/home/wiki") == ("alice, before",)
    world.network.heal()
    everybody = [*hosts, dave]
    assert world.run_until(lambda: len(digests(everybody)) == 1 and text(dave, "eu/home/wiki") == ("alice, parted",), 90) is not None
    assert all(text(host, "eu/home/wiki") == ("alice, parted",) and text(host, "asia/lab/motd") == ("carol, parted",) for host in everybody)
    assert counted(everybody)["equivocations"] == 0


def test_two_who_claimed_one_name_while_parted_have_one_holder_after_healing() -> None:
    world, (founder,) = small_world()
    first = world.join("hq/first", seed=invite(world, founder, "hq"))
    second = world.join("hq/second", seed=invite(world, founder, "hq"))
    assert world.run_until(lambda: world.joined(first) and world.joined(second), 20) is not None
    world.partition([first], [founder, second])
    world.run(1)
    say(world, first, "hq/wiki", "first")
    world.run(5)
    say(world, second, "hq/wiki", "second")
    world.run(20)
    world.network.heal()
    assert world.run_until(lambda: len(digests([founder, first, second])) == 1, 90) is not None
    assert {text(host, "hq/wiki") for host in (founder, first, second)} == {("first",)}, "the earlier claim holds"


# -- revocation and leaving


def revoke(world: World, issuer: Host, subject: Host) -> Record:
    """A person revokes the name of ``subject`` on the host that issued it."""
    (grant,) = [g for g in node(issuer).book.grants_of(subject.identity.node_id, world.at(issuer)) if g.body[1] == ["own"]]
    made = []

    def act(one: object, at: float) -> None:
        record = node(issuer).statements.sign(grant.name, "revoke", {}, at, item=grant.digest)
        node(issuer).publish([record], at)
        made.append(record)

    world.do(issuer, act)
    return made[0]


def test_a_revocation_ends_sessions_on_arrival_and_keeps_its_subject_out() -> None:
    world, (founder, alice, bob) = small_world("eu/home/alice", "eu/home/bob")
    say(world, bob, "eu/home/bob/motd", "still here")
    world.run(1)
    revoke(world, alice, bob)
    world.run(2)
    assert bob.identity.node_id not in {p.passport.node_id for h in (founder, alice) for p in node(h).peers.admitted() if p.passport}
    assert counted([founder, alice])["reject:R12"] >= 2
    assert text(founder, "eu/home/bob/motd") is None
    assert parse_path("eu/home/bob") not in {entry.name for entry in zone(founder, "eu/home").hosts}
    world.run(60)
    assert not node(bob).peers.admitted()


def test_a_revocation_reaches_who_was_away() -> None:
    world, (founder, alice, bob) = small_world("eu/home/alice", "eu/home/bob")
    world.stop(founder)
    revoke(world, alice, bob)
    world.run(5)
    world.start(founder)
    world.run(40)
    assert bob.identity.node_id not in {p.passport.node_id for p in node(founder).peers.admitted() if p.passport}


def test_who_leaves_takes_all_its_names_along_and_the_label_is_free_again() -> None:
    world, (founder, alice, bob) = small_world("eu/home/alice", "eu/home/bob")
    say(world, bob, "eu/home/bob/motd", "bye")
    world.run(2)
    world.do(bob, acts.leave)
    world.run(2)
    for host in (founder, alice):
        assert text(host, "eu/home/bob/motd") is None
        assert parse_path("eu/home/bob") not in {entry.name for entry in zone(host, "eu/home").hosts}
    world.stop(bob)
    other = world.join("eu/home/bob", host=world.host("another machine"))
    assert world.run_until(lambda: world.joined(other), 20) is not None


def test_what_left_does_not_come_back_with_a_node_that_was_away() -> None:
    world, (founder, alice, bob) = small_world("eu/home/alice", "eu/home/bob")
    say(world, bob, "eu/home/bob/motd", "bye")
    world.run(2)
    world.crash(founder)
    world.do(bob, acts.leave)
    world.run(2)
    world.stop(bob)
    world.start(founder)
    world.run(60)
    assert len(digests([founder, alice])) == 1
    assert parse_path("eu/home/bob") not in {entry.name for entry in zone(founder, "eu/home").hosts}


def test_a_stopped_node_is_missed_at_once_and_its_names_stay() -> None:
    world, (founder, alice, bob) = small_world("eu/home/alice", "us/office/bob")
    world.stop(bob)
    world.run(0.2)
    assert all(p.passport and p.passport.node_id != bob.identity.node_id for h in (founder, alice) for p in node(h).peers.admitted())
    assert [entry.name for entry in zone(alice, "us/office").hosts] == [parse_path("us/office/bob")]


# -- zones that only some keep


CLUSTERS = ("a/one", "b/two", "c/three", "d/four", "e/five", "f/six", "g/seven", "h/eight")


def large_world() -> tuple[World, list[Host]]:
    """More clusters than every node keeps zones of."""
    world = World(4, small=2)
    founder = world.found("hq/founder")
    world.run(1)
    hosts = [founder, *enter(world, *(f"{path}/n" for path in CLUSTERS))]
    world.run(30)
    return world, hosts


def keepers(hosts: list[Host], path: str) -> set[str]:
    """The hosts that count themselves among the keepers of that zone."""
    kept = set()
    for host in hosts:
        directory = node(host).directory
        assert directory is not None
        if directory.holdings.holds(parse_path(path)):
            kept.add(host.name)
    return kept


def test_in_a_large_overlay_a_zone_is_kept_by_its_cluster_and_three_custodians_and_the_table_by_all() -> None:
    world, hosts = large_world()
    for host in hosts:
        say(world, host, f"{host.name}/motd", host.name)
    world.run(40)
    assert len({node(host).book.units["table"].digest for host in hosts}) == 1
    assert all(zone(host, ROOT).cuts == zone(hosts[0], ROOT).cuts for host in hosts)
    for path in CLUSTERS:
        kept = keepers(hosts, path)
        assert f"{path}/n" in kept and 3 <= len(kept) <= 4
        assert all(text(host, f"{path}/n/motd") == (f"{path}/n",) for host in hosts if host.name in kept), path
        assert all(text(host, f"{path}/n/motd") is None for host in hosts if host.name not in kept), path


def test_who_asks_for_a_far_zone_watches_it_gets_it_and_is_told_of_changes() -> None:
    world, hosts = large_world()
    path = CLUSTERS[3]
    owner = next(host for host in hosts if host.name == f"{path}/n")
    far = next(host for host in hosts if host.name not in keepers(hosts, path))
    say(world, owner, f"{path}/motd", "one")
    world.run(1)
    watch(world, far, path)
    assert world.run_until(lambda: text(far, f"{path}/motd") == ("one",), 10, 0.05) is not None
    say(world, owner, f"{path}/motd", "two")
    assert world.run_until(lambda: text(far, f"{path}/motd") == ("two",), 3, 0.05) is not None


def test_a_zone_outlives_all_nodes_of_its_cluster() -> None:
    world, hosts = large_world()
    path = CLUSTERS[5]
    owner = next(host for host in hosts if host.name == f"{path}/n")
    say(world, owner, f"{path}/motd", "I was here")
    world.run(40)
    far = next(host for host in hosts if host.name not in keepers(hosts, path))
    world.crash(owner)
    world.run(30)
    watch(world, far, path)
    assert world.run_until(lambda: text(far, f"{path}/motd") == ("I was here",), 20, 0.1) is not None


def watch(world: World, host: Host, path: str) -> None:
    """Somebody on that host asks for a name of the zone."""

    def act(one: object, at: float) -> None:
        directory = node(host).directory
        assert directory is not None
        directory.watch(parse_path(path), world.now)

    world.do(host, act)
