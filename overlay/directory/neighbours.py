"""Whom a node keeps sessions with, and who keeps which zone: pure functions over the table (DESIGN 3.5).

With the whole table at hand a structured overlay needs no search: nodes stand on a ring in the order of their ids, a
zone's custodians are the three nodes nearest to the hash of its path, and everybody computes the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address, ip_network

from overlay import limits
from overlay.directory.view import GatewayEntry
from overlay.identity.keys import KEY, digest
from overlay.name import Path
from overlay.wire.address import Address

SUCCESSORS = 2  # on the ring: a change that each node hands to its next one reaches all, one loss skipped
MATES = 2  # of one's own cluster
SHORTCUTS = 2  # a node's own pseudo-random peers: they make the ring's diameter logarithmic
CROWDED = 64  # above so many public nodes no more than two of one network stand near a key (DESIGN 3.5)
_FEW = 8  # so many are sorted rather than halved again

Place = str  # a network, as text


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A node that strangers can open a session to."""

    node_id: bytes
    exchange: bytes
    addresses: tuple[Address, ...]
    cluster: Path
    point: int = 0  # the node id as a number


def neighbours(table: Iterable[GatewayEntry], before: Iterable[Neighbour] = ()) -> list[Neighbour]:
    """The public nodes of the table, each once, in the order of the ring; those of ``before`` that still hold are kept."""
    known = {n.node_id: n for n in before}
    found: dict[bytes, Neighbour] = {}
    for g in table:
        if g.cluster.addresses:
            old = known.get(g.node_id)
            same = old is not None and old.addresses == g.cluster.addresses and old.cluster == g.path and old.exchange == g.cluster.exchange
            found[g.node_id] = old if old is not None and same else Neighbour(
                g.node_id, g.cluster.exchange, g.cluster.addresses, g.path, int.from_bytes(g.node_id, "big"),
            )  # fmt: skip
    return [found[node_id] for node_id in sorted(found)]


@lru_cache(maxsize=16_384)
def point_of(path: Path) -> int:
    """The hash of a path as a point on the ring."""
    return int.from_bytes(digest(str(path).encode()), "big")


def nearest(point: int, ring: Sequence[Neighbour], count: int) -> list[Neighbour]:
    """The nodes of the ring nearest to a point, by XOR (Kademlia's metric, Maymounkov 2002), the nearest first.

    The ring stands in its order, so each bit halves it: a node asks this of every zone there is, and looking at all the
    nodes for each would take it a minute of 10,000 clusters.
    """
    found: list[Neighbour] = []
    parts = [(0, len(ring), 8 * KEY - 1)]  # (first, end, the highest bit in which they may differ), the nearest last
    while parts and len(found) < count:
        first, end, bit = parts.pop()
        if end - first <= _FEW or bit < 0:
            found += sorted(ring[first:end], key=lambda n: n.point ^ point)
            continue
        middle = bisect_left(ring, (ring[first].point >> bit | 1) << bit, first, end, key=lambda n: n.point)
        zeros, ones = (first, middle, bit - 1), (middle, end, bit - 1)
        parts += [zeros, ones] if point >> bit & 1 else [ones, zeros]
    return found[:count]


def far(me: bytes, path: Path, points: Sequence[int]) -> bool:
    """Whether so many nodes are nearer to the hash of a path than ``me`` that it cannot be a custodian: two look-ups.

    All that share one more bit with the point than ``me`` does are nearer. ``points`` are the ring's, ascending.
    """
    point = point_of(path)
    free = (int.from_bytes(me, "big") ^ point).bit_length() - 1  # bits below the first one in which they differ
    if free < 0:
        return False
    first = point >> free << free
    return bisect_left(points, first + (1 << free)) - bisect_left(points, first) >= max(limits.NEAREST, limits.CUSTODIANS)


def population(me: int, ring: Sequence[Neighbour], sample: int) -> float:
    """How many public nodes there are, judged by how near the nearest of the ring are: right within a quarter for 16."""
    near = diverse(nearest(me, ring, 2 * sample), sample) if len(ring) > CROWDED else nearest(me, ring, sample)
    if len(near) < sample:
        return len(ring)
    farthest = max(n.point ^ me for n in near) + 1
    return float(sample << 8 * KEY) / farthest


def custodians(path: Path, ring: Sequence[Neighbour]) -> list[Neighbour]:
    """The three nodes of the ring nearest to the hash of a path, not all of one network where there are many."""
    if len(ring) <= CROWDED:
        return nearest(point_of(path), ring, limits.CUSTODIANS)
    return diverse(nearest(point_of(path), ring, limits.NEAREST), limits.CUSTODIANS)


@lru_cache(maxsize=16_384)
def places(addresses: tuple[Address, ...]) -> tuple[Place, ...]:
    """The networks that a node says it is in: a /24 or /48 for each address; loopback is everybody's, and no place."""
    hosts = (ip_address(address.host.partition("%")[0]) for address in addresses)
    found = (str(ip_network((host, 24 if host.version == 4 else 48), strict=False)) for host in hosts if not host.is_loopback)
    return tuple(dict.fromkeys(found))


def diverse(ordered: Iterable[Neighbour], count: int) -> list[Neighbour]:
    """The first ``count`` of which no more than two are of one network; where that is too few, the first of the others.

    Ids are ground in a minute and cost nothing; networks cost money (S/Kademlia: Baumgart and Mies 2007; Coral's rule).
    """
    chosen: list[Neighbour] = []
    others: list[Neighbour] = []
    used: Counter[Place] = Counter()
    for node in ordered:
        networks = places(node.addresses)
        if any(used[place] >= limits.SAME_NETWORK for place in networks):
            others.append(node)
            continue
        used.update(networks)
        chosen.append(node)
        if len(chosen) == count:
            break
    return [*chosen, *others][:count]


def successors(me: bytes, ring: Sequence[Neighbour], count: int = SUCCESSORS) -> list[Neighbour]:
    """The next nodes after ``me`` on the ring, without ``me``."""
    others = [n for n in ring if n.node_id != me]
    after = [n for n in others if n.node_id > me] + [n for n in others if n.node_id < me]
    return after[:count]


def wanted(me: bytes, cluster: Path, ring: Sequence[Neighbour]) -> list[Neighbour]:
    """The public nodes to keep sessions with: next on the ring, own cluster's, own zone's custodian, shortcuts.

    A node that is not on the ring itself passes nothing on there; it is told by those it keeps sessions with: its
    cluster's gateway and standby, and others only where there are none.
    """
    others = [n for n in ring if n.node_id != me]
    listed = len(others) < len(ring)
    shortcuts = sorted(others, key=lambda n: digest(me + n.node_id))[:SHORTCUTS] if listed else []
    mates = [n for n in others if n.cluster == cluster][:MATES]
    if mates and not listed:
        return mates
    keepers = custodians(cluster, others)[:1]  # one of the zone's three: they hear of changes from each other as well
    chosen = [*mates, *successors(me, ring), *keepers, *shortcuts]  # the first tells who is not on the ring (``pushing.py``)
    return list({n.node_id: n for n in chosen}.values())
