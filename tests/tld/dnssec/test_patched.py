"""A signed zone made of the one before is the zone that would be made anew: names that come, go, deepen, become cuts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from overlay.directory.view import ZoneView
from overlay.name import ROOT, Path, parse_path
from tests.tld.dnssec.worlds import SUFFIXES, Signing, signed
from tests.tld.views import HOME, carrier, data, gateway, home, host, root
from tld.dnssec.pieces import Reader, zone_to_pieces
from tld.dnssec.secure import Secure
from tld.zone import Zone

NAMES = st.sampled_from(["a", "b", "c", "a/b", "a/b/c", "a/x", "a/b/y", "*", "a/*", "ns", "zz"])
SAID = st.lists(st.tuples(NAMES, st.sampled_from(["A", "TXT", "CNAME", "NS", "DNAME", "host", "carry"]), st.integers(1, 3)), max_size=7)
CUTS = st.sets(st.sampled_from(["eu/home", "us/office", "us", "us/office/lab", "zz", "a"]), max_size=5)


def saying(said: list[tuple[str, str, int]]) -> ZoneView:
    """eu/home, in which that is said."""
    values = {"A": "192.0.2.%d", "TXT": "text%d", "CNAME": "c%d.home.eu", "NS": "ns%d.example.net.", "DNAME": "d%d"}
    plain = tuple(data(f"eu/home/{name}", what, values[what] % number) for name, what, number in said if what in values)
    hosts = tuple(host(f"eu/home/{name}", 10 + place, f"203.0.113.{number}") for place, (name, what, number) in enumerate(said) if what == "host")
    carries = tuple(carrier(f"eu/home/{name}", "eu/home/alice", 2, f"203.0.113.{number}") for name, what, number in said if what == "carry")
    return home(hosts=hosts, plain=plain, carries=carries)


def cut(paths: set[str]) -> ZoneView:
    """The root, with those cuts."""
    cuts = tuple(sorted((parse_path(path) for path in paths), key=lambda path: path.labels))
    gates = tuple(gateway(str(path), f"{path}/node", 40 + place, f"203.0.113.{40 + place}") for place, path in enumerate(cuts))
    return replace(root(), cuts=cuts, gateways=gates)


def made_anew(signing: Signing, path: Path) -> list[Zone | None]:
    """What nothing but the version that counts gives."""
    fresh = Secure(SUFFIXES, signing.names.zones, Counter(), stub=SUFFIXES[0])
    held = signing.names.secure._held[path]
    fresh.put(path, held.keys, held.zone)
    return [fresh.zones.get(origin) for origin in (origins(path))]


def origins(path: Path) -> tuple[tuple[bytes, ...], ...]:
    return tuple((*(label.encode() for label in reversed(path.labels)), *suffix) for suffix in SUFFIXES)


def lives(path: Path, views: list[ZoneView]) -> int:
    """Show one view after the other; how often a zone was made of the one before."""
    names, signing = signed()
    reader, buckets, keys = Reader(origins(path)), 0, signing.keys(path)
    patched = 0
    for serial, view in enumerate(views, 10):
        names.update(replace(view, digest=serial.to_bytes(2, "big")))
        pieces = zone_to_pieces(signing.zone(path, serial).sets, origins(path), serial, 700, buckets)
        buckets = pieces[b"\1\0\0\0"].count
        before = dict(names.secure._signed)
        names.sign(path, keys, reader.copy(pieces))
        patched += path in before and path not in names.secure._stale
        assert [names.secure.zones.get(origin) for origin in origins(path)] == made_anew(signing, path)
    return patched


@settings(max_examples=40, deadline=None)
@given(st.lists(SAID, min_size=2, max_size=5))
def test_what_people_say(said: list[list[tuple[str, str, int]]]) -> None:
    lives(HOME, [saying(one) for one in said])


@settings(max_examples=30, deadline=None)
@given(st.lists(CUTS, min_size=2, max_size=5))
def test_zones_that_begin_and_end(cuts: list[set[str]]) -> None:
    lives(ROOT, [cut(one) for one in cuts])


def test_versions_are_made_of_those_before() -> None:
    said = [("a", "A", 1)], [("a", "A", 2)], [("a", "A", 2), ("a/b/c", "TXT", 1)], [("a", "A", 2)], []
    assert lives(HOME, [saying(list(one)) for one in said]) == 4
