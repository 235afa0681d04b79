"""The LAN: how long a newcomer takes to be in, how soon lost neighbours meet, what a flood costs (GOALS, "Reach" and "Cluster").

``python -m benchmarks.lan`` makes a LAN of namespaces without DNS (as root), a founder on it, and lets newcomers in one after
the other with `overlay join lan`: seconds from the process's start to `joined as`, and as the node itself counts them; then
restarts one again and again, without the peers that it remembers, until it has its session back. Discovery's own price is
taken in this process. Results go to ``benchmarks/results/lan.json``.
"""

from __future__ import annotations

import argparse
import json
import re
import sqlite3
import statistics
import time
from pathlib import Path

from benchmarks.described import machine
from overlay.cluster.beacon import LENGTH, Beacon, Kind, encode, tag_of
from overlay.cluster.discovery import Discovery, Found, Neighbourhood
from overlay.cluster.links import Link
from overlay.cluster.rounds import PAUSE, ways_of
from overlay.setup import PEERS
from overlay.wire.address import Address, Way
from tests.netns.hosts import Host, unable, wait_until
from tests.netns.lans import Lans

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks/results/lan.json"
JOINED = re.compile(r"joined as \S+ in (\d+\.\d+) s")
GOALS = {"join lan, p95, s": 1.0, "flood of 500 a second, % of a core": 1.0}
OURS, AT = b"o" * 32, 1_800_000_000
HEADERS = 28 + 14  # octets: IPv4, UDP, Ethernet


def quantiles(samples: list[float]) -> dict[str, object]:
    """p50, p95 (the nearest rank), and all of them."""
    ordered = sorted(samples)
    return {
        "p50": round(statistics.median(ordered), 3), "p95": round(ordered[max(0, -(-95 * len(ordered) // 100) - 1)], 3), "n": len(ordered),
        "samples": [round(sample, 3) for sample in samples],
    }  # fmt: skip


def forget_peers(host: Host) -> None:
    """A node that is down remembers nobody."""
    with sqlite3.connect(host.home / "state.db") as database:
        database.execute("DELETE FROM kv WHERE tbl = ?", (PEERS,))


def joins(count: int) -> dict[str, object]:
    """Newcomers on a LAN, one after the other; then one of them meets the others again."""
    by_node, by_clock, met = [], [], []
    with Lans() as lans:
        lans.lan("home")
        hub = lans.on("home", "hub", "10.0.0.2/24")
        hub.overlay("init", "cloud.example.org", "--name", "hub", "--admission", "open").ok()
        hub.overlay("up", "--detach").ok()
        for number in range(count):
            guest = lans.on("home", f"guest{number}", f"10.0.0.{number + 3}/24")
            begun = time.monotonic()
            done = guest.overlay("join", "lan", "--name", guest.name, "--detach", "--timeout", "30", timeout=60).ok()
            by_clock.append(time.monotonic() - begun)
            found = JOINED.search(done.out)
            assert found is not None
            by_node.append(float(found[1]))
            guest.overlay("down").ok()
        for _ in range(count):
            forget_peers(guest)
            guest.overlay("up", "--detach").ok()
            begun = time.monotonic()
            wait_until(lambda: guest.json("peers"), 60, "it has met the hub", every=0.01)
            met.append(time.monotonic() - begun)
            guest.overlay("down").ok()
    return {
        "join lan, as the node counts, s": quantiles(by_node), "join lan --detach, whole command, s": quantiles(by_clock),
        "a session after `up` returned, nobody remembered, s": quantiles(met),
    }  # fmt: skip


def flood(beacons: int = 50_000) -> dict[str, object]:
    """Forged beacons, each with another key, from a thousand addresses: CPU for one, and what 10 s of them made."""
    ours, _ = flooded(OURS, beacons)
    foreign, _ = flooded(b"t" * 32, beacons)
    _, made = flooded(OURS, 5_000)
    return {
        "a forged beacon of ours, us": round(ours * 1e6, 2), "a foreign beacon, us": round(foreign * 1e6, 2),
        "flood of 500 a second, % of a core": round(ours * 500 * 100, 3), "dials in 10 s of it": sum(isinstance(one, Found) for one in made),
    }  # fmt: skip


def flooded(overlay_id: bytes, beacons: int) -> tuple[float, list[object]]:
    """CPU seconds for one of that many beacons at 500 a second, and what they made."""
    around = Neighbourhood(lambda key: False, tuple)
    discovery = Discovery(overlay_id=OURS, exchange=b"m" * 32, port=7653, entropy=bytes, around=around, links=[Link("eth0", 2, "10.0.0.2", 16)])
    data = [encode(Beacon(Kind.HERE, tag_of(overlay_id, AT // 3600), number.to_bytes(32, "big"), 7653)) for number in range(beacons)]
    ways = [Way("udp", Address(f"10.0.{number // 250}.{number % 250}", 7654)) for number in range(1, 1_000)]
    begun = time.process_time()
    for number, octets in enumerate(data):
        discovery.heard(octets, ways[number % len(ways)], number / 500, AT)
    return (time.process_time() - begun) / beacons, list(discovery.take())


def idle() -> dict[str, object]:
    """What a node says when all is quiet, on one interface with both families."""
    ways = ways_of([Link("eth0", 2, "10.0.0.2", 24), Link("eth0", 2, "fe80::2", 64)])
    return {"beacons when quiet, octets a second on the wire": round(len(ways) * (LENGTH + HEADERS) / PAUSE[1], 1)}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--joins", type=int, default=20)
    count = parser.parse_args().joins
    why = unable()
    figures = {**flood(), **idle(), **(joins(count) if why is None else {"skipped": why})}
    RESULTS.write_text(json.dumps({"machine": machine(), "figures": figures, "goals": GOALS}, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
