"""Hints: where a node that gives a release away can be reached, signed by itself, behind the signed octets (DESIGN 3.11).

    trailer = [content, signature] | u32 octets of that | "OVLHINT1"
    content = {1 overlay id, 2 zone, 3 TLD, 4 addresses, 5 exchange key, 6 node id, 7 expires, 8 the release's root}
    signed  = "overlay hint 1" 00 content

A hint is no authority over what is run: it says whom to dial and which key to expect, and a lie costs one handshake. What
comes behind the signed octets is never run: a reader of archives takes the last directory it finds, so a foreign one in
a trailer would take the program's place. It is cut off first, and one that holds such a directory is refused whole.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from overlay.errors import Malformed, UsageError
from overlay.identity.keys import DIGEST, KEY, SIGNATURE, Signer, verify
from overlay.name import MAX_SUFFIX, parse_zone
from overlay.records.record import MAX_TIME
from overlay.wire.address import Address, unpack_address
from overlay.wire.codec import Fields, Value, decode, encode

MAGIC: Final = b"OVLHINT1"
LONGEST: Final = 4_096  # octets of a trailer (research/release 5)
MAX_ADDRESSES: Final = 8
DOMAIN: Final = b"overlay hint 1\x00"
LIFE: Final = 90 * 86_400  # seconds; an image lies about for a while, and a node that moved is found through others
_LENGTH: Final = struct.Struct(">I")
_TAIL: Final = _LENGTH.size + len(MAGIC)
# What begins an end-of-directory record of a zip, a zstd frame, an xz or gzip stream, an ELF file: none stands in an honest hint.
FOREIGN: Final = (b"PK\x05\x06", b"PK\x06\x06", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"\x7fELF")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """Whom to dial, and which key to expect. ``root``: of the release that it came with."""

    overlay_id: bytes
    zone: str
    tld: str
    addresses: tuple[Address, ...]
    exchange: bytes
    node_id: bytes
    expires: int
    root: bytes

    def trailer(self, signer: Signer) -> bytes:
        """As it travels."""
        content = encode({
            1: self.overlay_id, 2: self.zone, 3: self.tld, 4: [address.packed for address in self.addresses[:MAX_ADDRESSES]], 5: self.exchange,
            6: self.node_id, 7: self.expires, 8: self.root,
        })
        said = encode([content, signer.sign(DOMAIN + content)])
        return said + _LENGTH.pack(len(said)) + MAGIC


def trailer_length(tail: bytes) -> int:
    """How many octets at the end are a trailer, of the last of a file; 0 where none is there. ``Malformed`` where it lies about itself."""
    if len(tail) < _TAIL or tail[-len(MAGIC) :] != MAGIC:
        return 0
    whole = _LENGTH.unpack_from(tail, len(tail) - _TAIL)[0] + _TAIL
    if whole > min(LONGEST, len(tail)):
        raise Malformed("a hint that is longer than it may be", rule="hint-length")
    return int(whole)


def read(trailer: bytes, at: float, root: bytes = b"") -> Hint:
    """A trailer from anywhere -> the hint; ``Malformed`` where it does not hold, has expired, or came with another release."""
    if trailer_length(trailer) != len(trailer) or not trailer:
        raise Malformed("that is no hint", rule="hint-form")
    if any(magic in trailer for magic in FOREIGN):
        raise Malformed("a hint that holds the beginning of an archive", rule="hint-foreign")
    value = decode(trailer[:-_TAIL], limit=LONGEST)
    if type(value) is not list or len(value) != 2 or type(value[0]) is not bytes or type(value[1]) is not bytes or len(value[1]) != SIGNATURE:
        raise Malformed("a hint is [content, signature]", rule="hint-form")
    content, signature = value
    hint = _content(decode(content, limit=LONGEST))
    if not verify(hint.node_id, signature, DOMAIN + content):
        raise Malformed("a hint whose signature does not hold", rule="hint-signature")
    if at >= hint.expires or (root and root != hint.root):
        raise Malformed("a hint that has expired, or of another release", rule="hint-expired")
    return hint


def _content(value: Value) -> Hint:
    fields = Fields(value, "hint")
    fields.only(frozenset(range(1, 9)))
    zone, tld = fields.text(2, MAX_SUFFIX), fields.text(3, MAX_SUFFIX)
    try:
        if (parse_zone(zone), parse_zone(tld)) != (zone, tld):
            raise UsageError("not as it is spelt")
    except UsageError:
        raise Malformed("hint: zone and TLD are domain names", rule="hint-zone") from None
    addresses = tuple(unpack_address(item) for item in fields.items(4, MAX_ADDRESSES))
    if not addresses:
        raise Malformed("hint: without an address it is of no use", rule="hint-form")
    return Hint(
        overlay_id=fields.binary(1, DIGEST, DIGEST), zone=zone, tld=tld, addresses=addresses, exchange=fields.binary(5, KEY, KEY),
        node_id=fields.binary(6, KEY, KEY), expires=fields.integer(7, 0, MAX_TIME), root=fields.binary(8, DIGEST, DIGEST),
    )
