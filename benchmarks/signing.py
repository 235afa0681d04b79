"""Signed zones: what a change costs who signs it and who holds it, and what proofs cost an answer (DESIGN 3.8).

``python -m benchmarks.signing --rounds 9`` takes a cluster of 20 nodes with 40 services and roots of 100, 1,000 and 10,000
clusters that are signed themselves, in both trees, with real keys. Of each: signing it all; one change (a service moves, a
cluster comes); the pieces and octets that the change puts on the wire; taking it in at a node that holds the zone; then an
answer with proof, made anew (engine and rendering) and from the cache, and validating it for the first time. Medians go to
``benchmarks/results/signing.json``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path as File
from typing import TypeVar

from benchmarks.described import machine
from overlay.directory.view import CarryEntry, GatewayEntry, HostEntry, ZoneView
from overlay.identity.keys import Signer, digest
from overlay.name import ROOT, Path
from overlay.records.kinds import Carry, Cluster, Host
from overlay.records.zones import Piece
from overlay.wire.address import Address
from tld import codes
from tld.delegation import labels
from tld.dnssec.keys import SigningKey, ZoneKey, ds_rdata
from tld.dnssec.pieces import Copy, Reader, Sets, keys_from_pieces, keys_to_pieces, zone_to_pieces
from tld.dnssec.secure import SIGNED_BY_ENTRY, Secure, key_sets, prepared
from tld.dnssec.signing import Place, Signed, sign, sign_sets, stands, wanted
from tld.engine import lookup
from tld.label import from_text, to_wire
from tld.names import Names
from tld.query import ask, parse
from tld.render import render
from tld.zone import RRset, Zone

T = TypeVar("T")
RESULTS = File(__file__).resolve().parent / "results/signing.json"
AT = 1_800_000_000
TREES = ("cloud", "cloud.example.net")
ROOM = 744


def key(text: str, *, entry: bool = False) -> SigningKey:
    """The key of that name."""
    return SigningKey(Signer.from_seed(digest(text.encode())), entry=entry)


def addressed(number: int) -> tuple[Address, ...]:
    """A public address."""
    return (Address(f"20.{number >> 16}.{number >> 8 & 255}.{number & 255}", 7653),)


def cluster(services: int = 40, moved: int = 0) -> ZoneView:
    """20 nodes, each of which carries two services; ``moved``: how often one of them moved."""
    path = Path(("eu", "home"))
    node = [digest(b"node %d" % number) for number in range(20)]
    hosts = tuple(HostEntry(name=path / f"n{i}", node_id=node[i], host=Host(exchange=node[i], addresses=addressed(i))) for i in range(20))
    carries = tuple(
        CarryEntry(
            name=path / f"s{number}", node_id=node[number % 20], proto="tcp",
            carry=Carry(port=8_000 + (moved if number == 0 else 0), node=path / "n0"),
            reach=(addressed(number % 20)[0].host,),
        )
        for number in range(services)
    )  # fmt: skip
    return ZoneView(path=path, serial=AT, digest=bytes((moved & 255,)), hosts=hosts, carries=carries, gateways=(gateway(path, 0),))


def gateway(path: Path, number: int) -> GatewayEntry:
    """Who speaks for a cluster."""
    body = Cluster(exchange=bytes(32), addresses=addressed(number), node=path / "n0", dns=True)
    return GatewayEntry(path=path, node_id=digest(str(path).encode()), cluster=body)


def root(clusters: int, more: int = 0) -> ZoneView:
    """So many clusters, one of them come ``more`` times."""
    paths = sorted([Path((f"c{number:05}",)) for number in range(clusters)] + [Path((f"x{number:05}",)) for number in range(more)])
    gates = tuple(gateway(path, index) for index, path in enumerate(paths))
    return ZoneView(path=ROOT, serial=AT, digest=bytes((more & 255,)), cuts=tuple(paths), gateways=gates)


class Signing:
    """Who signs one zone in both trees."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.own, self.entry = key(f"own {path}"), key(f"entry {path}", entry=True)
        self.origins = tuple(labels(path, from_text(tree)) for tree in TREES)
        self.keys = [self.entry.key, self.own.key]
        self.sets: Sets = ({}, {})
        self.buckets = 0

    def due(self, zones: list[Zone], serial: int) -> list[dict[Place, RRset]]:
        below = ZoneKey(digest(b"any"), entry=True)
        found = []
        for zone in zones:
            ds = {cut: (ds_rdata(cut, below),) for cut in zone.redirects if codes.NS in zone.nodes[cut]}
            found.append(wanted(prepared(zone, serial=serial, keys=self.keys, ds=ds, root=self.path == ROOT), SIGNED_BY_ENTRY))
        return found

    def sign(self, zones: list[Zone], serial: int) -> dict[bytes, Piece]:
        """A version, as its pieces."""
        due = self.due(zones, serial)
        if all(stands(sets, self.sets[tree], AT) for tree, sets in enumerate(due)):
            raise AssertionError("nothing changed")
        self.sets = tuple(sign_sets(sets, self.own, self.origins[tree], AT, self.sets[tree]) for tree, sets in enumerate(due))
        pieces = zone_to_pieces(self.sets, self.origins, serial, ROOM, self.buckets)
        self.buckets = pieces[b"\1\0\0\0"].count
        return pieces

    def key_pieces(self) -> dict[bytes, Piece]:
        """The signed key set."""
        entries = [
            (tree, Signed(rrset, (sign(rrset, self.entry, origin, AT),)))
            for tree, origin in enumerate(self.origins) for rrset in key_sets(origin, self.keys)
        ]  # fmt: skip
        return keys_to_pieces(entries, self.origins, AT, ROOM)


def timed(act: Callable[[], T]) -> tuple[float, T]:
    """(milliseconds, what it gave)."""
    began = time.perf_counter()
    found = act()
    return (time.perf_counter() - began) * 1e3, found


def measure(first: ZoneView, changes: Iterator[ZoneView], rounds: int, name: str) -> dict[str, object]:
    """One zone through its life."""
    names = Names(tld=TREES[0], zone=TREES[1], policy="exclusive")
    signer = Signing(first.path)
    names.update(first)

    def live() -> list[Zone]:
        return [zone for origin in signer.origins if (zone := names.zones.get(origin)) is not None]

    whole, pieces = timed(lambda: signer.sign(live(), 1))
    keys = keys_from_pieces(signer.key_pieces(), signer.origins)
    reader = Reader(signer.origins)
    taking, copy = timed(lambda: reader.copy(pieces))
    assert isinstance(copy, Copy) and keys is not None
    changing, octets, count, holding = [], [], [], []
    for number in range(rounds):
        names.update(next(changes))
        spent, after = timed(partial(signer.sign, live(), number + 2))
        fresh = {item: piece for item, piece in after.items() if pieces.get(item) != piece}
        changing.append(spent)
        count.append(len(fresh))
        octets.append(sum(len(piece.data) + 256 for piece in fresh.values()))
        pieces = after

        def take(pieces: dict[bytes, Piece] = pieces) -> Secure:
            names.sign(first.path, keys, reader.copy(pieces))
            assert names.secure.zones.get(signer.origins[0]) is not None
            return names.secure

        holding.append(timed(take)[0])
    return {
        "sets": sum(map(len, signer.sets)), "sign_all_ms": round(whole, 1), "read_all_ms": round(taking, 1),
        "change_ms": round(statistics.median(changing), 2), "change_pieces": statistics.median(count),
        "change_octets": statistics.median(octets), "take_in_ms": round(statistics.median(holding), 2), **answers(names, signer, name),
    }  # fmt: skip


def answers(names: Names, signer: Signing, name: str) -> dict[str, object]:
    """Microseconds of one answer with proof."""
    names.secure.entries = (signer.entry.key.public,) if signer.path == ROOT else ()
    question = ask(7, to_wire(from_text(name)), codes.A, edns=1_232)
    question = question[:-4] + b"\x80\0" + question[-2:]
    query = parse(question)
    zones = names.secure.zones
    made, kept = [], []
    for _ in range(2_000):
        made.append(timed(lambda: render(query, lookup(zones, query.qname, query.qtype, secure=True), udp=True))[0])
        kept.append(timed(lambda: names.authoritative.answer(question, ("192.0.2.1", 1), True))[0])
    found: dict[str, object] = {"answer_us": round(statistics.median(made) * 1e3, 1), "answer_kept_us": round(statistics.median(kept) * 1e3, 2)}
    if signer.path == ROOT:
        fresh = Secure((from_text(TREES[0]), from_text(TREES[1])), names.zones, Counter(), stub=from_text(TREES[0]))
        fresh.entries = names.secure.entries
        fresh._zones = zones
        answer = lookup(zones, query.qname, query.qtype, secure=True)
        found["validate_first_us"] = round(timed(lambda: fresh.status(answer, AT + 1))[0] * 1e3, 1)
        found["validate_again_us"] = round(statistics.median(timed(lambda: fresh.status(answer, AT + 1))[0] for _ in range(500)) * 1e3, 1)
    return found


def moves() -> Iterator[ZoneView]:
    """The cluster, one service moved each time."""
    number = 0
    while True:
        number += 1
        yield cluster(moved=number)


def arrivals(clusters: int) -> Iterator[ZoneView]:
    """The root, one cluster more each time."""
    number = 0
    while True:
        number += 1
        yield root(clusters, number)


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="signed zones")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--roots", default="100,1000,10000")
    rounds = parser.parse_args().rounds
    roots = [int(text) for text in parser.parse_args().roots.split(",")]
    report: dict[str, object] = {"machine": machine(), "cluster of 20": measure(cluster(), moves(), rounds, "s0.home.eu.cloud.")}
    for clusters in roots:
        report[f"root of {clusters}"] = measure(root(clusters), arrivals(clusters), rounds, "nobody.cloud.")
    RESULTS.write_text(json.dumps(report, indent=1) + "\n")
    for name, found in report.items():
        print(name, found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
