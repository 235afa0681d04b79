"""Crashes between the two lots, at every place where they can fall (DESIGN 3.13, "durable before visible")."""

from __future__ import annotations

from functools import partial
from random import Random

import pytest

from overlay.lab.crypto import NULL
from overlay.lab.world import Host, World
from tests.lab.scenes import counted, digests, enter, invite, node, say, text


def crash_and_restart(world: World, host: Host, dice: Random) -> None:
    """The host's node crashes at its next step that stores something, and starts again a moment later."""
    host.crash_next = True
    world.run_until(lambda: host.node is None, 40, 0.05)
    host.crash_next = False
    if host.node is None:
        world.run(dice.uniform(0.1, 3))
        world.start(host)


@pytest.mark.parametrize("seed", range(4))
def test_over_many_crashes_no_change_is_lost_that_others_have_seen_and_no_seq_is_used_twice(seed: int) -> None:
    world = World(seed, loss=0.02, duplicate=0.01)
    founder = world.found("hq/founder")
    world.run(1)
    hosts = [founder, *enter(world, "eu/home/alice", "eu/home/bob", "us/office/carol")]
    dice = Random(seed)
    said: dict[str, list[str]] = {f"{host.name}/diary": [] for host in hosts}
    seen: dict[str, int] = {}
    for number in range(24):
        host = dice.choice(hosts)
        name = f"{host.name}/diary"
        if dice.random() < 0.5:
            host.crash_next = True
        said[name].append(str(number))
        say(world, host, name, str(number))
        world.run(dice.uniform(0, 1.5))
        for other in hosts:
            if other.node is not None:
                shown = text(other, name)
                if shown is not None:
                    seen[name] = max(seen.get(name, -1), int(shown[0]))
        if host.node is None:
            world.start(host)
        host.crash_next = False
    world.run(60)
    assert world.counters["crashed-between-lots"] > 5
    assert len(digests(hosts)) == 1
    for name, words in said.items():
        if words:
            assert all(text(other, name) == (words[-1],) for other in hosts), name
            assert int(words[-1]) >= seen.get(name, -1)
    assert counted(hosts)["equivocations"] == 0


@pytest.mark.parametrize("seed", range(3))
def test_a_redeemer_that_crashes_between_the_lots_gives_no_more_than_the_token_says(seed: int) -> None:
    world = World(seed, loss=0.02)
    founder = world.found("hq/founder", admission="invite")
    world.run(1)
    dice = Random(seed)
    seed_of_two = invite(world, founder, "hq", uses=2)
    hosts = []
    for number in range(4):
        hosts.append(world.join(f"hq/n{number}", seed=seed_of_two))
        crash_and_restart(world, founder, dice)
        world.run(5)
    world.run(30)
    let_in = {g.item for g in node(founder).book.grants.values() if g.name.parent == node(founder).name.parent and len(g.name) == 2}  # type: ignore[union-attr]
    assert len(let_in - {founder.identity.node_id}) == 2
    assert founder.disk["invites"] == {seed_of_two.public: b"2"}


def test_a_newcomer_that_crashes_between_the_lots_has_its_name_when_it_starts_again() -> None:
    world = World(5)
    world.found("hq/founder")
    world.run(1)
    host = world.host("eu/home/alice")
    host.crash_next = True
    world.join("eu/home/alice", host=host)
    world.run(3)
    assert host.node is None
    if "own" in host.disk and b"passport" in host.disk["own"]:
        world.start(host)
    else:
        world.join("eu/home/alice", host=host)
    assert world.run_until(lambda: world.joined(host), 20) is not None
    assert str(node(host).name) == "eu/home/alice"


def test_a_node_that_lost_its_disk_but_not_its_key_goes_on_above_the_seqs_that_others_hold() -> None:
    world = World(6)
    world.found("hq/founder")
    world.run(1)
    (alice, bob) = enter(world, "eu/home/alice", "us/office/bob")
    alice.clock_offset = 200.0  # its clock was ahead; after the loss it is right again
    for number in range(3):
        say(world, alice, "eu/home/motd", f"before {number}")
    world.run(2)
    world.crash(alice)
    alice.disk.clear()
    alice.clock_offset = 0.0
    world.join("eu/home/alice", host=alice)
    assert world.run_until(lambda: world.joined(alice), 20) is not None
    say(world, alice, "eu/home/motd", "after")
    assert world.run_until(lambda: text(bob, "eu/home/motd") == ("after",), 10) is not None
    assert counted([alice, bob])["equivocations"] == 0


def test_a_restarted_node_finds_the_others_without_being_told_where() -> None:
    world = World(7)
    founder = world.found("hq/founder")
    world.run(1)
    hosts = enter(world, "eu/home/alice", "us/office/bob", "asia/lab/carol")
    world.crash(founder)
    world.stop(hosts[0])
    world.run(20)
    say(world, hosts[1], "us/office/bob/motd", "while it was away")
    world.start(hosts[0])
    assert world.run_until(lambda: world.joined(hosts[0]), 20) is not None
    assert world.run_until(lambda: text(hosts[0], "us/office/bob/motd") == ("while it was away",), 5) is not None


@pytest.mark.parametrize("seed", range(10))
def test_over_a_hundred_crashes_that_lose_writes_no_acknowledged_change_is_lost(seed: int) -> None:
    world = World(seed, crypto=NULL, commit=(0.002, 0.03))
    alice = world.found("eu/home/alice")
    world.run(1)
    acknowledged: list[int] = []
    number = 0
    while world.counters["lost-writes"] < 100 and number < 500:
        number += 1
        say(world, alice, "eu/home/alice/diary", str(number), done=partial(acknowledged.append, number))
        world.run(world.dice.choice((0.0, 0.001, 0.005, 0.01, 0.04)))  # before, in and after the commit
        world.crash(alice)
        world.start(alice)
        world.run(0.05)
        shown = text(alice, "eu/home/alice/diary")
        assert (int(shown[0]) if shown else 0) >= max(acknowledged, default=0)
    assert world.counters["lost-writes"] == 100
    assert len(acknowledged) > 20
