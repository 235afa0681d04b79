"""What those may who share a key with this server: signed answers, zone transfers, updates. Pure.

Decides by the key's name alone, never by an address: a query with TSIG is checked, answered, and the answer signed; one
whose signature does not hold is told why and gets nothing else. AXFR and IXFR are refused to everybody without a key for
them, updates to everybody without one for the names that they touch. It stands around the backend that answers everybody.
Rules: RFC 8945 (TSIG), RFC 5936 2 and RFC 1995 (transfer), RFC 2136 3 (update).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from overlay.errors import Malformed
from tld import codes, tsig
from tld.authority import Source
from tld.label import Name, under
from tld.query import Query, parse
from tld.render import refuse
from tld.transfer import Parts, held_serial, only_soa, transfer, up_to_date
from tld.update import Change
from tld.update import parse as parse_update
from tld.zone import Held

_NOT_GIVEN = (codes.EDE_PROHIBITED, "this key may not transfer zones")
_TCP_ONLY = (codes.EDE_NOT_SUPPORTED, "zones are transferred over TCP only")


class Inner(Protocol):
    """Who answers everybody: ``Authority``, or ``Polite`` around it."""

    counters: Counter[str]

    def answer(self, data: bytes, source: Source, udp: bool) -> bytes | None:
        """The reply, or None for silence."""
        ...


class Keyed:
    """A backend of ``driver/server.py`` around ``inner``. ``keys``: name -> secret; ``transfer``: those that may have the zones;
    ``update``: those that may change names, at and below which.

    ``zones`` gives those held, signed where they are; ``at`` gives UTC seconds.
    """

    __slots__ = ("_at", "_inner", "_keys", "_transfer", "_update", "_zones", "counters")

    def __init__(
        self, inner: Inner, zones: Held, keys: Mapping[Name, bytes], transfer: frozenset[Name], at: Callable[[], float],
        update: frozenset[tuple[Name, Name]] = frozenset(),
    ) -> None:
        self._inner = inner
        self.counters = inner.counters
        self._zones = zones
        self._keys = keys
        self._transfer = transfer
        self._update = update  # (name, key)
        self._at = at

    def answer(self, data: bytes, source: Source, udp: bool) -> bytes | Parts | Change | None:
        """The inner backend's reply to what is not signed, else ours; or the change that is to be made before the reply."""
        if tsig.MARK not in data:
            if self._update and len(data) >= 12 and data[2] >> 3 == codes.UPDATE:
                return refuse(parse(data), codes.REFUSED)
            return self._inner.answer(data, source, udp)
        try:
            query = parse(data)
        except Malformed:
            return self._inner.answer(data, source, udp)  # which says nothing, and counts it
        try:
            verdict = tsig.verify(data, self._keys, int(self._at()))
        except Malformed:
            self.counters["dns_fault:formerr"] += 1
            return refuse(query, codes.FORMERR)
        if verdict is None:
            return self._inner.answer(data, source, udp)
        if verdict.error:
            self.counters["dns_tsig_refused"] += 1
            return tsig.reject(refuse(query, codes.NOTAUTH), verdict, self._keys, int(self._at()))
        return self._signed(query, verdict, source, udp)

    def _signed(self, query: Query, verdict: tsig.Verdict, source: Source, udp: bool) -> bytes | Parts | Change | None:
        signer = tsig.Signer(verdict.name, self._keys[verdict.name], verdict.tsig.mac)
        if query.opcode == codes.UPDATE and self._update:
            return self._changed(query, verdict, signer)
        if not query.fault and query.qclass == codes.IN and query.qtype in (codes.AXFR, codes.IXFR):
            return self._moved(query, verdict, signer, udp)
        if not query.fault and query.qtype == codes.SOA and verdict.name in self._transfer and query.qclass == codes.IN:
            zone = self._zones.whole(query.qname)
            if zone is not None:  # the serial of what it would be given: names for others may be ahead of the signed version
                return signer.sign(only_soa(zone, query), int(self._at()))
        reply = self._inner.answer(verdict.message, source, udp)
        if reply is None:
            return None
        signed = signer.sign(reply, int(self._at()))
        if udp and len(signed) > query.limit(udp=True):
            cut = bytearray(refuse(query, codes.NOERROR))
            cut[2] |= codes.TC >> 8
            signed = tsig.Signer(verdict.name, self._keys[verdict.name], verdict.tsig.mac).sign(bytes(cut), int(self._at()))
        return signed

    def _moved(self, query: Query, verdict: tsig.Verdict, signer: tsig.Signer, udp: bool) -> bytes | Parts:
        zone = self._zones.whole(query.qname)
        if verdict.name not in self._transfer:
            return signer.sign(refuse(query, codes.REFUSED, _NOT_GIVEN), int(self._at()))
        if zone is None:
            return signer.sign(refuse(query, codes.NOTAUTH), int(self._at()))
        if query.qtype == codes.IXFR:
            held = held_serial(verdict.message, query)
            if udp or (held is not None and up_to_date(held, zone.serial)):
                return signer.sign(only_soa(zone, query), int(self._at()))
        if udp:
            return signer.sign(refuse(query, codes.REFUSED, _TCP_ONLY), int(self._at()))
        self.counters["dns_transfers"] += 1
        return Parts(self._each(transfer(zone, query), signer))

    def _changed(self, query: Query, verdict: tsig.Verdict, signer: tsig.Signer) -> bytes | Change:
        def finish(rcode: int) -> bytes:
            self.counters["dns_updates_refused" if rcode else "dns_updates"] += 1
            return signer.sign(refuse(query, rcode), int(self._at()))

        try:
            update = parse_update(verdict.message)
        except Malformed:
            return finish(codes.FORMERR)
        mine = [name for name, key in self._update if key == verdict.name]
        if not all(any(under(line.name, name) for name in mine) for line in (*update.changes, *update.presupposed)):
            return finish(codes.REFUSED)
        return Change(update, verdict.name, finish)

    def _each(self, messages: Iterator[bytes], signer: tsig.Signer) -> Iterator[bytes]:
        for message in messages:
            yield signer.sign(message, int(self._at()))
