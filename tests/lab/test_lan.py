"""Nodes on a LAN in the lab: found by beacons, let in by presence, awake again (DESIGN 3.2, 3.6), with whole nodes in virtual time."""

from __future__ import annotations

import pytest

from overlay.admission.request import Request
from overlay.lab.host import Host, Power
from overlay.lab.world import PORT, World, name_of, refusal_of
from overlay.name import Path, parse_path
from overlay.records import rights
from overlay.setup import PEERS
from overlay.wire.address import Address
from tests.lab.scenes import node

MEMBER = {"member", "carry", "speak"}


def home(world: World, *, admission: str = "open", lan_admit: bool = False) -> Host:
    """A founder on a LAN."""
    host = world.host("hub", address="192.168.1.2", lan="home")
    host.lan_admit = lan_admit
    world.found("eu/home/hub", host=host, admission=admission)
    world.run(1)
    return host


def comes(world: World, host: Host, through: Host, label: str = "alice", cluster: Path | None = None) -> Path | None:
    """A newcomer knocks at that node and asks for a name."""
    one = world.start(host)

    def act(_: object, at: float) -> None:
        one.join(Request(label=label, cluster=cluster, node_id=host.identity.node_id), None)
        one.dial(through.identity.exchange_public, [Address(through.address, PORT)], world.now, at)

    world.do(host, act)
    world.run_until(lambda: world.joined(host) or refusal_of(host) is not None, 60)
    return name_of(host) if world.joined(host) else None


def held(host: Host, path: str) -> set[str]:
    grants = node(host).book.grants_of(host.identity.node_id, 0)
    return {right for grant in grants if grant.name == parse_path(path) for right in grant.body[1]}


def test_who_stands_on_the_lan_joins_its_neighbours_cluster_and_who_does_not_gets_one_of_its_own() -> None:
    world = World(1)
    hub = home(world)
    near, far = world.host("near", address="192.168.1.3", lan="home"), world.host("far", address="192.168.2.3", lan="elsewhere")
    assert comes(world, near, hub) == parse_path("eu/home/alice")
    assert held(near, "eu/home") == MEMBER and held(near, "eu/home/alice") == {rights.OWN}
    assert comes(world, far, hub) == parse_path("alice/alice")
    assert rights.GRANT in held(far, "alice")


def test_the_same_private_range_on_another_lan_is_no_presence() -> None:
    """What the newcomer claims to be its network counts nothing: the giver looks at its own."""
    world = World(2)
    rented = world.host("hub", address="203.0.113.5")
    world.found("eu/home/hub", host=rented)
    assert comes(world, world.host("near", address="192.168.1.3", lan="home"), rented) == parse_path("alice/alice")


def test_a_name_that_is_taken_gets_a_number() -> None:
    world = World(3)
    hub = home(world)
    names = [comes(world, world.host(f"m{n}", address=f"192.168.1.{n}", lan="home"), hub) for n in (3, 4, 5)]
    assert names == [parse_path(f"eu/home/{label}") for label in ("alice", "alice-2", "alice-3")]


def test_a_cluster_that_the_newcomer_names_counts_before_the_lan() -> None:
    world = World(4)
    hub = home(world)
    host = world.host("near", address="192.168.1.3", lan="home")
    assert comes(world, host, hub, cluster=parse_path("us/office")) == parse_path("us/office/alice")


@pytest.mark.parametrize("admits", [True, False])
def test_an_invite_overlay_takes_presence_only_where_its_node_is_told_to(admits: bool) -> None:
    world = World(5)
    hub = home(world, admission="invite", lan_admit=admits)
    name = comes(world, world.host("near", address="192.168.1.3", lan="home"), hub)
    assert name == (parse_path("eu/home/alice") if admits else None)
    far = comes(world, world.host("far", address="192.168.2.3", lan="elsewhere"), hub, label="bob")
    assert far is None, "a token or a person's yes is wanted from who is not here"


def test_a_person_lets_a_neighbour_into_the_cluster_of_the_lan() -> None:
    world = World(6)
    hub = home(world, admission="invite")
    host = world.host("near", address="192.168.1.3", lan="home")
    assert comes(world, host, hub) is None
    registrar = node(hub).registrar
    assert registrar is not None
    (waiting,) = registrar.room.listed(world.at(hub))
    registrar.admit(waiting.code, world.at(hub))
    assert world.run_until(lambda: world.joined(host), 30) is not None
    assert name_of(host) == parse_path("eu/home/alice")


def test_a_member_without_the_right_to_grant_sends_the_newcomer_to_who_has_it() -> None:
    world = World(7)
    hub = home(world)
    first = world.host("first", address="192.168.1.3", lan="home")
    comes(world, first, hub, label="first")
    world.run(5)
    second = world.host("second", address="192.168.1.4", lan="home")
    assert comes(world, second, first, label="second") == parse_path("eu/home/second")
    assert held(second, "eu/home") == MEMBER


def lost_each_other(world: World) -> tuple[Host, Host]:
    """Two members that remember nobody."""
    hub = home(world)
    alice = world.host("alice", address="192.168.1.3", lan="home")
    comes(world, alice, hub)
    world.run(5)
    for host in (hub, alice):
        world.stop(host)
        host.disk.pop(PEERS, None)
    world.run(200)
    return hub, alice


def connected(*hosts: Host) -> bool:
    return all(len(node(host).peers.admitted()) == len(hosts) - 1 for host in hosts)


@pytest.mark.parametrize("deaf", ["", "192.168.1.2", "192.168.1.3"])
def test_members_that_lost_each_other_meet_on_the_lan_within_a_second(deaf: str) -> None:
    world = World(8)
    hub, alice = lost_each_other(world)
    world.network.deaf = {deaf} if deaf else set()
    world.start(hub)
    world.run(100)
    world.start(alice)
    took = world.run_until(lambda: connected(hub, alice), 40)
    assert took is not None and took <= (1.0 if deaf != hub.address else 31.0), "a node that is deaf to calls is met by its next beacon"


def test_a_lossy_radio_delays_and_does_not_prevent() -> None:
    world = World(9)
    hub, alice = lost_each_other(world)
    world.network.lan_loss = 0.5
    world.start(hub)
    world.start(alice)
    took = world.run_until(lambda: connected(hub, alice), 60)
    assert took is not None and took < 10


def test_a_machine_that_slept_is_back_on_its_lan_soon_after_it_woke() -> None:
    world = World(10)
    hub = home(world)
    alice = world.host("alice", address="192.168.1.3", lan="home")
    comes(world, alice, hub)
    world.run(60)
    world.power(alice, Power.SUSPENDED)
    world.run(300)
    assert not node(hub).peers.admitted()
    world.power(alice, Power.RUNNING)
    took = world.run_until(lambda: connected(hub, alice), 60)
    assert took is not None and took < 35


def test_the_same_seed_is_the_same_lan() -> None:
    digests = set()
    for _ in range(2):
        world = World(13)
        lost_each_other(world)
        digests.add(world.digest)
    assert len(digests) == 1
