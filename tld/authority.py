"""From a query's octets to the reply's: parse, cache, engine, rendering in a row. Pure and synchronous.

Decides the verdicts that need no name (class, faults) and which answers are remembered. The stub puts its own decision
between :meth:`Authority.reply` (what is remembered) and :meth:`Authority.respond` (the rest). Refuses to know sockets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from overlay.errors import Malformed
from tld import codes
from tld.cache import Answers
from tld.cookies import OPTION, Cookies
from tld.engine import Answer, lookup
from tld.query import Query, key_of, outline, parse
from tld.render import refuse, render
from tld.zone import Zones

Source = tuple[str, int] | tuple[str, int, int, int]  # as the socket gave it: host, port, and for IPv6 flow and scope
Special = Callable[[Query, Source], Answer | None]
_ONLY_IN = (codes.EDE_NOT_SUPPORTED, "only class IN is served")


class Authority:
    """The authoritative answerer for ``zones``. ``special`` answers names whose data depend on the asker (``whoami``).

    ``ra`` sets RA in every answer (the stub's). ``nsid`` names this server to whoever asks (RFC 5001). ``cookies``
    answers clients' cookies; without them a cookie is an option like another, and ignored. ``counters``
    count faults, truncations and drops; queries as such are counted by the server.
    """

    __slots__ = ("answers", "cookies", "counters", "nsid", "ra", "special", "zones")

    def __init__(
        self, zones: Zones, *, special: Special | None = None, ra: bool = False, nsid: bytes = b"", cookies: Cookies | None = None,
    ) -> None:
        self.zones = zones
        self.special = special
        self.ra = ra
        self.nsid = nsid
        self.cookies = cookies
        self.counters: Counter[str] = Counter()
        self.answers = Answers(zones, self.counters)

    def answer(self, data: bytes, source: Source, udp: bool) -> bytes | None:
        """The reply to one query; None where nothing must be said (counted as ``drop:dns-short`` or ``drop:dns-reply``)."""
        if udp and (reply := self.reply(data, source)) is not None:
            return reply
        try:
            query = parse(data)
        except Malformed as fault:
            self.counters[f"drop:{fault.rule}"] += 1
            return None
        return self.respond(query, source, udp)

    def reply(self, data: bytes, source: Source) -> bytes | None:
        """The reply to a UDP query whose answer is remembered, from either level, without parsing it."""
        if (reply := self.answers.reply(data)) is not None:
            return reply
        if (ordinary := outline(data)) is None:
            return None
        key, end, cookie = ordinary
        if cookie and self.cookies is not None:
            if (kept := self.answers.find((key[0], key[1] - OPTION, key[2]))) is None:
                return None
            head = kept.head_rd if data[2] & 1 else kept.head
            # Never remembered whole: the same octets from another address must not be told this one's cookie.
            return data[:2] + head + data[12:end] + kept.tail + self.cookies.answer(cookie, source[0])
        if (kept := self.answers.find(key)) is None:
            return None
        reply = data[:2] + (kept.head_rd if data[2] & 1 else kept.head) + data[12:end] + kept.tail
        self.answers.keep_reply(data, reply)
        return reply

    def respond(self, query: Query, source: Source, udp: bool) -> bytes:
        """The reply to a query that was parsed. Renderings are remembered, in level 2."""
        edns = query.edns
        sent = edns.option(codes.OPTION_COOKIE) if edns is not None and self.cookies is not None else None
        if sent is None or self.cookies is None:
            return self._respond(query, source, udp, 0)
        return self._respond(query, source, udp, OPTION) + self.cookies.answer(sent, source[0])

    def _respond(self, query: Query, source: Source, udp: bool, room: int) -> bytes:
        if query.fault:
            self.counters[f"dns_fault:{codes.rcode_name(query.fault).lower()}"] += 1
            return refuse(query, query.fault, ra=self.ra, room=room)
        if query.qclass != codes.IN:
            return refuse(query, codes.REFUSED, _ONLY_IN, ra=self.ra, room=room)
        if self.special is not None and (special := self.special(query, source)) is not None:
            return render(query, special, udp=udp, ra=self.ra, nsid=self.nsid, room=room).reply(query)
        edns = query.edns
        key = key_of(query, udp=udp, room=room)
        plain = edns is None or not self.nsid or edns.option(codes.OPTION_NSID) is None
        if plain and (kept := self.answers.find(key)) is not None:
            return kept.reply(query)
        answer = lookup(self.zones, query.qname, query.qtype)
        rendered = render(query, answer, udp=udp, ra=self.ra, nsid=self.nsid, room=room)
        if rendered.head[0] & 2:
            self.counters["dns_truncated"] += 1
        if plain and answer.rcode == codes.NOERROR:
            self.answers.keep(key, rendered)
        return rendered.reply(query)
