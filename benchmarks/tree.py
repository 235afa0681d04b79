"""The table of many clusters: what one change costs a node that knows of them all (DESIGN 3.5; issue "It holds", scale).

``python -m benchmarks.tree --clusters 10000`` builds a real book (every record granted and signed, signatures taken as
checked), then lets one cluster say the same anew, change its load, and change its address, and times what a node does of
it: the book, the ring of public nodes, the zones that it keeps, the view of the root, the root zone in both trees. Medians
over the rounds go to ``benchmarks/results/tree.json``.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path as File
from random import Random

from benchmarks.crowd import crowd, identity
from benchmarks.described import machine
from overlay.directory.book import Book
from overlay.directory.machine import Directory
from overlay.founding import Plan, founder_grants, founding_record
from overlay.identity.keys import Identity, Signer, digest
from overlay.name import ROOT, Path
from overlay.records.kinds import Cluster
from overlay.records.record import Draft, Record, sign
from overlay.records.trust import Trust
from overlay.units import HOUR
from overlay.wire.address import Address
from tld.names import Names

RESULTS = File(__file__).resolve().parent / "results/tree.json"
AT = 1_800_000_000  # UTC seconds: any date after the program's build
SAID = ("said anew", "load changed", "address changed")


class Scene:
    """A node that knows of so many clusters, and its clock."""

    def __init__(self, clusters: int) -> None:
        root_key, me = Signer.from_seed(digest(b"root")), Identity.from_secret(digest(b"me"))
        plan = Plan.checked(zone="cloud.example.net", tld="cloud", admission="open", name=Path(("bench", "bench")))
        self.root = founding_record(plan, [root_key], AT)
        grants = founder_grants(plan, self.root, [root_key], me, AT)
        self.book = Book(Trust(self.root.digest, lambda *_: True))
        for record in (self.root, *grants, *crowd(me.signer, grants[0], self.root.digest, AT, clusters)):
            self.book.add(record, AT + 5)
        self.directory = Directory(me=me.node_id, cluster=Path(("bench",)), book=self.book, entropy=Random(1).randbytes, now=0.0)
        self.holdings = self.directory.holdings
        self.names = Names(tld="cloud", zone="cloud.example.net", overlay_id=self.root.digest)
        self.at = AT + 10
        self.book.take_changed()
        self.names.update(self.holdings.view(ROOT))

    def said(self, number: int, what: str) -> Record:
        """What a gateway says a second later."""
        self.at += 1
        gateway, path = identity(number), Path((f"cluster{number}",))
        first = next(grant for grant in self.book.grants_on(path) if grant.item == gateway.node_id)
        usual = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        address = Address(f"10.200.{self.at >> 8 & 255}.{self.at & 255}" if what == "address changed" else usual, 7653)
        body = Cluster(
            exchange=gateway.exchange_public, addresses=(address,), node=path / "gateway", load=self.at % 999 if what == "load changed" else 0,
        ).body()
        draft = Draft(name=path, kind="cluster", seq=self.at * 1000, issued=self.at, expires=self.at + 2 * HOUR, via=first.digest, body=body)
        return sign(draft, [gateway.signer], self.root.digest)

    def react(self, record: Record, times: dict[str, list[float]], what: str) -> None:
        """All that a node does about it, timed part by part (milliseconds)."""

        def timed(part: str, act: Callable[[], object]) -> None:
            began = time.perf_counter()
            act()
            times[f"{what}: {part}"].append((time.perf_counter() - began) * 1e3)

        timed("book", lambda: self.book.add(record, self.at + 1))
        changed = self.book.take_changed()
        if not changed:
            return
        self.holdings.changed(changed)
        timed("ring", self.holdings.ring)
        timed("zones kept", self.holdings.zones)
        timed("view", lambda: self.holdings.view(ROOT))
        timed("zone", lambda: self.names.update(self.holdings.view(ROOT)))


def main() -> None:
    """Measure and write."""
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--clusters", type=int, default=10_000)
    reader.add_argument("--rounds", type=int, default=9)
    given = reader.parse_args()
    began = time.perf_counter()
    scene = Scene(given.clusters)
    times: dict[str, list[float]] = defaultdict(list)
    built = time.perf_counter() - began
    for number in range(given.rounds):
        for what in SAID:
            scene.react(scene.said(100 + number, what), times, what)
    figures = {part: round(statistics.median(values), 2) for part, values in times.items()}
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    found = {
        "machine": machine(), "clusters": given.clusters, "rounds": given.rounds, "built and first shown, s": round(built, 1),
        "median ms": figures, "memory with the tools of this measurement, MiB": rss,
    }
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    for part, value in figures.items():
        print(f"{part:32} {value:10.2f} ms")


if __name__ == "__main__":
    main()
