"""DNS cookies (RFC 7873) as RFC 9018 makes them: a client that has one is who its address says, and is not limited. Pure.

A server cookie is version 1, three zeros, the time, and SipHash-2-4 over client cookie, these and the client's address.
Nothing is kept for a client; those made of late are remembered, since the hash costs 15 us in Python.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address
from typing import Final

CLIENT: Final = 8  # octets of a client cookie
WHOLE: Final = 24  # octets of a client cookie and a server cookie of version 1
AHEAD: Final = 300  # seconds: how far ahead of our clock its time may stand (RFC 9018 4.3)
GOOD: Final = 3_600  # seconds for which it is good
FRESH: Final = 1_800  # seconds after which the client gets another
REMEMBERED: Final = 4_096  # cookies made of late
_VERSION: Final = b"\x01\0\0\0"
_MASK: Final = (1 << 64) - 1


def lawful(length: int) -> bool:
    """Whether a cookie option may have so many octets (RFC 7873 4)."""
    return length == CLIENT or 16 <= length <= 40


def siphash(key: bytes, data: bytes) -> int:
    """SipHash-2-4 with a key of 16 octets -> 64 bits (Aumasson and Bernstein 2012)."""
    first, second = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    a, b, c, d = first ^ 0x736F6D6570736575, second ^ 0x646F72616E646F6D, first ^ 0x6C7967656E657261, second ^ 0x7465646279746573
    padded = data + bytes(7 - len(data) % 8) + bytes((len(data) & 0xFF,))
    for start in range(0, len(padded) + 8, 8):
        last = start == len(padded)
        word = int.from_bytes(padded[start : start + 8], "little")
        if last:
            c ^= 0xFF
        else:
            d ^= word
        for _ in range(4 if last else 2):
            a = (a + b) & _MASK
            b = ((b << 13 | b >> 51) & _MASK) ^ a
            a = (a << 32 | a >> 32) & _MASK
            c = (c + d) & _MASK
            d = ((d << 16 | d >> 48) & _MASK) ^ c
            a = (a + d) & _MASK
            d = ((d << 21 | d >> 43) & _MASK) ^ a
            c = (c + b) & _MASK
            b = ((b << 17 | b >> 47) & _MASK) ^ c
            c = (c << 32 | c >> 32) & _MASK
        if not last:
            a ^= word
    return a ^ b ^ c ^ d


@lru_cache(maxsize=REMEMBERED)
def packed(host: str) -> bytes:
    """An address as it came from a socket, as 4 or 16 octets."""
    return ip_address(host.partition("%")[0]).packed


class Cookies:
    """The cookies of one server. ``secret``: 16 octets, fresh at each start: what was given before is then merely old."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._made: dict[tuple[bytes, str], tuple[bytes, int]] = {}

    def make(self, client: bytes, host: str, at: int) -> bytes:
        """The whole option data for a client: its cookie, and ours of UTC second ``at``."""
        known = self._made.get((client, host))
        if known is not None and 0 <= at - known[1] < FRESH:
            return known[0]
        if len(self._made) >= REMEMBERED:
            self._made.clear()
        whole = self._whole(client, host, at)
        self._made[client, host] = (whole, at)
        return whole

    def good(self, option: bytes, host: str, at: int) -> bool:
        """Whether the option's data hold a cookie that this server gave to that address within the hour."""
        if len(option) != WHOLE or option[CLIENT] != _VERSION[0]:
            return False
        given = int.from_bytes(option[CLIENT + 4 : CLIENT + 8], "big")
        age = (at - given + 0x80000000 & 0xFFFFFFFF) - 0x80000000  # serial arithmetic, RFC 1982
        if not -AHEAD <= age <= GOOD:
            return False
        known = self._made.get((option[:CLIENT], host))
        return (known is not None and known[0] == option) or self._signed(option[: CLIENT + 8], host) == option

    def _whole(self, client: bytes, host: str, at: int) -> bytes:
        return self._signed(client + _VERSION + (at & 0xFFFFFFFF).to_bytes(4, "big"), host)

    def _signed(self, before: bytes, host: str) -> bytes:
        return before + siphash(self._secret, before + packed(host)).to_bytes(8, "little")
