"""From a question and the zones held to an answer: the lookup of RFC 1034 4.3.2 with all that was clarified since. Pure.

Decides rcode, AA and the three sections: exact match, empty non-terminal, wildcard (RFC 4592), referral with glue, CNAME
and DNAME (RFC 6672) chains across the zones held, DS on the parent's side (RFC 4035 3.1.4.1), data below a cut or DNAME
occluded, NODATA apart from NXDOMAIN with the SOA that times both (RFC 2308), ANY answered with one set (RFC 8482). To whoever
asks for it (DO), with signatures and the NSEC records that prove what is not there (RFC 4035 3.1).
Refuses to know the query's octets, the client, and who ordered the records in their sets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tld import codes
from tld.label import MAX_NAME, Name, from_wire, to_wire, under, wire_length
from tld.zone import Node, RRset, Zone, Zones

MAX_CHAIN = 16  # CNAMEs followed in one answer: as BIND has it
_TARGETS = {
    codes.NS: 0, codes.MX: 2, codes.SRV: 6, codes.SVCB: 2, codes.HTTPS: 2,
}  # fmt: skip  # octets before the name whose addresses the client needs next
_NOT_OURS = (codes.EDE_NOT_AUTHORITATIVE, "no zone here holds this name")
_NO_TRANSFER = (codes.EDE_NOT_SUPPORTED, "zone transfer is not offered")


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found. The first ``glue`` sets of ``additional`` are needed: without them a referral is useless.
    ``ad``: all of it was validated here.

    ``ede`` is an extended error (RFC 8914): code and text, sent where the client speaks EDNS.
    """

    rcode: int = codes.NOERROR
    aa: bool = False
    answer: tuple[RRset, ...] = ()
    authority: tuple[RRset, ...] = ()
    additional: tuple[RRset, ...] = ()
    glue: int = 0
    ede: tuple[int, str] | None = None
    ad: bool = False


def lookup(zones: Zones, qname: Name, qtype: int, *, secure: bool = False) -> Answer:
    """The authoritative answer, with DNSSEC records where ``secure``. REFUSED (EDE 20) for a name that no zone held covers."""
    if qtype in (codes.AXFR, codes.IXFR):
        return Answer(rcode=codes.REFUSED, ede=_NO_TRANSFER)
    answer: list[RRset] = []
    proof: list[RRset] = []
    name = qname
    seen = {name}
    for _ in range(MAX_CHAIN):
        zone = _zone_for(zones, name, qtype)
        if zone is None:
            break
        found = _find(zone, name, qtype)
        answer += _with_signatures(zone, found.answer, found.source) if secure else found.answer
        if secure:
            proof += _proof(zone, found, name)
        if found.follow is None:
            return _finish(zones, zone, found, tuple(answer), tuple(dict.fromkeys(proof)), secure=secure)
        name = found.follow
        if name in seen or found.once:
            break  # a loop, or a DNAME that leads into itself: the client has all that there is to know
        seen.add(name)
    if not answer:
        return Answer(rcode=codes.REFUSED, ede=_NOT_OURS)
    return Answer(aa=True, answer=tuple(answer), authority=tuple(dict.fromkeys(proof)))


@dataclass(frozen=True, slots=True)
class _Found:
    """What one zone says about one name. ``follow``: where a CNAME leads; ``once``: but do not go there.

    ``source`` is the wildcard that stands for the name, where one does; ``encloser`` the nearest name that exists.
    """

    rcode: int = codes.NOERROR
    answer: tuple[RRset, ...] = ()
    negative: RRset | None = None
    referral: RRset | None = None
    follow: Name | None = None
    once: bool = False
    source: Name | None = None
    encloser: Name | None = None


def _zone_for(zones: Zones, name: Name, qtype: int) -> Zone | None:
    zone = zones.find(name)
    if qtype == codes.DS and zone is not None and zone.origin == name and name:
        return zones.find(name[1:]) or zone
    return zone


def _find(zone: Zone, name: Name, qtype: int) -> _Found:
    nodes = zone.nodes
    if zone.redirects:
        for depth in range(len(name) - len(zone.origin), -1, -1):  # from the apex down: the highest cut or DNAME counts
            above = name[depth:]
            if above in zone.redirects:
                node = nodes[above]
                if codes.NS in node and above != zone.origin and not (depth == 0 and qtype == codes.DS):
                    return _Found(referral=node[codes.NS])
                if codes.DNAME in node and depth:
                    return _dname(node[codes.DNAME], name, depth)
    if (exact := nodes.get(name)) is not None:
        return _at(zone, exact, name, qtype)
    encloser = name[1:]
    while encloser not in nodes:
        encloser = encloser[1:]
    wildcard = nodes.get((b"*", *encloser))
    if wildcard is None:
        return _Found(rcode=codes.NXDOMAIN, negative=zone.negative, encloser=encloser)
    if codes.NS in wildcard and qtype != codes.DS:  # undefined by RFC 4592 4.2; answered as BIND, NSD and Knot do
        return _Found(referral=replace(wildcard[codes.NS], name=name))
    return replace(_at(zone, wildcard, name, qtype), source=(b"*", *encloser))


def _at(zone: Zone, node: Node, name: Name, qtype: int) -> _Found:
    """The node that stands for ``name``, itself or a wildcard."""
    rrset = node.get(qtype)
    if rrset is None and qtype == codes.ANY and node:
        rrset = node[min(node)]
    if rrset is not None:
        return _Found(answer=(rrset if rrset.name == name else replace(rrset, name=name),))
    if (alias := node.get(codes.CNAME)) is not None:
        return _Found(answer=(alias if alias.name == name else replace(alias, name=name),), follow=from_wire(alias.rdatas[0])[0])
    return _Found(negative=zone.negative)


def _dname(dname: RRset, name: Name, depth: int) -> _Found:
    target = from_wire(dname.rdatas[0])[0]
    follow = name[:depth] + target
    if wire_length(follow) > MAX_NAME:
        return _Found(rcode=codes.YXDOMAIN, answer=(dname,))
    cname = RRset(name, codes.CNAME, dname.ttl, (to_wire(name[:depth])[:-1] + dname.rdatas[0],))
    return _Found(answer=(dname, cname), follow=follow, once=under(target, dname.name))


def _with_signatures(zone: Zone, rrsets: Iterable[RRset], source: Name | None = None) -> list[RRset]:
    """Each set followed by its signatures, as far as it is signed. ``source``: the wildcard that they were expanded from."""
    found = []
    for rrset in rrsets:
        found.append(rrset)
        rrsigs = zone.signatures.get((source if source is not None else rrset.name, rrset.type))
        if rrsigs is not None:
            found.append(rrsigs if rrsigs.name == rrset.name else replace(rrsigs, name=rrset.name))
    return found


def _proof(zone: Zone, found: _Found, name: Name) -> list[RRset]:
    """The NSEC records, signed, that prove what ``found`` says is not there (RFC 4035 3.1.3, 3.1.4)."""
    if not zone.signed:
        return []
    if found.referral is not None:
        ds = zone.nodes.get(found.referral.name, {}).get(codes.DS)
        names = [] if ds is not None else [found.referral.name]
        needed = [ds] if ds is not None else []
    else:
        needed = []
        names = []
        if found.encloser is not None:  # no such name, and no wildcard in its place
            names = [name, (b"*", *found.encloser)]
        elif found.source is not None:  # a wildcard counts where nothing is nearer
            names = [name] if found.negative is None else [name, found.source]
        elif found.negative is not None:
            names = [name]
    needed += [nsec for one in names if (nsec := zone.denial(one)) is not None]
    return _with_signatures(zone, dict.fromkeys(needed))


def _finish(zones: Zones, zone: Zone, found: _Found, answer: tuple[RRset, ...], proof: tuple[RRset, ...], *, secure: bool) -> Answer:
    if found.referral is not None:
        additional, glue = _glue(zones, found.referral)
        return Answer(aa=bool(answer), answer=answer, authority=(found.referral, *proof), additional=additional, glue=glue)
    negative: tuple[RRset, ...] = ()
    if found.negative is not None:
        negative = (found.negative,)
        if secure and (rrsigs := zone.signatures.get((zone.origin, codes.SOA))) is not None:
            negative = (found.negative, replace(rrsigs, ttl=found.negative.ttl))
    return Answer(
        rcode=found.rcode,
        aa=True,
        answer=answer,
        authority=(*negative, *proof),
        additional=_addresses(zones, found.answer[-1]) if found.answer else (),
    )


def led_by(answer: Answer, live: Zones) -> Answer:
    """A referral of a signed zone with the name servers and the glue that are live: they are not signed, and change by themselves."""
    if not answer.authority or answer.authority[0].type != codes.NS:
        return answer
    cut = answer.authority[0]
    zone = live.find(cut.name[1:]) if cut.name else None
    servers = zone.nodes.get(cut.name, {}).get(codes.NS) if zone is not None else None
    additional, glue = _glue(live, servers or cut)
    return replace(answer, authority=(servers or cut, *answer.authority[1:]), additional=additional, glue=glue)


def _glue(zones: Zones, cut: RRset) -> tuple[tuple[RRset, ...], int]:
    """Addresses of a referral's servers: first those in the domain itself (needed, RFC 9471), then others held here."""
    needed: list[RRset] = []
    others: list[RRset] = []
    for target in targets(cut):
        zone = zones.find(target)
        node = zone.nodes.get(target) if zone is not None else None
        if node is not None:
            into = needed if under(target, cut.name) else others
            into += [node[rtype] for rtype in (codes.A, codes.AAAA) if rtype in node]
    return tuple(needed + others), len(needed)


def _addresses(zones: Zones, rrset: RRset) -> tuple[RRset, ...]:
    """What the client of an NS, MX, SRV, SVCB or HTTPS set asks next, where it is held here."""
    additional: list[RRset] = []
    for target in targets(rrset):
        zone = zones.find(target)
        if zone is None:
            continue
        for rtype in (codes.A, codes.AAAA):
            additional += [found for found in _find(zone, target, rtype).answer if found.type == rtype]
    return tuple(additional)


def targets(rrset: RRset) -> Iterable[Name]:
    """The names that records of this set lead on to, each once; none for types that lead nowhere."""
    before = _TARGETS.get(rrset.type)
    if before is None:
        return ()
    return dict.fromkeys(from_wire(rdata, before)[0] for rdata in rrset.rdatas)
