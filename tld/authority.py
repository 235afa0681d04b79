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
from tld.engine import Answer, lookup
from tld.query import Query, key_of, outline, parse
from tld.render import refuse, render
from tld.zone import Zones

Source = tuple[str, int] | tuple[str, int, int, int]  # as the socket gave it: host, port, and for IPv6 flow and scope
Special = Callable[[Query, Source], Answer | None]
Finder = Callable[[Query], Answer]
_ONLY_IN = (codes.EDE_NOT_SUPPORTED, "only class IN is served")


class Authority:
    """The authoritative answerer for ``zones``. ``special`` answers names whose data depend on the asker (``whoami``);
    ``finder`` finds all others, in the zones as they are by default.

    ``ra`` sets RA in every answer (the stub's). ``nsid`` names this server to whoever asks (RFC 5001). ``counters``
    count faults, truncations and drops; queries as such are counted by the server.
    """

    __slots__ = ("answers", "counters", "finder", "nsid", "ra", "special", "zones")

    def __init__(
        self, zones: Zones, *, special: Special | None = None, finder: Finder | None = None, ra: bool = False, nsid: bytes = b"",
    ) -> None:
        self.zones = zones
        self.special = special
        self.finder = finder or self._find
        self.ra = ra
        self.nsid = nsid
        self.counters: Counter[str] = Counter()
        self.answers = Answers(zones, self.counters)

    def answer(self, data: bytes, source: Source, udp: bool) -> bytes | None:
        """The reply to one query; None where nothing must be said (counted as ``drop:dns-short`` or ``drop:dns-reply``)."""
        if udp and (reply := self.reply(data)) is not None:
            return reply
        try:
            query = parse(data)
        except Malformed as fault:
            self.counters[f"drop:{fault.rule}"] += 1
            return None
        return self.respond(query, source, udp)

    def reply(self, data: bytes) -> bytes | None:
        """The reply to a UDP query whose answer is remembered, from either level, without parsing it."""
        if (reply := self.answers.reply(data)) is not None:
            return reply
        if (ordinary := outline(data)) is None:
            return None
        key, end = ordinary
        if (kept := self.answers.find(key)) is None:
            return None
        reply = data[:2] + (kept.head_rd if data[2] & 1 else kept.head) + data[12:end] + kept.tail
        self.answers.keep_reply(data, reply)
        return reply

    def respond(self, query: Query, source: Source, udp: bool) -> bytes:
        """The reply to a query that was parsed. Renderings are remembered, in level 2."""
        if query.fault:
            self.counters[f"dns_fault:{codes.rcode_name(query.fault).lower()}"] += 1
            return refuse(query, query.fault, ra=self.ra)
        if query.qclass != codes.IN:
            return refuse(query, codes.REFUSED, _ONLY_IN, ra=self.ra)
        if self.special is not None and (special := self.special(query, source)) is not None:
            return render(query, special, udp=udp, ra=self.ra, nsid=self.nsid).reply(query)
        edns = query.edns
        key = key_of(query, udp=udp)
        plain = edns is None or not self.nsid or edns.option(codes.OPTION_NSID) is None
        if plain and (kept := self.answers.find(key)) is not None:
            return kept.reply(query)
        answer = self.finder(query)
        rendered = render(query, answer, udp=udp, ra=self.ra, nsid=self.nsid)
        if rendered.head[0] & 2:
            self.counters["dns_truncated"] += 1
        if plain and answer.rcode == codes.NOERROR:
            self.answers.keep(key, rendered)
        return rendered.reply(query)

    def _find(self, query: Query) -> Answer:
        return lookup(self.zones, query.qname, query.qtype, secure=query.secure)
