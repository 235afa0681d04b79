"""Signed sets as octets that travel: buckets of sets, cut into pieces that fit a record, and back. Pure.

A zone stands in two trees (below the TLD, below the bootstrap zone) whose signatures differ, so each entry says its tree.
Sets are sorted into buckets by the hash of their owner, so that a change touches one or two of them; the head has the SOA
of both trees, the serial and the digest of all buckets. Who holds the head and exactly those buckets holds one whole
version, as its builder signed it; what is incomplete is nothing yet, and the version before goes on.

    entry  = tree 1 | owner below the zone, as labels | type 2 | TTL 4 | data 2 | signatures 1 | (length 2 | data)* | signature*
    signature = expiration 4 | inception 4 | key tag 2 | Ed25519 64
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from struct import Struct, error
from typing import Final

from overlay.errors import Malformed, UsageError
from overlay.identity.keys import SIGNATURE
from overlay.records.zones import BUCKET, KEYS, ZONE, Piece, place
from tld import codes
from tld.dnssec.signing import Place, Rrsig, Signed, SignedZone
from tld.label import MAX_NAME, Name, from_wire, to_wire, wire_length
from tld.rdata import check
from tld.zone import MAX_TTL, RRset

FULL: Final = (150, 500, 800)  # octets of a bucket: below the first there are too many of them, above the last too few
MAX_BUCKETS: Final = 16_384
_FIXED = Struct("!HIHB")
_TIMES = Struct("!IIH")
Sets = tuple[SignedZone, ...]  # by tree


@dataclass(frozen=True, slots=True, eq=False)
class Copy:
    """One whole version of a zone's signed sets, by tree. ``changed``: the places that are others than in ``before``, by tree."""

    serial: int
    sets: Sets
    before: Copy | None = field(default=None, repr=False)
    changed: tuple[frozenset[Place], ...] = field(default=(), repr=False)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Copy) and (self.serial, self.sets) == (other.serial, other.sets))

    def __hash__(self) -> int:
        return hash(self.serial)

    @property
    def until(self) -> int:
        """UTC seconds at which the first signature ends."""
        return min((signed.until for zone in self.sets for signed in zone.values()), default=0)


def pack(entries: Iterable[tuple[int, Signed]], origins: Sequence[Name]) -> bytes:
    """Entries as octets; ``origins`` by tree."""
    found = bytearray()
    for tree, signed in entries:
        rrset = signed.rrset
        found.append(tree)
        found += to_wire(rrset.name[: len(rrset.name) - len(origins[tree])])
        found += _FIXED.pack(rrset.type, rrset.ttl, len(rrset.rdatas), len(signed.rrsigs))
        for rdata in rrset.rdatas:
            found += len(rdata).to_bytes(2, "big") + rdata
        for rrsig in signed.rrsigs:
            found += _TIMES.pack(rrsig.expiration, rrsig.inception, rrsig.tag) + rrsig.signature
    return bytes(found)


def unpack(data: bytes, origins: Sequence[Name]) -> list[tuple[int, Signed]]:
    """The inverse of :func:`pack`; ``Malformed`` for everything else, data that does not read among it."""
    found = []
    position = 0
    try:
        while position < len(data):
            tree = data[position]
            if tree >= len(origins):
                raise Malformed("a signed set of an unknown tree", rule="zone-piece")
            relative, position = from_wire(data, position + 1)
            name = relative + origins[tree]
            rtype, ttl, count, signatures = _FIXED.unpack_from(data, position)
            position += _FIXED.size
            if wire_length(name) > MAX_NAME or ttl > MAX_TTL or not count or not signatures:
                raise Malformed("an odd signed set", rule="zone-piece")
            rdatas = []
            for _ in range(count):
                length = int.from_bytes(data[position : position + 2], "big")
                rdatas.append(data[position + 2 : position + 2 + length])
                check(rtype, rdatas[-1])
                position += 2 + length
            rrsigs = []
            for _ in range(signatures):
                times = _TIMES.unpack_from(data, position)
                signature = data[position + _TIMES.size : position + _TIMES.size + SIGNATURE]
                position += _TIMES.size + SIGNATURE
                labels = len(name) - (name[:1] == (b"*",))
                rrsigs.append(Rrsig(rtype, labels, ttl, times[0], times[1], times[2], origins[tree], signature))
            found.append((tree, Signed(RRset(name, rtype, ttl, tuple(rdatas)), tuple(rrsigs))))
    except (error, UsageError) as why:
        raise Malformed("half a signed set, or data that does not read", rule="zone-piece") from why
    if position != len(data):
        raise Malformed("half a signed set", rule="zone-piece")
    return found


def _short(data: bytes) -> bytes:
    return hashlib.blake2s(data, digest_size=16).digest()


def _whole(digests: Iterable[bytes]) -> bytes:
    return hashlib.blake2s(b"".join(digests)).digest()


def _parts(role: int, bucket: int, data: bytes, room: int) -> dict[bytes, Piece]:
    cuts = range(0, max(1, len(data)), room)
    return {place(role, bucket, part): Piece(data=data[start : start + room], count=len(cuts)) for part, start in enumerate(cuts)}


def keys_to_pieces(entries: Iterable[tuple[int, Signed]], origins: Sequence[Name], version: int, room: int) -> dict[bytes, Piece]:
    """The signed keys of a zone as pieces of at most ``room`` octets, by item."""
    data = pack(entries, origins)
    found = _parts(KEYS, 0, data, room)
    head = place(KEYS)
    found[head] = Piece(data=found[head].data, serial=version, count=found[head].count, digest=_whole([data]))
    return found


def keys_from_pieces(pieces: Mapping[bytes, Piece], origins: Sequence[Name]) -> Copy | None:
    """The inverse; None where they are not whole, or not well-formed."""
    head = pieces.get(place(KEYS))
    if head is None or not head.digest:
        return None
    parts = [pieces.get(place(KEYS, 0, part)) for part in range(min(head.count, 256))]
    data = b"".join(piece.data for piece in parts if piece is not None)
    if _whole([data]) != head.digest:
        return None
    try:
        return Copy(head.serial, _sorted(unpack(data, origins), len(origins)))
    except Malformed:
        return None


def _sorted(entries: Iterable[tuple[int, Signed]], trees: int) -> Sets:
    sets: Sets = tuple({} for _ in range(trees))
    for tree, signed in entries:
        sets[tree][signed.rrset.name, signed.rrset.type] = signed
    return sets


def bucket_of(relative: Name, buckets: int) -> int:
    """Where the sets of an owner (below the zone) lie."""
    return int.from_bytes(hashlib.blake2s(to_wire(relative), digest_size=4).digest(), "big") % buckets


def zone_to_pieces(sets: Sets, origins: Sequence[Name], serial: int, room: int, before: int = 0) -> dict[bytes, Piece]:
    """A zone's signed sets as pieces of at most ``room`` octets, by item. ``before``: how many buckets there were."""
    by_owner: dict[Name, list[tuple[int, Signed]]] = {}
    soas = []
    for tree, zone in enumerate(sets):
        depth = len(origins[tree])
        for (name, rtype), signed in zone.items():
            if rtype == codes.SOA:
                soas.append((tree, signed))
            else:
                by_owner.setdefault(name[: len(name) - depth], []).append((tree, signed))
    packed = {owner: pack(sorted(entries, key=lambda e: (e[0], e[1].rrset.type)), origins) for owner, entries in by_owner.items()}
    buckets = _buckets(sum(map(len, packed.values())), before)
    lying: dict[int, list[Name]] = {}
    for owner in packed:
        lying.setdefault(bucket_of(owner, buckets), []).append(owner)
    found: dict[bytes, Piece] = {}
    digests = []
    for bucket in range(buckets):
        data = b"".join(packed[owner] for owner in sorted(lying.get(bucket, ())))
        digests.append(_short(data))
        found |= _parts(BUCKET, bucket, data, room)
    found[place(ZONE)] = Piece(data=pack(soas, origins), serial=serial, count=buckets, digest=_whole(digests))
    return found


def _buckets(octets: int, before: int) -> int:
    if before and FULL[0] <= octets / before <= FULL[2]:
        return before
    buckets = 1
    while octets / buckets > FULL[1] and buckets < MAX_BUCKETS:
        buckets *= 2
    return buckets


@dataclass(slots=True)
class _Bucket:
    data: bytes
    digest: bytes
    entries: list[tuple[int, Signed]]


@dataclass(slots=True)
class Reader:
    """Whole versions out of pieces that come one by one. What did not change is not read again, nor put together again."""

    origins: Sequence[Name]
    _buckets: dict[int, _Bucket] = field(default_factory=dict)
    _last: Copy | None = None

    def copy(self, pieces: Mapping[bytes, Piece]) -> Copy | None:
        """The version that the head names; None where the pieces are another's, not all here, or not well-formed."""
        head = pieces.get(place(ZONE))
        if head is None or not 0 < head.count <= MAX_BUCKETS:
            return None
        fresh: dict[int, _Bucket] = {}
        digests = []
        for bucket in range(head.count):
            first = pieces.get(place(BUCKET, bucket))
            if first is None:
                return None
            data = first.data
            if first.count > 1:
                more = [pieces.get(place(BUCKET, bucket, part)) for part in range(1, min(first.count, 256))]
                data += b"".join(piece.data for piece in more if piece is not None)
            known = self._buckets.get(bucket)
            if known is None or (known.data is not data and known.data != data):
                known = fresh[bucket] = _Bucket(data, _short(data), [])
            digests.append(known.digest)
        if _whole(digests) != head.digest:
            return None
        try:
            soas = unpack(head.data, self.origins)
            for one in fresh.values():
                one.entries = unpack(one.data, self.origins)
        except Malformed:
            return None
        return self._put_together(head, soas, fresh)

    def _put_together(self, head: Piece, soas: list[tuple[int, Signed]], fresh: dict[int, _Bucket]) -> Copy:
        sets: Sets = tuple({} for _ in self.origins)
        last = self._last
        gone = [bucket for bucket in self._buckets if bucket >= head.count]
        if last is None or gone:
            self._buckets = {**{n: one for n, one in self._buckets.items() if n < head.count}, **fresh}
            for entries in (soas, *(one.entries for one in self._buckets.values())):
                for tree, signed in entries:
                    sets[tree][signed.rrset.name, signed.rrset.type] = signed
            self._last = Copy(head.serial, sets)
            return self._last
        changed: list[set[Place]] = [set() for _ in self.origins]
        sets = tuple(dict(tree) for tree in last.sets)
        for bucket in fresh:
            for tree, signed in self._buckets[bucket].entries if bucket in self._buckets else ():
                sets[tree].pop((signed.rrset.name, signed.rrset.type), None)
                changed[tree].add((signed.rrset.name, signed.rrset.type))
        for entries in (soas, *(one.entries for one in fresh.values())):
            for tree, signed in entries:
                sets[tree][signed.rrset.name, signed.rrset.type] = signed
                changed[tree].add((signed.rrset.name, signed.rrset.type))
        self._buckets |= fresh
        kept = [
            frozenset(one for one in places if sets[tree].get(one) is None or sets[tree].get(one) != last.sets[tree].get(one))
            for tree, places in enumerate(changed)
        ]  # fmt: skip
        self._last = Copy(head.serial, sets, Copy(last.serial, last.sets), tuple(kept))
        return self._last
