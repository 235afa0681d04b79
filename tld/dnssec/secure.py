"""The zones that can prove themselves: whole signed versions beside what is live, and the chain from the pinned root (DESIGN 3.8).

It decides which version of a zone answers those who ask for proof: the newest whole one (name servers and glue of cuts are not
signed: any node may choose them, and ``Names`` takes them from what is live). And it judges answers as a validating resolver
does: ``SECURE`` where every set is signed by a key that the chain of DS and DNSKEY leads to, ``INSECURE`` where a parent
proves that there is no such chain, ``BOGUS`` otherwise. Zones without a signed version answer as they are live.
Signatures are checked when an answer is first given and remembered. Pure; ``at`` is UTC seconds.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from overlay import limits
from overlay.errors import Malformed, OverlayError
from overlay.name import Path
from tld import codes
from tld.delegation import NS_TTL, labels
from tld.dnssec.keys import ALGORITHM, KEY_TTL, ZoneKey, ds_rdata
from tld.dnssec.pieces import Copy
from tld.dnssec.signing import Rrsig, Signed, valid
from tld.engine import Answer
from tld.label import Name, from_wire, order
from tld.reserved import DOWNLOAD, ID, WHOAMI
from tld.zone import Node, RRset, Zone, Zones
from tld.zone import build as build_zone

UNSIGNED: Final = (DOWNLOAD, ID, WHOAMI)  # cuts of the root without DS: what stands there depends on who asks and when
MAX_KEYS: Final = 21  # DNSKEY records of a zone that are looked at: 20 signers and an entry key (KeyTrap: more cost validators dearly)


MAX_RRSIGS: Final = 4  # signatures of a set that are looked at


class Status(Enum):
    """What a validator makes of an answer (RFC 4035 4.3)."""

    SECURE = "secure"
    INSECURE = "insecure"
    BOGUS = "bogus"


@dataclass(frozen=True, slots=True)
class _Held:
    keys: Copy
    zone: Copy


class Secure:
    """Signed zones in both trees. ``suffixes``: where the trees hang; ``entries``: the root zone's keys as the root record has them.

    ``zones`` answer whoever asks for proof; ``own`` are those of the tree at ``stub``, which the machine's own stub speaks of.
    They are made when they are asked for: names change more often than anybody asks for proof.
    """

    def __init__(self, suffixes: tuple[Name, ...], live: Zones, counters: Counter[str], *, stub: Name) -> None:
        self._zones = Zones()
        self._own = Zones()
        self._stub = stub
        self._stale: set[Path] = set()  # zones to make anew when somebody asks
        self.entries: tuple[bytes, ...] = ()
        self.over: set[Path] = set()  # zones whose signed version has ended
        self._suffixes = suffixes
        self._live = live
        self._held: dict[Path, _Held] = {}
        self._signed: dict[Path, tuple[Zone | None, ...]] = {}  # the zones made of what is held, by tree
        self._trusted: dict[Name, tuple[int, tuple[ZoneKey, ...] | None]] = {}  # origin -> generation, keys (None: bogus)
        self.counters = counters
        self._good: dict[tuple[RRset, bytes], int] = {}  # (set, RRSIG data) that held -> its end

    # -- what is held

    def put(self, path: Path, keys: Copy | None, zone: Copy | None) -> None:
        """From now on that signed version counts for the zone at ``path``; without one, what is live."""
        before = self._held.pop(path, None)
        if keys is None or zone is None:
            if before is not None:
                self.over.add(path)
                self._signed.pop(path, None)
        else:
            self._held[path] = _Held(keys, zone)
            self.over.discard(path)
            follows = before is not None and before.keys is keys and zone.before is not None and zone.before.sets is before.zone.sets
            if follows and path in self._signed and path not in self._stale:
                self._make(path)  # at once, as the next version is made of this one
                return
            self._signed.pop(path, None)
        self._stale.add(path)

    @property
    def zones(self) -> Zones:
        """All zones held, signed where there is a signed version, in both trees."""
        self._freshen()
        return self._zones

    @property
    def own(self) -> Zones:
        """Those of the stub's tree."""
        self._freshen()
        return self._own

    def drop(self, path: Path) -> None:
        """That zone is held no longer."""
        self._held.pop(path, None)
        self._signed.pop(path, None)
        self._stale.discard(path)
        self.over.discard(path)
        for suffix in self._suffixes:
            self._drop(labels(path, suffix))

    def _drop(self, origin: Name) -> None:
        self._zones.drop(origin)
        self._own.drop(origin)

    def refresh(self, path: Path) -> None:
        """The live zone at ``path`` changed: seen where it is not signed, or was not held."""
        if path not in self._held or path not in self._signed:
            self._stale.add(path)

    def _freshen(self) -> None:
        while self._stale:
            self._make(self._stale.pop())

    def _make(self, path: Path) -> None:
        held = self._held.get(path)
        last = self._signed.pop(path, None)
        made: list[Zone | None] = []
        for tree, suffix in enumerate(self._suffixes):
            origin = labels(path, suffix)
            live = self._live.get(origin)
            if live is None:
                self._drop(origin)
                made.append(None)
                continue
            zone = None
            if held is not None:
                zone = _patched(last[tree], held, tree) if last is not None and last[tree] is not None else None  # type: ignore[arg-type]
                zone = zone or _made(held, tree, origin)
            made.append(zone)
            self._zones.put(zone or live)
            if suffix == self._stub:
                self._own.put(zone or live)
        if held is not None:
            self._signed[path] = tuple(made)

    def serial(self, path: Path) -> int | None:
        """Of the signed version that counts; None where none does."""
        held = self._held.get(path)
        return held.zone.serial if held is not None else None

    def until(self, path: Path) -> int | None:
        """UTC seconds at which the first signature ends."""
        held = self._held.get(path)
        return min(held.zone.until, held.keys.until) if held is not None else None

    def serial_of(self, origin: Name) -> int | None:
        """Of the zone at ``origin``, as who asks for proof has it."""
        zone = self.zones.get(origin)
        return zone.serial if zone is not None else None

    def whole(self, origin: Name) -> Zone | None:
        """The zone at ``origin`` with the name servers and the glue of its cuts as they are live: what other name servers take over."""
        zone, live = self.zones.get(origin), self._live.get(origin)
        if zone is None or live is None or not zone.signed:
            return zone
        nodes = dict(zone.nodes)
        cuts = {name for name in zone.redirects if codes.NS in zone.nodes[name]}
        for name, node in live.nodes.items():
            if name in cuts and codes.NS in node:
                nodes[name] = {**nodes[name], codes.NS: node[codes.NS]}
            elif any(name[depth:] in cuts for depth in range(1, len(name) - len(origin))):
                nodes[name] = {rtype: node[rtype] for rtype in (codes.A, codes.AAAA) if rtype in node}
        return replace(zone, nodes=nodes)

    # -- what it is worth

    def status(self, answer: Answer, at: float) -> Status:
        """What a validator makes of an answer that was found in :attr:`zones`."""
        found = Status.SECURE
        sets = [rrset for rrset in (*answer.answer, *answer.authority) if rrset.type != codes.RRSIG]
        signatures: dict[tuple[Name, int], RRset] = {}
        for rrset in (*answer.answer, *answer.authority):
            if rrset.type == codes.RRSIG:
                signatures[rrset.name, int.from_bytes(rrset.rdatas[0][:2], "big")] = rrset
        synthesized = {rrset.name for rrset in sets if rrset.type == codes.CNAME and _below_dname(rrset.name, sets)}
        for rrset in sets:
            if rrset.type == codes.CNAME and rrset.name in synthesized:
                continue
            if rrset.type == codes.NS and rrset in answer.authority:
                continue  # of a referral: not signed by anybody
            one = self._judged(rrset, signatures.get((rrset.name, rrset.type)), at)
            if one is Status.BOGUS:
                return one
            if one is Status.INSECURE:
                found = one
        return found if sets else Status.INSECURE

    def _judged(self, rrset: RRset, rrsigs: RRset | None, at: float) -> Status:
        zone = self.zones.find(rrset.name[1:] if rrset.type == codes.DS else rrset.name)
        if zone is not None and rrset.type == codes.NSEC and rrset.name == zone.origin and rrsigs is not None and zone.origin:
            above = self.zones.find(rrset.name[1:])  # both sides of a cut have one: whose it is, its signer says
            if above is not None and any(_signer(rdata) == above.origin for rdata in rrsigs.rdatas):
                zone = above
        if zone is None:
            return Status.INSECURE
        keys = self.trusted(zone.origin, at)
        if keys == ():
            return Status.INSECURE
        if keys is None or rrsigs is None:
            return Status.BOGUS
        return Status.SECURE if self._holds(rrset, rrsigs, keys, zone.origin, at) else Status.BOGUS

    def _holds(self, rrset: RRset, rrsigs: RRset, keys: Iterable[ZoneKey], origin: Name, at: float) -> bool:
        """Whether one of these keys has signed the set; what held is remembered."""
        for rdata in rrsigs.rdatas[:MAX_RRSIGS]:
            try:
                rrsig = Rrsig.read(rdata)
            except Malformed:
                continue
            for key in keys:
                if key.tag != rrsig.tag or rrsig.signer != origin:
                    continue
                if at <= self._good.get((rrset, rdata), -1):
                    return True
                self.counters["rrsigs_checked"] += 1
                if valid(rrset, rrsig, key, at):
                    if len(self._good) >= limits.RRSIGS:
                        del self._good[next(iter(self._good))]
                        self.counters["rrsigs_forgotten"] += 1
                    self._good[rrset, rdata] = rrsig.expiration
                    return True
        return False

    def trusted(self, origin: Name, at: float) -> tuple[ZoneKey, ...] | None:
        """The keys of the zone that hangs at ``origin``: none where it is provably unsigned, None where its chain is broken."""
        known = self._trusted.get(origin)
        if known is not None and known[0] == self.zones.generation:
            return known[1]
        keys = self._climb(origin, at)
        self._trusted[origin] = (self.zones.generation, keys)
        return keys

    def _climb(self, origin: Name, at: float) -> tuple[ZoneKey, ...] | None:
        zone = self.zones.get(origin)
        pointed = self._pointed(origin, at)
        if not pointed:
            return None if pointed is None else ()
        dnskey = zone.nodes[origin].get(codes.DNSKEY) if zone is not None else None
        rrsigs = zone.signatures.get((origin, codes.DNSKEY)) if zone is not None else None
        if dnskey is None or rrsigs is None:
            return None
        keys = tuple(key for rdata in dnskey.rdatas[:MAX_KEYS] if (key := _zone_key(rdata)) is not None)
        entries = [key for key in keys if key.entry and ds_rdata(origin, key) in pointed]
        return keys if self._holds(dnskey, rrsigs, entries, origin, at) else None

    def _pointed(self, origin: Name, at: float) -> tuple[bytes, ...] | None:
        """The DS data that point to a zone; none where the zone above proves that there are none; None where nothing is proved."""
        if origin in self._suffixes:
            return tuple(ds_rdata(origin, ZoneKey(key, entry=True)) for key in self.entries)
        parent = self.zones.find(origin[1:])
        if parent is None:
            return ()
        above = self.trusted(parent.origin, at)
        if not above:
            return None if above is None else ()
        ds = parent.nodes.get(origin, {}).get(codes.DS)
        if ds is None:
            return ()
        return ds.rdatas if self._judged(ds, parent.signatures.get((origin, codes.DS)), at) is Status.SECURE else None


def _signer(rdata: bytes) -> Name | None:
    try:
        return Rrsig.read(rdata).signer
    except Malformed:
        return None


def _zone_key(rdata: bytes) -> ZoneKey | None:
    if len(rdata) != 36 or rdata[2:4] != bytes((3, ALGORITHM)) or not rdata[0] & 1 or rdata[1] & 0x80:
        return None
    return ZoneKey(rdata[4:], entry=bool(rdata[1] & 1))


def _below_dname(name: Name, sets: Iterable[RRset]) -> bool:
    return any(one.type == codes.DNAME and len(one.name) < len(name) and name[-len(one.name) :] == one.name for one in sets)


def _made(held: _Held, tree: int, origin: Name) -> Zone | None:
    """The signed zone of one tree; None where it is none. Cuts have the zone's own name servers: who asks is told the live ones."""
    by_name: dict[Name, list[Signed]] = {}
    for place, signed in (*held.zone.sets[tree].items(), *held.keys.sets[tree].items()):
        if place[0][-len(origin) :] == origin:
            by_name.setdefault(place[0], []).append(signed)
    apex = {signed.rrset.type: signed.rrset for signed in by_name.get(origin, ())}
    if codes.SOA not in apex or codes.NS not in apex:
        return None
    rrsets = [rrset for name, signed in by_name.items() for rrset in _node(name, signed, apex[codes.NS]).values()]
    try:
        return build_zone(origin, rrsets)
    except OverlayError:  # sets that are each well-formed and make no zone together
        return None


def _node(name: Name, signed: Iterable[Signed], servers: RRset) -> Node:
    """All sets at a name: those signed, their signatures, and NS where NSEC says that there is a cut."""
    signed = sorted(signed, key=lambda one: one.rrset.type)
    node = {one.rrset.type: one.rrset for one in signed}
    rrsigs = tuple(rrsig.rdata for one in signed for rrsig in one.rrsigs)
    ttl = min(rrset.ttl for rrset in node.values())
    nsec = node.get(codes.NSEC)
    if name != servers.name and nsec is not None and _says_cut(nsec.rdatas[0]):
        node[codes.NS] = RRset(name, codes.NS, NS_TTL, servers.rdatas)
    node[codes.RRSIG] = RRset(name, codes.RRSIG, ttl, rrsigs)
    return node


def _says_cut(nsec: bytes) -> bool:
    """Whether an NSEC record has NS among its types: its first window begins with type 0."""
    start = from_wire(nsec)[1]
    return nsec[start : start + 1] == b"\0" and bool(nsec[start + 2] & 0x20)


def _patched(zone: Zone, held: _Held, tree: int) -> Zone | None:
    """The signed zone of a version made of the one before: only the names that changed are looked at. None where that is not safe."""
    copy, origin = held.zone, zone.origin
    names = {name for name, _ in copy.changed[tree]}
    nodes, signatures, denials, redirects = dict(zone.nodes), dict(zone.signatures), list(zone.denials), set(zone.redirects)
    types = {name: {rtype for one, rtype in copy.changed[tree] if one == name} for name in names} if len(names) < 64 else None
    if types is None:
        return None
    for name in names:
        old = nodes.get(name, {})
        sets = [one for rtype in {*old, *types[name]} if (one := copy.sets[tree].get((name, rtype))) is not None]
        if name == origin:
            sets += [signed for place, signed in held.keys.sets[tree].items() if place[0] == origin]
        for rtype in old:
            signatures.pop((name, rtype), None)
        node = _node(name, sets, zone.nodes[origin][codes.NS]) if sets else {}
        if (codes.NSEC in old) != (codes.NSEC in node):
            place = bisect_left(denials, order(name))
            if codes.NSEC in node:
                denials.insert(place, order(name))
            else:
                del denials[place]
        (redirects.add if name != origin and codes.NS in node or codes.DNAME in node else redirects.discard)(name)
        if node:
            nodes[name] = node
            signatures |= {(name, one.rrset.type): one.signatures for one in sets}
        else:
            nodes.pop(name, None)
    if origin in names and (codes.SOA not in nodes[origin] or nodes[origin].get(codes.NS) != zone.nodes[origin].get(codes.NS)):
        return None  # other name servers: cuts show them
    for name in names:
        for above in (name[depth:] for depth in range(len(name) - len(origin))):
            if above not in nodes or not nodes[above]:
                follows = bisect_right(denials, order(above))
                if follows < len(denials) and denials[follows][: len(above)] == order(above):
                    nodes[above] = {}
                else:
                    nodes.pop(above, None)
    soa = nodes[origin][codes.SOA]
    rdata = soa.rdatas[0]
    return Zone(
        origin=origin, serial=int.from_bytes(rdata[-20:-16], "big"), nodes=nodes, redirects=frozenset(redirects),
        negative=replace(soa, ttl=min(soa.ttl, int.from_bytes(rdata[-4:], "big"))), signatures=signatures, denials=tuple(denials),
    )


# -- what is signed


def key_sets(origin: Name, keys: Collection[ZoneKey]) -> list[RRset]:
    """What a key-signing key signs: the keys of a zone, and what tells the zone above of those that it may point to."""
    entries = [key for key in keys if key.entry]
    return [
        RRset(origin, codes.DNSKEY, KEY_TTL, tuple(sorted(key.rdata for key in keys))),
        RRset(origin, codes.CDS, KEY_TTL, tuple(ds_rdata(origin, key) for key in entries)),
        RRset(origin, codes.CDNSKEY, KEY_TTL, tuple(sorted(key.rdata for key in entries))),
    ]


def prepared(
    zone: Zone, *, serial: int, keys: Collection[ZoneKey], ds: Mapping[Name, tuple[bytes, ...]], root: bool, unsigned: Iterable[bytes] = UNSIGNED,
) -> Zone:
    """The zone as it is to be signed: with its serial, the names of its key types, DS at its cuts, the root's unsigned cuts."""
    nodes = dict(zone.nodes)
    origin = zone.origin
    soa = zone.soa
    end = from_wire(soa.rdatas[0], from_wire(soa.rdatas[0])[1])[1]
    numbered = replace(soa, rdatas=(soa.rdatas[0][:end] + serial.to_bytes(4, "big") + soa.rdatas[0][end + 4 :],))
    nodes[origin] = {**nodes[origin], codes.SOA: numbered, **{rrset.type: rrset for rrset in key_sets(origin, keys)}}
    redirects = set(zone.redirects)
    for cut, data in ds.items():
        if cut in redirects and codes.NS in nodes[cut]:
            nodes[cut] = {**nodes[cut], codes.DS: RRset(cut, codes.DS, KEY_TTL, data)}
    if root:
        for word in unsigned:
            name = (word, *origin)
            nodes[name] = {codes.NS: replace(nodes[origin][codes.NS], name=name)}
            redirects.add(name)
    return replace(zone, serial=serial, nodes=nodes, redirects=frozenset(redirects), negative=replace(numbered, ttl=zone.negative.ttl))


SIGNED_BY_ENTRY: Final = (codes.DNSKEY, codes.CDS, codes.CDNSKEY)
