"""The keys of zones that this node may sign: its own, and the key-signing keys that it holds with others (DESIGN 3.8).

Each node signs with a key of its own, derived from its identity. The set of these keys is signed by a key-signing key,
made by the first who may sign there and sealed to at most three of those; the root's are derived from the root keys. A
key-signing key counts once the zone above points to it. It is changed by having two for a while: the new one is said,
the zone above points to both, the set is signed by the new one once resolvers have heard of that, and then the old one
is retired. Where nobody who may sign holds a key any more, the next one is made without being asked for.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Final

from overlay.cli.zone_book import ZoneBook
from overlay.errors import Malformed
from overlay.identity.keys import KEY, Signer
from overlay.identity.sealing import seal, unseal
from overlay.name import ROOT, Path
from overlay.records.record import Record
from overlay.records.zones import HOLDERS, SHORT, EntryKey, ZoneSigner
from overlay.roots import held_entries
from overlay.units import DAY
from tld import codes
from tld.dnssec.keys import DS_TTL, KEY_TTL, SigningKey, ZoneKey, ds_rdata
from tld.dnssec.pieces import Copy, keys_to_pieces
from tld.dnssec.secure import MAX_KEYS, key_sets
from tld.dnssec.signing import Signed, sign
from tld.label import Name

ROOT_LIFE: Final = 90 * DAY  # of the root's signed key set (DESIGN 3.8)
KEYS_LIFE: Final = 30 * DAY  # of another zone's: its holders are at hand
ENTRY_LIFE: Final = 365 * DAY
MAX_ENTRIES: Final = 3  # key-signing keys of a zone that stand in its set: one in use, one coming, one that two made at once
OWN_LIFE: Final = 30 * DAY
RETIRE: Final = 2 * KEY_TTL + DS_TTL  # seconds after which nobody goes by the former key set any more
READY: Final = 3.0  # seconds for the signed zone to be where its zone is kept, before the zone above says that it is signed (guess)
ROOM: Final = 1_000 - 256  # octets of a record that pieces of the root may take; the path takes its own
_SEALED_FOR: Final = b"overlay zone entry key 1"
_OWN: Final = b"overlay zone key 1 "


@dataclass(slots=True)
class _Ring:
    """What is remembered of one zone's keys, in monotonic seconds."""

    lacks_since: float | None = None
    differ_since: float | None = None
    pointed_since: dict[bytes, float] = field(default_factory=dict)  # key-signing key -> since when the zone above points to it
    in_use_since: tuple[bytes, float] = (b"", 0.0)  # the key-signing key of the set, and since when
    ready_at: float | None = None


class KeyRing:
    """Of one node. ``home`` may hold root keys."""

    def __init__(self, book: ZoneBook, home: FilePath, counters: Counter[str]) -> None:
        self.book = book
        self._home = home
        self._counters = counters
        self._rings: dict[Path, _Ring] = {}
        self._entries: dict[bytes, Signer] = {}  # key-signing keys at hand, by public half
        self._seeds: dict[bytes, bytes] = {}  # what they are made of, of those that can be sealed for others
        self._opened: set[bytes] = set()  # digests of records that were looked into
        self._looked_for: tuple[bytes, ...] = ()  # the root's keys that were last looked for in the home

    def own(self, path: Path) -> SigningKey:
        """This node's key for a zone."""
        node = self.book.engine.node
        return SigningKey(Signer.from_seed(node.identity.derived(_OWN + node.setup.overlay_id + str(path).encode())))

    def say_own(self, path: Path) -> None:
        """Say which key this node signs with, where that is due."""
        node, at = self.book.engine.node, self.book.engine.clock.at()
        body = ZoneSigner(public=self.own(path).key.public).body()
        if node.statements.due(node.statements.held(path, "zsk"), body, at):
            self.book.say(path, [["zsk", b"", body, OWN_LIFE]])

    # -- key-signing keys

    def look(self, path: Path, keys: Copy | None) -> None:
        """Open what is sealed for this node; make, share, renew and retire key-signing keys. ``keys``: the signed set."""
        ring = self._rings.setdefault(path, _Ring())
        now = self.book.engine.clock.now()
        self._open(path)
        entries = self.book.entries(path)
        if self._lost(path, entries):
            ring.lacks_since = now if ring.lacks_since is None else ring.lacks_since
            if now - ring.lacks_since >= self.book.turn(self.book.me if self.book.is_gateway(path) else b"", self.book.signers(path)):
                self.make(path)
            return
        ring.lacks_since = None
        for item, said in entries.items():
            self._share(path, item, said)
        used = signed_by(keys, self.book.origins(path)[0], list(entries)) if keys is not None else b""
        if used != ring.in_use_since[0]:
            ring.in_use_since = (used, now)
        older = list(entries)[: list(entries).index(used)] if used in entries else []
        if older and now - ring.in_use_since[1] >= RETIRE:
            for item in older:
                since = min(body.since for _, body in entries[item])
                self.book.say(path, [["ksk", item, EntryKey(sealed=(), since=since).body(), ENTRY_LIFE]])
                self._counters["zone_entry_keys_retired"] += 1

    def make(self, path: Path) -> None:
        """A new key-signing key beside those that are."""
        seed = os.urandom(KEY)
        signer = Signer.from_seed(seed)
        self._seeds[signer.public], self._entries[signer.public] = seed, signer
        body = self._sealed(path, signer.public, since=int(self.book.engine.clock.at()), ready=False)
        self.book.say(path, [["ksk", signer.public, body.body(), ENTRY_LIFE]])
        self._counters["zone_entry_keys_made"] += 1

    def _open(self, path: Path) -> None:
        identity = self.book.engine.node.identity
        for item, said in self.book.entries(path).items():
            for record, body in said:
                if record.digest in self._opened:
                    continue
                self._opened.add(record.digest)
                for holder, box in body.sealed:
                    if holder == identity.exchange_public[:SHORT] and item not in self._seeds:
                        with suppress(Malformed):
                            seed = unseal(box, identity.exchange, _SEALED_FOR + item)
                            if (signer := Signer.from_seed(seed)).public == item:
                                self._seeds[item], self._entries[item] = seed, signer

    def _lost(self, path: Path, entries: dict[bytes, list[tuple[Record, EntryKey]]]) -> bool:
        """Whether nobody who may sign there holds any of the zone's key-signing keys."""
        if any(item in self._seeds for item in entries):
            return False
        able = {exchange[:SHORT] for signer in self.book.signers(path) if (exchange := self._exchange_of(path, signer)) is not None}
        return not any(holder in able for said in entries.values() for _, body in said for holder, _ in body.sealed)

    def _share(self, path: Path, item: bytes, said: list[tuple[Record, EntryKey]]) -> None:
        """See that a key that this node holds is said, and sealed for as many as may hold it."""
        seed, at = self._seeds.get(item), self.book.engine.clock.at()
        if seed is None:
            return
        mine = next(((record, body) for record, body in said if record.signer == self.book.me), None)
        if mine is None:
            if all(at > record.issued + 3 * (record.expires - record.issued) / 4 for record, _ in said):
                since, ready = min(body.since for _, body in said), any(body.ready for _, body in said)
                self.book.say(path, [["ksk", item, self._sealed(path, item, since=since, ready=ready).body(), ENTRY_LIFE]])
            return
        record, body = mine
        old = at >= (record.issued + record.expires) / 2
        if old or len(body.sealed) < min(HOLDERS, len({*self.book.signers(path), self.book.me})):
            fuller = self._sealed(path, item, since=body.since, ready=body.ready)
            if old or len(fuller.sealed) > len(body.sealed):
                self.book.say(path, [["ksk", item, fuller.body(), ENTRY_LIFE]])

    def _sealed(self, path: Path, public: bytes, *, since: int, ready: bool) -> EntryKey:
        """The key for this node and up to two others that may sign there, the lowest ids first."""
        holders = [self.book.engine.node.identity.exchange_public]
        for signer in self.book.signers(path):
            exchange = self._exchange_of(path, signer)
            if exchange is not None and exchange not in holders and len(holders) < HOLDERS:
                holders.append(exchange)
        boxes = tuple((key[:SHORT], seal(self._seeds[public], key, _SEALED_FOR + public, os.urandom(KEY))) for key in holders)
        return EntryKey(sealed=boxes, since=since, ready=ready)

    def _exchange_of(self, path: Path, node_id: bytes) -> bytes | None:
        if node_id == self.book.me:
            return self.book.engine.node.identity.exchange_public
        view = self.book.names.views.get(path)
        return next((entry.host.exchange for entry in view.hosts if entry.node_id == node_id), None) if view is not None else None

    def get_ready(self, path: Path, *, stands: bool) -> None:
        """Once the zone has stood signed for a moment, the zone above may point to its keys."""
        ring, now = self._rings.setdefault(path, _Ring()), self.book.engine.clock.now()
        ring.ready_at = None if not stands else now + READY if ring.ready_at is None else ring.ready_at
        if ring.ready_at is None or now < ring.ready_at:
            return
        for item, said in self.book.entries(path).items():
            for record, body in said:
                if record.signer == self.book.me and not body.ready:
                    self.book.say(path, [["ksk", item, EntryKey(sealed=body.sealed, since=body.since, ready=True).body(), ENTRY_LIFE]])

    # -- the signed set

    def wanted(self, path: Path) -> list[ZoneKey]:
        """The key set as it should be: key-signing keys, then the keys of those who may sign."""
        entries = self.book.root_entries() if path == ROOT else tuple(self.book.entries(path))[-MAX_ENTRIES:]
        return [*(ZoneKey(item, entry=True) for item in entries), *(ZoneKey(public) for public in self.book.signers(path).values())][:MAX_KEYS]

    def keys_due(self, path: Path, keys: Copy | None) -> list[SigningKey]:
        """The key-signing keys by which the set is to be signed now, at this node; none where nothing is due or another does it.

        The root's are all that are at hand: whoever pinned the former one is not left alone (RFC 5011).
        """
        ring = self._rings.setdefault(path, _Ring())
        now, at = self.book.engine.clock.now(), self.book.engine.clock.at()
        wanted = self.wanted(path)
        entries = self._in_turn(path, ring, keys)
        if not entries or all(key.entry for key in wanted):
            return []
        origin = self.book.origins(path)[0]
        same = keys is not None and set(dnskeys(keys, origin)) == {key.rdata for key in wanted} and keys.until - at > life_of(path) / 2
        if same and keys is not None and all(signed_by(keys, origin, [entry.key.public]) for entry in entries):
            ring.differ_since = None
            return []
        ring.differ_since = now if ring.differ_since is None else ring.differ_since
        first = self.book.me if keys is None else b""
        return entries if now - ring.differ_since >= self.book.turn(first, self.book.signers(path)) else []

    def _in_turn(self, path: Path, ring: _Ring, keys: Copy | None) -> list[SigningKey]:
        """Of the key-signing keys at hand the newest that resolvers have been pointed to; the one in use, or the first, else."""
        if path == ROOT:
            return [SigningKey(signer, entry=True) for signer in self._root_held()]
        entries = self.book.entries(path)
        pointed = self._pointed(path, ring)
        now = self.book.engine.clock.now()
        used = signed_by(keys, self.book.origins(path)[0], list(entries)) if keys is not None else b""
        good = [item for item in entries if item == used or now - pointed.get(item, now) >= DS_TTL] or list(entries)[:1]
        at_hand = [item for item in good if item in self._entries]
        return [SigningKey(self._entries[item], entry=True) for item in at_hand[-1:]]

    def _pointed(self, path: Path, ring: _Ring) -> dict[bytes, float]:
        """Since when the zone above points to each key, as seen from here."""
        origin, now = self.book.origins(path)[0], self.book.engine.clock.now()
        above = self.book.names.secure.zones.find(origin[1:])
        ds = above.nodes.get(origin, {}).get(codes.DS) if above is not None else None
        there = {item for item in self.book.entries(path) if ds is not None and ds_rdata(origin, ZoneKey(item, entry=True)) in ds.rdatas}
        ring.pointed_since = {item: ring.pointed_since.get(item, now) for item in there}
        return ring.pointed_since

    def _root_held(self) -> list[Signer]:
        wanted = self.book.root_entries()
        if wanted != self._looked_for or not any(public in self._entries for public in wanted):
            self._looked_for = wanted
            texts: dict[str, str] = {}
            with suppress(OSError):
                texts = {str(file): file.read_text() for file in sorted(self._home.glob("root*.key"))}
            self._entries |= {signer.public: signer for signer in held_entries(texts, self.book.engine.node.setup.overlay_id, wanted)}
        return [self._entries[public] for public in wanted if public in self._entries]

    def unsigned(self, keys: Copy | None) -> bool:
        """Whether the root's key set is to be signed where a root key is: it is another now, or half of its life is over."""
        origin, at = self.book.origins(ROOT)[0], self.book.engine.clock.at()
        if keys is None or keys.until - at < ROOT_LIFE / 2:
            return True
        return set(dnskeys(keys, origin)) != {key.rdata for key in self.wanted(ROOT)}

    def sign_keys(self, path: Path, entries: Sequence[SigningKey], keys: Copy | None) -> None:
        """Sign the key set as it should be, and say so."""
        at = int(self.book.engine.clock.at())
        pieces = key_pieces(path, self.book.origins(path), self.wanted(path), entries, at, keys.serial if keys is not None else 0)
        self.say_keys(path, pieces)

    def say_keys(self, path: Path, pieces: list[tuple[bytes, dict[int, object]]]) -> None:
        """Publish a signed key set."""
        self.book.say(path, [["signed", item, body, life_of(path)] for item, body in pieces])
        self._counters["zone_keys_signed"] += 1


def life_of(path: Path) -> int:
    """Seconds that the signatures of a zone's key set hold."""
    return ROOT_LIFE if path == ROOT else KEYS_LIFE


def key_pieces(
    path: Path, origins: Sequence[Name], wanted: list[ZoneKey], by: Sequence[SigningKey], at: int, last: int,
) -> list[tuple[bytes, dict[int, object]]]:
    """A zone's key set, and what tells the zone above of it, signed ``by`` keys and in pieces: (item, body). ``last``: the version before."""
    entries = [
        (tree, Signed(rrset, tuple(sign(rrset, entry, origin, at, life=life_of(path)) for entry in by)))
        for tree, origin in enumerate(origins) for rrset in key_sets(origin, wanted)
    ]  # fmt: skip
    pieces = keys_to_pieces(entries, origins, max(at, last + 1), ROOM - len(str(path)))
    return [(item, piece.body()) for item, piece in pieces.items()]


def dnskeys(keys: Copy, origin: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """DNSKEY data of a signed key set."""
    signed = keys.sets[0].get((origin, codes.DNSKEY))
    return signed.rrset.rdatas if signed is not None else ()


def signed_by(keys: Copy, origin: tuple[bytes, ...], entries: list[bytes]) -> bytes:
    """Which of these key-signing keys (public halves) the set is signed by, by its tag; none: empty."""
    signed = keys.sets[0].get((origin, codes.DNSKEY))
    tags = {rrsig.tag for rrsig in signed.rrsigs} if signed is not None else set()
    return next((item for item in reversed(entries) if ZoneKey(item, entry=True).tag in tags), b"")
