"""Server cookies of DNS (RFC 7873, made as RFC 9018 has it): who shows one has heard us at its address before. Pure.

Decides what a client's COOKIE option is answered with and whether the server's half in it is right: SipHash-2-4 over the
client's half, a time stamp and its address, under a secret made at start. The secret rolls; the one before it counts for
as long as cookies made with it live. Refuses to know what a right cookie is good for (``tld/limiter.py`` does).

The time is that of the last :meth:`Cookies.tick`: a second's grain is all that a time stamp has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address
from struct import Struct
from typing import Final

from overlay import limits
from tld import codes

CLIENT: Final = 8  # octets of the client's half, RFC 7873 4
OPTION: Final = 28  # octets of the option in a reply: code, length, client's half, server's half of 16
LIFE: Final = 3_600  # seconds that a server cookie counts, RFC 9018 4.3
AHEAD: Final = 300  # seconds that its stamp may lie ahead of our clock, RFC 9018 4.3
RENEW: Final = 1_800  # seconds from which on a right cookie is answered with a fresh one, RFC 9018 4.3
ROLL: Final = 86_400  # seconds of a secret; RFC 7873 7.1 wants 36 days at most and advises about a day
_FORGET: Final = 60  # seconds after which what was computed is computed anew, so that stamps stay fresh
_HEAD = Struct("!HH")
_STAMP = Struct("!4sI")
_MASK: Final = (1 << 64) - 1


class Cookies:
    """One server's cookies. ``secret``: 16 octets of entropy; ``at``: UTC seconds."""

    __slots__ = ("_at", "_forget_at", "_known", "_roll_at", "_secrets", "counters")

    def __init__(self, secret: bytes, at: float, counters: Counter[str] | None = None) -> None:
        self.counters: Counter[str] = Counter() if counters is None else counters
        self._secrets: tuple[bytes, ...] = (secret,)
        self._known: dict[tuple[bytes, str], tuple[bytes, bool]] = {}
        self._at = int(at)
        self._roll_at = self._at + ROLL
        self._forget_at = self._at + _FORGET

    def tick(self, at: float, entropy: Callable[[int], bytes]) -> None:
        """It is ``at`` now: about once a second. ``entropy(16)`` is asked for when the secret is due."""
        before, self._at = self._at, int(at)
        if not 0 < self._roll_at - self._at <= ROLL:  # due, or the clock was set back
            self._secrets = (entropy(16), self._secrets[0])
            self._roll_at = self._at + ROLL
            self._forget()
        elif self._at >= self._forget_at or self._at < before:
            self._forget()

    def answer(self, sent: bytes, host: str) -> bytes:
        """The whole COOKIE option, 28 octets, for a client at ``host`` that sent this option data of a right length."""
        return self._of(sent, host)[0]

    def right(self, sent: bytes, host: str) -> bool:
        """Whether the server's half in ``sent`` is one that this server made for ``host``, not too long ago."""
        return len(sent) > CLIENT and self._of(sent, host)[1]

    def _of(self, sent: bytes, host: str) -> tuple[bytes, bool]:
        if (known := self._known.get((sent, host))) is not None:
            return known
        address = ip_address(host.partition("%")[0]).packed
        client, server = sent[:CLIENT], sent[CLIENT:]
        age = None
        if len(server) == 16 and server[0] == 1:
            age = _age(self._at, int.from_bytes(server[4:8], "big"))
            if not -AHEAD <= age <= LIFE or server[8:] not in [siphash(key, client + server[:8] + address) for key in self._secrets]:
                age = None
        if age is None or age > RENEW or server[1:4] != b"\0\0\0":
            head = _STAMP.pack(b"\1\0\0\0", self._at & 0xFFFFFFFF)
            server = head + siphash(self._secrets[0], client + head + address)
        found = _HEAD.pack(codes.OPTION_COOKIE, 24) + client + server, age is not None
        if len(self._known) >= limits.COOKIES_KNOWN:
            self.counters["dns_cookies_forgotten"] += len(self._known)
            self._known.clear()
        self._known[sent, host] = found
        return found

    def _forget(self) -> None:
        self._known.clear()
        self._forget_at = self._at + _FORGET


def _age(at: int, stamp: int) -> int:
    """Seconds since ``stamp``, both modulo 2**32 (RFC 1982)."""
    difference = at - stamp & 0xFFFFFFFF
    return difference - (1 << 32) if difference >> 31 else difference


def siphash(key: bytes, data: bytes) -> bytes:
    """SipHash-2-4 of ``data`` under a key of 16 octets: 8 octets, as the reference writes them."""
    low, high = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:16], "little")
    state = (low ^ 0x736F6D6570736575, high ^ 0x646F72616E646F6D, low ^ 0x6C7967656E657261, high ^ 0x7465646279746573)
    whole = len(data) & ~7
    for start in range(0, whole + 1, 8):
        last = data[start:].ljust(7, b"\0") + bytes((len(data) & 255,))
        word = int.from_bytes(data[start : start + 8] if start < whole else last, "little")
        v0, v1, v2, v3 = _rounds(state[0], state[1], state[2], state[3] ^ word, 2)
        state = (v0 ^ word, v1, v2, v3)
    v0, v1, v2, v3 = _rounds(state[0], state[1], state[2] ^ 0xFF, state[3], 4)
    return (v0 ^ v1 ^ v2 ^ v3).to_bytes(8, "little")


def _rounds(v0: int, v1: int, v2: int, v3: int, count: int) -> tuple[int, int, int, int]:
    mask = _MASK
    for _ in range(count):
        v0 = v0 + v1 & mask
        v1 = (v1 << 13 & mask | v1 >> 51) ^ v0
        v0 = v0 << 32 & mask | v0 >> 32
        v2 = v2 + v3 & mask
        v3 = (v3 << 16 & mask | v3 >> 48) ^ v2
        v0 = v0 + v3 & mask
        v3 = (v3 << 21 & mask | v3 >> 43) ^ v0
        v2 = v2 + v1 & mask
        v1 = (v1 << 17 & mask | v1 >> 47) ^ v2
        v2 = v2 << 32 & mask | v2 >> 32
    return v0, v1, v2, v3
