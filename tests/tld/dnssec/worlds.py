"""A small signed overlay for tests: a root with the cluster eu/home below it, in both trees, with keys that are known."""

from __future__ import annotations

from dataclasses import dataclass, field

from overlay.directory.view import ZoneView
from overlay.identity.keys import Signer
from overlay.name import ROOT, Path
from tests.tld.views import AT, HOME, home, root
from tld.delegation import labels
from tld.dnssec.keys import SigningKey, ZoneKey, ds_rdata
from tld.dnssec.pieces import Copy, Sets
from tld.dnssec.secure import SIGNED_BY_ENTRY, prepared
from tld.dnssec.signing import Signed, sign, sign_sets, wanted
from tld.label import from_text
from tld.names import Names

TLD, ZONE = "cloud", "cloud.example.org"
SUFFIXES = (from_text(TLD), from_text(ZONE))


def key(number: int, *, entry: bool = False) -> SigningKey:
    """A zone's key, the same for the same number."""
    return SigningKey(Signer.from_seed(bytes((number,)) * 32), entry=entry)


ENTRY = {ROOT: key(1, entry=True), HOME: key(2, entry=True)}
OWN = {ROOT: key(3), HOME: key(4)}


@dataclass(slots=True)
class Signing:
    """Signs what names hold, as a node that may would."""

    names: Names
    more: tuple[ZoneKey, ...] = ()
    ds: dict[Path, tuple[bytes, ...]] = field(default_factory=lambda: {HOME: (ENTRY[HOME].key.public,)})

    def keys(self, path: Path, at: int = AT) -> Copy:
        sets: Sets = ({}, {})
        for tree, suffix in enumerate(SUFFIXES):
            origin = labels(path, suffix)
            live = self.names.zones.get(origin)
            assert live is not None
            apex = prepared(live, serial=0, keys=self.listed(path), ds={}, root=False).nodes[origin]
            for rtype in SIGNED_BY_ENTRY:
                sets[tree][origin, rtype] = Signed(apex[rtype], (sign(apex[rtype], ENTRY[path], origin, at),))
        return Copy(at, sets)

    def listed(self, path: Path) -> list[ZoneKey]:
        return [ENTRY[path].key, OWN[path].key, *self.more]

    def zone(self, path: Path, serial: int = 7, at: int = AT, by: SigningKey | None = None) -> Copy:
        sets: Sets = ({}, {})
        for tree, suffix in enumerate(SUFFIXES):
            origin = labels(path, suffix)
            live = self.names.zones.get(origin)
            assert live is not None
            ds = {labels(cut, suffix): tuple(ds_rdata(labels(cut, suffix), ZoneKey(public, entry=True)) for public in publics)
                  for cut, publics in self.ds.items() if path == ROOT}
            made = prepared(live, serial=serial, keys=self.listed(path), ds=ds, root=path == ROOT)
            sets[tree].update(sign_sets(wanted(made, SIGNED_BY_ENTRY), by or OWN[path], origin, at, {}))
        return Copy(serial, sets)

    def sign(self, *paths: Path) -> None:
        for path in paths:
            self.names.sign(path, self.keys(path), self.zone(path))


def signed(*, policy: str = "exclusive", views: tuple[ZoneView, ...] = ()) -> tuple[Names, Signing]:
    """Names that hold root and eu/home, signed."""
    names = Names(tld=TLD, zone=ZONE, policy=policy, overlay_id=bytes(32))
    for view in views or (root(), home()):
        names.update(view)
    names.evidence(at=AT, peers=1)
    names.secure.entries = (ENTRY[ROOT].key.public,)
    signing = Signing(names)
    signing.sign(ROOT, HOME)
    return names, signing
