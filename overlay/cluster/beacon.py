"""Beacons: what a node says on its LAN to whoever listens, and what a newcomer asks there (DESIGN 3.6).

It decides how a beacon is spelt and whose it is. It refuses to believe any: a beacon is an unsigned hint, good for one
dial; a session proves who is there. Strangers learn that a program of this kind runs, its exchange key and its port. Which
overlay it belongs to they cannot tell: the tag is a hash of the overlay's id and of the hour, so it is only recognized by
who knows the id. The hours before and after count too: clocks differ, and an hour ends while a beacon is on its way.

    u8 5 (messages.Packet.BEACON)  u8 kind  8 octets tag  32 octets exchange key  u16 port

    kind 1  HERE    a node of that overlay listens on that port (UDP and TCP)
    kind 2  CALL    the same, and who hears it is asked to say so by unicast: a node that has just come, or woken
    kind 3  SEEK    a newcomer listens for answers on that UDP port; tag of zeros: of any overlay. Its key is zeros
"""

from __future__ import annotations

import hashlib
import struct
from enum import IntEnum
from typing import Final, NamedTuple

from overlay.errors import Malformed
from overlay.identity.keys import KEY
from overlay.wire.address import Address
from overlay.wire.messages import Packet

# Where beacons go. The port stands beside the overlay's own, 7653; Debian's services(5) names neither. The IPv4 group is of the local
# scope (RFC 2365, 6.1), the IPv6 group transient and of link-local scope (RFC 4291, 2.7; its id dynamic: RFC 3307, 4.3).
PORT: Final = 7654
GROUP_4: Final = Address("239.255.76.53", PORT)
GROUP_6: Final = Address("ff12::8000:7653", PORT)
BROADCAST: Final = Address("255.255.255.255", PORT)  # RFC 919: never forwarded
HOPS: Final = 1  # no router passes a beacon on

TAG: Final = 8  # octets
ANY: Final = bytes(TAG)  # the tag of who takes answers of any overlay
HOUR: Final = 3_600
_DOMAIN: Final = b"overlay beacon 1\x00"
_FORM: Final = struct.Struct(f">BB{TAG}s{KEY}sH")
LENGTH: Final = _FORM.size  # octets


class Kind(IntEnum):
    """What a beacon says."""

    HERE = 1
    CALL = 2
    SEEK = 3


_KINDS: Final = {kind.value: kind for kind in Kind}


class Beacon(NamedTuple):
    """One beacon."""

    kind: Kind
    tag: bytes
    exchange: bytes
    port: int


def encode(beacon: Beacon) -> bytes:
    """44 octets."""
    return _FORM.pack(Packet.BEACON.value, beacon.kind.value, beacon.tag, beacon.exchange, beacon.port)


def seek(tag: bytes, port: int) -> bytes:
    """What a newcomer sends."""
    return encode(Beacon(Kind.SEEK, tag, bytes(KEY), port))


def decode(data: bytes) -> Beacon:
    """Octets of a stranger -> Beacon, or ``Malformed``."""
    if len(data) != LENGTH:
        raise Malformed(f"a beacon has {LENGTH} octets", rule="beacon-length")
    number, kind, tag, exchange, port = _FORM.unpack(data)
    if number != Packet.BEACON.value or kind not in _KINDS or port == 0:
        raise Malformed("not a beacon of this version", rule="beacon-form")
    return Beacon(_KINDS[kind], tag, exchange, port)


def tag_of(overlay_id: bytes, hour: int) -> bytes:
    """An overlay's tag in that hour (since 1970, UTC)."""
    return hashlib.blake2s(_DOMAIN + overlay_id + hour.to_bytes(8, "big", signed=True)).digest()[:TAG]


class Tags:
    """The tags of one overlay around the present."""

    __slots__ = ("_hour", "_known", "_now", "_overlay_id")

    def __init__(self, overlay_id: bytes) -> None:
        self._overlay_id = overlay_id
        self._hour: int | None = None
        self._now = b""
        self._known: frozenset[bytes] = frozenset()

    def now(self, at: float) -> bytes:
        """The tag to send at that time (UTC seconds)."""
        self._turn(at)
        return self._now

    def knows(self, tag: bytes, at: float) -> bool:
        """Whether it is this overlay's, of this hour or of the one before or after."""
        self._turn(at)
        return tag in self._known

    def _turn(self, at: float) -> None:
        hour = int(at // HOUR)
        if hour != self._hour:
            before, self._now, after = (tag_of(self._overlay_id, hour + step) for step in (-1, 0, 1))
            self._hour, self._known = hour, frozenset((before, self._now, after))
