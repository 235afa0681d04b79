"""Answers as octets: names compressed, EDNS appended, truncation where it must be. Pure.

Decides what goes into how many octets: names in owners and in the data of RFC 1035's types are compressed, no others
(RFC 3597 4); additional sets that do not fit are left out, needed glue is not optional and sets TC (RFC 9471), a set of
the answer or authority that does not fit sets TC and goes as a whole (RFC 2181 9). Refuses to know zones.

A rendering is kept in two parts (:class:`Rendered`), so that it serves every query for the same question in whatever
letter case, with whatever id: ``reply = id + head + question as it came + tail``.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from overlay import limits
from tld import codes
from tld.engine import Answer
from tld.label import Name, from_wire
from tld.query import Query
from tld.zone import RRset

_SIX = Struct("!HHHHH")  # flags and four counts: a header less its id
_FIXED = Struct("!HHIH")
_TWO = Struct("!HH")
_POINTABLE = 0x4000  # names at or behind this offset cannot be pointed at

# Where names stand in record data that may be compressed (RFC 3597 4): octets before the first, and how many.
_COMPRESSIBLE = {codes.NS: (0, 1), codes.CNAME: (0, 1), codes.PTR: (0, 1), codes.SOA: (0, 2), codes.MX: (2, 1)}


@dataclass(frozen=True, slots=True)
class Rendered:
    """An answer without what is the client's own: id, RD, the question's spelling. ``head`` has RD clear."""

    head: bytes  # flags and counts, 10 octets
    head_rd: bytes  # the same with RD set
    tail: bytes  # everything behind the question

    def reply(self, query: Query) -> bytes:
        """The whole message for ``query``."""
        head = self.head_rd if query.flags & codes.RD else self.head
        return query.ident.to_bytes(2, "big") + head + query.question + self.tail


def render(query: Query, answer: Answer, *, udp: bool, ra: bool = False, nsid: bytes = b"") -> Rendered:
    """The rendering of ``answer`` for clients like ``query``'s: their transport, EDNS, DO and size.

    ``ra`` sets the bit that says recursion is offered (stub). ``nsid`` is sent to whoever asks for it (RFC 5001).
    """
    opt = opt_of(query, answer, nsid)
    writer = Writer(query, query.limit(udp=udp) - len(opt))
    counts = [0, 0, 0]
    truncated = False
    for section, rrsets in ((0, answer.answer), (1, answer.authority), (2, answer.additional[: answer.glue])):
        for rrset in rrsets:
            if not writer.add(rrset):
                truncated = True
                break
            counts[section] += len(rrset.rdatas)
        if truncated:
            break
    if not truncated:
        for rrset in answer.additional[answer.glue :]:
            if writer.add(rrset):
                counts[2] += len(rrset.rdatas)
    flags = codes.QR | answer.rcode & 15 | (codes.AA if answer.aa else 0) | (codes.TC if truncated else 0) | (codes.RA if ra else 0)
    if answer.ad and (query.flags & codes.AD or query.secure):  # RFC 6840 5.8
        flags |= codes.AD
    counts[2] += bool(opt)
    questions = 1 if query.question else 0
    return Rendered(
        head=_SIX.pack(flags, questions, *counts),
        head_rd=_SIX.pack(flags | codes.RD, questions, *counts),
        tail=bytes(writer.out[writer.base :]) + opt,
    )


def refuse(query: Query, rcode: int, ede: tuple[int, str] | None = None, *, ra: bool = False) -> bytes:
    """A whole reply that carries no records: FORMERR, NOTIMP, REFUSED, SERVFAIL, BADVERS ... The opcode is echoed."""
    rendered = render(query, Answer(rcode=rcode, ede=ede), udp=True, ra=ra)
    reply = bytearray(rendered.reply(query))
    reply[2] |= query.flags >> 8 & 0x78  # opcode
    return bytes(reply)


def opt_of(query: Query, answer: Answer, nsid: bytes = b"") -> bytes:
    """The OPT record of a reply; empty where the query had none."""
    if query.edns is None:
        return b""
    data = b""
    if nsid and query.edns.option(codes.OPTION_NSID) is not None:
        data += _TWO.pack(codes.OPTION_NSID, len(nsid)) + nsid
    if answer.ede is not None:
        text = answer.ede[1].encode()
        data += _TWO.pack(codes.OPTION_EDE, 2 + len(text)) + answer.ede[0].to_bytes(2, "big") + text
    ttl = answer.rcode >> 4 << 24 | (0x8000 if query.edns.do else 0)
    return b"\0" + _FIXED.pack(codes.OPT, limits.EDNS, ttl, len(data)) + data


class Writer:
    """The message while it grows: octets, and where each name was last written."""

    __slots__ = ("base", "limit", "out", "places")

    def __init__(self, query: Query, limit: int) -> None:
        self.out = bytearray(12) + query.question
        self.base = len(self.out)
        self.limit = limit
        self.places: dict[Name, int] = {}
        offset = 12
        qname = query.qname
        for depth in range(len(qname)):
            self.places[qname[depth:]] = offset
            offset += len(qname[depth]) + 1

    def add(self, rrset: RRset) -> bool:
        """Write the whole set, or nothing where it would not fit."""
        out = self.out
        mark = len(out)
        fixed = _COMPRESSIBLE.get(rrset.type)
        for rdata in rrset.rdatas:
            self._name(rrset.name)
            out += _FIXED.pack(rrset.type, codes.IN, rrset.ttl, len(rdata))
            if fixed is None:
                out += rdata
            else:
                start = len(out)
                self._compressed(rdata, *fixed)
                out[start - 2 : start] = (len(out) - start).to_bytes(2, "big")
            if len(out) > self.limit:
                del out[mark:]
                self.places = {name: place for name, place in self.places.items() if place < mark}
                return False
        return True

    def _compressed(self, rdata: bytes, before: int, names: int) -> None:
        self.out += rdata[:before]
        position = before
        for _ in range(names):
            name, end = from_wire(rdata, position)
            self._name(name, rdata[position:end])
            position = end
        self.out += rdata[position:]

    def _name(self, name: Name, spelled: bytes | None = None) -> None:
        out = self.out
        places = self.places
        position = 0
        for depth, label in enumerate(name):
            rest = name[depth:]
            if (place := places.get(rest)) is not None:
                out += (0xC000 | place).to_bytes(2, "big")
                return
            if len(out) < _POINTABLE:
                places[rest] = len(out)
            out.append(len(label))
            out += label if spelled is None else spelled[position + 1 : position + 1 + len(label)]
            position += len(label) + 1
        out.append(0)
