"""Zone transfer out (RFC 5936, RFC 1995): a zone as the row of messages that a secondary takes over TCP. Pure.

Decides how records are packed into messages and when a secondary has the zone already. IXFR is answered with the whole
zone, which RFC 1995 4 allows. Refuses to know who may transfer (``tld/keyed.py``) and how messages are sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from struct import Struct
from typing import Final

from overlay.errors import Malformed
from tld import codes
from tld.engine import Answer
from tld.label import skip
from tld.query import Query
from tld.render import Writer, opt_of
from tld.zone import RRset, Zone

MESSAGE: Final = 16_384  # octets of records a message: beyond, names cannot be pointed at (RFC 1035 4.1.4)
_HEADER = Struct("!HHHHHH")


@dataclass(frozen=True, slots=True)
class Parts:
    """A reply of several messages, over TCP only; made one by one while they are sent."""

    messages: Iterator[bytes]


def transfer(zone: Zone, query: Query) -> Iterator[bytes]:
    """The zone as it is now: its SOA, everything else, its SOA again."""
    writer = Writer(query, MESSAGE)
    opt = opt_of(query, Answer())
    count = 0
    for record in _records(zone):
        if not writer.add(record):
            yield _message(query, writer, count, opt)
            writer, count, opt = Writer(query, MESSAGE), 0, b""
            if not writer.add(record):
                writer = Writer(query, 65_000)  # one record of over 16 KiB
                writer.add(record)
        count += 1
    yield _message(query, writer, count, opt)


def only_soa(zone: Zone, query: Query) -> bytes:
    """The answer to who asks for changes and has them all, or asks over UDP (RFC 1995 2)."""
    writer = Writer(query, MESSAGE)
    writer.add(zone.soa)
    return _message(query, writer, 1, opt_of(query, Answer()))


def held_serial(message: bytes, query: Query) -> int | None:
    """The serial that an IXFR query says its asker holds: that of the SOA in its authority section; None without one."""
    offset = 12 + len(query.question)
    if int.from_bytes(message[8:10], "big") != 1 or int.from_bytes(message[6:8], "big"):
        return None
    try:
        offset = skip(message, offset)
        if message[offset : offset + 2] != codes.SOA.to_bytes(2, "big"):
            return None
        offset = skip(message, skip(message, offset + 10))
    except Malformed:
        return None
    return int.from_bytes(message[offset : offset + 4], "big") if offset + 4 <= len(message) else None


def up_to_date(held: int, serial: int) -> bool:
    """Whether ``held`` is ``serial`` or later (RFC 1982)."""
    return (held - serial) & 0xFFFFFFFF < 1 << 31


def _records(zone: Zone) -> Iterator[RRset]:
    for rrset in zone.rrsets():
        for rdata in rrset.rdatas:
            ttl = rrset.ttl
            if rrset.type == codes.RRSIG:  # the TTL of what it covers, RFC 4034 3
                covered = zone.nodes[rrset.name].get(int.from_bytes(rdata[:2], "big"))
                ttl = covered.ttl if covered is not None else ttl
            yield replace(rrset, ttl=ttl, rdatas=(rdata,))
    yield zone.soa


def _message(query: Query, writer: Writer, count: int, opt: bytes) -> bytes:
    flags = codes.QR | codes.AA | query.flags & codes.RD
    return _HEADER.pack(query.ident, flags, 1, count, 0, 1 if opt else 0) + bytes(writer.out[12:]) + opt
