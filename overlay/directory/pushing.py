"""Telling others: who hears of a change, and when (DESIGN 3.5, decision 8).

It decides the audience of a record and fills their outboxes; a push is a call that carries some of a box. News goes at
once, what follows within a moment goes together, and nothing that is outdated by then goes at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from overlay import limits
from overlay.directory import neighbours
from overlay.directory.book import TABLE, Book, Unit, zone_unit
from overlay.directory.holdings import Holdings
from overlay.directory.neighbours import Neighbour
from overlay.directory.outputs import Ask
from overlay.machine import Entropy
from overlay.name import ROOT, Path, parse_path
from overlay.records.record import Record
from overlay.wire.messages import Method

PUSH_OCTETS: Final = 1_000  # records a push call carries: a datagram less headers, or one record of the full size
PUSH_PAUSE: Final = 0.1  # seconds between pushes to one peer: news at once, what follows in one datagram
PUSHES_AT_ONCE: Final = 3  # calls in flight to one peer: leaves room among its 8 for questions
ALL_PEERS: Final = 6  # up to so many interested peers are all told; above, the ring and a fan-out


@dataclass(slots=True)
class Partner:
    """An admitted peer, as the directory deals with it."""

    session: int
    node_id: bytes
    cluster: Path
    outbox: dict[bytes, Record] = field(default_factory=dict)  # by digest, in order
    in_flight: int = 0
    push_at: float = 0.0  # not before
    watching: dict[Path, float] = field(default_factory=dict)  # what it watches here, until when
    keeps: bool = False  # whether it wants a session with us, by the ring
    keeps_of: list[Neighbour] | None = None  # the ring that this was looked up in


class Pushing:
    """The outboxes of a node, and who is told what. ``partners`` are the admitted peers by session."""

    def __init__(self, *, book: Book, holdings: Holdings, entropy: Entropy, counters: Counter[str], ask: Callable[[Ask], None]) -> None:
        self.partners: dict[int, Partner] = {}
        self._book = book
        self._holdings = holdings
        self._entropy = entropy
        self._ask = ask
        self.counters = counters
        self._boxes: dict[int, Partner] = {}  # those with something in their outbox

    def left(self, session: int) -> None:
        """A session ended."""
        self.partners.pop(session, None)
        self._boxes.pop(session, None)

    def _interested(self, peer: Partner, unit: Unit) -> bool:
        if unit in (TABLE, zone_unit(ROOT)) or self._holdings.everything():
            return True
        path = parse_path(unit.removeprefix("zone:"))
        if path == peer.cluster or path in peer.watching:
            return True
        return any(n.node_id == peer.node_id for n in neighbours.custodians(path, self._holdings.ring()))

    def tell(self, record: Record, source: int | None, now: float) -> None:
        """A record is news here; ``source`` is the session that brought it, None where it is our own."""
        for peer in self._audience(record, source):
            if len(peer.outbox) < limits.BOOK:
                self.box(peer, record)
                self.counters["pushes"] += 1
                if now >= peer.push_at:
                    self.flush(peer, now)

    def _audience(self, record: Record, source: int | None) -> list[Partner]:
        """Whom to tell: all, where they are few; else the next on the ring, some others, and who depends on being told.

        Nodes of the table hear of a change from each other. One that is not in it has no place on the ring, so all that
        it wants sessions with tell it (and of the rest one, in case those are gone); and what a node of the table told
        it, it leaves to the table to pass on.
        """
        unit = self._book.unit_of(record)
        told = self.partners.get(source) if source is not None else None
        listed = self._holdings.listed()
        if told is not None and told.node_id in listed and self._holdings.me not in listed:
            return []
        heard = told.node_id if told is not None else b""
        others = [p for p in self.partners.values() if p.session != source and p.node_id not in (heard, record.signer)]
        audience = [p for p in others if self._interested(p, unit)]
        if len(audience) <= ALL_PEERS:
            return audience
        depending = [p for p in audience if p.watching or (p.node_id not in listed and self._keeps(p))]
        ring = sorted((p for p in audience if not p.watching and p.node_id in listed), key=lambda p: (p.node_id < self._holdings.me, p.node_id))
        strays = [p for p in audience if not p.watching and p.node_id not in listed and not self._keeps(p)]
        return [*depending, *ring[:1], *sample(self._entropy, ring[1:], limits.FANOUT), *sample(self._entropy, strays, 1)]

    def _keeps(self, peer: Partner) -> bool:
        """Whether this node is one of those that the peer, which is not on the ring, wants sessions with."""
        ring = self._holdings.ring()
        if peer.keeps_of is not ring:
            peer.keeps_of = ring
            peer.keeps = any(n.node_id == self._holdings.me for n in neighbours.wanted(peer.node_id, peer.cluster, ring))
        return peer.keeps

    def box(self, peer: Partner, record: Record) -> None:
        """Put it aside for that peer; :meth:`flush` sends."""
        peer.outbox[record.digest] = record
        self._boxes[peer.session] = peer

    def flush(self, peer: Partner, now: float) -> None:
        """Send what is in the box, as far as calls in flight allow."""
        if peer.outbox:
            peer.push_at = now + PUSH_PAUSE
        while peer.outbox and peer.in_flight < PUSHES_AT_ONCE:
            batch: list[Record] = []
            room = PUSH_OCTETS
            for found, record in list(peer.outbox.items()):
                if batch and len(record.raw) > room:
                    break
                del peer.outbox[found]
                current = self._book.records.get(record.identity)
                if current is not record and record.kind != "grant":
                    continue  # outdated while it waited: its successor is in the box as well
                batch.append(record)
                room -= len(record.raw)
            if batch:
                peer.in_flight += 1
                self._ask(Ask(peer.session, Method.PUSH, {1: [r.raw for r in batch]}, ("push", tuple(batch))))
        if not peer.outbox:
            self._boxes.pop(peer.session, None)

    def wake_at(self) -> float:
        """When a box may be sent."""
        return min((peer.push_at for peer in self._boxes.values() if peer.in_flight < PUSHES_AT_ONCE), default=float("inf"))

    def wake(self, now: float) -> None:
        """Send what has waited its moment."""
        for peer in list(self._boxes.values()):
            if now >= peer.push_at:
                self.flush(peer, now)


def sample(entropy: Entropy, among: list[Partner], count: int) -> list[Partner]:
    """Some of them, by chance."""
    pool = list(among)
    return [pool.pop(int.from_bytes(entropy(4), "big") % len(pool)) for _ in range(min(count, len(pool)))]
