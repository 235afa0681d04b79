"""What zone keys and signatures look like as records (DESIGN 3.8): their bodies as values.

It decides form alone. The octets of a signed zone are opaque here: ``tld/dnssec`` packs and judges them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from overlay import limits
from overlay.errors import Malformed
from overlay.identity.keys import DIGEST, KEY
from overlay.identity.sealing import SEALED
from overlay.name import ROOT
from overlay.records.record import MAX_TIME, Record
from overlay.wire.codec import Fields, Value, ordered

HOLDERS: Final = 3  # of a key-signing key, at most (DESIGN 3.8)
SHORT: Final = 8  # octets of an exchange key that name its holder
PLACE: Final = 4  # octets of the item of a piece: role, bucket (2), part
KEYS, ZONE, BUCKET = 0, 1, 2  # roles of pieces: the signed keys of a zone; the head of its signed sets; those sets
MOST_PIECES: Final = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryKey:
    """A key-signing key of the zone at the record's name; the item is its public half.

    ``sealed``: the private half for up to three holders: [first octets of the exchange key, sealed octets]; none: the key is
    retired, whoever says so. ``since``: UTC seconds at which it was made. ``ready``: the zone above may point to it.
    """

    sealed: tuple[tuple[bytes, bytes], ...]
    since: int
    ready: bool = False

    def body(self) -> dict[int, Value]:
        return ordered({1: [[holder, box] for holder, box in self.sealed], 2: self.since, 3: self.ready or None})

    @classmethod
    def read(cls, record: Record) -> EntryKey:
        fields = Fields(record.body, "ksk")
        fields.only(frozenset({1, 2, 3}))
        if record.name == ROOT:
            raise Malformed("ksk: the keys of the root stand in the root record", rule="zone-key")
        sealed = []
        for pair in fields.items(1, HOLDERS):
            if type(pair) is not list or len(pair) != 2 or type(pair[0]) is not bytes or type(pair[1]) is not bytes:
                raise Malformed("ksk: holders are [octets, octets]", rule="zone-key")
            if len(pair[0]) != SHORT or len(pair[1]) != SEALED + KEY:
                raise Malformed("ksk: a holder or its sealed key has a wrong length", rule="zone-key")
            sealed.append((pair[0], pair[1]))
        return cls(sealed=tuple(sealed), since=fields.integer(2, 0, MAX_TIME), ready=fields.flag(3))


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneSigner:
    """The signer's own zone-signing key for the zone at the record's name."""

    public: bytes

    def body(self) -> dict[int, Value]:
        return {1: self.public}

    @classmethod
    def read(cls, record: Record) -> ZoneSigner:
        fields = Fields(record.body, "zsk")
        fields.only(frozenset({1}))
        return cls(public=fields.binary(1, KEY, KEY))


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A piece of a zone's signed sets. The first of a role says how many buckets or parts there are, which version, and their digest."""

    data: bytes
    serial: int = 0
    count: int = 0
    digest: bytes = b""

    def body(self) -> dict[int, Value]:
        return ordered({1: self.data, 2: self.serial or None, 3: self.count or None, 4: self.digest or None})

    @classmethod
    def read(cls, record: Record) -> Piece:
        fields = Fields(record.body, "signed")
        fields.only(frozenset(range(1, 5)))
        if record.item[0] not in (KEYS, ZONE, BUCKET):
            raise Malformed("signed: a role of 0 to 2", rule="zone-piece")
        return cls(
            data=fields.binary(1, 0, limits.RECORD), serial=fields.integer(2, 0, 2**32 - 1, default=0),
            count=fields.integer(3, 0, MOST_PIECES, default=0), digest=fields.binary(4, DIGEST, DIGEST, default=b""),
        )


def place(role: int, bucket: int = 0, part: int = 0) -> bytes:
    """The item of a piece."""
    return bytes((role,)) + bucket.to_bytes(2, "big") + bytes((part,))
