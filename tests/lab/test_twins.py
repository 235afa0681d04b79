"""Two holders of one identity (a cloned machine image): both say so, and nobody else suffers (DESIGN 3.12: a clone needs an identity)."""

from __future__ import annotations

import copy

from overlay.lab.world import Host, World
from tests.lab.scenes import enter, node, say, text


def clone(world: World, of: Host, name: str) -> Host:
    """A machine made from another's image: the same identity and disk, an address of its own."""
    host = world.host(name)
    host.identity, host.disk = of.identity, copy.deepcopy(of.disk)
    return host


def test_a_clone_is_noticed_by_both_and_the_others_go_on() -> None:
    world = World(11)
    founder = world.found("hq/founder")
    world.run(1)
    alice, bob = enter(world, "eu/home/alice", "us/office/bob")
    world.run(400)  # beyond the tolerance of clocks: what a restored node hears again is no twin's
    twin = clone(world, alice, "twin")
    world.start(twin)
    world.run(400)
    before = world.counters["sent"]
    world.run(600)
    assert (world.counters["sent"] - before) / 600 < 60, "datagrams a second of four nodes: they do not quarrel without end"
    assert alice.logs["twin"] + twin.logs["twin"] >= 1
    say(world, bob, "us/office/bob", "unmoved")
    world.run(3)
    assert text(founder, "us/office/bob") == ("unmoved",)
    assert node(founder).peers.by_node(bob.identity.node_id) is not None


def test_a_node_that_hears_its_own_past_again_is_no_twin() -> None:
    world = World(12)
    founder = world.found("hq/founder")
    world.run(1)
    (alice,) = enter(world, "eu/home/alice")
    backup = copy.deepcopy(alice.disk)
    say(world, alice, "eu/home/alice", "after the backup")
    world.run(400)
    world.crash(alice)
    world.run(30)
    alice.disk = backup
    world.start(alice)
    assert world.run_until(lambda: text(alice, "eu/home/alice") == ("after the backup",), 30) is not None
    world.run(60)
    assert alice.logs["twin"] == 0
    say(world, alice, "eu/home/alice", "said anew")
    world.run(2)
    assert text(founder, "eu/home/alice") == ("said anew",), "its numbers go on where the others heard it last"
