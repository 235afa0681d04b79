"""A DNS query off the wire: one bounded pass over its octets, and the verdict that needs no zone.

Decides what is a query at all (RFC 1035 4.1, one question: RFC 9619), which faults get an answer and which (RFC 8906: an
unknown opcode NOTIMP, an unknown EDNS version BADVERS, junk FORMERR, unknown flags and options ignored), and which get
none (a reply, half a header). Refuses to know zones and answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from overlay import limits
from overlay.errors import Malformed
from tld import codes
from tld.cookies import lawful
from tld.label import MAX_LABEL, MAX_NAME, Name, skip

_HEADER = Struct("!HHHHHH")
_FIXED = Struct("!HHIH")  # of a record: type, class, ttl, length
_TWO = Struct("!HH")
_MAX_RECORDS = 16  # records behind the question of a query that are looked at (OPT, TSIG, IXFR's SOA; room)
_META = frozenset(range(128, 256)) - {codes.ANY, codes.AXFR, codes.IXFR}  # RFC 6895 3.1: QTYPEs and meta types
PLAIN = 512  # octets that a client without EDNS takes over UDP, RFC 1035 2.3.4
TCP = 65_535
_SIZES = (limits.EDNS, 1_220, 1_024, PLAIN)  # advertised sizes are rounded down to these, so that few renderings are cached


@dataclass(frozen=True, slots=True)
class Edns:
    """The OPT record of a query (RFC 6891). ``options`` are (code, data) in order."""

    version: int
    size: int
    do: bool
    options: tuple[tuple[int, bytes], ...]

    def option(self, code: int) -> bytes | None:
        """The data of that option's first occurrence."""
        return next((data for number, data in self.options if number == code), None)


@dataclass(frozen=True, slots=True)
class Query:
    """One query. ``question`` is echoed as it came (0x20 case); ``fault`` is the rcode to answer with at once, 0 if none.

    Where the question itself did not parse, ``question`` is empty and ``qname`` the root.
    """

    ident: int
    flags: int
    question: bytes
    qname: Name
    qtype: int
    qclass: int
    edns: Edns | None
    fault: int = 0

    @property
    def key(self) -> bytes:
        """The question without letter case: what cached answers are found by."""
        return self.question[:-4].lower() + self.question[-4:]

    @property
    def opcode(self) -> int:
        """0 is QUERY."""
        return self.flags >> 11 & 15

    @property
    def recursion_desired(self) -> bool:
        """The RD bit, which answers copy."""
        return bool(self.flags & codes.RD)

    @property
    def secure(self) -> bool:
        """The DO bit: signatures and proofs are wanted (RFC 3225)."""
        return self.edns is not None and self.edns.do

    def limit(self, *, udp: bool) -> int:
        """Octets that the answer may have: 65,535 over TCP; over UDP 512, with EDNS up to 1,232 in four steps."""
        if not udp:
            return TCP
        if self.edns is None:
            return PLAIN
        return _limit(self.edns.size)


Key = tuple[bytes, int, int]  # question in lower case; limit in octets; 0 no EDNS, 1 EDNS, 2 EDNS with DO, and 4 where AD is set


def key_of(query: Query, *, udp: bool) -> Key:
    """What renderings of answers are remembered by: queries of one key have the same answer but for id, RD and spelling."""
    return query.key, query.limit(udp=udp), (0 if query.edns is None else 2 if query.edns.do else 1) | (query.flags & codes.AD) >> 3


def outline(data: bytes) -> tuple[Key, int] | None:
    """The key of an ordinary UDP query and the end of its question, without parsing; None where anything is unusual.

    Only for looking up what :func:`parse` and :func:`key_of` have once accepted: nothing here proves that the name is
    well-formed, but a key that equals a well-formed one belongs to a well-formed question.
    """
    end = data.find(0, 12) + 5
    size = len(data)
    if end < 17 or end > size or data[2] & 0xF8 or data[4:11] != b"\0\1\0\0\0\0\0":
        return None
    question = data[12 : end - 4].lower() + data[end - 4 : end]
    wants = (data[3] & codes.AD) >> 3
    if size == end:
        return ((question, PLAIN, wants), end) if data[11] == 0 else None
    if data[11] != 1 or size < end + 11 or data[end : end + 3] != b"\0\0\x29" or data[end + 6]:
        return None
    length = data[end + 9] << 8 | data[end + 10]
    if size != end + 11 + length:
        return None
    if length and (length < 4 or data[end + 13] << 8 | data[end + 14] != length - 4 or data[end + 11 : end + 13] == b"\0\3"):
        return None  # more options than one (a cookie, most often), or NSID, which has an answer of its own
    if length and data[end + 11 : end + 13] == b"\0\x0a" and not lawful(length - 4):
        return None
    return (question, _limit(data[end + 3] << 8 | data[end + 4]), (2 if data[end + 7] & 0x80 else 1) | wants), end


def _limit(advertised: int) -> int:
    for size in _SIZES:
        if size <= advertised:
            return size
    return PLAIN


def parse(data: bytes) -> Query:
    """The query in ``data``. ``Malformed`` only where nothing must be said: half a header, or a reply (rule ``dns-reply``)."""
    if len(data) < 12:
        raise Malformed("half a header", rule="dns-short")
    ident, flags, questions, answers, authority, additional = _HEADER.unpack_from(data)
    if flags & codes.QR:
        raise Malformed("a reply where a query is due", rule="dns-reply")
    if flags >> 11 & 15 != codes.QUERY:
        return Query(ident, flags, b"", (), 0, 0, None, codes.NOTIMP)
    if questions != 1:
        return Query(ident, flags, b"", (), 0, 0, None, codes.FORMERR)
    try:
        qname, end = _question_name(data)
        qtype, qclass = _TWO.unpack_from(data, end - 4)
    except Malformed:
        return Query(ident, flags, b"", (), 0, 0, None, codes.FORMERR)
    question = data[12:end]
    edns = None
    fault = 0
    if len(data) != end or answers or authority or additional:
        try:
            edns = _edns(data, end, answers, authority, additional)
        except Malformed:
            fault = codes.FORMERR
    if not fault:
        if edns is not None and edns.version:
            fault = codes.BADVERS
        elif qtype == codes.OPT:
            fault = codes.FORMERR
        elif qtype in _META:
            fault = codes.NOTIMP
    return Query(ident, flags, question, qname, qtype, qclass, edns, fault)


def _question_name(data: bytes) -> tuple[Name, int]:
    # No pointers here: the question is the first name of the message, there is nothing to point at.
    labels: list[bytes] = []
    position = 12
    end = len(data)
    while position < end:
        length = data[position]
        if length == 0:
            if position + 5 > end:
                break
            return tuple(labels), position + 5
        if length > MAX_LABEL or position - 12 + length + 2 > MAX_NAME:
            break
        labels.append(data[position + 1 : position + 1 + length].lower())
        position += length + 1
    raise Malformed("the question does not parse", rule="dns-question")


def _edns(data: bytes, offset: int, answers: int, authority: int, additional: int) -> Edns | None:
    if answers + authority + additional > _MAX_RECORDS:
        raise Malformed("too many records for a query", rule="dns-records")
    found: Edns | None = None
    for index in range(answers + authority + additional):
        start = offset
        offset = skip(data, offset)
        if offset + 10 > len(data):
            raise Malformed("half a record", rule="dns-records")
        rtype, rclass, ttl, length = _FIXED.unpack_from(data, offset)
        offset += 10 + length
        if offset > len(data):
            raise Malformed("a record runs out of its message", rule="dns-records")
        if rtype == codes.OPT:
            if found is not None or index < answers + authority or data[start] != 0:
                raise Malformed("OPT in the wrong place, twice, or with a name", rule="dns-opt")
            version = ttl >> 16 & 0xFF
            read = () if version else options(data[offset - length : offset])  # what a later version puts there is not known
            if any(code == codes.OPTION_COOKIE and not lawful(len(value)) for code, value in read):
                raise Malformed("a cookie of a wrong length", rule="dns-opt")  # RFC 7873 5.2.2
            found = Edns(version, rclass, bool(ttl & 0x8000), read)
    if offset != len(data):
        raise Malformed("octets behind the last record", rule="dns-trailing")
    return found


def options(data: bytes) -> tuple[tuple[int, bytes], ...]:
    """The options in an OPT record's data (RFC 6891 6.1.2). ``Malformed`` where they do not fit exactly."""
    found: list[tuple[int, bytes]] = []
    position = 0
    while position < len(data):
        if position + 4 > len(data):
            raise Malformed("half an EDNS option", rule="dns-opt")
        code, length = _TWO.unpack_from(data, position)
        position += 4 + length
        if position > len(data):
            raise Malformed("an EDNS option runs out of its record", rule="dns-opt")
        found.append((code, data[position - length : position]))
    return tuple(found)


def ask(ident: int, qname_wire: bytes, qtype: int, *, edns: int = 0, flags: int = 0) -> bytes:
    """A query to send (tests, tools): ``edns`` is the size to advertise, 0 for none."""
    opt = b"\0" + _FIXED.pack(codes.OPT, edns, 0, 0) if edns else b""
    return _HEADER.pack(ident, flags, 1, 0, 0, 1 if opt else 0) + qname_wire + _TWO.pack(qtype, codes.IN) + opt
