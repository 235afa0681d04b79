"""Whom a node opens streams to for a release that it fetches (DESIGN 3.9, "LAN peers preferred but never only LAN").

It decides from what others say of themselves: mirrors, those who fetch it too, and those whom a source named. Of a cluster
one node goes far for it, the one with the lowest id of those who fetch; the others go to it, and one of them takes over
where nothing comes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from overlay.driver.release_swarm import Sharing
from overlay.driver.run import Engine
from overlay.records import kinds
from overlay.records.kinds import Host
from overlay.records.record import Record
from overlay.records.releases import Mirror

AGAIN: Final = 2.0  # seconds before the same node is tried again
SOON: Final = 0.3  # seconds for a session to be there
FAR: Final = 8  # mates elsewhere (research/release 2: degree 8)
TAKE_OVER: Final = 2.5  # seconds without a piece after which another of the cluster goes far

Join = Callable[[Sharing, trio.Nursery, int, bytes], None]  # over that session, to that node


@dataclass(slots=True)
class Around:
    """Who else has a revision or fetches it: in this cluster, and elsewhere."""

    me: bytes
    near: dict[bytes, Record]
    far: dict[bytes, Record]
    near_whole: bool = False  # whether one of this cluster has all of it
    crowd: int = 0  # how many fetch it elsewhere

    @property
    def waits(self) -> bool:
        """Whether another of this cluster goes for it: the one with the lowest id of those who fetch."""
        return not self.near_whole and any(other < self.me for other in self.near)


class Mates:
    """The choice of mates of one node. ``fetching``: channel -> the revision that is on its way here."""

    def __init__(self, engine: Engine, said: Callable[[str], list[Record]], *, now: Callable[[], float]) -> None:
        self.fetching: dict[str, int] = {}
        self._engine = engine
        self._said = said
        self._now = now
        self._tried: dict[tuple[str, bytes], float] = {}

    def company(self) -> bool:
        """Whether there are others in this cluster."""
        node, own = self._engine.node, self._engine.node.presence
        if own is None or node.directory is None or not node.directory.holdings.holds(own.cluster):
            return False
        return len(node.directory.holdings.view(own.cluster).hosts) > 1

    def around(self, channel: str, revision: int) -> Around:
        """Who has that revision, or fetches it."""
        me, own = self._engine.node.identity.node_id, self._engine.node.presence
        around = Around(me, {}, {})
        for record in self._said(channel):
            mirror = kinds.read(record) if record.kind == "mirror" and record.signer != me else None
            if own is not None and isinstance(mirror, Mirror) and not mirror.withdrawn and mirror.revision == revision:
                is_near = record.name.parent == own.cluster
                (around.near if is_near else around.far)[record.signer] = record
                around.near_whole = around.near_whole or (is_near and not mirror.partial)
                around.crowd += mirror.partial and not is_near
        return around

    def link(self, channel: str, revision: int, join: Join, sharing: Sharing, nursery: trio.Nursery) -> None:
        """Open streams to who is wanted and not there yet; who has no session is dialled."""
        around = self.around(channel, revision)
        near, far, me = around.near, around.far, around.me
        stalled = self._now() - sharing.last > TAKE_OVER
        if stalled or not (around.near_whole or around.waits):
            wanted = sorted(far, key=lambda other: (other not in sharing.elsewhere, bytes(a ^ b for a, b in zip(other, me, strict=True))))
            near |= {other: far[other] for other in wanted[: max(0, FAR - sum(not mate.near for mate in sharing.mates.values()))]}
        for other, record in near.items():
            if other not in sharing.mates and self._now() - self._tried.get((channel, other), -AGAIN) >= AGAIN:
                self._tried[channel, other] = self._now()
                self._reach(other, record, join, sharing, nursery)
        if len(self._tried) > 4_096:
            self._tried.clear()

    def _reach(self, other: bytes, record: Record, join: Join, sharing: Sharing, nursery: trio.Nursery) -> None:
        node, clock = self._engine.node, self._engine.clock
        peer = node.peers.by_node(other)
        if peer is not None and peer.admitted:
            join(sharing, nursery, peer.session, other)
            return
        said = node.book.records.get((record.name, "host", b"", other))
        host = kinds.read(said) if said is not None else None
        lan = node.belonging.cards().get(other, ()) if node.belonging is not None else ()
        if isinstance(host, Host) and (host.addresses or host.relays or lan):
            node.dial(host.exchange, lan or host.addresses, clock.now(), clock.at(), host.relays)
            self._engine.step()
            self._tried[sharing.channel, other] += SOON - AGAIN
