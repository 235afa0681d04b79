"""STUN on the overlay's port: binding requests are answered, for any client (RFC 8489; CONTRACT, "HTTP" at its end).

The answer says where the request came from, and nothing else: no credentials, no other methods. It may be longer than what
was asked (44 octets for 20), which is one of the two exceptions to "never more octets than came" (DESIGN 3.4); so each
source has its rate. A message is recognised by two zero bits, its length and the magic cookie.

    0x00 0x01 length:2 cookie:4 transaction:12 attributes      type:2 length:2 value, padded to four octets
"""

from __future__ import annotations

import ipaddress
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from typing import Final

from overlay import limits
from overlay.errors import Malformed
from overlay.machine import Send
from overlay.wire.address import Address, Way, source_of

STUN: Final = b"\x00"  # the first octet of a request
COOKIE: Final = 0x2112A442
HEAD: Final = struct.Struct(">HHI12s")
REQUEST, SUCCESS, ERROR = 0x0001, 0x0101, 0x0111
XOR_MAPPED, ERROR_CODE, UNKNOWN, FINGERPRINT = 0x0020, 0x0009, 0x000A, 0x8028
XOR_FINGERPRINT: Final = 0x5354554E
OPTIONAL: Final = 0x8000  # attributes from here on may be passed over (RFC 8489, 14)
KNOWN: Final = frozenset({0x0006, 0x0008, 0x001C, FINGERPRINT})  # username and integrity are not checked: there are no credentials here
MOST: Final = 548  # octets of a request (RFC 8489, 6.1: 576 less headers)


def read(data: bytes) -> tuple[bytes, tuple[int, ...], bool]:
    """(transaction, attributes that must be known and are not, whether it bears a fingerprint) of a binding request; else Malformed."""
    if not HEAD.size <= len(data) <= MOST:
        raise Malformed("a STUN message of a wrong size", rule="stun-size")
    kind, length, cookie, transaction = HEAD.unpack_from(data)
    if kind != REQUEST or cookie != COOKIE or length % 4 or length != len(data) - HEAD.size:
        raise Malformed("no binding request", rule="stun-form")
    unknown, marked, at = [], False, HEAD.size
    while at < len(data):
        attribute, size = struct.unpack_from(">HH", data, at)
        end = at + 4 + size + -size % 4
        if end > len(data) or marked:
            raise Malformed("a STUN attribute that does not fit", rule="stun-form")
        if attribute == FINGERPRINT:
            marked = True
            if data[at + 4 : end] != _fingerprint(data[:at]):
                raise Malformed("a STUN fingerprint that is wrong", rule="stun-fingerprint")
        elif attribute < OPTIONAL and attribute not in KNOWN:
            unknown.append(attribute)
        at = end
    return transaction, tuple(unknown), marked


def answer(data: bytes, source: Address) -> bytes:
    """The answer to a binding request that came from there; Malformed where it is none."""
    transaction, unknown, marked = read(data)
    if unknown:
        listed = b"".join(code.to_bytes(2, "big") for code in unknown)
        body = _attribute(ERROR_CODE, b"\x00\x00\x04\x14Unknown Attribute") + _attribute(UNKNOWN, listed)
    else:
        body = _attribute(XOR_MAPPED, _xored(source, transaction))
    head = HEAD.pack(ERROR if unknown else SUCCESS, len(body) + (8 if marked else 0), COOKIE, transaction)
    return head + body + (_attribute(FINGERPRINT, _fingerprint(head + body)) if marked else b"")


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack(">HH", kind, len(value)) + value + bytes(-len(value) % 4)


def _fingerprint(before: bytes) -> bytes:
    return (zlib.crc32(before) ^ XOR_FINGERPRINT).to_bytes(4, "big")


def _xored(source: Address, transaction: bytes) -> bytes:
    packed = ipaddress.ip_address(source.host.partition("%")[0]).packed
    mask = COOKIE.to_bytes(4, "big") + transaction
    host = bytes(a ^ b for a, b in zip(packed, mask, strict=False))
    return struct.pack(">BBH", 0, 1 if len(packed) == 4 else 2, source.port ^ COOKIE >> 16) + host


class Stun:
    """Answers, so many a second for each source. Loopback has no share: it is this machine."""

    def __init__(self, emit: Callable[[Send], None]) -> None:
        self.counters: Counter[str] = Counter()
        self._emit = emit
        self._second = 0.0
        self._asked: Counter[str] = Counter()  # in this second

    def asked(self, data: bytes, way: Way, now: float, at: float) -> None:
        """A datagram whose first octet is 0 came."""
        if now - self._second >= 1.0:
            self._second = now
            self._asked.clear()
        source = source_of(way.remote.host)
        try:
            reply = answer(data, way.remote)
            if source is not None:
                self._asked[source] += 1
                if self._asked[source] > limits.STUN or len(self._asked) > limits.THROTTLED:
                    raise Malformed("too many STUN requests from there", rule="stun-rate")
        except Malformed as why:
            self.counters[f"drop:{why.rule}"] += 1
            return
        if way.proto == "udp":
            self.counters["stun"] += 1
            self._emit(Send(way, reply))
