"""Finding who keeps what where the table is shared out: the searches of a node, and what it learns by them (decision 11).

It decides what to look for and when: the keepers of zones that are asked for here, those of the own zone, and its own
surroundings, so that it knows whom it stands among; and which of the nodes that it hears of it remembers. ``search.py``
decides the steps of one search. Whom others show counts when the record that shows it was judged, chain and all; nobody is
believed about anybody else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from overlay import limits
from overlay.directory.book import Book
from overlay.directory.contacts import Contacts
from overlay.directory.holdings import Holdings
from overlay.directory.neighbours import CROWDED, Neighbour, diverse, nearest, point_of
from overlay.directory.pushing import Partner
from overlay.directory.reaching import Reaching
from overlay.directory.search import CLOSE, Search
from overlay.directory.sharing import near
from overlay.errors import Malformed, TrustError
from overlay.identity.keys import KEY
from overlay.machine import Entropy
from overlay.name import Path
from overlay.records.kinds import Cluster
from overlay.records.record import Record, parse
from overlay.wire.codec import Value, octet_list
from overlay.wire.messages import Method

AGAIN: Final = 30.0  # seconds between looks where peers say that the table is shared out and it does not seem so (guess)
FOUND: Final = 1_000  # results kept: as many as watches
ANSWER: Final = 1 + limits.NEAREST * (1 + 2 * limits.CHAIN)  # items of an answer at most


@dataclass(slots=True)
class _Errand:
    """A search and what it is for: the keepers of a zone, or whoever is near a key."""

    search: Search
    path: Path | None
    begun: float
    shown: dict[bytes, list[bytes]] = field(default_factory=dict)  # node id -> its record and chain, as they were shown
    told: bool = False  # whether its end was noted


class Finding:
    """The searches of one node.

    ``learn`` takes in records that a peer showed; ``news`` hears that more is known of who keeps a zone, ``over`` whom a search
    found: the keepers of a zone, or who is near to this node.
    """

    def __init__(
        self, *, holdings: Holdings, reaching: Reaching, entropy: Entropy, counters: Counter[str],
        learn: Callable[[Partner, list[bytes], float], object], news: Callable[[Path], None], over: Callable[[Path | None, list[Neighbour]], None],
    ) -> None:
        self.contacts = Contacts(holdings.me, holdings.cluster, size=holdings.spread.bucket, counters=counters)
        self._holdings = holdings
        self._reaching = reaching
        self._entropy = entropy
        self._counters = counters
        self._learn = learn
        self._news = news
        self._over = over
        self._errands: dict[int, _Errand] = {}  # by key, the oldest first
        self._me = int.from_bytes(holdings.me, "big")
        self._looked_at = float("-inf")
        self._around_at = float("inf")
        self._refresh_at = float("inf")
        self._own_at = float("inf")

    @property
    def _book(self) -> Book:
        return self._holdings.book

    @property
    def _again(self) -> float:
        """Seconds between searches for the same: who is near, who keeps the own zone, contacts of one of 16 buckets."""
        return self._holdings.spread.again

    @property
    def _crowded(self) -> bool:
        return len(self._holdings.ring()) > CROWDED

    # -- what is wanted

    def keepers(self, path: Path, now: float, *, anew: bool) -> tuple[list[Neighbour], list[Neighbour]]:
        """(the nearest to that zone's key, once a search is over, who says that it keeps it). ``anew``: search if not done of late."""
        key = point_of(path)
        errand = self._errands.get(key)
        if anew and (errand is None or (errand.search.over and now - errand.begun >= self._again)):
            errand = self._begin(key, path, now, CLOSE) or errand
        if errand is None:
            return [], []
        return errand.search.found() if errand.search.over else [], list(errand.search.holders.values())

    def widen(self, path: Path, now: float) -> None:
        """Nobody who was found has the zone: look further."""
        errand = self._errands.get(point_of(path))
        if errand is not None and errand.search.widen(now):
            errand.told = False
            self._carry_on(point_of(path), now)

    def look_around(self, now: float) -> None:
        """A peer has no whole table to show: find out who is near, and so whether anybody has."""
        self._around_at = min(self._around_at, max(now, self._looked_at + AGAIN))

    # -- the steps of searches

    def _begin(self, key: int, path: Path | None, now: float, close: int) -> _Errand | None:
        running = sum(not errand.search.over for errand in self._errands.values())
        if running >= limits.SEARCHES:
            self._counters["drop:searches-full"] += 1
            return None
        seeds = nearest(key, self._seeds(), limits.NEAREST)
        search = Search(key, seeds, me=self._holdings.me, now=now, crowded=self._crowded, close=close, counters=self._counters)
        self._errands.pop(key, None)
        errand = self._errands[key] = _Errand(search, path, now)
        while len(self._errands) > FOUND:
            del self._errands[next(key for key, errand in self._errands.items() if errand.search.over)]
        self._counters["searches"] += 1
        self._carry_on(key, now)
        return errand

    def _seeds(self) -> list[Neighbour]:
        """Whom this node knows, in the order of the ring: from the table, and by sessions."""
        peers = self._reaching.partners.values()
        known = {p.node_id: Neighbour(p.node_id, b"", (), p.cluster, int.from_bytes(p.node_id, "big")) for p in peers}
        known.update((n.node_id, n) for n in self._holdings.ring())
        return sorted(known.values(), key=lambda n: n.point)

    def _carry_on(self, key: int, now: float) -> None:
        errand = self._errands.get(key)
        if errand is None:
            return
        body: dict[int, Value] = {1: key.to_bytes(KEY, "big")} if errand.path is None else {2: str(errand.path)}
        for node in errand.search.take():
            if not self._reaching.ask(node, Method.FIND, body, ("find", key, node), now):
                errand.search.failed(node.node_id, now)
        if errand.search.over and not errand.told:
            errand.told = True
            found = errand.search.found()
            self._counters["searches_short"] += len(found) < self._holdings.spread.copies
            if errand.path is not None or key == self._me:
                self._over(errand.path, found)
        if errand.path is not None:
            self._news(errand.path)

    def answered(self, context: tuple[object, ...], peer: Partner, body: Value, now: float, at: float) -> None:
        """The answer to FIND: ``[keeps it?, cluster records, grants]``. ``Malformed`` where it is none."""
        _, key, node = context
        assert isinstance(key, int) and isinstance(node, Neighbour)
        self.contacts.heard(node, now, crowded=self._crowded)
        errand = self._errands.get(key)
        if errand is None:
            return
        try:
            items = octet_list(body, ANSWER)
            shown = dict(self._judged(items[1:], at)) if items else {}
        except Malformed:
            errand.search.failed(node.node_id, now)
            self._carry_on(key, now)
            raise
        if node.node_id in errand.shown and node.node_id in self.contacts:
            self._learn(peer, errand.shown[node.node_id], at)
        for other, raws in shown.items():
            self.contacts.told(other, crowded=self._crowded)
            errand.shown.setdefault(other.node_id, raws)
            if other.node_id in self.contacts or near(self._holdings, self._holdings.me, other.node_id):
                self._learn(peer, raws, at)
        errand.search.answered(node.node_id, shown, now, holds=items[:1] == [b"\x01"])
        self._carry_on(key, now)

    def failed(self, context: tuple[object, ...], now: float) -> None:
        """A node could not be reached, or did not answer."""
        _, key, node = context
        assert isinstance(key, int) and isinstance(node, Neighbour)
        self.contacts.failed(node.node_id)
        if key in self._errands:
            self._errands[key].search.failed(node.node_id, now)
            self._carry_on(key, now)

    def _judged(self, raws: list[bytes], at: float) -> Iterator[tuple[Neighbour, list[bytes]]]:
        """The nodes that an answer shows, each with its record and chain: those whose records count."""
        records: list[Record] = []
        grants: dict[bytes, Record] = {}
        for raw in raws:
            record = parse(raw)
            if record.kind == "grant":
                grants[record.digest] = record
            elif record.kind == "cluster" and len(records) < limits.NEAREST:
                records.append(record)
        for record in records:
            held = self._book.held(record.raw)
            chain: tuple[Record, ...]
            try:
                if held is not None:
                    said, chain = self._book.body(held), ()  # judged before
                else:
                    verdict = self._book.trust.judge(record, at, lambda digest: self._book.grants.get(digest) or grants.get(digest))
                    said, chain = verdict.body, verdict.chain
            except (TrustError, Malformed) as why:
                self._counters[f"drop:{why.rule}"] += 1
                continue
            if isinstance(said, Cluster) and said.addresses and not said.withdrawn:
                node = Neighbour(record.signer, said.exchange, said.addresses, record.name, int.from_bytes(record.signer, "big"))
                yield node, [*(grant.raw for grant in reversed(chain)), record.raw]

    # -- what others ask

    def serve(self, key: int, path: Path | None) -> list[bytes]:
        """Whether this node keeps the zone asked for, and the nearest public nodes that it knows, with their chains."""
        known = nearest(key, self._holdings.ring(), 2 * limits.NEAREST)
        chosen = diverse(known, limits.NEAREST) if self._crowded else known[: limits.NEAREST]
        records = [record for n in chosen if (record := self._book.records.get((n.cluster, "cluster", b"", n.node_id))) is not None]
        chains = {grant.digest: grant for record in records for grant in self._book.chain_of(record)}
        keeps = path is not None and path in self._book.cuts and self._holdings.holds(path)
        return [b"\x01" if keeps else b"\x00", *(r.raw for r in records), *(g.raw for g in chains.values())]

    # -- time

    def wake_at(self) -> float:
        """When a search goes on by itself, or one is due."""
        due = min(self._around_at, self._refresh_at, self._own_at)
        for errand in self._errands.values():
            if not errand.search.over:
                due = min(due, errand.search.wake_at())
        return due

    def wake(self, now: float) -> None:
        """Time passed."""
        for key, errand in list(self._errands.items()):
            if now >= errand.search.wake_at():
                errand.search.wake(now)
                self._carry_on(key, now)
        shared_out = self._holdings.shared_out
        if shared_out and self._refresh_at == float("inf"):
            self._around_at = self._own_at = now
            self._refresh_at = now + self._again
        if now >= self._around_at:
            self._looked_at = now
            self._around_at = now + self._again if shared_out else float("inf")
            self._begin(self._me, None, now, self._holdings.spread.copies)
        if now >= self._own_at:
            self._own_at = now + self._again if shared_out else float("inf")
            for path in self._to_place() if shared_out else ():
                self._begin(point_of(path), path, now, self._holdings.spread.copies)
        if now >= self._refresh_at:
            self._refresh_at = now + self._again if shared_out else float("inf")
            self._refresh(now)

    def _to_place(self) -> list[Path]:
        """The zones that this node puts where they are looked for: its cluster's, and of those it keeps one after the other.

        A zone outlives its cluster, and so do those who keep it die, and others come that are nearer to its key.
        """
        own = self._holdings.cluster
        kept = [path for path in self._holdings.custody() if path != own]
        return [*([own] if self._speaks() else []), *(kept[int.from_bytes(self._entropy(4), "big") % len(kept) :][:1] if kept else [])]

    def _speaks(self) -> bool:
        """Whether it is for this node to place its cluster's zone: public nodes do, or who is there."""
        gateways = [n for n in self._holdings.ring() if n.cluster == self._holdings.cluster]
        return not gateways or any(n.node_id == self._holdings.me for n in gateways)

    def _refresh(self, now: float) -> None:
        """Look for a key in some distance: a bucket's contacts show newer records of theirs, or are gone.

        16 buckets take 80 minutes; cluster records live for two hours.
        """
        listed = self._holdings.listed()
        for node in list(self.contacts):
            if node.node_id not in listed:
                self.contacts.drop(node.node_id)
        silent = self.contacts.to_ping(now)
        if silent is not None:
            self._reaching.ask(silent, Method.FIND, {1: self._holdings.me}, ("find", -1, silent), now)
        depth = self._entropy(1)[0] % 16  # bits in common: with a million nodes 20 are, and the nearest are looked at anyway
        free = 8 * KEY - 1 - depth
        key = self._me ^ (1 << free) ^ (int.from_bytes(self._entropy(KEY), "big") & ((1 << free) - 1))
        self._begin(key, None, now, CLOSE)
        self._errands = {key: errand for key, errand in self._errands.items() if not errand.search.over or now - errand.begun < self._again}
