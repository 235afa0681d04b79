"""The little of DNS that a newcomer needs: one question, and the answers of the types TXT, A, AAAA, NS, DS (RFC 1035).

It decides how a question is spelt and what an answer says; it can fail with ``Malformed`` only. It refuses to know whom
to ask. Written out here, and not taken from a library, because joining must not cost the 64 ms and 6 MiB of a full DNS
library (research, minors); and not shared with ``tld``, whose parser reads what clients ask, not what servers answer.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from overlay.errors import Malformed

A, NS, CNAME, TXT, AAAA, DS = 1, 2, 5, 16, 28, 43
TYPES = {"A": A, "NS": NS, "TXT": TXT, "AAAA": AAAA, "DS": DS}
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = 0, 1, 2, 3, 4, 5
MAX_ALIASES = 8  # CNAMEs followed within an answer (as glibc and unbound do)
MAX_RECORDS = 256  # of an answer that are looked at
_IN = 1
_OPT = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"  # RFC 6891: root, OPT, 1,232 octets, no options
_HEADER = 12


@dataclass(frozen=True, slots=True)
class Answer:
    """``rcode``, whether it was cut (TC), and the values of the type asked for: octets of a TXT (strings joined) or DS, IP text, host names."""

    rcode: int
    truncated: bool
    values: tuple[bytes, ...] | tuple[str, ...]


def question(name: str, rtype: str) -> bytes:
    """The question section: name, type, class."""
    labels = [label.encode("latin-1", "replace") for label in name.rstrip(".").split(".")]
    if not name.isascii() or any(not 0 < len(label) < 64 for label in labels) or sum(map(len, labels)) + len(labels) > 254:
        raise Malformed(f"{name[:80]!r} is no DNS name", rule="dns-name")
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\x00" + TYPES[rtype].to_bytes(2, "big") + b"\x00\x01"


def query(ident: bytes, asked: bytes, *, edns: bool) -> bytes:
    """A recursive query with the random ``ident`` (2 octets)."""
    return ident + b"\x01\x00\x00\x01\x00\x00\x00\x00" + (b"\x00\x01" if edns else b"\x00\x00") + asked + (_OPT if edns else b"")


def read(data: bytes, ident: bytes, asked: bytes) -> Answer:
    """An answer to that query, or ``Malformed``; rule ``dns-other`` where it answers something else (RFC 5452, 9.1)."""
    if len(data) < _HEADER or data[:2] != ident or not data[2] & 0x80:
        raise Malformed("not the answer to our query", rule="dns-other")
    rcode, truncated = data[3] & 0x0F, bool(data[2] & 0x02)
    if data[4:6] == b"\x00\x00" and rcode:  # old servers leave the question out of an error
        return Answer(rcode, truncated, ())
    end = _HEADER + len(asked)
    if data[4:6] != b"\x00\x01" or data[_HEADER:end].lower() != asked.lower():
        raise Malformed("not the answer to our question", rule="dns-other")
    if rcode or truncated:
        return Answer(rcode, truncated, ())
    return Answer(rcode, truncated, _values(data, end, asked))


def _values(data: bytes, offset: int, asked: bytes) -> tuple[bytes, ...] | tuple[str, ...]:
    rtype = int.from_bytes(asked[-4:-2], "big")
    aliases: dict[str, str] = {}
    records: list[tuple[str, int, int]] = []  # owner, offset and length of the data
    for _ in range(min(int.from_bytes(data[6:8], "big"), MAX_RECORDS)):
        owner, offset = _name(data, offset)
        if offset + 10 > len(data):
            raise Malformed("a record ends early", rule="dns-short")
        kind, klass = int.from_bytes(data[offset : offset + 2], "big"), int.from_bytes(data[offset + 2 : offset + 4], "big")
        length = int.from_bytes(data[offset + 8 : offset + 10], "big")
        offset += 10
        if offset + length > len(data):
            raise Malformed("a record ends early", rule="dns-short")
        if klass == _IN and kind == CNAME:
            aliases.setdefault(owner, _name(data, offset)[0])
        elif klass == _IN and kind == rtype:
            records.append((owner, offset, length))
        offset += length
    name, _ = _name(asked, 0)
    for _ in range(MAX_ALIASES):
        if name not in aliases:
            break
        name = aliases[name]
    ours = [(start, length) for owner, start, length in records if owner == name]
    if rtype == TXT:
        return tuple(_txt(data[start : start + length]) for start, length in ours)
    if rtype == DS:
        return tuple(data[start : start + length] for start, length in ours)
    if rtype == NS:
        return tuple(_name(data, start)[0] for start, _ in ours)
    return tuple(_ip(data[start : start + length], rtype) for start, length in ours)


def _txt(rdata: bytes) -> bytes:
    found, offset = bytearray(), 0
    while offset < len(rdata):
        length = rdata[offset]
        if offset + 1 + length > len(rdata):
            raise Malformed("a string of a TXT record ends early", rule="dns-short")
        found += rdata[offset + 1 : offset + 1 + length]
        offset += 1 + length
    return bytes(found)


def _ip(rdata: bytes, rtype: int) -> str:
    if len(rdata) != (4 if rtype == A else 16):
        raise Malformed("an address record of a wrong length", rule="dns-address")
    return str(ipaddress.ip_address(rdata))


def _name(data: bytes, offset: int) -> tuple[str, int]:
    """A name in lower case without final dot, and the offset behind it. Pointers lead strictly backwards, so they end."""
    labels: list[str] = []
    after, octets, lowest = -1, 0, offset
    while True:
        if offset >= len(data):
            raise Malformed("a name ends early", rule="dns-short")
        length = data[offset]
        if length >= 0xC0:
            if offset + 2 > len(data):
                raise Malformed("a name ends early", rule="dns-short")
            target = (length & 0x3F) << 8 | data[offset + 1]
            if target >= lowest:
                raise Malformed("a pointer that does not lead backwards", rule="dns-pointer")
            after = offset + 2 if after < 0 else after
            lowest = offset = target
            continue
        if length > 63:
            raise Malformed("a label of an unknown kind", rule="dns-label")
        if offset + 1 + length > len(data):
            raise Malformed("a name ends early", rule="dns-short")
        if not length:
            return ".".join(labels), after if after >= 0 else offset + 1
        octets += 1 + length
        if octets > 254:
            raise Malformed("a name of more than 255 octets", rule="dns-name")
        labels.append(data[offset + 1 : offset + 1 + length].decode("latin-1").lower())
        offset += 1 + length
