"""Dynamic updates (RFC 2136): what somebody asks to be added and deleted, as whole sets to say in place of what is there. Pure.

Decides whether a message is an update at all, whether what it presupposes holds in the zone as the world sees it, and what
each set that it touches will be. Refuses to know who may (``tld/keyed.py``) and how sets are said: the caller does it the
way that ``overlay name set`` goes. What hosts and services have of themselves is not data, so it is neither there to be
deleted nor to be added to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import Final

from overlay.errors import Malformed
from tld import codes
from tld.label import Name, from_wire, under
from tld.reply import uncompressed
from tld.tsig import MOST_CHANGES
from tld.zone import MAX_TTL, Zone

NONE: Final = 254  # class: "not there", or "this record goes" (RFC 2136 2.4, 2.5)
_HEADER = Struct("!HHHHHH")
_FIXED = Struct("!HHIH")
_TWO = Struct("!HH")
_META: Final = frozenset(range(128, 256))  # QTYPEs and meta types: in no zone

Sets = dict[tuple[Name, int], tuple[int, tuple[bytes, ...]]]  # name and type -> TTL, data; no data: the set goes
Held = Callable[[Name], Sets]  # the data said of a name


class Unfit(Exception):
    """An update is not carried out; ``rcode`` says why (RFC 2136 3.8)."""

    def __init__(self, rcode: int) -> None:
        super().__init__(codes.rcode_name(rcode))
        self.rcode = rcode


@dataclass(frozen=True, slots=True)
class Line:
    """One record of an update, of either section."""

    name: Name
    type: int
    rclass: int
    ttl: int
    rdata: bytes


@dataclass(frozen=True, slots=True)
class Update:
    """An update of the zone at ``origin``."""

    origin: Name
    presupposed: tuple[Line, ...]
    changes: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """An update by the holder of ``key`` that is to be carried out, and then answered: ``finish`` makes the reply of an rcode."""

    update: Update
    key: Name
    finish: Callable[[int], bytes]


def parse(data: bytes) -> Update:
    """A message with opcode UPDATE, without TSIG -> what it asks for; ``Malformed`` where it is none (RFC 2136 3.1.1)."""
    if len(data) < 12:
        raise Malformed("half a header", rule="dns-short")
    _, _, zones, first, second, more = _HEADER.unpack_from(data)
    if zones != 1 or first + second + more > MOST_CHANGES:
        raise Malformed("an update is about one zone, and of a bounded size", rule="dns-update")
    origin, offset = from_wire(data, 12)
    if data[offset : offset + 4] != _TWO.pack(codes.SOA, codes.IN):
        raise Malformed("an update names its zone by its SOA", rule="dns-update")
    offset += 4
    lines = []
    for _ in range(first + second):
        name, offset = from_wire(data, offset)
        if offset + 10 > len(data):
            raise Malformed("half a record", rule="dns-records")
        rtype, rclass, ttl, length = _FIXED.unpack_from(data, offset)
        offset += 10 + length
        if offset > len(data):
            raise Malformed("a record runs out of its message", rule="dns-records")
        rdata = uncompressed(data, offset - length, offset, rtype) if length else b""
        lines.append(Line(_lower(name), rtype, rclass, ttl, rdata))
    if not more and offset != len(data):
        raise Malformed("octets behind the last record", rule="dns-trailing")
    return Update(_lower(origin), tuple(lines[:first]), tuple(lines[first:]))


def _lower(name: Name) -> Name:
    return tuple(label.lower() for label in name)


def plan(update: Update, zone: Zone, held: Held) -> Sets:
    """What each set that the update touches will be. ``Unfit`` where it is not to be carried out; then nothing of it is."""
    _presupposed(update, zone)
    sets: Sets = {}
    for line in update.changes:
        if not under(line.name, zone.origin):
            raise Unfit(codes.NOTZONE)
        if line.type == codes.ANY and line.rclass == codes.ANY:
            _plain(line, rdata=False)
            sets |= dict.fromkeys({*held(line.name), *(key for key in sets if key[0] == line.name)}, (0, ()))
            continue
        if line.type in _META or line.rclass not in (codes.IN, codes.ANY, NONE):
            raise Unfit(codes.FORMERR)
        key = (line.name, line.type)
        ttl, rdatas = sets[key] if key in sets else held(line.name).get(key, (0, ()))
        if line.rclass == codes.IN:
            if not line.rdata or line.ttl > MAX_TTL:
                raise Unfit(codes.FORMERR)
            alone = line.type in (codes.CNAME, codes.DNAME)
            sets[key] = line.ttl, (line.rdata,) if alone else tuple(dict.fromkeys((*rdatas, line.rdata)))
        elif line.rclass == codes.ANY:
            _plain(line, rdata=False)
            sets[key] = 0, ()
        else:
            _plain(line, rdata=True)
            sets[key] = ttl, tuple(rdata for rdata in rdatas if rdata != line.rdata)
    return {key: found for key, found in sets.items() if found != held(key[0]).get(key, (0, ())) and (found[1] or key in held(key[0]))}


def _plain(line: Line, *, rdata: bool) -> None:
    if line.ttl or (line.rdata and not rdata):
        raise Unfit(codes.FORMERR)


def _presupposed(update: Update, zone: Zone) -> None:
    """Whether what the update presupposes holds (RFC 2136 3.2)."""
    wanted: dict[tuple[Name, int], set[bytes]] = {}
    for line in update.presupposed:
        if line.ttl:
            raise Unfit(codes.FORMERR)
        if not under(line.name, zone.origin):
            raise Unfit(codes.NOTZONE)
        node = zone.nodes.get(line.name, {})
        if line.rclass == codes.IN:
            wanted.setdefault((line.name, line.type), set()).add(line.rdata)
            continue
        if line.rdata or line.rclass not in (codes.ANY, NONE):
            raise Unfit(codes.FORMERR)
        there = bool(node) if line.type == codes.ANY else line.type in node
        if line.rclass == codes.ANY and not there:
            raise Unfit(codes.NXDOMAIN if line.type == codes.ANY else codes.NXRRSET)
        if line.rclass == NONE and there:
            raise Unfit(codes.YXDOMAIN if line.type == codes.ANY else codes.YXRRSET)
    for (name, rtype), rdatas in wanted.items():
        rrset = zone.nodes.get(name, {}).get(rtype)
        if rrset is None or set(rrset.rdatas) != rdatas:
            raise Unfit(codes.NXRRSET)
