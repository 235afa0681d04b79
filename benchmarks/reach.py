"""How nodes behind NATs reach each other: every pair of kinds, in namespaces, by the program as users run it (GOALS, "Reach").

    sudo python -m benchmarks.reach [WORLDS]

A world is a founder, two more public nodes and two nodes behind each kind of NAT (``tests/netns/nats.py``), one overlay, no
delay on the links. Of each unordered pair is measured, once a world: seconds until a first ping is answered where no session
was, less what the command takes where one is; seconds from there until the path is the best that the pair allows; then, in
a second part, what a path's death costs. All on one machine of two cores, which starts every client anew: tenths are noise.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.described import machine
from tests.netns.hosts import Host
from tests.netns.nats import Nats
from tests.netns.story import founded, joined
from tests.netns.test_reach import CLOSED, GUESSING, UNLIKE, expected, path
from tests.netns.test_reach_life import cut, ping

RESULTS = Path(__file__).with_name("results") / "reach.json"


def wall(host: Host, other: str) -> float:
    """Seconds of one `overlay ping`, the client's start included."""
    begun = time.monotonic()
    host.overlay("ping", f"{other}.{other}", "-c", "1").ok()
    return time.monotonic() - begun


def matrix(worlds: int) -> dict[str, dict[str, Any]]:
    """Pair -> first byte and time to the best path, one number a world, and the path in the end."""
    found: dict[str, dict[str, Any]] = {}
    for _ in range(worlds):
        with Nats() as net:
            founded(net, v6=False)
            for host in (net.public("one"), net.public("two")):
                joined(host, "--cluster", host.name)
            for kind, place in itertools.product((*UNLIKE, *CLOSED), "ab"):
                joined(net.site(f"{kind}-{place}", kind), "--cluster", f"{kind}-{place}")
            time.sleep(3)  # each knows its NAT and has its relays
            for a, b in itertools.combinations_with_replacement((*UNLIKE, *CLOSED), 2):
                one, other = net.hosts[f"{a}-a"], f"{b}-b"
                row = found.setdefault(f"{a} x {b}", {"first_s": [], "best_s": [], "path": []})
                first, begun = wall(one, other), time.monotonic()
                while path(one, other) not in expected(a, b) and time.monotonic() < begun + GUESSING:
                    time.sleep(0.05)
                row["best_s"].append(round(time.monotonic() - begun, 2))
                row["path"].append(path(one, other))
                row["first_s"].append(round(max(0.0, first - statistics.median(wall(one, other) for _ in range(3))), 3))
    return found


def deaths(worlds: int) -> dict[str, list[float]]:
    """What died -> milliseconds until a ping was answered, one a world."""
    found: dict[str, list[float]] = {}
    for _ in range(worlds):
        with Nats() as net:
            founded(net, v6=False)
            for host in (net.public("one"), net.public("two"), net.public("three")):
                joined(host, "--cluster", host.name)
            for name, kind in (("alice", "port-restricted"), ("bob", "port-restricted"), ("carol", "symmetric"), ("dave", "symmetric")):
                joined(net.site(name, kind), "--cluster", name)
            alice, carol = net.hosts["alice"], net.hosts["carol"]
            wall(alice, "bob")
            wall(carol, "dave")
            time.sleep(3)
            cut(net, net.hosts["alice-r"], net.hosts["bob-r"])
            found.setdefault("silent path death", []).append(ping(alice, "bob"))
            net.middle("nft", "delete table ip cut")
            time.sleep(5)
            net.reboot("alice")
            found.setdefault("router reboots with a new address", []).append(ping(alice, "bob"))
            relay = next(peer["address"] for peer in carol.json("peers") if peer["name"] == "dave.dave.cloud").partition(":")[0]
            next(host for host in net.hosts.values() if host.v4 == relay).kill()
            found.setdefault("relay killed", []).append(ping(carol, "dave"))
    return found


def main() -> None:
    """Measure, print, write."""
    worlds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    pairs, died = matrix(worlds), deaths(worlds)
    flat = [value for row in pairs.values() for value in row["first_s"]]
    punched = [value for row in pairs.values() for value, way in zip(row["best_s"], row["path"], strict=True) if way in ("direct", "punched")]
    summary = {
        "first_s": {"median": statistics.median(flat), "max": max(flat)}, "direct_s": {"median": statistics.median(punched), "max": max(punched)},
        "connected": f"{sum(None not in row['path'] for row in pairs.values())} of {len(pairs)}",
        "direct_of_16": sum(
            all(way in ("direct", "punched") for way in pairs[f"{a} x {b}" if f"{a} x {b}" in pairs else f"{b} x {a}"]["path"])
            for a, b in itertools.product(UNLIKE, UNLIKE)
        ),
        "deaths_ms": {what: {"median": statistics.median(took), "max": max(took)} for what, took in died.items()},
    }
    RESULTS.write_text(json.dumps({"machine": machine(), "worlds": worlds, "summary": summary, "pairs": pairs, "deaths": died}, indent=1) + "\n")
    print(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
