"""Response rate limiting for the authoritative listener of the world: a forged query must not make us flood its victim. Pure.

Decides which replies over UDP are sent, cut to a TC that sends honest clients to TCP ("slip"), or dropped. Counted within
each second, for a network of clients (/24, /56) and what it is told: a name and type; the zone or cut for a name that is
not there, has no such data, or lies below a delegation; the error otherwise; and all replies together, since a wildcard
has names without end. As BIND and NSD do (Vixie and Schryver, "DNS Response Rate Limiting", ISC TN-2012-1). Loopback, TCP
and whoever shows a right cookie are never limited. Refuses to know answers: it stands around an ``Authority``.
"""

from __future__ import annotations

from array import array
from collections import Counter
from ipaddress import IPv6Address, ip_address
from typing import Final

from overlay import limits
from tld import codes
from tld.authority import Authority, Source
from tld.cookies import OPTION
from tld.query import parse
from tld.render import refuse

SLOTS: Final = 65_536  # counts, found by a keyed hash that nobody outside can aim at; two of one slot share a budget
_NETS: Final = 4_096  # clients whose network is remembered
_NONE: Final = bytes(4 * SLOTS)


class Limited:
    """A backend of ``driver/server.py`` around ``authority``. :meth:`tick` wants to be called once a second."""

    __slots__ = ("_counts", "_nets", "authority")

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self._counts = array("I", _NONE)
        self._nets: dict[str, bytes] = {}

    @property
    def counters(self) -> Counter[str]:
        """Shared with the authority."""
        return self.authority.counters

    def tick(self) -> None:
        """Another second begins."""
        self._counts = array("I", _NONE)

    def answer(self, data: bytes, source: Source, udp: bool) -> bytes | None:
        """The authority's reply, or, where the client's network has had too many of this kind, a TC or nothing."""
        reply = self.authority.answer(data, source, udp)
        if not udp or reply is None:
            return reply
        host = source[0]
        net = self._nets.get(host)
        if net is None:
            net = self._net(host)
        if not net:
            return reply
        counts = self._counts
        slot = hash((net, told(reply))) % SLOTS
        whole = hash(net) % SLOTS
        counts[slot] += 1
        counts[whole] += 1
        if counts[slot] <= limits.DNS_RATE and counts[whole] <= limits.DNS_RATE_ALL:
            return reply
        return self._over(data, reply, source, max(counts[slot] - limits.DNS_RATE, counts[whole] - limits.DNS_RATE_ALL))

    def _over(self, data: bytes, reply: bytes, source: Source, over: int) -> bytes | None:
        cookies = self.authority.cookies
        query = parse(data)
        sent = query.edns.option(codes.OPTION_COOKIE) if query.edns is not None and cookies is not None else None
        if sent is not None and cookies is not None and cookies.right(sent, source[0]):
            return reply
        if over & 1:
            self.counters["drop:dns-rate"] += 1
            return None
        self.counters["dns_slipped"] += 1
        cookie = cookies.answer(sent, source[0]) if sent is not None and cookies is not None else b""
        cut = bytearray(refuse(query, codes.NOERROR, room=OPTION if cookie else 0) + cookie)
        cut[2] |= codes.TC >> 8
        return bytes(cut)

    def _net(self, host: str) -> bytes:
        """The network that a client is counted for; empty for loopback."""
        address = ip_address(host.partition("%")[0])
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        net = b"" if address.is_loopback else address.packed[: 3 if address.version == 4 else 7]
        if len(self._nets) >= _NETS:
            self._nets.clear()
        self._nets[host] = net
        return net


def told(reply: bytes) -> bytes:
    """What a reply of ours tells, as far as it is counted together."""
    if reply[6:8] != b"\0\0":
        return reply[12 : reply.find(0, 12) + 3].lower()  # name and type
    rcode = reply[3:4]
    if reply[8:10] == b"\0\0":
        return rcode
    end = reply.find(0, 12) + 5
    if reply[end] < 0xC0:
        return rcode + b"."  # a name that the question does not end in: the DNS root's
    return rcode + reply[(reply[end] & 0x3F) << 8 | reply[end + 1] : end - 4].lower()
