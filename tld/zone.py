"""Zones: sets of records under one origin, immutable once built, and the set of zones that a server holds.

Decides what a well-formed zone is: one SOA at the apex, nothing outside, no other data beside a CNAME, one TTL to a set
(RFC 2181 5.2, 10.1). Data below a cut or a DNAME is *occluded*, not wrong. Precomputes
what the engine asks for: nodes (empty non-terminals included, RFC 4592 2.2.2), cuts, the negative SOA. Refuses to know
where records come from (``master``, ``delegation``) and how questions are answered (``engine``).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from overlay.errors import ConfigError
from tld import codes
from tld.label import Name, order, to_text, under

MAX_TTL = 2**31 - 1  # RFC 2181 8


class ZoneError(ConfigError):
    """The records do not make a zone, or the master file does not parse."""


@dataclass(frozen=True, slots=True)
class RRset:
    """All records of one name and type. ``rdatas`` are wire forms without compression; ``ttl`` is in seconds."""

    name: Name
    type: int
    ttl: int
    rdatas: tuple[bytes, ...]


Node = dict[int, RRset]  # type -> set; empty for an empty non-terminal


@dataclass(frozen=True, slots=True)
class Zone:
    """One zone. Build it with :func:`build`. ``nodes`` has every name that exists, ``redirects`` those with a cut or DNAME.

    A zone that came with its DNSSEC records has in ``signatures`` the RRSIG set of each set signed, and in ``denials`` the
    names with NSEC in canonical order; both are empty in a zone that is not signed.
    """

    origin: Name
    serial: int
    nodes: dict[Name, Node] = field(repr=False)
    redirects: frozenset[Name] = field(repr=False)  # below the apex with NS, or anywhere with DNAME
    negative: RRset = field(repr=False)  # SOA with TTL min(TTL, MINIMUM), RFC 2308 5
    signatures: dict[tuple[Name, int], RRset] = field(repr=False, default_factory=dict)  # by owner and type covered
    denials: tuple[tuple[bytes, ...], ...] = field(repr=False, default=())  # as ``label.order`` spells them

    @property
    def signed(self) -> bool:
        """Whether it can prove what it says, and what it does not."""
        return bool(self.denials)

    def denial(self, name: Name) -> RRset | None:
        """The NSEC at ``name`` or, where it has none, the one before it: which covers it. None in a zone that is not signed."""
        if not self.denials:
            return None
        owner = self.denials[bisect_right(self.denials, order(name)) - 1][::-1]
        return self.nodes[owner][codes.NSEC]

    def rrsets(self) -> Iterator[RRset]:
        """All sets, the SOA first, then in canonical order of names, by type."""
        apex = self.nodes[self.origin]
        yield apex[codes.SOA]
        for name in sorted(self.nodes, key=lambda name: name[::-1]):
            for rtype in sorted(self.nodes[name]):
                if name != self.origin or rtype != codes.SOA:
                    yield self.nodes[name][rtype]

    @property
    def soa(self) -> RRset:
        """The SOA as it stands in the zone."""
        return self.nodes[self.origin][codes.SOA]


def build(origin: Name, rrsets: Iterable[RRset]) -> Zone:
    """A zone from its sets; those of the same name and type are merged, doubles dropped, the lowest TTL counts.

    ``ZoneError`` with the rule broken: ``soa``, ``out-of-zone``, ``cname``, ``ttl``, ``empty-rrset``.
    """
    nodes: dict[Name, Node] = {origin: {}}
    for rrset in rrsets:
        if not under(rrset.name, origin):
            raise ZoneError(f"{to_text(rrset.name)} is outside of the zone {to_text(origin)}", "", rule="out-of-zone")
        if not 0 <= rrset.ttl <= MAX_TTL:
            raise ZoneError(f"{to_text(rrset.name)} has an impossible TTL", "use 0 to 2147483647 seconds", rule="ttl")
        if not rrset.rdatas:
            raise ZoneError(f"{to_text(rrset.name)} has a set without records", "", rule="empty-rrset")
        node = nodes.setdefault(rrset.name, {})
        there = node.get(rrset.type)
        rdatas = tuple(dict.fromkeys((there.rdatas if there else ()) + rrset.rdatas))
        node[rrset.type] = replace(rrset, rdatas=rdatas, ttl=min(rrset.ttl, there.ttl) if there else rrset.ttl)
    soa = nodes[origin].get(codes.SOA)
    if soa is None or len(soa.rdatas) != 1 or len(soa.rdatas[0]) < 22:
        raise ZoneError(f"{to_text(origin)} needs exactly one SOA", "", rule="soa")
    _check(origin, nodes)
    for name in list(nodes):
        for depth in range(1, len(name) - len(origin)):
            nodes.setdefault(name[depth:], {})
    rdata = soa.rdatas[0]
    signatures = _signatures(nodes)
    return Zone(
        origin=origin,
        serial=int.from_bytes(rdata[-20:-16], "big"),
        nodes=nodes,
        redirects=frozenset(name for name, node in nodes.items() if codes.DNAME in node or (codes.NS in node and name != origin)),
        negative=replace(soa, ttl=min(soa.ttl, int.from_bytes(rdata[-4:], "big"))),
        signatures=signatures,
        denials=tuple(sorted(order(name) for name, node in nodes.items() if codes.NSEC in node)) if (origin, codes.NSEC) in signatures else (),
    )


def _signatures(nodes: dict[Name, Node]) -> dict[tuple[Name, int], RRset]:
    """RRSIG records by what they cover, with the TTL of that (RFC 4034 3)."""
    found: dict[tuple[Name, int], RRset] = {}
    for name, node in nodes.items():
        if codes.RRSIG in node:
            by_type: dict[int, list[bytes]] = {}
            for rdata in node[codes.RRSIG].rdatas:
                by_type.setdefault(int.from_bytes(rdata[:2], "big"), []).append(rdata)
            for rtype, rdatas in by_type.items():
                if rtype in node:
                    found[name, rtype] = RRset(name, codes.RRSIG, node[rtype].ttl, tuple(rdatas))
    return found


def _check(origin: Name, nodes: dict[Name, Node]) -> None:
    for name, node in nodes.items():
        if codes.CNAME in node:
            others = node.keys() - {codes.CNAME, codes.RRSIG, codes.NSEC}
            if others:
                raise ZoneError(f"{to_text(name)} has a CNAME and other data", "keep one of them", rule="cname")
            if len(node[codes.CNAME].rdatas) != 1:
                raise ZoneError(f"{to_text(name)} has more than one CNAME", "keep one of them", rule="cname")
        if codes.DNAME in node and len(node[codes.DNAME].rdatas) != 1:
            raise ZoneError(f"{to_text(name)} has more than one DNAME", "keep one of them", rule="dname")
        if codes.SOA in node and name != origin:
            raise ZoneError(f"{to_text(name)} has a SOA inside of the zone {to_text(origin)}", "", rule="soa")


class Held(Protocol):
    """Zones that others take over, and are told of."""

    def whole(self, origin: Name) -> Zone | None:
        """The zone with exactly that origin, as other name servers take it over."""
        ...

    def serial_of(self, origin: Name) -> int | None:
        """Its serial; None where it is not held."""
        ...


class Zones:
    """The zones that a server holds. ``generation`` rises with every change: who caches answers compares it."""

    __slots__ = ("_by_origin", "_depths", "generation")

    def __init__(self, zones: Iterable[Zone] = ()) -> None:
        self._by_origin: dict[Name, Zone] = {}
        self._depths: tuple[int, ...] = ()
        self.generation = 0
        for zone in zones:
            self.put(zone)

    def put(self, zone: Zone) -> None:
        """Hold ``zone``, in place of an older version of it."""
        self._by_origin[zone.origin] = zone
        self._changed()

    def drop(self, origin: Name) -> None:
        """Hold that zone no longer; no matter if it was not held."""
        if self._by_origin.pop(origin, None) is not None:
            self._changed()

    def touch(self) -> None:
        """Make cached answers void although no zone changed (load epochs)."""
        self.generation += 1

    def _changed(self) -> None:
        self._depths = tuple(sorted({len(origin) for origin in self._by_origin}, reverse=True))
        self.generation += 1

    def get(self, origin: Name) -> Zone | None:
        """The zone with exactly that origin."""
        return self._by_origin.get(origin)

    def whole(self, origin: Name) -> Zone | None:
        """See :class:`Held`."""
        return self._by_origin.get(origin)

    def serial_of(self, origin: Name) -> int | None:
        """See :class:`Held`."""
        zone = self._by_origin.get(origin)
        return zone.serial if zone is not None else None

    def find(self, name: Name) -> Zone | None:
        """The zone that is nearest above ``name`` or at it, or None."""
        length = len(name)
        for depth in self._depths:
            if depth <= length and (zone := self._by_origin.get(name[length - depth :])) is not None:
                return zone
        return None

    def __iter__(self) -> Iterator[Zone]:
        return iter(self._by_origin.values())

    def __len__(self) -> int:
        return len(self._by_origin)
