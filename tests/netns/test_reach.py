"""Every node reaches every other, whatever NAT it stands behind, and says truthfully how (DESIGN 3.7; GOALS, "Reach")."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.netns.hosts import Host, wait_until
from tests.netns.nats import KINDS, Nats
from tests.netns.story import founded, joined

UNLIKE = ("full-cone", "restricted", "port-restricted", "symmetric")
CLOSED = ("udp-blocked", "tcp443-only")
DIRECT = ("direct", "punched")
GUESSING = 13.0  # seconds: a run of guesses ends after 12


def path(host: Host, other: str) -> str | None:
    """How that host reaches the other one now."""
    return next((peer["path"] for peer in host.json("peers") if peer["name"] == f"{other}.{other}.cloud"), None)


def reach(host: Host, other: str) -> str:
    """Ping it; the path over which the first answer came."""
    answer = host.overlay("ping", f"{other}.{other}", "-c", "1", "--json").ok().json()
    assert answer["received"] == 1
    return str(answer["path"])


@pytest.fixture(scope="module")
def world() -> Iterator[Nats]:
    """A founder, two more public nodes, and two nodes behind each kind of NAT; each a cluster of its own."""
    with Nats() as net:
        founded(net, v6=False)
        for host in (net.public("one"), net.public("two")):
            joined(host, "--cluster", host.name)
        sites = [net.site(f"{kind}-{place}", kind) for kind, place in itertools.product((*UNLIKE, *CLOSED), "ab")]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda host: joined(host, "--cluster", host.name), sites))
        yield net


def expected(a: str, b: str) -> tuple[str, ...]:
    """The paths that two kinds of NAT allow in the end."""
    if {a, b} & set(CLOSED) or a == b == "symmetric":
        return ("relay",)
    return DIRECT


@pytest.mark.parametrize(("a", "b"), [*itertools.combinations_with_replacement((*UNLIKE, *CLOSED), 2)])
def test_every_cell_of_the_matrix_connects_at_once_and_goes_direct_where_it_can(world: Nats, a: str, b: str) -> None:
    one, other = world.hosts[f"{a}-a"], f"{b}-b"
    first = reach(one, other)
    assert first in ("relay", "tcp", *DIRECT)
    wait_until(lambda: path(one, other) in expected(a, b), GUESSING, f"{a} to {b}: {expected(a, b)}")
    assert reach(one, other) in expected(a, b)
    assert path(world.hosts[other], f"{a}-a") in expected(a, b)


@pytest.mark.parametrize("kind", UNLIKE)
def test_a_node_says_what_nat_it_stands_behind_as_a_stun_client_would(world: Nats, kind: str) -> None:
    host = world.hosts[f"{kind}-a"]
    found = host.json("netcheck")
    assert (found["udp"], found["tcp"], found["mapping"], found["captive_portal"]) == (True, True, KINDS[kind].mapping, False)
    assert found["filtering"] == KINDS[kind].filtering
    assert found["public_v4"] == world.hosts[f"{kind}-a-r"].v4
    status = host.json("status")
    assert (status["public_address"], status["owns_public_address"]) == (found["public_v4"], False)
    assert status["nat"] == kind


def test_a_node_whose_udp_is_blocked_says_so_and_a_public_one_has_no_nat(world: Nats) -> None:
    blocked = world.hosts["udp-blocked-a"]
    assert blocked.json("netcheck")["udp"] is False
    assert blocked.json("status")["nat"] == "udp-blocked"
    status = world.hosts["one"].json("status")
    assert (status["nat"], status["owns_public_address"], status["public_address"]) == ("none", True, world.hosts["one"].v4)


def test_any_stun_client_learns_its_address_from_a_node(world: Nats) -> None:
    site = world.hosts["port-restricted-a"]
    said = site.run("turnutils_stunclient", "-p", "7653", world.hosts["hub"].v4 or "", timeout=20)
    assert f"UDP reflexive addr: {world.hosts['port-restricted-a-r'].v4}:" in said.out + said.err


def test_why_tells_the_paths_that_were_tried_and_the_one_in_use(world: Nats) -> None:
    host = world.hosts["symmetric-a"]
    reach(host, "udp-blocked-b")
    rows = host.json("why", "udp-blocked-b.udp-blocked-b")
    assert rows[-1]["outcome"] == "in use"
    assert all(set(row) == {"path", "address", "at", "outcome", "reason"} for row in rows)
    assert host.overlay("why", "nobody.nowhere").status == 1


def test_a_node_behind_a_nat_answers_at_every_stub(world: Nats) -> None:
    for kind in UNLIKE:
        name = f"{kind}-b"
        answer = world.hosts["one"].dig(f"{name}.{name}.cloud")
        assert answer.status == "NOERROR"
        assert set(answer.data) <= ({world.hosts[f"{name}-r"].v4} if kind == "full-cone" else set())
        assert world.hosts[name].v4 in world.hosts[name].dig(f"{name}.{name}.cloud").data
