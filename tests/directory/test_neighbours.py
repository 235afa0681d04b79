"""Whom a node keeps sessions with, who keeps which zone: pure functions of the table (DESIGN 3.5)."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from overlay import limits
from overlay.directory import neighbours
from overlay.directory.neighbours import Neighbour, custodians, far, successors, wanted
from overlay.directory.view import GatewayEntry
from overlay.name import Path, parse_path
from overlay.records.kinds import Cluster
from overlay.wire.address import Address

ADDRESS = Address("203.0.113.1", 7653)


def entries_of(count: int) -> list[GatewayEntry]:
    """So many nodes, four in a cluster."""
    entries = []
    for number in range(count):
        node_id = hashlib.blake2s(f"node {number}".encode()).digest()
        path = parse_path(f"c{number // 4}")
        body = Cluster(exchange=node_id, addresses=(ADDRESS,), node=path / f"n{number}")
        entries.append(GatewayEntry(path=path, node_id=node_id, cluster=body))
    return entries


def ring_of(count: int) -> list[Neighbour]:
    """The ring of these nodes."""
    return neighbours.neighbours(entries_of(count))


def ids(chosen: list[Neighbour]) -> list[bytes]:
    return [n.node_id for n in chosen]


def test_a_node_listed_twice_stands_on_the_ring_once_and_without_addresses_not_at_all() -> None:
    body = Cluster(exchange=bytes(32), addresses=(ADDRESS,), node=parse_path("a/n"))
    silent = Cluster(exchange=bytes(32), addresses=(), node=parse_path("b/n"))
    table = [GatewayEntry(path=Path((label,)), node_id=b"1" * 32, cluster=body) for label in ("a", "b")]
    table.append(GatewayEntry(path=Path(("c",)), node_id=b"2" * 32, cluster=silent))
    assert ids(neighbours.neighbours(table)) == [b"1" * 32]


@given(st.integers(1, 60))
def test_the_ring_of_successors_reaches_everybody(count: int) -> None:
    ring = ring_of(count)
    reached, at = set(), ring[0].node_id
    for _ in range(count):
        reached.add(at)
        following = successors(at, ring)
        at = following[0].node_id if following else at
    assert reached == set(ids(ring))


@given(st.integers(0, 300), st.sampled_from(["eu/home", "us/office", "a", "b/c/d"]))
def test_custodians_are_the_three_nearest_and_all_who_know_the_ring_agree(count: int, text: str) -> None:
    ring, path = ring_of(count), parse_path(text)
    kept = custodians(path, ring)
    point = int.from_bytes(hashlib.blake2s(text.encode()).digest(), "big")
    assert ids(kept) == ids(sorted(ring, key=lambda n: n.point ^ point))[: limits.CUSTODIANS]
    assert ids(kept) == ids(custodians(path, neighbours.neighbours(reversed(entries_of(count)))))


def test_a_zone_changes_custodians_only_when_a_nearer_node_comes_or_one_of_them_goes() -> None:
    ring, path = ring_of(40), parse_path("eu/home")
    kept = custodians(path, ring)
    others = [n for n in ring if n not in kept]
    assert custodians(path, [n for n in ring if n in kept or n in others[:10]]) == kept
    assert custodians(path, [n for n in ring if n is not kept[0]])[:2] == kept[1:]


@given(st.integers(0, 60), st.booleans())
def test_nobody_wants_itself_or_anybody_twice_and_few_are_enough(count: int, on_the_ring: bool) -> None:
    ring = ring_of(count)
    me = ring[0].node_id if ring and on_the_ring else bytes(32)
    home = parse_path("c0")
    chosen = wanted(me, home, ring)
    assert me not in ids(chosen)
    assert len(set(ids(chosen))) == len(chosen) <= (7 if on_the_ring else 4)
    if not on_the_ring and any(n.cluster == home for n in ring):
        assert all(n.cluster == home for n in chosen)  # its gateway and standby are enough
    else:
        assert set(ids(successors(me, ring))) <= set(ids(chosen))


def test_shortcuts_make_the_way_around_a_large_ring_short() -> None:
    ring = ring_of(300)
    links = {n.node_id: ids(wanted(n.node_id, n.cluster, ring)) for n in ring}
    both: dict[bytes, set[bytes]] = {node_id: set(chosen) for node_id, chosen in links.items()}
    for node_id, chosen in links.items():
        for other in chosen:
            both[other].add(node_id)
    reached, edge, hops = {ring[0].node_id}, {ring[0].node_id}, 0
    while len(reached) < len(ring):
        edge = {other for node_id in edge for other in both[node_id]} - reached
        reached |= edge
        hops += 1
        assert edge
    assert hops <= 6


def test_who_is_far_from_a_path_is_never_its_custodian() -> None:
    ring = ring_of(300)
    points = [n.point for n in ring]
    ruled_out = 0
    for number in range(60):
        path = parse_path(f"some/path{number}")
        keepers = set(ids(custodians(path, ring)))
        for node in ring:
            if far(node.node_id, path, points):
                ruled_out += 1
                assert node.node_id not in keepers
    assert ruled_out > 0.6 * 300 * 60, "and most are ruled out without a search"
