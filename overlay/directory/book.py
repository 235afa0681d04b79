"""The book: all records that a node holds, judged, merged, sorted into units (DESIGN 3.1, 3.5).

It decides which of two records counts and to which unit each belongs: the table (root versions, revocations, cluster
records, grants of more than a name, heads) or the zone of its name. Zone cuts stand where somebody holds `sign`. It
knows no peers; what must last comes out as stores. Views for names are made from it in ``views.py``.
"""

from __future__ import annotations

from collections import ChainMap, Counter
from collections.abc import Iterable, Iterator, Set

from overlay import limits
from overlay.directory.outline import Outline
from overlay.directory.replica import Replica
from overlay.directory.room import Room
from overlay.errors import Malformed, TrustError
from overlay.machine import Store
from overlay.name import ROOT, Path
from overlay.records import kinds, rights
from overlay.records.claims import holders
from overlay.records.kinds import RELEASES, ZONE_KEYS, Body, Cluster
from overlay.records.record import Identity, Record, parse
from overlay.records.releases import spoken_of
from overlay.records.trust import Trust, Verdict, chain_of, kept_until

TABLE = "table"  # the unit that all hold; other units are named by the path of their zone
RECORDS = "records"  # where records lie in the store

Unit = str
_NOTHING: Set[Unit] = frozenset()


def zone_unit(path: Path) -> Unit:
    """The unit of the zone at ``path``."""
    return f"zone:{path}"


class Book:
    """Records by identity, grants by digest, units by name."""

    def __init__(self, trust: Trust) -> None:
        self.trust = trust
        self.records: dict[Identity, Record] = {}
        self.grants: dict[bytes, Record] = {}  # by digest; those superseded too, as long as something stands on them
        self.channels: dict[bytes, Record] = {}  # by digest: what is said in a channel stands on its record as on a grant
        self.links = ChainMap(self.grants, self.channels)  # what a record may name as that which it stands on
        self.published: dict[str, dict[bytes, Record]] = {}  # what is said of each channel, by the keys of the records
        self.zone_keys: dict[Path, dict[bytes, Record]] = {}  # what makes zones checkable, by zone and key of the record
        self._grants_at: dict[Path, dict[bytes, Record]] = {}  # grants by path
        self._grants_to: dict[bytes, list[Record]] = {}  # the same by subject
        self.units: dict[Unit, Replica] = {TABLE: Replica(), zone_unit(ROOT): Replica()}
        self.outline = Outline(self._named)
        self.cuts = self.outline.cuts  # the paths below the root where zones of their own begin
        self._raws: dict[bytes, Record] = {}
        self._changed: set[Unit] = set()  # since last asked
        self._bodies: dict[Identity, Body] = {}
        self.highest_seq: Counter[bytes] = Counter()  # per signer
        self.counters: Counter[str] = Counter()
        self._members: dict[Unit, dict[bytes, Record]] = {TABLE: {}, zone_unit(ROOT): {}}
        self._unit: dict[Identity, Unit] = {}
        self._hangs: dict[bytes, dict[bytes, Record]] = {}  # digest of a grant -> what names it, by digest
        self.room = Room(self.records, self.links.get, self._hangs, self._registrar)
        self._stores: list[Store] = []

    def __len__(self) -> int:
        return len(self.records)

    # -- taking in

    def load(self, raws: Iterable[bytes], at: float) -> None:
        """Take back what this node had stored. Signatures were checked before they were stored."""
        order = {"root": 0, "grant": 1, "channel": 2}
        parsed = []
        for raw in raws:
            try:
                record = parse(raw)
                if record.kind == "grant":
                    kinds.read(record)  # looked into below, before it is judged
                parsed.append(record)
            except Malformed:
                self.counters["drop:stored-record"] += 1
        for record in sorted(parsed, key=lambda r: (order.get(r.kind, 3), r.seq if r.kind == "root" else len(r.name), r.seq)):
            self.trust.vouch(record)
            if record.kind == "grant":
                self._keep_grant(record)
        for record in sorted(parsed, key=lambda r: (order.get(r.kind, 3), self._cut_of(r) is None, r.seq)):
            try:
                self.add(record, at)
            except (TrustError, Malformed) as why:
                self.counters[f"drop:{why.rule}"] += 1
                if self.grants.get(record.digest) is record:  # not another of the same content, whose signatures are others
                    self._drop_grant(record)
                if why.rule != "R02":  # dated ahead of us: our clock may be what is wrong, and nothing is thrown away for that
                    self._stores.append(Store(RECORDS, self._store_key(record), None))
        self._stores = [store for store in self._stores if store.value is None]
        self._changed.update(self.units)

    def held(self, raw: bytes) -> Record | None:
        """The record of exactly these bytes, where it is held: what a push of old news costs."""
        return self._raws.get(raw)

    def known(self, record: Record) -> bool:
        """Whether these bytes, or something that outranks them, are held already: nothing to judge."""
        held = self.records.get(record.identity)
        return held is not None and not record.outranks(held)

    def add(self, record: Record, at: float, *, wanted: bool = False) -> Verdict | None:
        """Judge and take in. None where it is no news; the verdict where it is; else Malformed, TrustError, MissingGrant.

        ``wanted``: something names this grant, so it is kept for that though it has been given again since.
        """
        held = self.records.get(record.identity)
        if held is not None and not record.outranks(held):
            if held.seq == record.seq and held.digest != record.digest:
                self.counters["equivocations"] += 1
                if record.kind == "root":
                    self.trust.judge(record, at, self.links.get)  # refused, and remembered as a rival where it is as well signed
            if wanted and record.kind == "grant" and record.digest not in self.grants:
                self.trust.judge(record, at, self.links.get)
                self._keep_grant(record)
                self._stores.append(Store(RECORDS, self._store_key(record), record.raw))
            return None
        if held is None:
            self.room.admit(record)
        verdict = self.trust.judge(record, at, self.links.get)
        if record.kind == "bind":
            raise TrustError("bindings travel in passports only", rule="bind")
        for one in self.room.crowded(record) if held is None else ():
            self._remove(one)
            self.counters["crowded_out"] += 1
        self._bodies[record.identity] = verdict.body
        self._place(record, held)
        if record.kind == "root":
            self.trust.adopt_root(record)
        elif record.kind == "revoke" and self.trust.adopt_revoke(record, self.grants.get(record.item)):
            self._judge_again(self.grants[record.item], at)
        return verdict

    def _registrar(self, signer: bytes) -> bool:
        """Whether the root keys gave this key rights over the root, or it is one of them: it speaks for the whole overlay."""
        root = self.trust.root
        if root is not None and signer in root.keys:
            return True
        return any(grant.item == signer and not grant.via for grant in self._grants_at.get(ROOT, {}).values())

    def _place(self, record: Record, held: Record | None) -> None:
        """Put a judged record where it belongs, in place of ``held``. One that says the same anew shows nowhere."""
        stood = held is not None and held.identity in self._unit
        anew = held is not None and stood and record.kind != "head" and (held.body, held.via) == (record.body, record.via)
        if held is not None:
            self.room.went(held)
            self._leave_unit(held, shows=not anew, replaced=True)
            self._raws.pop(held.raw, None)
        self.records[record.identity] = record
        self.room.came(record)
        self._raws[record.raw] = record
        self.highest_seq[record.signer] = max(self.highest_seq[record.signer], record.seq)
        if record.kind == "grant":
            self._keep_grant(record)
        else:
            self._hang(record)
            if record.kind == "channel":
                self.channels[record.digest] = record
            if held is not None:
                self.channels.pop(held.digest, None)
                self._unhang(held)
        self._stores.append(Store(RECORDS, self._store_key(record), record.raw))
        self._enter_unit(record, shows=not anew)
        if record.kind == "grant":
            self._rises(record)
            if held is not None:
                if stood:
                    self._falls(held)
                self._let_go(held.digest)

    @staticmethod
    def _cut_of(record: Record) -> Path | None:
        if record.kind == "grant" and record.name != ROOT and rights.SIGN in record.body.get(1, ()):
            return record.name
        return None

    @staticmethod
    def _store_key(record: Record) -> bytes:
        return record.digest if record.kind == "grant" else record.key

    # -- units

    def unit_of(self, record: Record) -> Unit:
        """The unit that a record belongs to."""
        if record.kind in ("root", "revoke", "cluster", "head", "ksk") or record.kind in RELEASES:
            return TABLE
        if record.kind == "grant" and record.body.get(1) != [rights.OWN]:
            return TABLE
        return zone_unit(self.outline.zone_of(record.name))

    def _enter_unit(self, record: Record, *, shows: bool = True) -> None:
        unit = self.unit_of(record)
        self._unit[record.identity] = unit
        self.units[unit].put(record)
        self._members[unit][record.key] = record
        if record.kind in RELEASES:
            self.published.setdefault(spoken_of(record), {})[record.key] = record
        if record.kind in ZONE_KEYS:
            self.zone_keys.setdefault(record.name, {})[record.key] = record
            self.outline.touched |= {record.name, self.outline.zone_of(record.name.parent)} if record.kind == "ksk" else set()
        if shows and (unit != TABLE or record.kind == "root"):
            self._changed.add(unit)
        if unit == TABLE:
            self._outlined(record, 1)

    def _leave_unit(self, record: Record, *, shows: bool = True, replaced: bool = False) -> None:
        unit = self._unit.pop(record.identity, None)
        if unit is None:
            return
        self.units[unit].drop(record)
        self._members[unit].pop(record.key, None)
        if record.kind in RELEASES:
            self.published[spoken_of(record)].pop(record.key, None)
        if record.kind in ZONE_KEYS:
            self.zone_keys[record.name].pop(record.key, None)
        if shows and unit != TABLE:
            self._changed.add(unit)
        if unit == TABLE and (record.kind == "grant" or not replaced):
            self._outlined(record, -1)

    def _outlined(self, record: Record, held: int) -> None:
        """A record of the table came or went: what can be seen of it in zones."""
        if record.kind == "cluster":
            body = self._bodies[record.identity]
            assert isinstance(body, Cluster)
            if held > 0:
                self.outline.speaks(record, body)
            else:
                self.outline.speaks_no_more(record)
        elif record.kind == "grant":
            self.outline.owns(record, held)
        elif record.kind == "head":
            self.outline.vouched(record, held)

    def _sort_again(self, unit: Unit) -> None:
        """A cut came or went: some names of that unit have another zone now."""
        for record in list(self._members[unit].values()):
            if unit != self.unit_of(record):
                self._leave_unit(record)
                self._enter_unit(record)

    def members(self, unit: Unit) -> Iterator[Record]:
        """The records of a unit."""
        yield from self._members.get(unit, {}).values()

    def by_key(self, unit: Unit, key: bytes) -> Record | None:
        """The record that stands under that key in the unit."""
        return self._members.get(unit, {}).get(key)

    # -- letting go

    def _remove(self, record: Record, *, cut: bool = True) -> None:
        """Forget a record: its date has passed, or its chain is revoked. ``cut``: and that its zone begins there."""
        if self.records.get(record.identity) is record:
            stood = record.identity in self._unit
            self._leave_unit(record)
            del self.records[record.identity]
            del self._bodies[record.identity]
            self._raws.pop(record.raw, None)
            self.room.went(record)
            if record.kind == "grant" and stood:
                self._falls(record, uncut=cut)
        if record.kind == "grant":
            self._drop_grant(record)
        else:
            self.channels.pop(record.digest, None)
            self._unhang(record)
        self._stores.append(Store(RECORDS, self._store_key(record), None))

    def _keep_grant(self, grant: Record) -> None:
        if grant.digest not in self.grants:
            self.grants[grant.digest] = grant
            self._grants_at.setdefault(grant.name, {})[grant.digest] = grant
            self._grants_to.setdefault(grant.item, []).append(grant)
            self._hang(grant)

    def _drop_grant(self, grant: Record) -> None:
        held = self.grants.pop(grant.digest, None)
        if held is None:
            return
        there = self._grants_at[grant.name]
        del there[grant.digest]
        if not there:
            del self._grants_at[grant.name]
        theirs = self._grants_to[grant.item]
        theirs.remove(held)
        if not theirs:
            del self._grants_to[grant.item]
        self._unhang(grant)

    def _let_go(self, digest: bytes) -> None:
        """Forget a grant that was given again since, once nothing stands on it: who says it a thousand times fills no book."""
        grant = self.grants.get(digest)
        if grant is not None and digest not in self._hangs and not self._current(grant):
            self._drop_grant(grant)
            self._stores.append(Store(RECORDS, self._store_key(grant), None))

    def _current(self, grant: Record) -> bool:
        """Whether it is the newest of its versions."""
        held = self.records.get(grant.identity)
        return held is not None and held.digest == grant.digest

    def _stands(self, grant: Record) -> bool:
        """Whether it is the newest of its versions, and neither it nor what it stands on is revoked."""
        return grant.identity in self._unit and self._current(grant)

    def _rises(self, grant: Record) -> None:
        """A grant stands from now on: names, and a zone perhaps."""
        self.outline.look_again(grant.name)
        cut = self._cut_of(grant)
        if cut is not None:
            above = zone_unit(self.outline.zone_of(cut))
            if self.outline.signs(grant):
                self.units.setdefault(zone_unit(cut), Replica())
                self._members.setdefault(zone_unit(cut), {})
                self._sort_again(above)

    def _falls(self, grant: Record, *, uncut: bool = True) -> None:
        """It stands no more. ``uncut``: nor does its zone begin there by it."""
        self.outline.look_again(grant.name)
        cut = self._cut_of(grant)
        if cut is not None and uncut and self.outline.signs_no_more(grant):
            self._sort_again(zone_unit(cut))
            self.units.pop(zone_unit(cut), None)
            self._members.pop(zone_unit(cut), None)
            self._changed.discard(zone_unit(cut))

    def _named(self, node_id: bytes, said: Path, cluster: Path) -> bool:
        """Whether a gateway of that cluster may call itself ``said``: a name in it, and no other key's.

        A zone that is not held here proves nothing, so a gateway may call itself what nobody is known to hold. Without
        this rule it could put its addresses under any name: they are told as glue.
        """
        if said == ROOT or said.parent != cluster or said.leaf == "*":
            return False
        holder = holders(self.grants_on(said), self.grants.get).get(said)
        return holder is None or holder.item == node_id

    def sweep(self, at: float, shed: Iterable[Record] = ()) -> None:
        """Let go of what is past its date; grants when their 30 days of lapse are over and no renewal stands on them.

        ``shed`` is what others keep: it goes as well, but for where zones begin: what is heard of names there still has its place.
        """
        for record in shed:
            self._remove(record, cut=len(self.cuts) > limits.BOOK // 4)
        lapsed = [g for g in self.grants.values() if at >= g.expires + limits.LAPSED]
        if lapsed:
            live = [g for g in self.grants.values() if at < g.expires + limits.LAPSED and g.body.get(2)]
            needed = {link.digest for grant in live for link in self.chain_of(grant)}
            for grant in lapsed:
                if grant.digest not in needed or at >= kept_until(grant):
                    self._remove(grant)
        for record in [r for r in self.records.values() if r.kind not in ("root", "grant") and at >= r.expires]:
            self._remove(record)
        for digest in [digest for digest in self.grants if digest not in self._hangs]:
            self._let_go(digest)  # what was kept for something that did not come

    def _hang(self, record: Record) -> None:
        for named in _links(record):
            self._hangs.setdefault(named, {})[record.digest] = record

    def _unhang(self, record: Record) -> None:
        self.trust.forget(record)
        for named in _links(record):
            there = self._hangs.get(named, {})
            there.pop(record.digest, None)
            if not there:
                self._hangs.pop(named, None)
                self._let_go(named)

    def _judge_again(self, revoked: Record, at: float) -> None:
        """Judge what hangs on a revoked grant, and only that: else revoking names of one's own would stall every node."""
        versions = [g for g in self._grants_at.get(revoked.name, {}).values() if g.identity == revoked.identity and self.trust.ended(g)]
        waiting = [grant.digest for grant in versions]
        reached = set(waiting)
        while waiting:
            for record in list(self._hangs.get(waiting.pop(), {}).values()):
                if record.kind == "revoke" and record.item == revoked.digest:
                    continue  # what ends it goes on
                if record.kind in ("grant", "channel") and record.digest not in reached:
                    reached.add(record.digest)
                    waiting.append(record.digest)
                self._end(record, at)
        for grant in versions:
            self._end(grant, at)

    def _end(self, record: Record, at: float) -> None:
        """Take what no longer holds out of sight. A revoked grant stays known: its revocation refers to it."""
        if not self._current(record):
            return
        try:
            self.trust.judge(record, at, self.links.get)
        except TrustError:
            self.counters["revoked"] += 1
            if record.kind != "grant":
                self._remove(record)
            elif self._stands(record):
                self._leave_unit(record)
                self._falls(record)

    # -- reading

    def body(self, record: Record) -> Body:
        """The body of a record that is held, as it was read when the record was judged."""
        return self._bodies[record.identity]

    def standing(self) -> Iterator[Record]:
        """All grants that stand: the newest of their versions, nothing of theirs being revoked."""
        return filter(self._stands, self.grants.values())

    def grants_on(self, path: Path, at: float | None = None) -> list[Record]:
        """Grants on exactly that path that stand, nothing of theirs being revoked: live at ``at``, or, without it, lapsed ones too."""
        held = self._grants_at.get(path, {}).values()
        return [g for g in held if (at is None or at < g.expires) and self._stands(g)]

    def grants_of(self, subject: bytes, at: float) -> list[Record]:
        """Live grants of a subject that stand, widest path first, the longest-lived first."""
        found = [g for g in self._grants_to.get(subject, ()) if at < g.expires and self._stands(g)]
        return sorted(found, key=lambda g: (len(g.name), -g.expires, g.digest))

    def chain_of(self, record: Record) -> list[Record]:
        """The grants that a record stands on as far as they are known, nearest first."""
        return chain_of(record, self.links.get)

    def take_stores(self) -> list[Store]:
        """What must be made durable since last asked."""
        stores, self._stores = self._stores, []
        return stores

    def take_changed(self) -> Set[Unit]:
        """The units whose zones look otherwise since last asked; the table, where cuts came or went or roots changed."""
        if not (self._changed or self.outline.touched or self.outline.reshaped):
            return _NOTHING
        touched = {zone_unit(path) for path in self.outline.touched if path == ROOT or path in self.cuts}
        changed = (self._changed - {TABLE}) | touched
        if self.outline.reshaped or TABLE in self._changed:
            changed.add(TABLE)
        self._changed, self.outline.touched, self.outline.reshaped = set(), set(), False
        return changed


def _links(record: Record) -> list[bytes]:
    """The grants that a record names: by whose right it stands, and what it renews or revokes."""
    other = record.body.get(2) if record.kind == "grant" else record.item if record.kind == "revoke" else None
    return [named for named in (record.via, other) if named]
