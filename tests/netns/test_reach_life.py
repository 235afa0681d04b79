"""Paths that die: routers that reboot, relays and bootstrap hosts that are killed, ways that carry no more (GOALS, "Reach")."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.netns.hosts import Host, wait_until
from tests.netns.nats import Nats
from tests.netns.story import founded, joined
from tests.netns.test_reach import DIRECT, path

SOON = 2_000.0  # milliseconds (GOALS: router reboots, relay dies, silent path death)


@pytest.fixture
def world() -> Iterator[Nats]:
    """A founder, three more public nodes, two ends behind port-restricted NATs and two behind symmetric ones."""
    with Nats() as net:
        founded(net, v6=False)
        for host in (net.public("one"), net.public("two"), net.public("three")):
            joined(host, "--cluster", host.name)
        for name, kind in (("alice", "port-restricted"), ("bob", "port-restricted"), ("carol", "symmetric"), ("dave", "symmetric")):
            joined(net.site(name, kind), "--cluster", name)
        for one, other in (("alice", "bob"), ("carol", "dave")):
            net.hosts[one].overlay("ping", f"{other}.{other}").ok()
        yield net


def ping(host: Host, other: str) -> float:
    """Milliseconds until one ping is answered: what was sent into a dead path is sent again over the next one."""
    answer = host.overlay("ping", f"{other}.{other}", "-c", "1", "--json").ok().json()
    assert answer["received"] == 1
    return float(answer["rtt_ms"][0])


def cut(net: Nats, *hosts: Host) -> None:
    """From now on the internet passes nothing on between these, and tells nobody."""
    a, b = (host.v4 for host in hosts)
    rules = "add table ip cut; add chain ip cut f { type filter hook forward priority 0; };"
    rules += f"add rule ip cut f ip saddr {a} ip daddr {b} drop; add rule ip cut f ip saddr {b} ip daddr {a} drop"
    net.middle("nft", rules)


def test_paths_that_die_are_left_within_two_seconds_and_taken_again(world: Nats) -> None:
    alice, carol = world.hosts["alice"], world.hosts["carol"]
    took = {}
    wait_until(lambda: path(alice, "bob") in DIRECT, 5, "alice reaches bob without a relay")

    cut(world, world.hosts["alice-r"], world.hosts["bob-r"])
    took["silent path death"] = ping(alice, "bob")
    assert path(alice, "bob") == "relay"
    world.middle("nft", "delete table ip cut")
    wait_until(lambda: path(alice, "bob") in DIRECT, 20, "alice and bob are direct again")

    world.reboot("alice")
    took["router reboot, from inside"] = ping(alice, "bob")
    wait_until(lambda: path(alice, "bob") in DIRECT, 20, "alice and bob are direct again")
    relay = next(peer["address"] for peer in carol.json("peers") if peer["name"] == "dave.dave.cloud").partition(":")[0]
    next(host for host in world.hosts.values() if host.v4 == relay).kill()
    took["relay killed"] = ping(carol, "dave")
    assert path(carol, "dave") == "relay"

    wait_until(lambda: path(alice, "bob") in DIRECT, 20, "alice and bob are direct again")
    world.hosts["hub"].kill()
    took["bootstrap host killed, direct path"] = ping(alice, "bob")
    assert all(milliseconds < SOON for milliseconds in took.values()), took


def test_an_invite_of_a_node_behind_a_nat_lets_in_a_machine_behind_another() -> None:
    with Nats() as net:
        founded(net, v6=False, admission="invite")

        def token(host: Host, path: str) -> str:
            return str(host.overlay("invite", path, "--json").ok().json()["token"])

        hub, alice, bob = net.hosts["hub"], net.site("alice", "port-restricted"), net.site("bob", "symmetric")
        joined(net.public("one"), "--invite", token(hub, "one"), where=None)
        joined(alice, "--invite", token(hub, "alice"), where=None)
        assert joined(bob, "--invite", token(alice, "alice"), where=None) == "bob.alice.cloud"
