"""Clocks that are wrong (DESIGN 3.1: 300 s of tolerance; 3.13), and worlds that replay."""

from __future__ import annotations

import pytest

from overlay.lab.world import World
from tests.lab.scenes import counted, digests, enter, node, say, text


def story(seed: int, pieces: float = 5.0) -> str:
    """A short life of four nodes, watched in pieces: what was delivered, as a digest."""
    world = World(seed, loss=0.03, duplicate=0.02)
    world.found("hq/founder")
    for name in ("eu/home/alice", "eu/home/bob", "us/office/carol"):
        world.join(name)
    for _ in range(round(20 / pieces)):
        world.run(pieces)
    return world.digest


def test_the_same_seed_gives_the_same_run_and_another_seed_another() -> None:
    assert story(1) == story(1)
    assert story(1) != story(2)


def test_a_run_does_not_depend_on_the_pieces_in_which_it_is_watched() -> None:
    assert story(3) == story(3, pieces=0.1)


def test_nodes_whose_clocks_are_200_seconds_apart_on_either_side_live_together() -> None:
    world = World(1)
    founder = world.found("hq/founder")
    world.run(1)
    hosts = [founder]
    for number, offset in enumerate((-140.0, 140.0, 0.0)):
        host = world.host(f"c{number}/n{number}", offset=offset, drift=(number - 1) * 1e-4)
        world.join(host.name, host=host)
        hosts.append(host)
    assert world.run_until(lambda: all(map(world.joined, hosts[1:])), 20) is not None
    for host in hosts:
        say(world, host, f"{host.name}/motd", host.name)
    world.run(5)
    assert all(text(other, f"{host.name}/motd") == (host.name,) for host in hosts for other in hosts)
    assert len(digests(hosts)) == 1
    assert counted(hosts)["drop:R02"] == 0


def test_what_a_node_400_seconds_ahead_says_is_refused_and_counted_and_heard_when_its_clock_is_right() -> None:
    world = World(2)
    founder = world.found("hq/founder")
    world.run(1)
    alice, bob = enter(world, "eu/home/alice", "us/office/bob")
    alice.clock_offset = 400.0
    say(world, alice, "eu/home/motd", "from the future")
    world.run(20)
    assert text(bob, "eu/home/motd") is None and text(founder, "eu/home/motd") is None
    assert counted([founder, bob])["drop:R02"] > 0
    assert len(node(bob).peers.admitted()) == 2, "nobody is shut out for its clock"
    world.run(120)
    assert world.run_until(lambda: text(bob, "eu/home/motd") == ("from the future",), 60) is not None, "time has come"


@pytest.mark.parametrize("offset", [-250.0, 250.0])
def test_a_newcomer_250_seconds_off_comes_in(offset: float) -> None:
    world = World(3)
    world.found("hq/founder")
    world.run(1)
    host = world.host("eu/home/alice", offset=offset)
    world.join("eu/home/alice", host=host)
    assert world.run_until(lambda: world.joined(host), 20) is not None
