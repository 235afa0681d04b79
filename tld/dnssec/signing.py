"""Signatures of sets and of whole zones (RFC 4034 3, RFC 4035 2): made, kept as long as they are good, verified. Pure.

It decides what of a zone is signed: every set that the zone speaks for, DS and NSEC at cuts; not the NS of cuts, glue, nor
what a DNAME hides. NSEC records link the names in canonical order, so that a signature proves what is not there.
Signatures of sets that did not change are kept until half of their life is over: a change costs what changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Final

from overlay.errors import Malformed
from overlay.identity.keys import SIGNATURE, verify
from overlay.units import DAY, HOUR
from tld import codes
from tld.dnssec.canonical import bitmap, canonical_set
from tld.dnssec.keys import ALGORITHM, SigningKey, ZoneKey
from tld.label import Name, from_wire, order, to_wire
from tld.zone import MAX_TTL, RRset, Zone

LIFE: Final = 14 * DAY  # of a signature: a zone whose signers are all away is served so long (research dns.md, 5)
AGAIN: Final = LIFE // 2  # of it left: then it is made anew
BACKDATED: Final = HOUR  # clocks of validators lie; DNSViz warns of less (research dns.md, 2)
_FIXED = Struct("!HBBIIIH")  # RRSIG data less signer and signature: covered, algorithm, labels, TTL, expiration, inception, tag

Place = tuple[Name, int]  # a set: its owner and type


@dataclass(frozen=True, slots=True)
class Rrsig:
    """RRSIG data as values; ``message`` is what stands before the signature."""

    covered: int
    labels: int
    ttl: int
    expiration: int  # UTC seconds, mod 2**32
    inception: int
    tag: int
    signer: Name
    signature: bytes

    @property
    def message(self) -> bytes:
        """The signed part of the RRSIG itself."""
        fixed = _FIXED.pack(self.covered, ALGORITHM, self.labels, self.ttl, self.expiration, self.inception, self.tag)
        return fixed + to_wire(self.signer)

    @property
    def rdata(self) -> bytes:
        """RRSIG data."""
        return self.message + self.signature

    @classmethod
    def read(cls, rdata: bytes) -> Rrsig:
        """The inverse of :attr:`rdata`; ``Malformed`` for other algorithms and for what is cut."""
        if len(rdata) < _FIXED.size:
            raise Malformed("half an RRSIG", rule="rrsig")
        covered, algorithm, labels, ttl, expiration, inception, tag = _FIXED.unpack_from(rdata)
        signer, end = from_wire(rdata, _FIXED.size)
        if algorithm != ALGORITHM or len(rdata) - end != SIGNATURE or ttl > MAX_TTL:
            raise Malformed("an RRSIG that is not Ed25519's", rule="rrsig")
        return cls(covered, labels, ttl, expiration, inception, tag, signer, rdata[end:])

    def holds_at(self, at: float) -> bool:
        """Whether ``at`` (UTC seconds) lies in its time; in serial arithmetic (RFC 4034 3.1.5)."""
        now = int(at) & 0xFFFFFFFF
        return (now - self.inception) & 0xFFFFFFFF < 1 << 31 and (self.expiration - now) & 0xFFFFFFFF < 1 << 31


def _labels(owner: Name) -> int:
    return len(owner) - (owner[:1] == (b"*",))


def sign(rrset: RRset, key: SigningKey, zone: Name, at: int, *, life: int = LIFE) -> Rrsig:
    """Sign one set by one key of ``zone``, from an hour ago until ``life`` seconds ahead of UTC ``at``."""
    times = (at + life) & 0xFFFFFFFF, (at - BACKDATED) & 0xFFFFFFFF
    unsigned = Rrsig(rrset.type, _labels(rrset.name), rrset.ttl, *times, key.key.tag, zone, b"")
    message = unsigned.message + canonical_set(rrset, ttl=rrset.ttl, owner=rrset.name)
    return Rrsig(unsigned.covered, unsigned.labels, unsigned.ttl, *times, unsigned.tag, zone, key.signer.sign(message))


def valid(rrset: RRset, rrsig: Rrsig, key: ZoneKey, at: float) -> bool:
    """Whether the signature holds, now, by that key. A set expanded from a wildcard is reduced to it (RFC 4035 5.3.2)."""
    depth = len(rrset.name)
    if rrsig.covered != rrset.type or rrsig.tag != key.tag or not rrsig.holds_at(at) or rrsig.labels > depth:
        return False
    if len(rrsig.signer) > rrsig.labels and rrset.name[-len(rrsig.signer) :] != rrsig.signer:
        return False
    owner = rrset.name if rrsig.labels >= _labels(rrset.name) else (b"*", *rrset.name[depth - rrsig.labels :])
    return verify(key.public, rrsig.signature, rrsig.message + canonical_set(rrset, ttl=rrsig.ttl, owner=owner))


def authoritative(zone: Zone) -> dict[Name, list[RRset]]:
    """The names that a zone speaks for, and of each the sets that are signed (NSEC not among them): at a cut DS alone."""
    found: dict[Name, list[RRset]] = {}
    depth = len(zone.origin)
    for name, node in zone.nodes.items():
        if zone.redirects and any(name[-length:] in zone.redirects for length in range(depth + 1, len(name))):
            continue
        if zone.origin in zone.redirects and name != zone.origin:  # a DNAME at the apex
            continue
        cut = codes.NS in node and name != zone.origin
        wanted = [rrset for rtype, rrset in node.items() if rtype not in (codes.RRSIG, codes.NSEC) and (not cut or rtype == codes.DS)]
        if wanted or cut:
            found[name] = wanted
    return found


def chain(zone: Zone, names: Mapping[Name, list[RRset]]) -> dict[Name, RRset]:
    """The NSEC records of those names: each says which types it has and which name comes next; the last leads to the apex."""
    ordered = sorted(names, key=order)
    found = {}
    for name, following in zip(ordered, [*ordered[1:], *ordered[:1]], strict=True):
        types = {rrset.type for rrset in names[name]} | {codes.NSEC, codes.RRSIG}
        if name != zone.origin and codes.NS in zone.nodes[name]:
            types.add(codes.NS)
        found[name] = RRset(name, codes.NSEC, zone.negative.ttl, (to_wire(following) + bitmap(types),))
    return found


@dataclass(frozen=True, slots=True)
class Signed:
    """A set with its signatures: one, but for the keys of a zone whose entry keys are being changed."""

    rrset: RRset
    rrsigs: tuple[Rrsig, ...]

    @property
    def signatures(self) -> RRset:
        """The signatures as a set."""
        return RRset(self.rrset.name, codes.RRSIG, self.rrset.ttl, tuple(rrsig.rdata for rrsig in self.rrsigs))

    @property
    def until(self) -> int:
        """UTC seconds at which the first of them ends."""
        return min(rrsig.expiration for rrsig in self.rrsigs)


SignedZone = dict[Place, Signed]


def wanted(zone: Zone, besides: Iterable[int] = (codes.DNSKEY,)) -> dict[Place, RRset]:
    """The sets of a zone that are to be signed, NSEC among them. Types in ``besides`` are signed by others."""
    names = authoritative(zone)
    denials = chain(zone, names)
    left_out = frozenset(besides)
    return {(name, rrset.type): rrset for name, sets in names.items() for rrset in (*sets, denials[name]) if rrset.type not in left_out}


def stands(sets: Mapping[Place, RRset], held: Mapping[Place, Signed], at: int) -> bool:
    """Whether exactly these sets are signed, for long enough still, by whomever."""
    if len(sets) != len(held):
        return False
    return all((known := held.get(place)) is not None and known.rrset == rrset and lasts(known.rrsigs[0], at) for place, rrset in sets.items())


def sign_sets(
    sets: Mapping[Place, RRset], key: SigningKey, origin: Name, at: int, held: Mapping[Place, Signed], spread: Callable[[Name], int] | None = None,
) -> SignedZone:
    """All sets signed by ``key`` of the zone at ``origin``; what ``held`` has signed already and is good for long is taken over.

    ``spread`` adds up to a day (seconds) to a name's signatures, so that not all become due at once.
    """
    tag = key.key.tag
    signed: SignedZone = {}
    for place, rrset in sets.items():
        known = held.get(place)
        if known is not None and known.rrsigs[0].tag == tag and known.rrset == rrset and lasts(known.rrsigs[0], at):
            signed[place] = known
        else:
            life = LIFE + (spread(place[0]) if spread is not None else 0)
            signed[place] = Signed(rrset, (sign(rrset, key, origin, at, life=life),))
    return signed


def sign_zone(zone: Zone, key: SigningKey, at: int, held: Mapping[Place, Signed], *, besides: Iterable[int] = (codes.DNSKEY,)) -> SignedZone:
    """A whole zone signed by ``key``."""
    return sign_sets(wanted(zone, besides), key, zone.origin, at, held)


def lasts(rrsig: Rrsig, at: float) -> bool:
    """Whether a signature need not be made anew yet."""
    return rrsig.holds_at(at) and (rrsig.expiration - int(at)) & 0xFFFFFFFF > AGAIN
