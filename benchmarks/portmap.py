"""Ports mapped at a real router: how soon, how soon again after its reboot, and how soon removed (GOALS, "Reach").

``python -m benchmarks.portmap`` (root) runs the port mapper behind miniupnpd in network namespaces of its own, once a run and
protocol in turn, as ``tests/netns/test_portmap.py`` does. Times are those of the machine's own words and of the router's start:
``mapped`` is from the start of its loop, ``again`` from the start of the router's daemon with nothing left of its mappings,
``removed`` from SIGTERM to the end of the process, its interpreter's end included. Results go to
``benchmarks/results/portmap.json``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
from pathlib import Path

from benchmarks.described import machine
from tests.netns.home import Home
from tests.netns.hosts import unable, wait_until

RESULTS = Path(__file__).resolve().parent / "results/portmap.json"
PROTOCOLS = ("pcp", "nat-pmp", "upnp")
GOALS = {"mapped, s": 1.0, "again, s": 2.0, "removed, s": 1.0}


def run(protocol: str) -> dict[str, float]:
    """One run: seconds by name."""
    with Home(protocol) as home:
        mapper = home.map("alice", 7653)
        first = wait_until(mapper.mapped, 10, "mapped", 0.01)[0]
        assert first["by"] == protocol and home.reaches(7653)
        home.kill_router()
        before, started = len(mapper.mapped()), time.monotonic()
        home.start_router()
        again = wait_until(lambda: mapper.mapped()[before:], 60, "mapped again", 0.01)[0]
        assert home.reaches(7653)
        leaving = time.monotonic()
        mapper.end()
        left = time.monotonic()
        assert home.mappings() == []
    return {"mapped, s": first["at"] - mapper.said[0]["at"], "again, s": again["at"] - started, "removed, s": left - leaving}


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description="Times of mapped ports at a real router.")
    parser.add_argument("--runs", type=int, default=9)
    if reason := unable() or ("miniupnpd is not installed" if shutil.which("miniupnpd") is None else ""):
        print(f"not measured: {reason}")
        return
    samples: dict[str, list[float]] = {}
    for _ in range(parser.parse_args().runs):
        for protocol in PROTOCOLS:
            for name, seconds in run(protocol).items():
                samples.setdefault(f"{protocol} {name}", []).append(round(seconds, 4))
    medians = {name: round(statistics.median(values), 3) for name, values in samples.items()}
    goals = {f"{protocol} {name}": f"<= {goal:g}" for protocol in PROTOCOLS for name, goal in GOALS.items()}
    RESULTS.write_text(json.dumps({"machine": machine(), "medians": medians, "goals": goals, "samples": samples}, indent=1) + "\n")
    for name, value in medians.items():
        print(f"{name:24} {value:8.3f}   (goal {goals[name]}; {min(samples[name]):.3f} to {max(samples[name]):.3f})")


if __name__ == "__main__":
    main()
