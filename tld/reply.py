"""Replies of other servers, read: rcode, the answer section as RRsets, the reason given. For chains that leave the overlay.

It decides what of foreign octets is taken over: records of class IN in the answer section, names inside of their data
uncompressed, signatures left out (the chain before them is not signed by anybody they know). Bad octets are
``Malformed``. Refuses to know who was asked and why.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Final

from overlay.errors import Malformed
from tld import codes
from tld.label import Name, from_wire, skip, to_wire
from tld.query import options
from tld.zone import MAX_TTL, RRset

MAX_RECORDS: Final = 512  # of one reply that are looked at; 65,535 octets hold no more useful ones
_FIXED = Struct("!HHIH")

# Names inside of data that may come compressed (RFC 3597 4): octets before the first, how many names.
_NAMES_IN: Final = {
    codes.NS: (0, 1), codes.CNAME: (0, 1), codes.PTR: (0, 1), codes.DNAME: (0, 1), codes.SOA: (0, 2), codes.MX: (2, 1), codes.SRV: (6, 1),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reply:
    """What a reply says. ``ede``: the first extended error, code and text (RFC 8914)."""

    rcode: int
    truncated: bool
    answer: tuple[RRset, ...]
    ede: tuple[int, str] | None = None


def read(data: bytes) -> Reply:
    """Octets of a whole message -> Reply, or ``Malformed``."""
    if len(data) < 12 or not data[2] & 0x80:
        raise Malformed("not a reply", rule="dns-reply")
    questions, *counts = (int.from_bytes(data[at : at + 2], "big") for at in (4, 6, 8, 10))
    truncated = bool(data[2] & 2)
    if sum(counts) > MAX_RECORDS or questions > 1:
        raise Malformed("too many records", rule="dns-records")
    offset = 12
    if questions:
        offset = skip(data, offset) + 4
    found: dict[tuple[Name, int], tuple[int, list[bytes]]] = {}
    ede = None
    rcode = data[3] & 15
    for index in range(sum(counts)):
        name, offset = from_wire(data, offset)
        if offset + 10 > len(data):
            raise Malformed("half a record", rule="dns-records")
        rtype, rclass, ttl, length = _FIXED.unpack_from(data, offset)
        offset += 10 + length
        if offset > len(data):
            raise Malformed("a record runs out of its message", rule="dns-records")
        if rtype == codes.OPT:
            rcode |= ttl >> 24 << 4
            ede = ede or _reason(data[offset - length : offset])
        elif index < counts[0] and rclass == codes.IN and rtype != codes.RRSIG:
            ttl = ttl if ttl <= MAX_TTL else 0  # RFC 2181 8
            first = found.setdefault((name, rtype), (ttl, []))
            first[1].append(uncompressed(data, offset - length, offset, rtype))
    answer = tuple(RRset(name, rtype, ttl, tuple(rdatas)) for (name, rtype), (ttl, rdatas) in found.items())
    return Reply(rcode, truncated, answer, ede)


def uncompressed(data: bytes, start: int, end: int, rtype: int) -> bytes:
    """The record data between two offsets of a message, names inside of it written out. ``Malformed`` where they do not fit."""
    before, count = _NAMES_IN.get(rtype, (0, 0))
    if not count:
        return data[start:end]
    position = start + before
    rdata = data[start:position]
    for _ in range(count):
        name, position = from_wire(data, position)
        rdata += to_wire(name)
    if position > end:
        raise Malformed("a name runs out of its record", rule="dns-records")
    return rdata + data[position:end]


def _reason(data: bytes) -> tuple[int, str] | None:
    for code, value in options(data):
        if code == codes.OPTION_EDE and len(value) >= 2:
            return int.from_bytes(value[:2], "big"), value[2:].decode("utf-8", "replace")
    return None
