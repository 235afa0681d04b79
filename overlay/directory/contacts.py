"""Whom a node knows in a large overlay: buckets of 16 by distance (Kademlia: Maymounkov and Mazieres 2002, 2.2 and 4.1).

It decides whom of all it hears of to remember, where the whole table no longer fits. Bucket n holds nodes whose id shares
n bits with ours and differs in the next, so half of them are far, a quarter nearer, and so on: a few hundred contacts
lead to any of a million. Who has answered stays: a stranger takes the place of somebody who does not answer any more and
of nobody else, so a crowd of new ids displaces no one that lives (eclipse: Heilman et al. 2015). No sockets: it says whom
to ping, and is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from overlay import limits
from overlay.directory.neighbours import Neighbour, Place, places
from overlay.identity.keys import KEY
from overlay.name import Path

QUIET: Final = 900.0  # seconds without a word after which a contact is pinged before a stranger is turned away (guess)
DEEPEST: Final = 40  # the bucket of all that share so many bits or more: nobody else does among a million (2**20) by chance
WAITING: Final = 4  # strangers that a full bucket remembers: the latest
_NEVER = float("-inf")


@dataclass(slots=True)
class _Contact:
    node: Neighbour
    heard: float = _NEVER  # when it last answered us


@dataclass(slots=True)
class _Bucket:
    live: dict[bytes, _Contact] = field(default_factory=dict)
    waiting: dict[bytes, Neighbour] = field(default_factory=dict)  # the latest last


class Contacts:
    """Contacts by node id. ``cluster`` is our own, whose nodes are not counted as one network's."""

    def __init__(self, me: bytes, cluster: Path, *, size: int = limits.BUCKET, counters: Counter[str] | None = None) -> None:
        self._me = int.from_bytes(me, "big")
        self._cluster = cluster
        self._size = size
        self._buckets: dict[int, _Bucket] = {}
        self._pinged: bytes | None = None
        self.counters: Counter[str] = counters if counters is not None else Counter()

    def __len__(self) -> int:
        return sum(len(bucket.live) for bucket in self._buckets.values())

    def __iter__(self) -> Iterator[Neighbour]:
        for bucket in self._buckets.values():
            for contact in bucket.live.values():
                yield contact.node

    def __contains__(self, node_id: object) -> bool:
        return isinstance(node_id, bytes) and node_id in self._bucket(node_id).live

    def _bucket(self, node_id: bytes) -> _Bucket:
        depth = 8 * KEY - (int.from_bytes(node_id, "big") ^ self._me).bit_length()
        return self._buckets.setdefault(min(depth, DEEPEST), _Bucket())

    def told(self, node: Neighbour, *, crowded: bool) -> None:
        """Somebody showed this node's record. ``crowded``: above 64 public nodes, where one network may not fill a bucket."""
        self._meet(_Contact(node), crowded)

    def heard(self, node: Neighbour, now: float, *, crowded: bool) -> None:
        """This node answered us."""
        self._meet(_Contact(node, now), crowded)

    def _meet(self, contact: _Contact, crowded: bool) -> None:
        node = contact.node
        bucket = self._bucket(node.node_id)
        if node.point == self._me:
            return
        known = bucket.live.get(node.node_id)
        if known is not None:
            known.node, known.heard = node, max(known.heard, contact.heard)
            if self._pinged == node.node_id and contact.heard != _NEVER:
                self._pinged = None
            return
        if crowded and node.cluster != self._cluster and self._overdrawn(bucket, node):
            self.counters["contacts_same_network"] += 1
            return
        if len(bucket.live) >= self._size:
            unproved = next((key for key, one in bucket.live.items() if one.heard == _NEVER), None)
            if contact.heard == _NEVER or unproved is None:
                self._wait(bucket, node)
                return
            del bucket.live[unproved]
        bucket.waiting.pop(node.node_id, None)
        bucket.live[node.node_id] = contact

    def _overdrawn(self, bucket: _Bucket, node: Neighbour) -> bool:
        used: Counter[Place] = Counter(place for one in bucket.live.values() for place in places(one.node.addresses))
        return any(used[place] >= limits.SAME_NETWORK for place in places(node.addresses))

    def _wait(self, bucket: _Bucket, node: Neighbour) -> None:
        self.counters["contacts_waiting"] += node.node_id not in bucket.waiting
        bucket.waiting.pop(node.node_id, None)
        bucket.waiting[node.node_id] = node
        while len(bucket.waiting) > WAITING:
            del bucket.waiting[next(iter(bucket.waiting))]

    def failed(self, node_id: bytes) -> None:
        """It did not answer. Its place goes to who waits for it; where nobody does, it keeps it: the fault may be ours."""
        bucket = self._bucket(node_id)
        if self._pinged == node_id:
            self._pinged = None
        if node_id in bucket.live and bucket.waiting:
            del bucket.live[node_id]
            newest = bucket.waiting.popitem()[1]
            bucket.live[newest.node_id] = _Contact(newest)

    def drop(self, node_id: bytes) -> None:
        """Its record has expired or was withdrawn."""
        bucket = self._bucket(node_id)
        bucket.live.pop(node_id, None)
        bucket.waiting.pop(node_id, None)

    def to_ping(self, now: float) -> Neighbour | None:
        """The contact that has been silent longest in a bucket for which others wait: one at a time."""
        if self._pinged is not None:
            return None
        for bucket in self._buckets.values():
            if bucket.waiting:
                oldest = min(bucket.live.values(), key=lambda one: one.heard)
                if now - oldest.heard >= QUIET:
                    self._pinged = oldest.node.node_id
                    return oldest.node
        return None
