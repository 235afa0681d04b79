"""A record: its bytes, its header, its signatures (DESIGN 3.1, foundation).

It decides what is a well-formed record, and refuses to know who may make it (``trust.py``) or what the body of a kind
means (``kinds.py``). A record's bytes are kept, hashed and passed on exactly as they came.

    record  = [content, signatures]            canonical MessagePack, at most 1,000 octets
    content = the octets of [header, body]     hashed for the digest, signed
    header  = {1 name, 2 kind, 3 item, 4 seq, 5 issued, 6 expires, 7 via}
    signed  = "overlay record 1" 00 overlay-id content

The overlay id is in what is signed and not in the record, so a record of another overlay simply fails. The founding
root record is signed under an id of zeros: its own digest is the id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from overlay import limits
from overlay.errors import Malformed, UsageError
from overlay.identity.keys import DIGEST, KEY, SIGNATURE, Signer, digest
from overlay.name import Path, parse_path
from overlay.wire.codec import Fields, decode, encode, ordered

DOMAIN = b"overlay record 1\x00"
NO_OVERLAY = bytes(DIGEST)
NEVER = 0  # the `expires` of the founding record
MAX_TIME = 2**40  # seconds; far beyond any date, well inside 64 bits
MAX_SEQ = 2**53
MAX_SIGNATURES = 16
_ENVELOPE = 1 + 3 + 1 + 1 + 2 + KEY + 2 + SIGNATURE  # heads of the record's parts, and one signature
MARK = 8  # octets of a key and of a mark: two of a million records share one with probability 3e-8
PARSED = 512  # records remembered as they read: 1.5 MiB at most, and full within minutes (benchmarks/soak.py)
_HEADER = frozenset({1, 2, 3, 4, 5, 6, 7})

Identity = tuple[Path, str, bytes, bytes]  # (name, kind, item, signer): what a newer record replaces


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One record, as it came and as it reads. Equality is equality of the bytes."""

    raw: bytes
    content: bytes = field(repr=False)
    digest: bytes
    name: Path
    kind: str
    item: bytes
    seq: int
    issued: int  # UTC seconds
    expires: int  # UTC seconds, or NEVER
    via: bytes  # digest of the grant that entitles the signer; empty where none is needed
    body: dict[int, Any]
    sigs: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    # What is asked for each time that a record is looked at:
    signer: bytes = field(repr=False)  # the first signer's key; the only one for most kinds
    identity: Identity = field(repr=False)  # what a newer record of the same identity replaces
    seal: bytes = field(repr=False)  # digest of the whole, signatures included
    key: bytes = field(repr=False)  # MARK octets that stand for its identity
    mark: bytes = field(repr=False)  # MARK octets that stand for its content

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def order(self) -> tuple[int, bytes]:
        """Of two with one identity the greater counts: higher seq, then the lower digest (research F1)."""
        return (self.seq, bytes(255 - octet for octet in self.digest))

    def outranks(self, other: Record) -> bool:
        """Whether of two with one identity this one counts."""
        return self.seq > other.seq or (self.seq == other.seq and self.digest < other.digest)

    def expired(self, at: float) -> bool:
        """Whether its own date has passed."""
        return self.expires != NEVER and at >= self.expires

    def message(self, overlay_id: bytes) -> bytes:
        """What the signatures sign."""
        return DOMAIN + overlay_id + self.content


def parse(raw: bytes) -> Record:
    """Bytes from anywhere -> Record, or ``Malformed``. Checks form only."""
    if type(raw) is not bytes:
        raise Malformed("a record is octets", rule="record-form")
    if len(raw) > limits.RECORD:
        raise Malformed(f"a record of {len(raw)} octets", rule="record-too-long")
    return _parse(raw)


@lru_cache(maxsize=PARSED)  # passports and chains come again and again; what is malformed is not remembered
def _parse(raw: bytes) -> Record:
    outer = decode(raw, limit=limits.RECORD)
    if type(outer) is not list or len(outer) != 2 or type(outer[0]) is not bytes or type(outer[1]) is not list:
        raise Malformed("a record is [content, signatures]", rule="record-form")
    content = outer[0]
    inner = decode(content, limit=limits.RECORD)
    if type(inner) is not list or len(inner) != 2 or type(inner[1]) is not dict:
        raise Malformed("a record's content is [header, body]", rule="record-form")
    header = Fields(inner[0], "record header")
    header.only(_HEADER)
    text = header.text(1, 255)
    try:
        name = parse_path(text)
    except UsageError as why:
        raise Malformed(f"record name: {why.what}", rule="record-name") from None
    if str(name) != text:
        raise Malformed("record name is not in lower case", rule="record-name")
    via = header.binary(7, DIGEST, DIGEST, default=b"")
    kind, item, sigs = header.text(2, 16), header.binary(3, 0, 64), _signatures(outer[1])
    identity, hashed = (name, kind, item, sigs[0][0]), digest(content)
    return Record(
        raw=raw, content=content, digest=hashed, name=name, kind=kind, item=item,
        seq=header.integer(4, 1, MAX_SEQ), issued=header.integer(5, 0, MAX_TIME), expires=header.integer(6, 0, MAX_TIME),
        via=via, body=inner[1], sigs=sigs, signer=sigs[0][0], identity=identity, seal=digest(raw), key=record_key(identity),
        mark=hashed[:MARK],
    )


def record_key(identity: Identity) -> bytes:
    """MARK octets that stand for a record's identity."""
    name, kind, item, signer = identity
    return hashlib.blake2s(b"\x00".join((str(name).encode(), kind.encode(), item.hex().encode(), signer)), digest_size=MARK).digest()


def _signatures(listed: list[Any]) -> tuple[tuple[bytes, bytes], ...]:
    sigs: list[tuple[bytes, bytes]] = []
    for entry in listed:
        if (
            type(entry) is not list or len(entry) != 2 or type(entry[0]) is not bytes or type(entry[1]) is not bytes
            or len(entry[0]) != KEY or len(entry[1]) != SIGNATURE
        ):
            raise Malformed("a signature is [key, signature]", rule="record-signature")
        sigs.append((entry[0], entry[1]))
    keys = [key for key, _ in sigs]
    if not 1 <= len(keys) <= MAX_SIGNATURES or len(set(keys)) != len(keys) or (len(keys) > 1 and keys != sorted(keys)):
        raise Malformed("signatures are 1 to 16, one a key, ascending", rule="record-signature")
    return tuple(sigs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A statement before it is signed. ``via`` empty where the kind needs no grant."""

    name: Path
    kind: str
    item: bytes = b""
    seq: int
    issued: int
    expires: int
    via: bytes = b""
    body: dict[int, Any]

    def content(self) -> bytes:
        """The octets that get signed."""
        header = {1: str(self.name), 2: self.kind, 3: self.item, 4: self.seq, 5: self.issued, 6: self.expires, 7: self.via or None}
        return encode([ordered(header), self.body])

    def size(self) -> int:
        """Octets of the record, once one key has signed it."""
        return len(self.content()) + _ENVELOPE


def sign(draft: Draft, signers: Sequence[Signer], overlay_id: bytes) -> Record:
    """Sign by all of ``signers`` -> a Record that is known to parse. Too long a statement is a ``UsageError``."""
    content = draft.content()
    message = DOMAIN + overlay_id + content
    raw = encode([content, [[signer.public, signer.sign(message)] for signer in sorted(signers, key=lambda s: s.public)]])
    if len(raw) > limits.RECORD:
        raise UsageError(
            f"the {draft.kind} statement about {draft.name.dotted or 'the root'} has {len(raw)} octets",
            f"keep it below {limits.RECORD}: shorter or fewer values", rule="record-too-long",
        )
    return parse(raw)
