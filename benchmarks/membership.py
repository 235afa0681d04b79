"""Members of one cluster in virtual time: who is known when, what an idle cluster sends, how often somebody is falsely taken for dead.

The machines are the product's; the net is `tests/cluster/swarm.py` (0.5 to 3 ms, loss where it is said). Nothing is dialled: all have
sessions with each other. Writes `benchmarks/results/membership.json`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

from benchmarks.described import machine
from overlay.cluster.outputs import Life
from tests.cluster.swarm import Swarm

LIMIT = 60.0  # virtual seconds
STALL = 2.0


def quantiles(times: list[float]) -> dict[str, float]:
    """p50, p95, p99 and the worst, in seconds."""
    ordered = sorted(times)
    at = [statistics.quantiles(ordered, n=100, method="inclusive")[n - 1] for n in (50, 95, 99)] if len(ordered) > 1 else ordered * 3
    return {"runs": len(ordered), **{name: round(value, 2) for name, value in zip(("p50", "p95", "p99", "most"), (*at, ordered[-1]), strict=True)}}


def quiet(members: int, seed: int, loss: float = 0.0) -> Swarm:
    """So many that know each other."""
    swarm = Swarm(members, seed, loss=loss)
    swarm.meet()
    swarm.run(3.0)
    return swarm


def crashed(members: int, seed: int, loss: float) -> float:
    """Seconds from a crash until all the others know it."""
    swarm = quiet(members, seed, loss)
    swarm.crash(1)
    return swarm.run_until(lambda: swarm.all_say(1, Life.DEAD), LIMIT) or LIMIT


def joined(members: int, seed: int) -> float:
    """Seconds from a first session until all know the newcomer."""
    swarm = quiet(members, seed)
    swarm.crash(1)
    swarm.run(20.0)
    swarm.restart(1, 2)
    return swarm.run_until(lambda: swarm.all_say(1, Life.ALIVE), LIMIT) or LIMIT


def idle(members: int) -> dict[str, float]:
    """What each sends in a second, headers of UDP and IP with it."""
    swarm = quiet(members, 1)
    swarm.run(20.0)
    words, octets = swarm.sent, swarm.octets
    swarm.run(60.0)
    return {"words": round((swarm.sent - words) / 60 / members, 2), "octets": round((swarm.octets - octets) / 60 / members)}


def alarms(seconds: float) -> dict[str, float]:
    """20 members, 5 % loss, each stalls for 2 s once a minute on average: who was taken for dead though it lived, in so many seconds of CPU."""
    found, minutes, seed, began = 0, 0.0, 0, time.process_time()
    while time.process_time() - began < seconds:
        swarm = quiet(20, seed, loss=0.05)
        for _ in range(40):
            swarm.stall(swarm.dice.randrange(20), STALL)
            swarm.run(3.0)
        found += swarm.alarms()
        minutes += 20 * 120 / 60
        seed += 1
    return {"alarms": found, "node_minutes": minutes, "at_most_per_node_minute_95": round((3 if not found else 3 + 2 * found) / minutes, 6)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=60)
    parser.add_argument("--alarms", type=float, default=120.0, help="seconds of CPU for false alarms")
    args = parser.parse_args()
    found = {
        "crash_known_by_all_s": {
            "5": quantiles([crashed(5, seed, 0.0) for seed in range(args.seeds)]),
            "20": quantiles([crashed(20, seed, 0.0) for seed in range(args.seeds)]),
            "20, 5 % loss": quantiles([crashed(20, seed, 0.05) for seed in range(args.seeds // 2)]),
            "100": quantiles([crashed(100, seed, 0.0) for seed in range(args.seeds // 5)]),
        },
        "join_known_by_all_s": {"20": quantiles([joined(20, seed) for seed in range(args.seeds // 2)])},
        "idle_per_node_and_second": {"5": idle(5), "20": idle(20), "100": idle(100)},
        "false_alarms": alarms(args.alarms),
    }  # fmt: skip
    result = {"machine": machine(), **found}
    (Path(__file__).parent / "results" / "membership.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
