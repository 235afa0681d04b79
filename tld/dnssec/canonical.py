"""The canonical form of sets (RFC 4034 6): what is hashed and signed, so that spelling and order do not matter. Pure."""

from __future__ import annotations

from struct import Struct
from typing import Final

from overlay.errors import Malformed
from tld import codes
from tld.label import Name, from_wire, to_wire
from tld.zone import RRset

_FIXED = Struct("!HHIH")  # of a record: type, class, TTL, length

# Where names stand in data whose letters are lowered (RFC 4034 6.2, less NSEC: RFC 6840 5.1): octets before the first, how many.
# RP, AFSDB, KX have no mnemonic here (17, 18, 36); the other types of the list are obsolete.
_NAMES: Final = {
    codes.NS: (0, 1), codes.CNAME: (0, 1), codes.SOA: (0, 2), codes.PTR: (0, 1), codes.MX: (2, 1), codes.SRV: (6, 1), codes.DNAME: (0, 1),
    17: (0, 2), 18: (2, 1), 36: (2, 1),
}  # fmt: skip


def canonical_rdata(rtype: int, rdata: bytes) -> bytes:
    """Record data with the names in it in lower case. ``Malformed`` where they do not parse."""
    if rtype == codes.NAPTR:
        start = 4
        for _ in range(3):
            start += 1 + rdata[start] if start < len(rdata) else 1
        before, count = start, 1
    else:
        before, count = _NAMES.get(rtype, (0, 0))
    if not count:
        return rdata
    found = rdata[:before]
    position = before
    for _ in range(count):
        name, position = from_wire(rdata, position)
        found += to_wire(name)
    return found + rdata[position:]


def canonical_set(rrset: RRset, *, ttl: int, owner: Name) -> bytes:
    """All records of a set as octets: canonical owner (a wildcard's where it was expanded from one), original TTL, sorted, each once."""
    head = to_wire(owner)
    rows = []
    for rdata in sorted({canonical_rdata(rrset.type, rdata) for rdata in rrset.rdatas}):
        if len(rdata) > 0xFFFF:
            raise Malformed("record data of over 65,535 octets", rule="rdata")
        rows.append(head + _FIXED.pack(rrset.type, codes.IN, ttl, len(rdata)) + rdata)
    return b"".join(rows)


def bitmap(types: set[int]) -> bytes:
    """The type bit map of an NSEC record (RFC 4034 4.1.2)."""
    windows: dict[int, bytearray] = {}
    for rtype in types:
        bits = windows.setdefault(rtype >> 8, bytearray(32))
        bits[(rtype & 0xFF) >> 3] |= 0x80 >> (rtype & 7)
    found = b""
    for window in sorted(windows):
        bits = windows[window].rstrip(b"\0")
        found += bytes((window, len(bits))) + bits
    return found
