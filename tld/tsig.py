"""TSIG (RFC 8945): messages of DNS that two who share a key sign for each other. Pure.

Decides whether a query's signature holds, which error it is told otherwise, and how replies are signed, the messages of a
transfer in a row. One algorithm, HMAC-SHA256, in full length (RFC 8945 6 makes it mandatory). Refuses to know what a key
may do (``tld/keyed.py``) and what time it is.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Final

from overlay.errors import Malformed
from tld import codes
from tld.label import Name, from_text, from_wire, skip, to_wire

FUDGE: Final = 300  # seconds, RFC 8945 10
ALGORITHM: Final = from_text("hmac-sha256.")
LENGTH: Final = 32  # octets of a MAC
MARK: Final = b"\0\xfa\0\xff\0\0\0\0"  # type, class, TTL: what every message with a TSIG record has in it
_HEADER = Struct("!HHHHHH")
_FIXED = Struct("!HHIH")
_TIMES = Struct("!HIH")  # the time in 48 bits, the fudge
_BEHIND = Struct("!HHH")  # of the MAC: original id, error, length of other data
_MAX_RECORDS: Final = 16  # of a query, as in ``query.py``
MOST_CHANGES: Final = 512  # records of an update; each set is a record of ours to sign and to tell: guess

BADSIG: Final = 16
BADKEY: Final = 17
BADTIME: Final = 18
BADTRUNC: Final = 22


@dataclass(frozen=True, slots=True)
class Tsig:
    """A TSIG record as it came."""

    name: Name
    algorithm: Name
    time: int
    fudge: int
    mac: bytes
    ident: int  # the message's id when it was signed
    error: int
    other: bytes


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a signed query. ``error`` 0: it holds, by the key ``name``."""

    name: Name
    message: bytes  # without the TSIG record
    tsig: Tsig
    error: int


def split(data: bytes, most: int = _MAX_RECORDS) -> tuple[bytes, Tsig] | None:
    """A message without its TSIG record, and that; None without one. ``Malformed`` where it is not the last record, or does not parse."""
    if len(data) < 12:
        raise Malformed("half a header", rule="dns-short")
    ident, flags, questions, *counts = _HEADER.unpack_from(data)
    if sum(counts) > most or questions > 1:
        raise Malformed("too many records", rule="dns-records")
    offset = 12
    if questions:
        offset = skip(data, offset) + 4
    for left in range(sum(counts) - 1, -1, -1):
        start = offset
        name_end = skip(data, offset)
        if name_end + 10 > len(data):
            raise Malformed("half a record", rule="dns-records")
        rtype, rclass, ttl, length = _FIXED.unpack_from(data, name_end)
        offset = name_end + 10 + length
        if offset > len(data):
            raise Malformed("a record runs out of its message", rule="dns-records")
        if rtype == codes.TSIG:
            if left or not counts[2] or offset != len(data) or rclass != codes.ANY or ttl:
                raise Malformed("TSIG in the wrong place", rule="dns-tsig")
            tsig = _read(from_wire(data, start)[0], data, name_end + 10)
            return data[:10] + (counts[2] - 1).to_bytes(2, "big") + data[12:start], tsig
    return None


def _read(name: Name, data: bytes, start: int) -> Tsig:
    algorithm, at = from_wire(data, start)
    if at + 10 > len(data):
        raise Malformed("half a TSIG record", rule="dns-tsig")
    high, low, fudge = _TIMES.unpack_from(data, at)
    length = int.from_bytes(data[at + 8 : at + 10], "big")
    at += 10
    if at + length + 6 > len(data):
        raise Malformed("half a TSIG record", rule="dns-tsig")
    mac = data[at : at + length]
    ident, error, more = _BEHIND.unpack_from(data, at + length)
    other = data[at + length + 6 :]
    if len(other) != more:
        raise Malformed("a TSIG record of another length than it says", rule="dns-tsig")
    if length > LENGTH or 0 < length < LENGTH // 2:  # RFC 8945 5.2.2.1
        raise Malformed("a MAC of a length that none has", rule="dns-tsig")
    return Tsig(_lower(name), _lower(algorithm), high << 32 | low, fudge, mac, ident, error, other)


def _lower(name: Name) -> Name:
    return tuple(label.lower() for label in name)


def verify(data: bytes, keys: Mapping[Name, bytes], at: int) -> Verdict | None:
    """What the signature of a query, or of an update, is worth at UTC ``at``; None where it has none. Order of checks: RFC 8945 5.2."""
    if len(data) < 12:
        raise Malformed("half a header", rule="dns-short")
    found = split(data, MOST_CHANGES if data[2] >> 3 & 15 == codes.UPDATE else _MAX_RECORDS)
    if found is None:
        return None
    message, tsig = found
    secret = keys.get(tsig.name)
    if secret is None or tsig.algorithm != ALGORITHM:
        error = BADKEY
    elif not hmac.compare_digest(_mac(secret, _signed(message, tsig), b"")[: len(tsig.mac)], tsig.mac) or not tsig.mac:
        error = BADSIG
    elif abs(at - tsig.time) > tsig.fudge:
        error = BADTIME
    elif len(tsig.mac) < LENGTH:
        error = BADTRUNC
    else:
        error = 0
    return Verdict(tsig.name, message, tsig, error)


def _signed(message: bytes, tsig: Tsig) -> bytes:
    """What is hashed of a message on its own: with its id of when it was signed, then the record's variables."""
    times = _TIMES.pack(tsig.time >> 32, tsig.time & 0xFFFFFFFF, tsig.fudge)
    variables = to_wire(tsig.name) + b"\0\xff\0\0\0\0" + to_wire(tsig.algorithm) + times
    return tsig.ident.to_bytes(2, "big") + message[2:] + variables + _BEHIND.pack(0, tsig.error, len(tsig.other))[2:] + tsig.other


def _mac(secret: bytes, data: bytes, before: bytes) -> bytes:
    prefix = len(before).to_bytes(2, "big") + before if before else b""
    return hmac.digest(secret, prefix + data, "sha256")


def _append(message: bytes, tsig: Tsig) -> bytes:
    times = _TIMES.pack(tsig.time >> 32, tsig.time & 0xFFFFFFFF, tsig.fudge)
    rdata = to_wire(tsig.algorithm) + times + len(tsig.mac).to_bytes(2, "big") + tsig.mac + _BEHIND.pack(tsig.ident, tsig.error, len(tsig.other))
    records = int.from_bytes(message[10:12], "big") + 1
    fixed = MARK + (len(rdata) + len(tsig.other)).to_bytes(2, "big")
    return message[:10] + records.to_bytes(2, "big") + message[12:] + to_wire(tsig.name) + fixed + rdata + tsig.other


class Signer:
    """Signs one message, or a row of them: a query's reply, the messages of a transfer."""

    __slots__ = ("_before", "_first", "_name", "_secret")

    def __init__(self, name: Name, secret: bytes, request: bytes = b"") -> None:
        """``request`` is the MAC of the query that is answered; empty where this signs the query."""
        self._name = name
        self._secret = secret
        self._before = request
        self._first = True

    def sign(self, message: bytes, at: int, error: int = 0, other: bytes = b"") -> bytes:
        """The message with its TSIG record behind it. All but the first of a row are bound to the one before (RFC 8945 5.3.1)."""
        ident = int.from_bytes(message[:2], "big")
        tsig = Tsig(self._name, ALGORITHM, at, FUDGE, b"", ident, error, other)
        if self._first:
            signed = _signed(message, tsig)
        else:
            signed = message + _TIMES.pack(at >> 32, at & 0xFFFFFFFF, FUDGE)
        self._before = _mac(self._secret, signed, self._before)
        self._first = False
        return _append(message, Tsig(self._name, ALGORITHM, at, FUDGE, self._before, ident, error, other))


def reject(reply: bytes, verdict: Verdict, keys: Mapping[Name, bytes], at: int) -> bytes:
    """The reply to a query whose signature does not hold: unsigned, but where only the time is wrong (RFC 8945 5.2.3, 5.3.2)."""
    tsig = verdict.tsig
    if verdict.error in (BADTIME, BADTRUNC):
        other = at.to_bytes(6, "big") if verdict.error == BADTIME else b""
        return Signer(tsig.name, keys[tsig.name], tsig.mac).sign(reply, tsig.time, verdict.error, other)
    return _append(reply, Tsig(tsig.name, tsig.algorithm, at, FUDGE, b"", int.from_bytes(reply[:2], "big"), verdict.error, b""))


def answers(reply: bytes, name: Name, secret: bytes, request: bytes, at: int) -> bool:
    """Whether ``reply`` is signed by the holder of that key, as an answer to the query with the MAC ``request``. ``Malformed`` for bad octets."""
    found = split(reply)
    if found is None:
        return False
    message, tsig = found
    right = _mac(secret, _signed(message, tsig), request)
    return tsig.name == name and abs(at - tsig.time) <= tsig.fudge and hmac.compare_digest(right, tsig.mac)
