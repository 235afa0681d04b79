"""The directory as a machine: pushes changes, reconciles, keeps zones for others, watches (DESIGN 3.5, foundation).

It decides whom to tell what, and what to ask for. It speaks in calls to sessions and knows no datagrams; whether a
record counts is the book's business. While the overlay is small (at most 64 clusters) every node holds every zone;
above that a node holds the table, the root zone, its cluster's zone, those it is custodian of, and those it watches.

A change travels by push (at once, deduplicated by signer and seq, each hop once) and, where a push was lost, by
reconciliation with one random peer every 30 s. A zone that is not held is watched at a gateway or custodian.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from overlay import limits
from overlay.directory import neighbours
from overlay.directory.book import TABLE, Book, Unit, zone_unit
from overlay.directory.holdings import Holdings
from overlay.directory.neighbours import Neighbour
from overlay.directory.outputs import Answer, Arrived, Ask, Changed, Output
from overlay.directory.pushing import Partner, Pushing, sample
from overlay.errors import Malformed, TrustError, UsageError
from overlay.machine import Entropy
from overlay.name import ROOT, Path, parse_path
from overlay.records.record import Record, parse
from overlay.records.trust import MissingGrant
from overlay.wire.codec import Fields, Value
from overlay.wire.messages import Method

ROUNDS = 3  # of one reconciliation: table, zones that it names, and one to spare
SWEEP = 20.0  # seconds between sweeps of expired records
RENEW = 40.0  # seconds: renew a watch at two thirds of its lease
KEEP_WATCHING = 600.0  # seconds without a question before a watch is let go (guess)


_SYNC = frozenset({"summary", "buckets", "listing", "fetch"})


@dataclass(slots=True)
class _Watch:
    used: float
    renew: float
    session: int | None = None


class Directory:
    """What this node holds, and its conversation about it."""

    def __init__(self, *, me: bytes, cluster: Path, book: Book, entropy: Entropy, now: float, small: int = limits.SMALL_OVERLAY) -> None:
        self.me = me
        self.cluster = cluster
        self.book = book
        self.counters: Counter[str] = Counter()
        self._entropy = entropy
        self._pending: dict[bytes, dict[bytes, Record]] = {}  # digest of the missing grant -> records that wait for it
        self._watches: dict[Path, _Watch] = {}
        self._out: list[Output] = []
        self.holdings = Holdings(me=me, cluster=cluster, book=book, small=small, watched=lambda: self._watches)
        self._pushing = Pushing(book=book, holdings=self.holdings, entropy=entropy, counters=self.counters, ask=self._out.append)
        self._peers = self._pushing.partners
        self._syncing = 0  # reconciliation questions that wait for an answer
        self._again = False  # whether to compare once more with the same peer when this round is over
        self._answered = True  # whether all questions of this round were answered
        self._synced = False
        self._to_compare: dict[int, None] = {}  # sessions to reconcile with, in order
        self._now = now
        self._reconcile_at = now + self._jitter(limits.RECONCILE)
        self._sweep_at = now + SWEEP

    # -- peers come and go

    def joined(self, session: int, node_id: bytes, cluster: Path, *, initiator: bool, now: float) -> None:
        """A session was admitted."""
        self._peers[session] = Partner(session, node_id, cluster)
        self._now = now
        if initiator:
            self._reconcile(session)

    def left(self, session: int) -> None:
        """A session ended."""
        self._pushing.left(session)
        for watch in self._watches.values():
            if watch.session == session:
                watch.session, watch.renew = None, 0.0

    # -- records

    def publish(self, record: Record, at: float) -> None:
        """Take in a statement of this node's own; errors are the caller's."""
        self._take(record, at, None)

    def _take(self, record: Record, at: float, source: int | None) -> None:
        if self.book.known(record):
            self.counters["duplicates"] += 1
            return
        if self.book.add(record, at) is None:
            return
        self._out.append(Arrived(record, told=source is not None))
        self._pushing.tell(record, source, self._now)
        for waiting in self._pending.pop(record.digest, {}).values():
            self._take_foreign(waiting, at, source)

    def _take_foreign(self, record: Record, at: float, source: int | None) -> bytes | None:
        """Take in what a peer sent. The digest of the grant that is missing, or None."""
        try:
            self._take(record, at, source)
        except MissingGrant as missing:
            if sum(map(len, self._pending.values())) >= limits.PENDING:
                self._pending.clear()
                self.counters["drop:pending-full"] += 1
            self._pending.setdefault(missing.wanted, {})[record.digest] = record
            return missing.wanted
        except (TrustError, Malformed) as why:
            self.counters[f"drop:{why.rule}"] += 1
        return None

    def _pushed(self, peer: Partner, raw: bytes, at: float) -> bytes | None:
        if self.book.has(raw):
            self.counters["duplicates"] += 1
            return None
        record = parse(raw)
        missing = self._take_foreign(record, at, peer.session)
        peer.outbox.pop(record.digest, None)  # it has it already
        return missing

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
            return [self._summary(path) for path in (None, *self.holdings.zones())]
        fields = Fields(body, method.name.lower())
        if method is Method.PUSH:
            missing = [self._pushed(peer, _octets(raw), at) for raw in fields.items(1, 64)]
            return {1: list(dict.fromkeys(digest for digest in missing if digest))}
        if method is Method.FETCH:
            return self._fetch(fields)
        if method is Method.BUCKETS:
            return self._replica_sums(fields.text(1, 260))
        if method is Method.LISTING:
            unit = fields.text(1, 260)
            buckets = [n for n in fields.items(2, 64) if type(n) is int]
            return list(self.book.units[unit].listing(buckets)) if unit in self.book.units else []
        if method is Method.WATCH:
            return self._watched(peer, _path(fields.text(1, 255)), fields.binary(2, 0, 8, default=b""), now)
        raise Malformed("no question for the directory", rule="method")

    def _summary(self, path: Path | None) -> bytes:
        unit = TABLE if path is None else zone_unit(path)
        replica = self.book.units.get(unit)
        return (replica.digest if replica is not None else bytes(8)) + unit.encode()

    def _replica_sums(self, unit: Unit) -> bytes:
        replica = self.book.units.get(unit)
        return replica.sums() if replica is not None else b""

    def _fetch(self, fields: Fields) -> list[bytes]:
        unit = fields.text(2, 260, default="")
        found = [self.book.by_key(unit, key) for key in fields.items(3, 64) if type(key) is bytes]
        found += [self.book.grants.get(wanted) for wanted in fields.items(1, 32) if type(wanted) is bytes]
        return [record.raw for record in found if record is not None]

    def _watched(self, peer: Partner, path: Path, theirs: bytes, now: float) -> list[bytes]:
        unit = zone_unit(path)
        replica = self.book.units.get(unit)
        if replica is None or not self.holdings.holds(path):
            self.counters["watches_refused"] += 1  # who asks sees another ring, or another table, than we do
            return [b"\x00"]
        watchers = sum(len(p.watching) for p in self._peers.values())
        if watchers >= limits.WATCHES and path not in peer.watching:
            self.counters["drop:watches-full"] += 1
        else:
            peer.watching[path] = now + limits.WATCH_LEASE
        if theirs == replica.digest:
            return [b"\x01"]
        records = list(self.book.members(unit))
        chain = {grant.digest: grant for record in records for grant in self.book.chain_of(record)}
        return [b"\x01", *(g.raw for g in chain.values() if g not in records), *(r.raw for r in records)]

    # -- answers from peers

    def answered(self, context: tuple[object, ...], session: int, body: Value, now: float, at: float) -> None:
        """The answer to an ``Ask``. Whatever is wrong with it is counted, and reconciliation tries again later."""
        self._now = now
        peer = self._peers.get(session)
        if peer is not None:
            try:
                self._continue(context, peer, body, now, at)
            except (Malformed, UsageError) as why:
                self.counters[f"drop:{why.rule}"] += 1
        self._settle(context, session, answered=peer is not None)  # after what the answer made us ask next

    def _continue(self, context: tuple[object, ...], peer: Partner, body: Value, now: float, at: float) -> None:
        match context:
            case ("push", _):
                peer.in_flight -= 1
                for wanted in Fields(body, "push reply").items(1, 64):
                    grant = self.book.grants.get(wanted) if type(wanted) is bytes else None
                    if grant is not None:
                        self._pushing.box(peer, grant)
                self._pushing.flush(peer, self._now)
            case ("summary",):
                for entry in _octet_list(body, 10_000):
                    unit = entry[8:].decode(errors="replace")
                    mine = self.book.units.get(unit)
                    if mine is None and peer.rounds < ROUNDS:
                        self._again = True  # its cut is in the table, which comes first
                    if unit == TABLE or (mine is not None and self.holdings.holds(parse_path(unit.removeprefix("zone:")))):
                        if mine is None or mine.digest != entry[:8]:
                            self._ask(peer, Method.BUCKETS, {1: unit}, ("buckets", unit))
            case ("buckets", str(unit)):
                replica = self.book.units.get(unit)
                if type(body) is bytes and len(body) == 512 and replica is not None:
                    buckets = replica.differing(body)
                    if buckets:
                        self._ask(peer, Method.LISTING, {1: unit, 2: buckets}, ("listing", unit, tuple(buckets)))
            case ("listing", str(unit), tuple(buckets)):
                self._exchange(peer, unit, _octet_list(body, limits.BOOK), [n for n in buckets if type(n) is int])
            case ("fetch",):
                self._take_all(peer, _octet_list(body, limits.BOOK), at)
            case ("watch", Path() as path):
                self._watch_answered(peer, path, _octet_list(body, limits.BOOK), now, at)

    def _exchange(self, peer: Partner, unit: Unit, listing: list[bytes], buckets: list[int]) -> None:
        replica = self.book.units.get(unit)
        if replica is None:
            return
        fetch, offer = replica.compare(listing, buckets)
        for start in range(0, len(fetch), 64):
            self._ask(peer, Method.FETCH, {2: unit, 3: fetch[start : start + 64]}, ("fetch",))
        for key in offer:
            record = self.book.by_key(unit, key)
            if record is not None:
                self._pushing.box(peer, record)
        self._pushing.flush(peer, self._now)

    def _take_all(self, peer: Partner, raws: list[bytes], at: float) -> None:
        missing = []
        for raw in raws:
            if self.book.has(raw):
                continue
            try:
                missing.append(self._take_foreign(parse(raw), at, peer.session))
            except Malformed as why:
                self.counters[f"drop:{why.rule}"] += 1
        wanted = list(dict.fromkeys(digest for digest in missing if digest and digest not in self.book.grants))
        for start in range(0, len(wanted), 32):
            self._ask(peer, Method.FETCH, {1: wanted[start : start + 32]}, ("fetch",))

    def failed(self, context: tuple[object, ...], session: int) -> None:
        """A call was not answered. What was being pushed waits for the next reconciliation."""
        self._settle(context, session, answered=False)
        peer = self._peers.get(session)
        if context[0] == "push" and peer is not None:
            peer.in_flight -= 1
            self._pushing.flush(peer, self._now)
        elif context[0] == "watch" and isinstance(context[1], Path) and context[1] in self._watches:
            self._watches[context[1]].session = None

    # -- watching

    def watch(self, path: Path, now: float) -> bool:
        """Somebody here asks for names of that zone: hold it from now on. True where it is already held and fresh."""
        if self.holdings.everything() or path in (ROOT, self.cluster):
            return True
        watch = self._watches.get(path)
        if watch is not None:
            watch.used = now
            return watch.session is not None
        self._watches[path] = _Watch(used=now, renew=now)
        self.counters["watches_begun"] += 1
        return False

    def watchable(self, path: Path) -> list[Neighbour]:
        """Where a zone can be watched: its gateways, then its custodians."""
        return [*(n for n in self.holdings.ring() if n.cluster == path), *neighbours.custodians(path, self.holdings.ring())]

    def _renew_watches(self, now: float) -> None:
        for path, watch in list(self._watches.items()):
            if now - watch.used > KEEP_WATCHING:
                del self._watches[path]
                continue
            if now < watch.renew:
                continue
            keepers = [n.node_id for n in self.watchable(path)]
            peer = min((p for p in self._peers.values() if p.node_id in keepers), key=lambda p: keepers.index(p.node_id), default=None)
            if peer is None:
                watch.renew = now + 1.0
                continue
            watch.renew = now + RENEW
            replica = self.book.units.get(zone_unit(path))
            self._ask(peer, Method.WATCH, {1: str(path), 2: replica.digest if replica else b""}, ("watch", path))

    def _watch_answered(self, peer: Partner, path: Path, items: list[bytes], now: float, at: float) -> None:
        watch = self._watches.get(path)
        if watch is None or not items:
            return
        if items[0] != b"\x01":
            watch.session, watch.renew = None, now + 1.0
            return
        self._take_all(peer, items[1:], at)
        watch.session = peer.session
        self._out.append(Changed(frozenset({zone_unit(path)})))

    # -- time

    def _reconcile(self, session: int) -> None:
        """Compare with that peer, after those that are being compared with: what one has told, the next need not."""
        self._to_compare[session] = None
        if self._syncing == 0:
            self._compare_next()

    def _compare_next(self) -> None:
        for session in list(self._to_compare):
            del self._to_compare[session]
            if session in self._peers:
                self._peers[session].rounds = 0
                self._compare(self._peers[session])
                return

    def _compare(self, peer: Partner) -> None:
        self.counters["reconciliations"] += 1
        peer.rounds += 1
        self._again, self._answered = False, True
        self._ask(peer, Method.SUMMARY, {}, ("summary",))

    def wake_at(self) -> float | None:
        """When :meth:`wake` wants to be called."""
        due = min(self._reconcile_at, self._sweep_at, self._pushing.wake_at())
        for watch in self._watches.values():
            if watch.renew < due:
                due = watch.renew
        return due

    def wake(self, now: float, at: float) -> None:
        """Time passed."""
        self._now = now
        self._pushing.wake(now)
        if now >= self._reconcile_at:
            self._reconcile_at = now + self._jitter(limits.RECONCILE)
            for peer in sample(self._entropy, list(self._peers.values()), 1):
                self._reconcile(peer.session)
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP
            self.book.sweep(at)
            for peer in self._peers.values():
                watching = {path: until for path, until in peer.watching.items() if until > now}
                self.counters["watches_lapsed"] += len(peer.watching) - len(watching)
                peer.watching = watching
        self._renew_watches(now)

    def take(self) -> list[Output]:
        """What it wants since last asked; changed units last."""
        changed = self.book.take_changed()
        if changed:
            self.holdings.changed(changed)
            self._out.append(Changed(frozenset(changed)))
        out = list(self._out)
        self._out.clear()  # the same list goes on: pushing holds it too
        return out

    # -- small things

    def _ask(self, peer: Partner, method: Method, body: Value, context: tuple[object, ...]) -> None:
        if context[0] in _SYNC:
            self._syncing += 1
        self._out.append(Ask(peer.session, method, body, context))

    def _settle(self, context: tuple[object, ...], session: int, *, answered: bool) -> None:
        if context[0] not in _SYNC:
            return
        self._syncing -= 1
        self._answered = self._answered and answered
        if self._syncing:
            return
        if self._again and self._answered and session in self._peers:
            self._compare(self._peers[session])
        else:
            self._synced = self._synced or self._answered
            self._compare_next()

    def settled(self) -> bool:
        """Whether one reconciliation is complete and somebody has all that this node has to tell."""
        return self._synced and any(not p.outbox and not p.in_flight for p in self._peers.values())

    def _jitter(self, period: float) -> float:
        return period * (0.75 + self._entropy(1)[0] / 512)


def _octets(value: object) -> bytes:
    if type(value) is not bytes:
        raise Malformed("octets are wanted", rule="field-type")
    return value


def _octet_list(value: object, most: int) -> list[bytes]:
    if type(value) is not list or len(value) > most:
        raise Malformed("a list of octets is wanted", rule="field-type")
    return [_octets(item) for item in value]


def _path(text: str) -> Path:
    try:
        return parse_path(text)
    except UsageError as why:
        raise Malformed(why.what, rule="record-name") from None
