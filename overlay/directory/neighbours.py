"""Whom a node keeps sessions with, and who keeps which zone: pure functions over the table (DESIGN 3.5).

With the whole table at hand a structured overlay needs no search: nodes stand on a ring in the order of their ids, a
zone's custodians are the three nodes nearest to the hash of its path, and everybody computes the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from overlay import limits
from overlay.directory.view import GatewayEntry
from overlay.identity.keys import KEY, digest
from overlay.name import Path
from overlay.wire.address import Address

SUCCESSORS = 2  # on the ring: a change that each node hands to its next one reaches all, one loss skipped
MATES = 2  # of one's own cluster
SHORTCUTS = 2  # a node's own pseudo-random peers: they make the ring's diameter logarithmic
_FEW = 8  # so many are sorted rather than halved again


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A node that strangers can open a session to."""

    node_id: bytes
    exchange: bytes
    addresses: tuple[Address, ...]
    cluster: Path
    point: int = 0  # the node id as a number


def neighbours(table: Iterable[GatewayEntry]) -> list[Neighbour]:
    """The public nodes of the table, each once, in the order of the ring."""
    found = {
        g.node_id: Neighbour(g.node_id, g.cluster.exchange, g.cluster.addresses, g.path, int.from_bytes(g.node_id, "big"))
        for g in table if g.cluster.addresses
    }  # fmt: skip
    return [found[node_id] for node_id in sorted(found)]


@lru_cache(maxsize=16_384)
def _point(path: Path) -> int:
    """The hash of a path as a point on the ring."""
    return int.from_bytes(digest(str(path).encode()), "big")


def custodians(path: Path, ring: Sequence[Neighbour]) -> list[Neighbour]:
    """The three table nodes nearest to the hash of a path, by XOR (Kademlia's metric, Maymounkov 2002).

    The ring stands in its order, so each bit halves it: a node asks this of every zone there is, and looking at all the
    nodes for each would take it a minute of 10,000 clusters.
    """
    point = _point(path)
    found: list[Neighbour] = []
    parts = [(0, len(ring), 8 * KEY - 1)]  # (first, end, the highest bit in which they may differ), the nearest last
    while parts and len(found) < limits.CUSTODIANS:
        first, end, bit = parts.pop()
        if end - first <= _FEW or bit < 0:
            found += sorted(ring[first:end], key=lambda n: n.point ^ point)
            continue
        middle = bisect_left(ring, (ring[first].point >> bit | 1) << bit, first, end, key=lambda n: n.point)
        zeros, ones = (first, middle, bit - 1), (middle, end, bit - 1)
        parts += [zeros, ones] if point >> bit & 1 else [ones, zeros]
    return found[: limits.CUSTODIANS]


def successors(me: bytes, ring: Sequence[Neighbour], count: int = SUCCESSORS) -> list[Neighbour]:
    """The next nodes after ``me`` on the ring, without ``me``."""
    others = [n for n in ring if n.node_id != me]
    after = [n for n in others if n.node_id > me] + [n for n in others if n.node_id < me]
    return after[:count]


def wanted(me: bytes, cluster: Path, ring: Sequence[Neighbour]) -> list[Neighbour]:
    """The public nodes to keep sessions with: next on the ring, own cluster's, own zone's custodian, shortcuts.

    A node that is not on the ring itself passes nothing on there; it is told by those it keeps sessions with, and
    keeps fewer.
    """
    others = [n for n in ring if n.node_id != me]
    listed = len(others) < len(ring)
    shortcuts = sorted(others, key=lambda n: digest(me + n.node_id))[:SHORTCUTS] if listed else []
    mates = [n for n in others if n.cluster == cluster][: MATES if listed else 1]
    keepers = custodians(cluster, others)[:1]  # one of the zone's three: they hear of changes from each other as well
    chosen = [*successors(me, ring), *mates, *keepers, *shortcuts]
    return list({n.node_id: n for n in chosen}.values())
