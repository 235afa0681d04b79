"""A thousand nodes: a join storm, look-ups, churn, a partition that heals, a revocation (GOALS, "Directory").

``python -m benchmarks.thousand``; with ``--twice`` the same seed again, whose digest has to be equal. Whole nodes in one process, in
virtual time, with crypto that costs nothing (``overlay/lab/crypto.py``): what is measured is all the rest of the program. It ends with 1
where a chapter did not come in time, or the same seed gave another run.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from pathlib import Path
from time import perf_counter, process_time

from benchmarks.described import machine
from overlay.lab.crypto import NULL
from overlay.lab.storm import Storm
from overlay.lab.world import World

GOAL_WALL_S = 60


def once(clusters: int, nodes: int, seed: int) -> tuple[dict[str, object], bool]:
    """One run, and whether everything came in time."""
    wall, cpu = perf_counter(), process_time()

    def tell(what: str) -> None:
        print(f"{perf_counter() - wall:7.1f} s wall {process_time() - cpu:7.1f} s CPU  {what}", flush=True)

    world = World(seed, crypto=NULL)
    storm = Storm(world, clusters, nodes, tell)
    storm.play()
    return {
        "virtual_s": {what: None if took is None else round(took, 1) for what, took in storm.times.items()},
        "wall_s": round(perf_counter() - wall, 1), "cpu_s": round(process_time() - cpu, 1),
        "datagrams_sent": world.counters["sent"], "datagrams_delivered": world.counters["delivered"], "digest": world.digest,
    }, storm.held


def main() -> None:
    """Run, print, write ``results/thousand.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clusters", type=int, default=50)
    parser.add_argument("--nodes", type=int, default=20, help="in each cluster")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--twice", action="store_true", help="the same seed again")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "thousand.json")
    asked = parser.parse_args()
    gc.disable()  # a world is one large heap of long-lived objects: collections take a quarter of the time and find little
    runs = [once(asked.clusters, asked.nodes, asked.seed) for _ in range(2 if asked.twice else 1)]
    held = all(held for _, held in runs) and len({str(run["digest"]) for run, _ in runs}) == 1
    result = {
        "machine": machine(), "clusters": asked.clusters, "nodes_each": asked.nodes, "seed": asked.seed,
        "goal": {"wall_s": GOAL_WALL_S}, "held": held, "runs": [run for run, _ in runs],
    }
    asked.out.write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
