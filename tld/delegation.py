"""From records to zones: what the directory shows of a zone, as resource records (DESIGN 3.8, unsigned for now).

It decides which RRsets a view amounts to: SOA, NS and glue along the name-path, node names, services, plain data, and
what the root keeps for itself. It refuses to know who may say what (the view is judged already), who asks, and how
answers are found. Pure: two nodes with the same view build the same zone, for the virtual TLD and for the bootstrap
zone alike (``suffix``).

What counts where several statements meet at one name, in this order:
1. reserved labels of the root are the root's: anything else there is left out (``skip:reserved``);
2. SOA and NS of the zone itself, and all at and below its cuts, are generated: data cannot replace them (``skip:apex``,
   ``skip:elsewhere``);
3. of one name and type, data set by a person replaces what is generated from hosts and services;
4. NS and DNAME at a name below which another key has something are left out (``skip:over-others``);
5. a CNAME beside other types loses (``skip:cname-beside``); of several CNAMEs or DNAMEs the smallest counts
   (``skip:several``).
A value that does not parse is left out by itself (``skip:bad-value``): a foreign record never breaks a zone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from ipaddress import ip_address
from itertools import islice, takewhile
from typing import Final

from overlay import limits
from overlay.directory.view import CarryEntry, DataEntry, GatewayEntry, ZoneView
from overlay.errors import OverlayError
from overlay.name import ROOT, Path
from overlay.records.rights import reserved
from overlay.units import b32, b64
from overlay.wire.address import routable
from tld import codes, rdata
from tld.label import MAX_NAME, Name, to_wire, under, wire_length
from tld.reserved import CLUSTERS, DOWNLOAD, ID, WHOAMI
from tld.zone import RRset, Zone
from tld.zone import build as build_zone

HOST_TTL: Final = 30  # seconds; equal to MINIMUM, as resolvers cap one by the other (research dns.md, 5)
NS_TTL: Final = 60
REFRESH: Final = 14_400  # what zonemaster takes for healthy (research dns.md, 2)
RETRY: Final = 3_600
EXPIRE: Final = 604_800
MINIMUM: Final = 30  # no negative sticks longer (GOALS, Names)
MAX_CLUSTERS: Final = 1_024  # clusters whose addresses `clusters` shows: 2 each are 32 KiB, half of what DNS can carry
# A second name for a zone's only name server: BIND does not look up an address for which it would have to ask that very address,
# and the name server of a cluster is a node under its own name, which people ask for.
ALONE: Final = b"ns"
MAX_NS: Final = 8  # name servers of one cut: with glue they fit a referral of 1,232 octets
GENERATED_ONLY: Final = frozenset({codes.SOA, codes.OPT, codes.RRSIG, codes.NSEC, codes.DNSKEY, 50, 51})  # 50, 51: NSEC3


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrap:
    """What a bootstrap zone that is delegated to the nodes says of the overlay (CONTRACT, DNS)."""

    overlay_id: bytes
    tld: str


def labels(path: Path, suffix: Name) -> Name:
    """The DNS name of ``path`` in the tree that hangs at ``suffix``."""
    return tuple(label.encode() for label in reversed(path.labels)) + suffix


def build(view: ZoneView, *, suffix: Name, bootstrap: Bootstrap | None = None, counters: Counter[str] | None = None) -> Zone:
    """The zone at ``view.path`` in the tree at ``suffix``. Never fails; what is left out is counted in ``counters``."""
    draft = _Draft(view, suffix, Counter() if counters is None else counters)
    draft.generate(bootstrap)
    draft.plain_data()
    draft.settle()
    zone = build_zone(draft.origin, draft.rrsets())
    for name in draft.empty:  # exists without data: NODATA, not NXDOMAIN
        zone.nodes.setdefault(name, {})
    return zone


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What made ``view`` of ``old``, where it is no more than gateways and new cuts: the same for every tree it stands in."""

    old: ZoneView
    view: ZoneView
    anybody: list[GatewayEntry]
    changed: list[Path]  # cuts whose name servers or glue are others now
    fresh: list[Path]  # those of them that are new


def difference(old: ZoneView, view: ZoneView) -> Difference | None:
    """None where anything else changed: then the zone is built anew. Entries that did not change are the same objects."""
    if (old.hosts, old.carries, old.data) != (view.hosts, view.carries, view.data):
        return None
    anybody = _serving(view.gateways)
    if anybody != _serving(old.gateways):
        return None
    before, now = {id(g) for g in old.gateways}, {id(g) for g in view.gateways}
    paths = {g.path for g in view.gateways if id(g) not in before} | {g.path for g in old.gateways if id(g) not in now}
    fresh: list[Path] = []
    if old.cuts != view.cuts:
        fresh = list(set(view.cuts).difference(old.cuts))
        if len(view.cuts) != len(old.cuts) + len(fresh):
            return None
    if view.path in paths and view.path != ROOT:
        return None
    changed = [path for path in paths.difference(fresh) if _stands(view.cuts, path)]
    return Difference(old=old, view=view, anybody=anybody, changed=[*changed, *fresh], fresh=fresh)


def amend(zone: Zone, made: Difference, *, suffix: Name, bootstrap: Bootstrap | None = None) -> Zone:
    """The zone of the later view made of the earlier one's: equal to what :func:`build` makes, and cheaper by far.

    The root of 10,000 clusters changes all day, by one of them at a time.
    """
    old, view = made.old, made.view
    draft = _Draft(view, suffix, Counter())
    nodes = dict(zone.nodes)
    for cut in made.changed:
        for gateway in _gateways_at(old.gateways, cut):
            nodes.pop(labels(gateway.cluster.node, suffix), None)
        nodes.pop((ALONE, *labels(cut, suffix)), None)
        draft.delegate(cut, _gateways_at(view.gateways, cut), made.anybody)
    if view.path == ROOT and old.gateways[:MAX_CLUSTERS] != view.gateways[:MAX_CLUSTERS]:
        draft.everywhere(bootstrap)
        nodes.pop((CLUSTERS, *suffix), None)
    draft.soa(min(zone.nodes[draft.origin][codes.NS].rdatas))
    anew = {labels(cut, suffix) for cut in made.changed} | {draft.origin, (b"_node", b"_overlay", *suffix)}
    for name, types in draft.sets.items():
        if name in nodes and name not in anew:
            continue  # glue of those who serve where a cut has nobody
        kept = nodes.get(name, {}) if name == draft.origin else {}
        nodes[name] = {**kept, **{rtype: RRset(name, rtype, ttl, tuple(sorted(set(data)))) for rtype, (ttl, data) in types.items()}}
        for depth in range(1, len(name) - len(draft.origin)):
            nodes.setdefault(name[depth:], {})
    for name in draft.empty:
        nodes.setdefault(name, {})
    if bootstrap is not None and (b"_node", b"_overlay", *suffix) not in draft.sets and draft.empty:
        nodes.pop((b"_node", b"_overlay", *suffix), None)
    soa = nodes[draft.origin][codes.SOA]
    return Zone(
        origin=draft.origin, serial=view.serial, nodes=nodes, redirects=zone.redirects | {labels(cut, suffix) for cut in made.fresh},
        negative=replace(soa, ttl=min(soa.ttl, MINIMUM)),
    )


def _stands(cuts: Sequence[Path], path: Path) -> bool:
    """Whether a path is among cuts, which are in order."""
    place = bisect_left(cuts, path.labels, key=lambda cut: cut.labels)
    return place < len(cuts) and cuts[place] == path


def _gateways_at(gateways: Sequence[GatewayEntry], path: Path) -> list[GatewayEntry]:
    """Those of one path; they are in the order of paths."""
    first = bisect_left(gateways, path.labels, key=lambda g: g.path.labels)
    return list(takewhile(lambda g: g.path == path, islice(gateways, first, None)))


class _Draft:
    """A zone in the making: name -> type -> (TTL, data)."""

    def __init__(self, view: ZoneView, suffix: Name, counters: Counter[str]) -> None:
        self.view = view
        self.suffix = suffix
        self.origin = labels(view.path, suffix)
        self.counters = counters
        self.sets: dict[Name, dict[int, tuple[int, list[bytes]]]] = {}
        self.empty: list[Name] = []
        self._below: dict[Path, set[bytes]] | None = None  # who says something below a name; made when it is asked
        self._hosts = {entry.node_id: {a.host for a in entry.host.addresses} for entry in view.hosts}

    @cached_property
    def _taken(self) -> set[Name]:
        """The names at which somebody says something."""
        view = self.view
        return {labels(name, self.suffix) for entries in (view.hosts, view.carries, view.data) for name in [entry.name for entry in entries]}

    @cached_property
    def _cuts(self) -> set[Name]:
        return {labels(cut, self.suffix) for cut in self.view.cuts}

    def rrsets(self) -> Iterable[RRset]:
        for name, types in self.sets.items():
            for rtype, (ttl, rdatas) in types.items():
                yield RRset(name, rtype, ttl, tuple(sorted(set(rdatas))))

    # -- what is generated

    def generate(self, bootstrap: Bootstrap | None) -> None:
        by_path = _by_path(self.view.gateways)
        anybody = _serving(self.view.gateways)
        if self.view.path == ROOT:
            self._root(anybody, bootstrap)
        else:
            self._name_servers(self.origin, by_path.get(self.view.path, []), anybody)
        self.soa(min(self.sets[self.origin][codes.NS][1]))
        for cut in self.view.cuts:
            self.delegate(cut, by_path.get(cut, []), anybody)
        for entry in self.view.hosts:
            if self._allowed(entry.name):
                self._addresses(labels(entry.name, self.suffix), (a.host for a in entry.host.addresses))
                if not entry.host.addresses:  # behind a NAT: it exists, and strangers reach it nowhere
                    self._add(labels(entry.name, self.suffix), codes.TXT, HOST_TTL, text_rdata("state=hidden"))
        by_name: dict[Path, list[CarryEntry]] = {}
        for carrier in self.view.carries:
            if self._allowed(carrier.name):
                by_name.setdefault(carrier.name, []).append(carrier)
        for name, carriers in by_name.items():
            self._service(labels(name, self.suffix), carriers)

    def _root(self, servers: list[GatewayEntry], bootstrap: Bootstrap | None) -> None:
        for number, gateway in enumerate(servers, 1):
            name = (b"ns%d" % number, *self.suffix)
            self._add(self.origin, codes.NS, NS_TTL, to_wire(name))
            self._addresses(name, (a.host for a in gateway.cluster.addresses))
        if not servers:
            self._add(self.origin, codes.NS, NS_TTL, to_wire((b"ns1", *self.suffix)))
        self.everywhere(bootstrap)

    def everywhere(self, bootstrap: Bootstrap | None) -> None:
        """What the root says of all clusters, as far as one set of records may go."""
        for gateway in self.view.gateways[:MAX_CLUSTERS]:
            self._addresses((CLUSTERS, *self.suffix), (a.host for a in gateway.cluster.addresses))
        if (CLUSTERS, *self.suffix) not in self.sets:
            self._add((CLUSTERS, *self.suffix), codes.TXT, HOST_TTL, text_rdata("state=unreachable"))
        self.empty += [(word, *self.suffix) for word in (DOWNLOAD, ID, WHOAMI)]
        if bootstrap is not None:
            self._bootstrap(bootstrap)

    def _bootstrap(self, bootstrap: Bootstrap) -> None:
        mark = (b"_overlay", *self.suffix)
        self._add(mark, codes.TXT, 300, text_rdata(f"v=overlay1;id={b64(bootstrap.overlay_id)};tld={bootstrap.tld}"))
        for gateway in self.view.gateways[: limits.WAYS_IN]:
            at = ",".join(str(address) for address in gateway.cluster.addresses)
            text = f"v=overlay1;at={at};key={b64(gateway.cluster.exchange)}"
            if at:
                self._add((b"_node", *mark), codes.TXT, 300, text_rdata(text))

    def soa(self, first: bytes) -> None:
        """The SOA; ``first`` is the first of the zone's name servers."""
        numbers = (self.view.serial, REFRESH, RETRY, EXPIRE, MINIMUM)
        mailbox = to_wire((b"hostmaster", b"ns1", *self.suffix))  # hostmaster@ns1.cloud: a mail domain has a dot
        self._add(self.origin, codes.SOA, MINIMUM, first + mailbox + b"".join(number.to_bytes(4, "big") for number in numbers))

    def delegate(self, cut: Path, own: list[GatewayEntry], anybody: list[GatewayEntry]) -> None:
        """NS and glue of a zone below."""
        self._name_servers(labels(cut, self.suffix), own, anybody)

    def _name_servers(self, owner: Name, own: list[GatewayEntry], anybody: list[GatewayEntry]) -> None:
        """NS and glue of a zone: its own gateways that serve the world, else any that do, else its own, else ``anybody``.

        Without any a cut still stands, at a name server that nobody is: "cannot be reached" and not "does not exist".
        """
        chosen = _serving(own)
        if not any(gateway.cluster.dns for gateway in chosen) and (not chosen or any(gateway.cluster.dns for gateway in anybody)):
            chosen = anybody
        for gateway in chosen:
            target = labels(gateway.cluster.node, self.suffix)
            self._add(owner, codes.NS, NS_TTL, to_wire(target))
            if under(target, self.origin) and not reserved(gateway.cluster.node):
                self._addresses(target, (a.host for a in gateway.cluster.addresses))
        if not chosen:
            self._add(owner, codes.NS, NS_TTL, to_wire((b"ns1", *self.suffix)))
        elif len(chosen) == 1 and under(labels(chosen[0].cluster.node, self.suffix), owner) and (ALONE, *owner) not in self._taken:
            self._add(owner, codes.NS, NS_TTL, to_wire((ALONE, *owner)))
            self._addresses((ALONE, *owner), (a.host for a in chosen[0].cluster.addresses))

    def _service(self, name: Name, carriers: Sequence[CarryEntry]) -> None:
        """A AAAA SRV of the carriers that are healthy and reachable, TXT of all: a service that is down is NODATA."""
        for carrier in carriers:
            node = labels(carrier.carry.node, self.suffix)
            reach = [host for host in carrier.reach if _packed(host)]
            state = "" if carrier.carry.healthy and reach else " state=unreachable" if carrier.carry.healthy else " state=unhealthy"
            text = f"node={b'.'.join(node).decode()} port={carrier.carry.port} proto={carrier.proto}{state}"
            self._add(name, codes.TXT, HOST_TTL, text_rdata(text))
            if state:
                self.counters["skip:carrier-down"] += 1
                continue
            self._addresses(name, reach)
            target = self._target(name, node, carrier, reach)
            numbers = (carrier.carry.priority, carrier.carry.weight, carrier.carry.port)
            self._add(name, codes.SRV, HOST_TTL, b"".join(number.to_bytes(2, "big") for number in numbers) + to_wire(target))

    def _target(self, name: Name, node: Name, carrier: CarryEntry, reach: list[str]) -> Name:
        """Where SRV points: the carrier's node name; a name of its own where the service is not at the node's addresses."""
        aside = (b"_" + b32(carrier.node_id)[:16].encode(), *name)
        at_home = not carrier.carry.addresses or set(reach) <= self._hosts.get(carrier.node_id, set())
        if at_home or name[0] == b"*" or wire_length(aside) > MAX_NAME:
            return node
        self._addresses(aside, reach)
        return aside

    # -- what people set

    def plain_data(self) -> None:
        for entry in self.view.data:
            if self._allowed(entry.name):
                self._data(labels(entry.name, self.suffix), entry)

    def _data(self, name: Name, entry: DataEntry) -> None:
        try:
            rtype = codes.type_number(entry.rtype)
        except OverlayError:
            self.counters["skip:bad-type"] += 1
            return
        if rtype in GENERATED_ONLY or rtype == 0 or 128 <= rtype <= 255 or (name == self.origin and rtype in (codes.NS, codes.DS)):
            self.counters["skip:apex"] += 1
            return
        if rtype in (codes.NS, codes.DNAME) and self._over_others(entry):
            self.counters["skip:over-others"] += 1
            return
        found = []
        for value in entry.data.values:
            try:
                found.append(text_rdata(value) if rtype == codes.TXT else rdata.to_wire(rtype, value, self.suffix))
            except OverlayError:
                self.counters["skip:bad-value"] += 1
        if found:
            self.sets.setdefault(name, {})[rtype] = (entry.data.ttl, found)

    def settle(self) -> None:
        """One CNAME, and nothing beside it; one DNAME."""
        for name, types in self.sets.items():
            for rtype in (codes.CNAME, codes.DNAME):
                if rtype in types and len(set(types[rtype][1])) > 1:
                    self.counters["skip:several"] += 1
                    types[rtype] = (types[rtype][0], [min(types[rtype][1])])
            if codes.CNAME in types and (len(types) > 1 or name in self.empty):
                self.counters["skip:cname-beside"] += 1
                del types[codes.CNAME]

    # -- small things

    def _over_others(self, entry: DataEntry) -> bool:
        """Whether something stands below a name that its signer did not say: what it redirects there would be another's."""
        if self._below is None:
            below: dict[Path, set[bytes]] = {}
            said = [(cut, b"") for cut in self.view.cuts]
            said += [(host.name, host.node_id) for host in self.view.hosts]
            said += [(carrier.name, carrier.node_id) for carrier in self.view.carries]
            said += [(data.name, data.signer) for data in self.view.data]
            for name, signer in said:
                for above in name.parent.ancestors():
                    below.setdefault(above, set()).add(signer)
            self._below = below
        return bool(self._below.get(entry.name, set()) - {entry.signer})

    def _allowed(self, path: Path) -> bool:
        name = labels(path, self.suffix)
        if self.view.path == ROOT and reserved(path):
            self.counters["skip:reserved"] += 1
            return False
        if wire_length(name) > MAX_NAME:
            self.counters["skip:too-long"] += 1
            return False
        if not under(name, self.origin) or any(name[depth:] in self._cuts for depth in range(len(name) - len(self.origin))):
            self.counters["skip:elsewhere"] += 1
            return False
        return True

    def _addresses(self, name: Name, hosts: Iterable[str]) -> None:
        for host in hosts:
            if packed := _packed(host):
                self._add(name, codes.A if len(packed) == 4 else codes.AAAA, HOST_TTL, packed)

    def _add(self, name: Name, rtype: int, ttl: int, data: bytes) -> None:
        self.sets.setdefault(name, {}).setdefault(rtype, (ttl, []))[1].append(data)


def _by_path(gateways: Iterable[GatewayEntry]) -> dict[Path, list[GatewayEntry]]:
    found: dict[Path, list[GatewayEntry]] = {}
    for gateway in gateways:
        found.setdefault(gateway.path, []).append(gateway)
    return found


def _serving(gateways: Iterable[GatewayEntry]) -> list[GatewayEntry]:
    """At most ``MAX_NS``, those that answer the world on port 53 before others (and alone, where there are any)."""
    ordered = sorted((g for g in gateways if g.cluster.addresses), key=lambda g: g.node_id)
    return ([g for g in ordered if g.cluster.dns] or ordered)[:MAX_NS]


@lru_cache(maxsize=16_384)  # half of the time that a root of 2,000 clusters took went into parsing the same addresses again
def _packed(host: str) -> bytes:
    """4 or 16 octets of an address that may be told to the world; empty for any other."""
    return ip_address(host).packed if routable(host) else b""


def text_rdata(text: str) -> bytes:
    """One string as TXT data, cut into character-strings of 255 octets (RFC 1035 3.3.14)."""
    data = text.encode()
    parts = [data[start : start + 255] for start in range(0, len(data), 255)] or [b""]
    return b"".join(bytes((len(part),)) + part for part in parts)
