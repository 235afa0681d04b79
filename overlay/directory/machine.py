"""The directory as a machine: pushes changes, reconciles, keeps zones for others, watches (DESIGN 3.5, foundation).

It decides whom to tell what, and what to ask for. It speaks in calls to sessions and knows no datagrams; whether a
record counts is the book's business. While the overlay is small (at most 16 clusters, 256 nodes) every node holds every zone;
above that a node holds the table, the root zone, its cluster's zone, those it is custodian of, and those it watches.

A change travels by push (at once, deduplicated by signer and seq, each hop once) and, where a push was lost, by
reconciliation with one random peer every 30 s. A zone that is not held is watched at a gateway or custodian.
"""

from __future__ import annotations

from collections import Counter

from overlay import limits
from overlay.directory import neighbours, roll
from overlay.directory.book import TABLE, Book, Unit, zone_unit
from overlay.directory.finding import Finding
from overlay.directory.holdings import Holdings
from overlay.directory.neighbours import Neighbour, point_of
from overlay.directory.outputs import Answer, Arrived, Changed, Output, Part
from overlay.directory.pushing import Partner, Pushing
from overlay.directory.reaching import Reaching
from overlay.directory.reconciling import Reconciling, compares
from overlay.directory.sharing import begins, beside, concerns, kept_with, to_shed
from overlay.directory.spread import CORE, Spread
from overlay.directory.watching import Watches
from overlay.errors import Malformed, TrustError, UsageError
from overlay.machine import Entropy
from overlay.name import ROOT, Path, parse_path
from overlay.records.record import MARK, Record, parse
from overlay.records.trust import MissingGrant
from overlay.wire.codec import Fields, Value, octet_list, octets
from overlay.wire.messages import Method

SWEEP = 20.0  # seconds between sweeps of expired records

SPREAD = Spread()  # as the product is


class Directory:
    """What this node holds, and its conversation about it."""

    def __init__(
        self, *, me: bytes, cluster: Path, book: Book, entropy: Entropy, now: float, small: int = limits.SMALL_OVERLAY,
        spread: Spread = SPREAD,
    ) -> None:
        """``small``: up to so many clusters every node holds every zone. ``spread``: how the table is shared out above its bound."""
        self.me = book.room.me = me
        self.cluster = cluster
        self.book = book
        self.counters: Counter[str] = Counter()
        self._entropy = entropy
        self._pending: dict[bytes, dict[bytes, Record]] = {}  # digest of the missing grant -> records that wait for it
        self._out: list[Output] = []
        self._now = now
        self.holdings = Holdings(
            me=me, cluster=cluster, book=book, small=small, watched=lambda: self._watches, spread=spread, counters=self.counters,
        )
        self._pushing = Pushing(book=book, holdings=self.holdings, entropy=entropy, counters=self.counters, ask=self._out.append)
        self._peers = self._pushing.partners
        self._reaching = Reaching(partners=self._peers, out=self._out.append, counters=self.counters)
        self._finding = Finding(
            holdings=self.holdings, reaching=self._reaching, entropy=entropy, counters=self.counters, learn=self._learn,
            news=lambda path: self._watches.look_soon(path, self._now), over=self._found,
        )
        self._watches = Watches(
            book=book, keepers=self._keepers, widen=lambda path: self._finding.widen(path, self._now), reaching=self._reaching,
            counters=self.counters,
        )
        self._reconciling = Reconciling(
            holdings=self.holdings, pushing=self._pushing, entropy=entropy, ask=self._out.append, take=self._take_all,
            partial=lambda: self._finding.look_around(self._now), now=now,
        )
        self._sweep_at = now + SWEEP

    # -- peers come and go

    def joined(self, session: int, node_id: bytes, cluster: Path, *, initiator: bool, now: float) -> None:
        """A session was admitted."""
        partner = self._peers[session] = Partner(session, node_id, cluster)
        self._now = now
        self._reaching.joined(partner)
        if initiator:
            self._reconciling.begin(session, now)

    def left(self, session: int) -> None:
        """A session ended."""
        partner = self._peers.get(session)
        self._pushing.left(session)
        self._reconciling.left(session, self._now)
        if partner is not None:
            self._watches.left(partner.node_id, self._now)

    # -- records

    def publish(self, record: Record, at: float) -> None:
        """Take in a statement of this node's own; errors are the caller's."""
        self._take(record, at, None)

    def _take(self, record: Record, at: float, source: int | None, *, asked: bool = False) -> None:
        wanted = record.digest in self._pending
        if self.book.known(record) and not wanted:
            self.counters["duplicates"] += 1
            return
        if self.book.add(record, at, wanted=wanted) is not None:
            self._news(record, source, asked=asked)
        for waiting in self._pending.pop(record.digest, {}).values():
            self._take_foreign(waiting, at, source, asked=asked)

    def _news(self, record: Record, source: int | None, *, asked: bool) -> None:
        self._out.append(Arrived(record, told=source is not None))
        # Where the table is shared out, what was asked for is news to nobody who keeps it, and others' passes us by: else it would go round.
        if source is None or not self.holdings.shared_out or (not asked and concerns(self.holdings, self.me, record)):
            self._pushing.tell(record, source, self._now, asked=asked)
        else:
            self._pushing.tell_watchers(record, source, self._now)

    def _take_foreign(self, record: Record, at: float, source: int | None, *, asked: bool = False) -> bytes | None:
        """Take in what a peer sent, ``asked`` or not. The digest of the grant that is missing, or None."""
        try:
            self._take(record, at, source, asked=asked)
        except MissingGrant as missing:
            if sum(map(len, self._pending.values())) >= limits.PENDING:
                self._pending.clear()
                self.counters["drop:pending-full"] += 1
            self._pending.setdefault(missing.wanted, {})[record.digest] = record
            return missing.wanted
        except (TrustError, Malformed) as why:
            self.counters[f"drop:{why.rule}"] += 1
            if why.rule == "R01" and source in self._peers:
                self._forged(self._peers[source])
        return None

    def _forged(self, peer: Partner) -> None:
        """A record whose signature does not hold: checking it cost more than all else, and an honest peer checks before it tells."""
        peer.forged += 1
        if peer.forged == limits.FORGED:
            self.counters["drop:forged"] += 1
            self._out.append(Part(peer.session, "forged-records"))

    def _pushed(self, peer: Partner, raw: bytes, at: float) -> bytes | None:
        held = self.book.held(raw)
        if held is not None:
            self.counters["duplicates"] += 1
            self._pushing.heard(peer, held.mark)
            return None
        if peer.forged >= limits.FORGED:
            return None  # its session is ending: nothing more of it is worth a check
        record = parse(raw)
        missing = self._take_foreign(record, at, peer.session)
        self._pushing.heard(peer, record.mark)
        return missing

    def _offered(self, peer: Partner, unit: Unit, listing: list[Value]) -> None:
        """A peer names news: what has come from nobody so far is asked for."""
        entries = [octets(entry) for entry in listing]
        if any(len(entry) != 2 * MARK for entry in entries):
            raise Malformed("an entry is key and mark", rule="field-range")
        replica = self.book.units.get(unit)
        if replica is None or not (unit == TABLE or self.holdings.holds(_path(unit.removeprefix("zone:")))):
            return
        for entry in entries:
            self._pushing.heard(peer, entry[MARK:])
        lacking = replica.lacking(entries)
        if lacking:
            self._reconciling.fetch(peer, unit, lacking)

    # -- calls from peers

    def called(self, session: int, ticket: int, method: Method, body: Value, now: float, at: float) -> None:
        """Answer a peer's question. ``Malformed`` where it makes no sense."""
        self._now = now
        peer = self._peers.get(session)
        if peer is None:
            raise Malformed("a call from nobody", rule="no-peer")
        self._out.append(Answer(session, ticket, self._serve(peer, method, body, now, at)))

    def _serve(self, peer: Partner, method: Method, body: Value, now: float, at: float) -> Value:
        if method is Method.SUMMARY:
            zones = [zone_unit(path) for path in self.holdings.zones()]
            return [self._summary(unit) for unit in (CORE if self.holdings.shared_out else TABLE, *zones)]
        fields = Fields(body, method.name.lower())
        if method is Method.PUSH:
            missing = [self._pushed(peer, octets(raw), at) for raw in fields.items(1, 64)]
            return {1: list(dict.fromkeys(digest for digest in missing if digest))}
        if method is Method.OFFER:
            self._offered(peer, fields.text(1, 260), fields.items(2, 64))
            return {}
        if method is Method.FETCH:
            return self._fetch(fields)
        if method is Method.BUCKETS:
            return self._replica_sums(fields.text(1, 260))
        if method is Method.LISTING:
            unit = fields.text(1, 260)
            buckets = [n for n in fields.items(2, 64) if type(n) is int]
            replica = self.holdings.replica(unit)
            return list(replica.listing(buckets)) if replica is not None else []
        if method is Method.FIND:
            path = _path(fields.text(2, 255, default=""))
            return self._finding.serve(point_of(path) if path != ROOT else int.from_bytes(fields.binary(1, 32, 32), "big"), path)
        if method is Method.WATCH:
            return self._watched(peer, _path(fields.text(1, 255)), fields.binary(2, 0, 8, default=b""), now)
        if method is Method.MEMBERS:
            path, after = roll.asked(body)
            zone = self.book.outline.zone_of(path)
            hosts = self.holdings.view(zone).hosts if self.holdings.holds(zone) else ()
            if not any(host.name.parent == path for host in hosts):  # an empty page would say that nobody belongs to it
                raise Malformed("a question about a cluster that is not held here", rule="not-held")
            return roll.page(hosts, path, after, {}, self.counters)
        raise Malformed("no question for the directory", rule="method")

    def _summary(self, unit: Unit) -> bytes:
        replica = self.holdings.replica(unit)
        return (replica.digest if replica is not None else bytes(8)) + unit.encode()

    def _replica_sums(self, unit: Unit) -> bytes:
        replica = self.holdings.replica(unit)
        return replica.sums() if replica is not None else b""

    def _fetch(self, fields: Fields) -> list[bytes]:
        unit = fields.text(2, 260, default="")
        found = [self.holdings.by_key(unit, key) for key in fields.items(3, 64) if type(key) is bytes]
        for wanted in fields.items(1, 32):
            grant = self.book.links.get(wanted) if type(wanted) is bytes else None
            if grant is not None and self.holdings.shared_out:  # where its zone begins comes first: see Pushing.box
                found += begins(self.book, kept_with(grant, self.book))[:1]
            found.append(grant)
        return [record.raw for record in found if record is not None]

    def _watched(self, peer: Partner, path: Path, theirs: bytes, now: float) -> list[bytes]:
        unit = zone_unit(path)
        replica = self.book.units.get(unit)
        if replica is None or not self.holdings.holds(path):
            self.counters["watches_refused"] += 1  # who asks sees another ring, or another table, than we do
            return [b"\x00"]
        if path in peer.watching or self._room_for_watch(peer):
            peer.watching[path] = now + limits.WATCH_LEASE
        if theirs == replica.digest:
            return [b"\x01"]
        whole = not self.holdings.shared_out and peer.node_id in self.holdings.listed()  # it is told all that the table says
        records = [*(() if whole else beside(self.book, path)), *self.book.members(unit)]
        chain = {grant.digest: grant for record in records for grant in self.book.chain_of(record)}
        return [b"\x01", *(g.raw for g in chain.values() if g not in records), *(r.raw for r in records)]

    def _room_for_watch(self, peer: Partner) -> bool:
        """Whether one more watch of that peer is kept: where all are taken, at the cost of who has the most."""
        if sum(len(p.watching) for p in self._peers.values()) < limits.WATCHES:
            return True
        self.counters["drop:watches-full"] += 1
        greediest = max(self._peers.values(), key=lambda p: len(p.watching))
        if len(greediest.watching) <= len(peer.watching) + 1:
            return False
        del greediest.watching[next(iter(greediest.watching))]  # it is served when it renews, and told no more until then
        return True

    # -- answers from peers

    def answered(self, context: tuple[object, ...], session: int, body: Value, now: float, at: float) -> None:
        """The answer to an ``Ask``. Whatever is wrong with it is counted, and reconciliation tries again later."""
        self._now = now
        peer = self._peers.get(session)
        if peer is None:
            self.failed(context, session)
            return
        try:
            self._continue(context, peer, body, now, at)
        except (Malformed, UsageError) as why:
            self.counters[f"drop:{why.rule}"] += 1

    def _continue(self, context: tuple[object, ...], peer: Partner, body: Value, now: float, at: float) -> None:
        if compares(context):
            self._reconciling.answered(context, peer, body, at, now)
            return
        match context:
            case ("push", _):
                peer.in_flight -= 1
                for wanted in Fields(body, "push reply").items(1, 64):
                    grant = self.book.links.get(wanted) if type(wanted) is bytes else None
                    if grant is not None:
                        self._pushing.box(peer, grant)
                self._pushing.flush(peer, self._now)
            case ("watch", Path() as path, bytes(keeper)):
                held = False
                try:
                    items = octet_list(body, limits.BOOK)
                    held = items[:1] == [b"\x01"]
                    self._reconciling.fetch_grants(peer, self._take_all(peer, items[1:], at)[1])
                finally:
                    self._watches.answered(path, keeper, now, held=held)
                self._out.append(Changed(frozenset({zone_unit(path)})))
            case ("find", int(), Neighbour()):
                self._finding.answered(context, peer, body, now, at)

    def _take_all(self, peer: Partner, raws: list[bytes], at: float) -> tuple[int, list[bytes]]:
        """Take in what a peer served: how many were acceptable, and the digests of the grants that are missing."""
        missing: dict[bytes, None] = {}
        accepted = 0
        for raw in raws:
            if self.book.held(raw) is not None:
                accepted += 1
                continue
            if peer.forged >= limits.FORGED:
                break
            try:
                record = parse(raw)
            except Malformed as why:
                self.counters[f"drop:{why.rule}"] += 1
                continue
            wanted = self._take_foreign(record, at, peer.session, asked=True)
            if wanted is not None:
                missing[wanted] = None
            accepted += wanted is not None or self.book.known(record)
        return accepted, [digest for digest in missing if digest not in self.book.links]

    def failed(self, context: tuple[object, ...], session: int) -> None:
        """A call was not answered. What was being pushed waits for the next reconciliation."""
        if compares(context):
            self._reconciling.failed(context, self._now)
            return
        peer = self._peers.get(session)
        match context:
            case ("push", _) if peer is not None:
                peer.in_flight -= 1
                self._pushing.flush(peer, self._now)
            case ("watch", Path() as path, bytes(keeper)):
                self._watches.failed(path, keeper, self._now)
            case ("find", int(), Neighbour()):
                self._finding.failed(context, self._now)

    # -- watching

    def watch(self, path: Path, now: float) -> bool:
        """Somebody here asks for names of that zone: hold it from now on. True where it is already held and fresh."""
        if self.holdings.everything() or path in (ROOT, self.cluster):
            return True
        return self._watches.want(path, now)

    def watchable(self, path: Path) -> list[Neighbour]:
        """Where a zone can be watched: its gateways, then its custodians; above the table's bound, those found so far."""
        surest, others = self._keepers(path, anew=True)
        return list({n.node_id: n for n in (*surest, *others)}.values())

    def _keepers(self, path: Path, anew: bool) -> tuple[list[Neighbour], list[Neighbour]]:
        """(who is told of changes there first, who else may keep it)."""
        ring = self.holdings.ring()
        gateways = [n for n in ring if n.cluster == path and n.node_id != self.me]
        if not self.holdings.shared_out:
            return gateways, [n for n in neighbours.custodians(path, ring) if n.node_id != self.me]
        nearest, claiming = self._finding.keepers(path, self._now, anew=anew)
        return [*gateways, *nearest[: self.holdings.spread.copies]], [*claiming, *nearest]

    # -- where the table is shared out

    def _learn(self, peer: Partner, raws: list[bytes], at: float) -> None:
        self._take_all(peer, raws, at)

    def _found(self, path: Path | None, found: list[Neighbour]) -> None:
        """A search is over: who keeps a zone that is here is given it, who is near is shown this node's record."""
        sessions = {peer.node_id: peer for peer in self._peers.values()}
        if path is None:
            mine = self.book.records.get((self.cluster, "cluster", b"", self.me))
            for peer in [sessions[n.node_id] for n in found if n.node_id in sessions and mine is not None]:
                assert mine is not None
                self._pushing.box(peer, mine)
        elif path == self.cluster or path in self.holdings.custody():
            keepers = found[: self.holdings.spread.copies]
            if path == self.cluster:
                self.holdings.own_keepers = frozenset(n.node_id for n in keepers)
            for peer in [sessions[n.node_id] for n in keepers if n.node_id in sessions]:
                for record in beside(self.book, path):
                    self._pushing.box(peer, record)
                self._reconciling.begin(peer.session, self._now, zone_unit(path))

    # -- time

    def wake_at(self) -> float:
        """When :meth:`wake` wants to be called."""
        return min(
            self._sweep_at, self._pushing.wake_at(), self._reconciling.wake_at(), self._watches.wake_at(), self._reaching.wake_at(),
            self._finding.wake_at(),
        )

    def wake(self, now: float, at: float) -> None:
        """Time passed."""
        self._now = now
        self._pushing.wake(now)
        self._reconciling.wake(now)
        for context in list(self._reaching.gave_up(now)):
            self.failed(context, 0)
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP
            self.book.sweep(at, to_shed(self.holdings, self._finding.contacts) if self.holdings.shared_out else ())
            for peer in self._peers.values():
                watching = {path: until for path, until in peer.watching.items() if until > now}
                self.counters["watches_lapsed"] += len(peer.watching) - len(watching)
                peer.watching = watching
            needed = {n.node_id for n in self.holdings.wanted()} | self._watches.holders() | self.holdings.own_keepers
            self._reaching.close_idle(now, needed)
            if self.holdings.shared_out and self.cluster not in self.book.cuts:
                self._watches.want(self.cluster, now)  # who keeps it tells where it begins, and what stands in it
        self._finding.wake(now)
        self._watches.wake(now)

    def take(self) -> list[Output]:
        """What it wants since last asked; changed units last."""
        self._pushing.flush_fresh(self._now)
        changed = self.book.take_changed()
        if changed:
            self.holdings.changed(changed)
            self._out.append(Changed(frozenset(changed)))
        if not self._out:
            return []
        out = list(self._out)
        self._out.clear()  # the same list goes on: pushing holds it too
        return out

    @property
    def compared(self) -> bool:
        """Whether one reconciliation is complete: what peers know of the overlay is known here."""
        return self._reconciling.synced

    def settled(self) -> bool:
        """Whether one reconciliation is complete and somebody has all that this node has to tell."""
        return self._reconciling.synced and any(not p.outbox and not p.in_flight for p in self._peers.values())


def _path(text: str) -> Path:
    try:
        return parse_path(text)
    except UsageError as why:
        raise Malformed(why.what, rule="record-name") from None
