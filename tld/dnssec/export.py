"""A zone as others check it: with the digest over the whole of it (ZONEMD, RFC 8976); anchors as lines. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace

from tld import codes, rdata
from tld.dnssec.canonical import bitmap, canonical_set
from tld.dnssec.keys import DS_TTL, SigningKey, ZoneKey, ds_rdata
from tld.dnssec.signing import sign
from tld.label import Name, from_wire, order, to_text
from tld.zone import RRset, Zone, build

_SIMPLE, _SHA384 = 1, 1  # scheme and hash algorithm, RFC 8976 5.2, 5.3


def digest(zone: Zone) -> bytes:
    """SHA-384 over all records but the digest itself and its signatures, in canonical order (RFC 8976 3.3)."""
    hashed = hashlib.sha384()
    for name in sorted(zone.nodes, key=order):
        node = zone.nodes[name]
        for rtype in sorted(node):
            rrset = node[rtype]
            if name == zone.origin and rtype == codes.ZONEMD:
                continue
            if rtype != codes.RRSIG:
                hashed.update(canonical_set(rrset, ttl=rrset.ttl, owner=name))
                continue
            rows = []
            for data in rrset.rdatas:
                covered = int.from_bytes(data[:2], "big")
                if not (name == zone.origin and covered == codes.ZONEMD):
                    ttl = zone.signatures[name, covered].ttl if (name, covered) in zone.signatures else rrset.ttl
                    rows.append((data, canonical_set(RRset(name, codes.RRSIG, ttl, (data,)), ttl=ttl, owner=name)))
            hashed.update(b"".join(row for _, row in sorted(rows)))
    return hashed.digest()


def with_digest(zone: Zone, key: SigningKey, at: int) -> Zone:
    """A signed zone with its digest, signed by ``key``. The NSEC of the apex is made anew, since it names its types."""
    origin = zone.origin
    placeholder = RRset(origin, codes.ZONEMD, zone.soa.ttl, (b"",))
    nsec = zone.nodes[origin][codes.NSEC]
    following = nsec.rdatas[0][: from_wire(nsec.rdatas[0])[1]]
    types = {rtype for rtype in zone.nodes[origin] if rtype != codes.RRSIG} | {codes.ZONEMD, codes.RRSIG}
    nsec = replace(nsec, rdatas=(following + bitmap(types),))

    def made(digested: RRset, *signed: RRset) -> Zone:
        fresh = {(rrset.name, rrset.type): rrset for rrset in (nsec, digested)}
        sets = [rrset for rrset in zone.rrsets() if rrset.type != codes.RRSIG and (rrset.name, rrset.type) not in fresh]
        signatures = [rrset for (name, rtype), rrset in zone.signatures.items() if (name, rtype) not in fresh]
        new = [RRset(origin, codes.RRSIG, rrset.ttl, (sign(rrset, key, origin, at).rdata,)) for rrset in signed]
        return build(origin, [*sets, *fresh.values(), *signatures, *new])

    whole = made(placeholder, nsec)
    data = zone.serial.to_bytes(4, "big") + bytes((_SIMPLE, _SHA384)) + digest(whole)
    final = replace(placeholder, rdatas=(data,))
    return made(final, nsec, final)


def lines(zone: Zone) -> str:
    """The zone as a master file: absolute names, the TTL of each signature that of what it covers."""
    text = []
    for rrset in zone.rrsets():
        for data in rrset.rdatas:
            ttl = rrset.ttl
            if rrset.type == codes.RRSIG:
                covered = zone.nodes[rrset.name].get(int.from_bytes(data[:2], "big"))
                ttl = covered.ttl if covered is not None else ttl
            text.append(f"{to_text(rrset.name)} {ttl} IN {codes.type_name(rrset.type)} {rdata.to_text(rrset.type, data)}")
    return "\n".join(text) + "\n"


def anchor(owner: Name, entries: Iterable[bytes], *, dnskey: bool = False) -> list[str]:
    """The trust anchor of the zone at ``owner`` as master-file lines: DS (what every validator takes), or DNSKEY."""
    keys = [ZoneKey(public, entry=True) for public in entries]
    if dnskey:
        return [f"{to_text(owner)} {DS_TTL} IN DNSKEY {rdata.to_text(codes.DNSKEY, key.rdata)}" for key in keys]
    return [f"{to_text(owner)} {DS_TTL} IN DS {rdata.to_text(codes.DS, ds_rdata(owner, key))}" for key in keys]
