"""What `peers`, `clusters` and `status` tell: one row a cluster, the gateway first, a path that is `lan` only where no router lies between."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from overlay.cluster.outputs import Role, RoleChanged
from overlay.lab.world import Host, World
from overlay.name import parse_path
from overlay.reports import Reports
from overlay.summaries import members
from tests.lab.scenes import enter, invite, node


@pytest.fixture(scope="module")
def village() -> tuple[World, Host, Host, Host]:
    """The founder, bob beside it in its cluster, alice elsewhere; all may speak for theirs."""
    world = World(1)
    founder = world.found("hq/founder")
    world.run(1)
    bob = world.join("hq/bob", seed=invite(world, founder, "hq"))
    assert world.run_until(lambda: world.joined(bob), 20) is not None
    (alice,) = enter(world, "eu/home/alice")
    world.run(30)
    return world, founder, bob, alice


def reports(host: Host, *, networks: Collection[str] = (), standing: RoleChanged | None = None) -> Reports:
    said = None if standing is None else lambda: standing
    return Reports(node(host), zone="cloud.example.net", tld="cloud", networks=lambda: networks, standing=said)


def led(gateway: Host, standby: Host | None, role: Role) -> RoleChanged:
    return RoleChanged(role, node(gateway).identity.node_id, node(standby).identity.node_id if standby else None, 3)


def test_a_cluster_is_one_row_with_the_addresses_of_all_that_speak_for_it(village: tuple[World, Host, Host, Host]) -> None:
    world, founder, bob, alice = village
    for host in (founder, bob, alice):
        rows = {row["cluster"]: row for row in reports(host).clusters(world.at(host))}
        assert list(rows) == ["eu/home", "hq"]
        assert set(rows["hq"]["public_addresses"]) == {founder.address, bob.address}
        assert set(rows["hq"]["gateways"]) == {"founder.hq.cloud", "bob.hq.cloud"} and rows["hq"]["nodes"] == 2
        assert 0 <= rows["hq"]["seen_s"] < 60


@pytest.mark.parametrize("leads", [0, 1])
def test_the_own_gateway_stands_first_and_status_says_who_is_what(village: tuple[World, Host, Host, Host], leads: int) -> None:
    world, *pair, _ = village
    gateway, standby = pair[leads], pair[1 - leads]
    for host, role in ((gateway, Role.GATEWAY), (standby, Role.STANDBY)):
        told = reports(host, standing=led(gateway, standby, role))
        row = next(row for row in told.clusters(world.at(host)) if row["cluster"] == "hq")
        status = told.status(now=world.now, at=world.at(host), uptime=1.0, pid=1, incarnation=1, listen={})
        assert row["gateways"][0] == status["gateway_name"] == told.full(node(gateway).name or parse_path(""))
        assert (status["gateway"], status["standby"]) == (host is gateway, host is standby)


def test_a_cluster_that_has_no_gateway_right_now_says_so(village: tuple[World, Host, Host, Host]) -> None:
    world, founder, *_ = village
    told = reports(founder, standing=RoleChanged(Role.MEMBER, None, None, 3))
    status = told.status(now=world.now, at=world.at(founder), uptime=1.0, pid=1, incarnation=1, listen={})
    assert (status["gateway"], status["standby"], status["gateway_name"]) == (False, False, None)


def test_a_path_is_lan_where_the_peer_is_on_link_and_neither_its_cluster_nor_a_private_range_makes_it_so(
    village: tuple[World, Host, Host, Host],
) -> None:
    world, founder, bob, alice = village
    here = f"{bob.address}/32"
    apart = reports(founder, networks=["192.168.1.0/24"]).peers(world.at(founder))
    assert {row["name"]: row["path"] for row in apart} == {"bob.hq.cloud": "direct", "alice.home.eu.cloud": "direct"}
    beside = reports(founder, networks=["192.168.1.0/24", here]).peers(world.at(founder))
    assert {row["name"]: row["path"] for row in beside} == {"bob.hq.cloud": "lan", "alice.home.eu.cloud": "direct"}


def test_the_members_of_a_cluster_are_listed_by_name(village: tuple[World, Host, Host, Host]) -> None:
    _, founder, _, alice = village
    for host in (founder, alice):
        assert [row["name"] for row in members(node(host), parse_path("hq"), reports(host).full)] == ["bob.hq.cloud", "founder.hq.cloud"]
