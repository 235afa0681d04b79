"""NOTIFY (RFC 1996): secondaries are told that a zone has changed, and again until they say that they heard. A machine.

Decides whom to tell of which serial, when to say it again and when to give up: a secondary that is down asks by itself at
the SOA's refresh. It is told in: the zones as they are, about once a second, and the octets that come back. Refuses to
know sockets. Every message is signed, and only a signed answer counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Final

from overlay.errors import Malformed
from overlay.wire.address import Address
from tld import codes, tsig
from tld.label import Name, to_wire
from tld.zone import Held

FIRST: Final = 5.0  # seconds until it is said again, doubling; RFC 1996 3.6 has 60 as its default, for a slower net
TRIES: Final = 6  # the last is given up after 5 minutes; RFC 1996 3.6 has 5 repeats
_HEADER = Struct("!HHHHHH")
_FLAGS: Final = codes.NOTIFY << 11 | codes.AA


@dataclass(frozen=True, slots=True)
class Secondary:
    """Whom to tell of ``zone``, under which key."""

    zone: Name
    address: Address
    key: Name


@dataclass(slots=True)
class _Telling:
    """What a secondary was last told of: the serial, how often, and what its answer must fit."""

    serial: int
    tries: int = 0
    again_at: float = 0.0
    ident: int = -1
    mac: bytes = b""


class Notifier:
    """Tells ``secondaries``. ``keys``: name -> secret, of all that they name."""

    __slots__ = ("_keys", "_telling", "counters", "secondaries")

    def __init__(self, secondaries: Iterable[Secondary], keys: Mapping[Name, bytes]) -> None:
        self.secondaries = tuple(secondaries)
        self.counters: Counter[str] = Counter()
        self._keys = keys
        self._telling: dict[Secondary, _Telling] = {}

    def due(self, zones: Held, now: float, at: float, entropy: Callable[[int], bytes]) -> list[tuple[Address, bytes]]:
        """What is to be sent at this instant, to whom."""
        found = []
        for one in self.secondaries:
            serial = zones.serial_of(one.zone)
            if serial is None:
                continue
            telling = self._telling.get(one)
            if telling is None or telling.serial != serial:
                telling = self._telling[one] = _Telling(serial)
            if telling.tries > TRIES or now < telling.again_at:
                continue
            telling.tries += 1
            if telling.tries > TRIES:
                self.counters["dns_notify_unheard"] += 1
                continue
            telling.again_at = now + FIRST * 2 ** (telling.tries - 1)
            telling.ident = int.from_bytes(entropy(2), "big")
            question = to_wire(one.zone) + codes.SOA.to_bytes(2, "big") + codes.IN.to_bytes(2, "big")
            signed = tsig.Signer(one.key, self._keys[one.key]).sign(_HEADER.pack(telling.ident, _FLAGS, 1, 0, 0, 0) + question, int(at))
            telling.mac = signed[-tsig.LENGTH - 6 : -6]  # the record ends: MAC, id, error, length of nothing
            found.append((one.address, signed))
            self.counters["dns_notifies"] += 1
        return found

    def heard(self, data: bytes, address: Address, at: float) -> None:
        """Octets that came back. What is no signed answer of who was asked is forgotten."""
        if len(data) < 12 or data[2] & 0xF8 != 0x80 | codes.NOTIFY << 3:
            return
        ident = int.from_bytes(data[:2], "big")
        for one, telling in self._telling.items():
            if telling.ident != ident or one.address != address or telling.tries > TRIES:
                continue
            try:
                right = tsig.answers(data, one.key, self._keys[one.key], telling.mac, int(at))
            except Malformed:
                right = False
            if right:
                telling.tries = TRIES + 1
                self.counters["dns_notify_refused" if data[3] & 15 else "dns_notify_heard"] += 1
                return
