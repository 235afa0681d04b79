"""Seeded histories of a LAN, judged at every instant: ``python -m tests.cluster.histories --seeds 10000``.

A history is a few hosts and a minute or four in which they crash (also between store and send), stall, are parted into
two or three and come together again, leave, join, lose messages, and say of themselves what is not so. The same seed is
the same history. Figures: ``benchmarks/results/lease.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from multiprocessing import Pool
from pathlib import Path
from random import Random

from benchmarks.described import machine
from tests.cluster.lan import Host, Lan

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks/results/lease.json"
LONG = 8  # one history in so many is about rank, and takes minutes
Figures = dict[str, list[float]]


def history(seed: int) -> tuple[list[str], Figures]:
    """One history: what broke a promise, and how long things took."""
    dice = Random(seed)
    long = seed % LONG == 0
    lan = Lan(
        dice, loss=dice.choice((0.0, 0.0, 0.01, 0.05)), delay=dice.choice(((0.0002, 0.002), (0.0005, 0.01), (0.002, 0.04))),
        commit=dice.choice((0.002, 0.02, 0.03)),
    )  # fmt: skip
    for _ in range(dice.randint(1, 6)):
        merit = dice.randint(0, 2), dice.randint(0, 2)
        lan.add(speaks=dice.random() < 0.85, liar=dice.random() < 0.15, revision=merit[0] if long else 0, reach=merit[1] if long else 0)
    for host in list(lan.hosts.values()):
        lan.at(dice.choice((0.0, dice.uniform(0.0, 8.0))), lambda host=host: lan.start(host))
    end = dice.uniform(200.0, 280.0) if long else dice.uniform(30.0, 60.0)
    when = dice.uniform(1.0, 12.0)
    while when < end - 6.0:
        what = dice.choice(RARELY if long else ACTS)
        lan.at(when, lambda what=what: what(lan, dice))
        when += dice.expovariate(1 / (40.0 if long else 6.0)) if dice.random() < 0.8 else dice.uniform(0.0, 0.3)
    if long:
        for when in range(5, int(end), dice.randint(7, 50)):
            lan.at(float(when), lambda: flap(lan, dice))
    lan.until(end)
    return lan.judge.faults, lan.judge.figures


def one(lan: Lan, dice: Random, *, gateway: float = 0.5) -> Host | None:
    """Somebody; with this chance somebody who acts as gateway."""
    up = [host for host in lan.hosts.values() if host.up]
    acting = [host for host in up if host.lease is not None and host.lease.holds(host.clock(lan.now))]
    return dice.choice(acting if acting and dice.random() < gateway else up) if up else None


def crash(lan: Lan, dice: Random) -> None:
    if (host := one(lan, dice, gateway=0.7)) is not None:
        lan.crash(host)
        if dice.random() < 0.7:
            lan.at(lan.now + dice.uniform(0.1, 15.0), lambda: lan.start(host))


def crash_between(lan: Lan, dice: Random) -> None:
    """The next commit of somebody, be it at once or when it takes a term, is the last thing it does."""
    if (host := one(lan, dice, gateway=0.2)) is not None:
        host.tripped = True
        lan.at(lan.now + dice.uniform(0.1, 20.0), lambda: lan.start(host))


def stall(lan: Lan, dice: Random) -> None:
    if (host := one(lan, dice, gateway=0.7)) is not None:
        lan.stall(host, dice.choice((dice.uniform(0.5, 10.0), dice.uniform(2.8, 3.3))))


def stall_all(lan: Lan, dice: Random) -> None:
    seconds = dice.uniform(0.5, 10.0)
    for host in list(lan.hosts.values()):
        if host.up and dice.random() < 0.8:
            lan.stall(host, seconds + dice.uniform(0.0, 0.5))


def split(lan: Lan, dice: Random) -> None:
    if any(host.part for host in lan.hosts.values()):
        lan.heal()
    else:
        parts = dice.choice((2, 2, 3))
        lan.split({node_id: dice.randrange(parts) for node_id in lan.hosts})
        lan.at(lan.now + dice.uniform(0.5, 20.0), lan.heal)


def leave(lan: Lan, dice: Random) -> None:
    if (host := one(lan, dice, gateway=0.7)) is not None:
        lan.leave(host)
        if dice.random() < 0.7:
            lan.at(lan.now + dice.uniform(2.0, 15.0), lambda: lan.start(host))


def join(lan: Lan, dice: Random) -> None:
    if len(lan.hosts) < 8:
        host = lan.add(speaks=dice.random() < 0.9, revision=dice.randint(0, 3), reach=dice.randint(0, 2))
        lan.start(host)


def mistake(lan: Lan, dice: Random) -> None:
    """Somebody, often the gateway, is taken for dead by some others, or takes them for dead."""
    host = one(lan, dice, gateway=0.7)
    seconds, turned = dice.uniform(0.2, 8.0), dice.random() < 0.5
    for other in list(lan.hosts.values()):
        if host is not None and other is not host and dice.random() < 0.6:
            lan.mistake(*((host, other) if turned else (other, host)), seconds)


def flap(lan: Lan, dice: Random) -> None:
    if (host := one(lan, dice, gateway=0.2)) is not None:
        host.revision, host.reach = dice.randint(0, 5), dice.choice((host.reach, dice.randint(0, 2)))
        lan.say_rank(host)


Act = Callable[[Lan, Random], None]
ACTS: Sequence[Act] = (crash, crash, crash, crash_between, stall, stall, stall, stall_all, split, split, leave, leave, join, mistake, mistake)
RARELY: Sequence[Act] = (crash, stall, split, leave, join, mistake)


def spread(values: list[float]) -> dict[str, float]:
    """A distribution: how many, median, 99th of a hundred, and the most (seconds)."""
    values = sorted(values)
    return {
        "count": len(values), "p50": round(values[len(values) // 2], 3), "p90": round(values[len(values) * 9 // 10], 3),
        "p99": round(values[len(values) * 99 // 100], 3), "most": round(values[-1], 3),
    }  # fmt: skip


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=300)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="write the figures down")
    given = parser.parse_args(words)
    figures: Figures = defaultdict(list)
    broken, begun = 0, time.monotonic()
    seeds = range(given.first, given.first + given.seeds)
    with Pool(given.processes) as pool:
        for seed, (faults, found) in zip(seeds, pool.imap(history, seeds, chunksize=20), strict=True):
            for key, values in found.items():
                figures[key] += values
            for fault in faults:
                broken += 1
                print(f"seed {seed}: {fault}", file=sys.stderr)
    told = {key: spread(values) for key, values in sorted(figures.items())}
    print(json.dumps(told, indent=1))
    print(f"{given.seeds} histories, {broken} broken promises, {time.monotonic() - begun:.0f} s", file=sys.stderr)
    if given.write:
        RESULTS.write_text(
            json.dumps({"machine": machine(), "seeds": [seeds.start, seeds.stop - 1], "broken": broken, "seconds": told}, indent=2) + "\n",
        )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
