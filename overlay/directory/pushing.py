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
from overlay.directory.sharing import begins, concerns, kept_with
from overlay.directory.spread import core
from overlay.machine import Entropy
from overlay.name import ROOT, Path, parse_path
from overlay.records.record import Record
from overlay.wire.messages import Method

PUSH_OCTETS: Final = 1_000  # records a push call carries: a datagram less headers, or one record of the full size
PUSH_PAUSE: Final = 0.1  # seconds between pushes to one peer: news at once, what follows in one datagram
PUSHES_AT_ONCE: Final = 3  # calls in flight to one peer: leaves room among its 8 for questions
ALL_PEERS: Final = 6  # up to so many interested peers are all told at once; above, the ring and a fan-out
OFFER_AFTER: Final = 0.5  # seconds a rank: what another tells at once is there by then, and what is new is offered in one datagram
OFFERED: Final = 60  # records an offer names, of 16 octets each: a datagram less headers


ROOT_UNIT: Final = zone_unit(ROOT)


@dataclass(slots=True)
class Partner:
    """An admitted peer, as the directory deals with it."""

    session: int
    node_id: bytes
    cluster: Path
    outbox: dict[bytes, Record] = field(default_factory=dict)  # by mark, in order
    in_flight: int = 0
    push_at: float = 0.0  # not before
    watching: dict[Path, float] = field(default_factory=dict)  # what it watches here, until when
    offers: dict[bytes, Record] = field(default_factory=dict)  # what others tell it, by mark
    offer_at: float = 0.0  # when they are named to it
    introduced: set[Path] = field(default_factory=set)  # zones that it was shown the beginning of, where the table is shared out
    rank: int | None = None  # our place among those that it wants sessions with, by the ring; None: it wants none
    forged: int = 0  # records from it whose signatures did not hold
    rank_of: list[Neighbour] | None = None  # the ring that this was looked up in


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
        self._fresh: dict[int, Partner] = {}  # those to whom news goes at the end of this step: what came together goes together
        self._offering: dict[int, Partner] = {}  # those with something to be offered

    def left(self, session: int) -> None:
        """A session ended."""
        self.partners.pop(session, None)
        self._boxes.pop(session, None)
        self._offering.pop(session, None)

    def _interested(self, peers: list[Partner], record: Record, unit: Unit) -> list[Partner]:
        """Those of these peers that are to hear of a record of that unit."""
        holdings = self._holdings
        if record.kind == "head" and record.name != ROOT and not holdings.everything():
            # A head says how new a zone is: of use to who keeps or watches it. Members of other clusters find it when they compare.
            listed, path = holdings.listed(), record.name
            return [p for p in peers if p.node_id in listed or path == p.cluster or path in p.watching]
        if unit == ROOT_UNIT or holdings.everything() or (unit == TABLE and (core(record) or not holdings.shared_out)):
            return peers
        path = record.name if unit == TABLE else parse_path(unit.removeprefix("zone:"))
        if holdings.shared_out:
            return [p for p in peers if path == p.cluster or path in p.watching or concerns(holdings, p.node_id, record)]
        keepers = holdings.keeping(path)
        return [p for p in peers if path == p.cluster or path in p.watching or p.node_id in keepers]

    def tell(self, record: Record, source: int | None, now: float, *, asked: bool = False) -> None:
        """A record is news here; ``source`` is the session that brought it, None where it is our own.

        What was ``asked`` for may be news here alone (a newcomer asks for the whole table), so it is offered only.
        """
        at_once, later = self._audience(record, source)
        if asked:
            at_once, later = [], [*at_once, *later]
        for peer in at_once:
            if len(peer.outbox) < limits.BOOK:
                self.box(peer, record)
                self.counters["pushes"] += 1
                if now >= peer.push_at:
                    self._fresh[peer.session] = peer
        for peer in later:
            if not peer.offers:
                peer.offer_at = now + OFFER_AFTER * (peer.rank or 1)
                self._offering[peer.session] = peer
            if len(peer.offers) < limits.BOOK:
                peer.offers[record.mark] = record

    def tell_watchers(self, record: Record, source: int | None, now: float) -> None:
        """The same, to those alone who watch its zone here: they hear of it from us."""
        path = kept_with(record, self._book)
        for peer in self.partners.values():
            if path in peer.watching and peer.session != source and len(peer.outbox) < limits.BOOK:
                self.box(peer, record)

    def _audience(self, record: Record, source: int | None) -> tuple[list[Partner], list[Partner]]:
        """(whom to tell at once, whom to offer it a moment later): all at once where they are few; else some.

        Nodes of the table hear of a change from each other: the next on the ring and some others. One that is not in it
        has no place on the ring; it is told by the first of those that it wants sessions with, and the others offer what
        they have, one after the other, in case the first is gone. What a node of the table told it, it leaves to the
        table to pass on.
        """
        unit = self._book.unit_of(record)
        told = self.partners.get(source) if source is not None else None
        listed = self._holdings.listed()
        me = self._holdings.me
        if told is not None and told.node_id in listed and me not in listed:
            return [], []
        heard = told.node_id if told is not None else b""
        others = [p for p in self.partners.values() if p.session != source and p.node_id not in (heard, record.signer)]
        audience = self._interested(others, record, unit)
        if len(audience) <= ALL_PEERS:
            return audience, []
        at_once: list[Partner] = []
        later: list[Partner] = []
        ring: list[Partner] = []
        strays: list[Partner] = []
        path = record.name if unit == TABLE else parse_path(unit.removeprefix("zone:"))
        for peer in audience:
            if path in peer.watching or peer.node_id in self._holdings.own_keepers:
                at_once.append(peer)  # it hears of this from nobody else
            elif peer.node_id in listed:
                ring.append(peer)
            else:
                rank = self._rank(peer)
                (strays if rank is None else later if rank else at_once).append(peer)
        ring.sort(key=lambda p: (p.node_id < me, p.node_id))
        at_once += [*ring[:1], *sample(self._entropy, ring[1:], limits.FANOUT - 1)]
        return at_once, [*later, *sample(self._entropy, strays, 1)]

    def _rank(self, peer: Partner) -> int | None:
        """The place of this node among those that the peer, which is not on the ring, wants sessions with."""
        ring = self._holdings.ring()
        if peer.rank_of is not ring:
            peer.rank_of = ring
            wanted = [n.node_id for n in neighbours.wanted(peer.node_id, peer.cluster, ring)]
            peer.rank = wanted.index(self._holdings.me) if self._holdings.me in wanted else None
        return peer.rank

    def heard(self, peer: Partner, mark: bytes) -> None:
        """That peer has the record of that mark already."""
        peer.outbox.pop(mark, None)
        peer.offers.pop(mark, None)

    def box(self, peer: Partner, record: Record) -> None:
        """Put it aside for that peer; :meth:`flush` sends."""
        if self._holdings.shared_out and not core(record):
            self._introduce(peer, kept_with(record, self._book))
        peer.outbox[record.mark] = record
        self._boxes[peer.session] = peer

    def _introduce(self, peer: Partner, path: Path) -> None:
        """Show that peer once that a zone begins at ``path``: without the table it may not know, and take the names for the root's."""
        if path in peer.introduced:
            return
        if len(peer.introduced) >= limits.WATCHES:
            peer.introduced.clear()
        peer.introduced.add(path)
        for grant in begins(self._book, path):
            peer.outbox[grant.mark] = grant

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

    def _offer(self, peer: Partner) -> None:
        """Name to that peer what it should have heard by now."""
        del self._offering[peer.session]
        entries: dict[Unit, list[bytes]] = {}
        for mark, record in peer.offers.items():
            if self._book.records.get(record.identity) is record:
                entries.setdefault(self._book.unit_of(record), []).append(record.key + mark)
        peer.offers.clear()
        for unit, listing in entries.items():
            for start in range(0, len(listing), OFFERED):
                self.counters["offers"] += 1
                self._ask(Ask(peer.session, Method.OFFER, {1: unit, 2: listing[start : start + OFFERED]}, ("offer",)))

    def flush_fresh(self, now: float) -> None:
        """The step is over: send its news."""
        if self._fresh:
            fresh, self._fresh = self._fresh, {}
            for peer in fresh.values():
                if peer.session in self.partners:
                    self.flush(peer, now)

    def wake_at(self) -> float:
        """When a box may be sent, or an offer made."""
        due = float("inf")
        for peer in self._boxes.values():
            if peer.push_at < due and peer.in_flight < PUSHES_AT_ONCE:
                due = peer.push_at
        for peer in self._offering.values():
            if peer.offer_at < due:
                due = peer.offer_at
        return due

    def wake(self, now: float) -> None:
        """Send what has waited its moment."""
        for peer in list(self._boxes.values()):
            if now >= peer.push_at:
                self.flush(peer, now)
        for peer in [peer for peer in self._offering.values() if now >= peer.offer_at]:
            self._offer(peer)


def sample(entropy: Entropy, among: list[Partner], count: int) -> list[Partner]:
    """Some of them, by chance."""
    pool = list(among)
    return [pool.pop(int.from_bytes(entropy(4), "big") % len(pool)) for _ in range(min(count, len(pool)))]
