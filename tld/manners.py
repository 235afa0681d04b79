"""How the world is answered: cookies for those who ask for them, and no more than a bounded number of answers a second.

A listener that answers anybody over UDP sends its answers to whatever address a query claims. So answers to strangers are
counted by their network and by what is answered, as BIND and NSD count them: over the rate every second one goes out cut
short (TC), so that who really asks comes back over TCP, the others not at all. Not limited: TCP, whoever shows a cookie
that was given to its address, and loopback. Pure; sits before :class:`tld.authority.Authority`, whose remembered replies
never look at a source.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from overlay import limits
from tld import codes
from tld.authority import Authority, Source
from tld.cookies import CLIENT, Cookies, lawful, packed

BURST: Final = 2.0  # seconds of the rate that may come at once
AGE: Final = 10.0  # seconds after which a count that was not touched is forgotten
SLIP: Final = 2  # every so manieth answer over the rate is sent, cut short
_OPT_END: Final = 11
_COOKIE: Final = codes.OPTION_COOKIE.to_bytes(2, "big")


class Rates:
    """Buckets of answers, two generations of them: what was not touched for a generation is forgotten."""

    __slots__ = ("_new", "_old", "_turned", "counters")

    def __init__(self, counters: Counter[str]) -> None:
        self.counters = counters
        self._new: dict[object, list[float]] = {}
        self._old: dict[object, list[float]] = {}
        self._turned = 0.0

    def over(self, key: object, rate: int, now: float) -> int:
        """0 where an answer more is within ``rate`` a second; else which one over it this is, from 1."""
        if now - self._turned > AGE or len(self._new) >= limits.DNS_RATES:
            self.counters["dns_rates_forgotten"] += len(self._old)
            self._old, self._new, self._turned = self._new, {}, now
        bucket = self._new.get(key)
        if bucket is None:
            bucket = self._new[key] = self._old.get(key) or [rate * BURST, now, 0.0]
        bucket[0] = min(rate * BURST, bucket[0] + (now - bucket[1]) * rate)
        bucket[1] = now
        if bucket[0] >= 1.0:
            bucket[0] -= 1.0
            bucket[2] = 0.0
            return 0
        bucket[2] += 1.0
        return int(bucket[2])


class Polite:
    """A backend of ``driver/server.py`` around ``authority``. ``now`` is monotonic seconds, ``at`` UTC seconds; ``rated``: with rates."""

    def __init__(self, authority: Authority, cookies: Cookies, *, now: Callable[[], float], at: Callable[[], float], rated: bool = True) -> None:
        self._answer = authority.answer
        self.counters = authority.counters
        self._cookies = cookies
        self._now = now
        self._at = at
        self._rates = Rates(self.counters)
        self._rated = rated

    def answer(self, data: bytes, source: Source, udp: bool) -> bytes | None:
        """The reply, with a cookie where one is asked for; None for silence."""
        reply = self._answer(data, source, udp)
        if reply is None:
            return None
        host = source[0]
        if data[11] and (option := cookie_of(data)) is not None:
            at = int(self._at())
            good = self._cookies.good(option, host, at)
            cookie = self._cookies.make(option[:CLIENT], host, at)
            if good or not udp or not self._rated or not (over := self._over(reply, host)):
                return _with(reply, cookie, limits.EDNS if udp else 65_535)
            self.counters["dns_limited"] += 1
            return _with(_cut(reply, codes.BADCOOKIE), cookie, limits.EDNS) if over % SLIP == 0 else None
        if not udp or not self._rated or not (over := self._over(reply, host)):
            return reply
        self.counters["dns_limited"] += 1
        return _cut(reply, 0) if over % SLIP == 0 else None

    def _over(self, reply: bytes, host: str) -> int:
        """Which answer over the rate this is; 0 for none."""
        if host[:4] == "127." or host == "::1" or host[:11] == "::ffff:127.":
            return 0
        now = self._now()
        network = _network(host)
        rcode = reply[3] & 15
        if rcode == codes.NOERROR and reply[6:8] != b"\0\0":
            end = reply.find(0, 12)
            kind: object = reply[12:end].lower() + reply[end + 1 : end + 3]
        else:
            kind = rcode or "nothing"
        return self._rates.over((network, kind), limits.DNS_RATE, now) or self._rates.over(network, limits.DNS_RATE_ALL, now)


def _network(host: str) -> bytes:
    """The /24 or /56 that an address stands in."""
    octets = packed(host)
    return octets[:3] if len(octets) == 4 else octets[:7]


def cookie_of(data: bytes) -> bytes | None:
    """The data of the cookie option of a query whose only record is OPT; None where there is none, or anything is odd."""
    if len(data) < 12 or data[6:12] != b"\0\0\0\0\0\1":
        return None
    position = data.find(0, 12) + 5
    if position < 17 or data[position : position + 3] != b"\0\0\x29":
        return None
    end = position + _OPT_END + int.from_bytes(data[position + 9 : position + 11], "big")
    position += _OPT_END
    while position + 4 <= end <= len(data):
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        if data[position : position + 2] == _COOKIE:
            option = data[position + 4 : position + 4 + length]
            return option if len(option) == length and lawful(length) and position + 4 + length <= end else None
        position += 4 + length
    return None


def _opt_at(reply: bytes) -> int | None:
    """Where the OPT record of a reply of ours begins: it is the last one. None where there is none."""
    if reply[-11:-8] == b"\0\0\x29" and reply[-2:] == b"\0\0":
        return len(reply) - _OPT_END
    found = reply.rfind(b"\0\0\x29")
    while found > 0:
        if found + _OPT_END + int.from_bytes(reply[found + 9 : found + 11], "big") == len(reply):
            return found
        found = reply.rfind(b"\0\0\x29", 0, found)
    return None


def _with(reply: bytes, cookie: bytes, most: int) -> bytes:
    """A reply with the cookie in its OPT record, where there is room for it."""
    start = _opt_at(reply)
    if start is None or len(reply) + 4 + len(cookie) > most:
        return reply
    length = int.from_bytes(reply[start + 9 : start + 11], "big") + 4 + len(cookie)
    return reply[: start + 9] + length.to_bytes(2, "big") + reply[start + 11 :] + _COOKIE + len(cookie).to_bytes(2, "big") + cookie


def _cut(reply: bytes, extended: int) -> bytes:
    """A reply without its records: cut short (TC), or with an extended rcode."""
    start = _opt_at(reply)
    end = reply.find(0, 12) + 5 if reply[5] else 12
    opt = b"" if start is None else reply[start : start + 5] + bytes((extended >> 4,)) + reply[start + 6 : start + 9] + b"\0\0"
    flags = bytes((reply[2] | (0 if extended else 2), (reply[3] & 0xF0) | (extended & 15)))
    return reply[:2] + flags + reply[4:6] + b"\0\0\0\0" + (b"\0\1" if opt else b"\0\0") + reply[12:end] + opt
