"""Cold look-ups among 10,000 and 100,000 clusters, a fifth of them hostile (GOALS, "Directory"): counted, timed, compared.

The searches are the product's own (``overlay/directory/search.py``, ``watching.py``, ``neighbours.py``); members are plain
objects with a point, a network and a character, and what takes time is drawn: log-normal, 20 to 150 ms one way for nine of
ten. Up to 10,000 clusters every reader has the table; above, it has its contacts. No signature is checked here: members can
be left out and cannot be invented, which is what signatures give; the case "anybody can be invented" shows what is lost.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Final

from benchmarks.described import machine
from overlay import limits
from overlay.directory.neighbours import Neighbour, diverse, nearest
from overlay.directory.search import ALPHA, CLOSE, PATHS, Search
from overlay.directory.watching import Watch
from overlay.identity.keys import KEY
from overlay.name import ROOT
from overlay.wire.address import Address

SPREAD: Final = (0.020, 0.150)  # seconds one way: the 5th and the 95th percentile
_LOW, _HIGH = map(math.log, SPREAD)
MIDDLE, SIGMA = (_LOW + _HIGH) / 2, (_HIGH - _LOW) / (2 * 1.645)
GIVE_UP: Final = 10.0  # seconds
HOSTILE: Final = ("drops", "lies", "floods", "slow", "stale")
SLOW: Final = 3.0  # seconds more
FIND_TRIPS: Final = 2  # round trips of an answer to FIND: 10 KB are a page, then the others


@dataclass(frozen=True, slots=True)
class Rules:
    """How a look-up is done; the defaults are the product's."""

    paths: int = PATHS
    alpha: int = ALPHA
    copies: int = 8  # nodes at which a zone is kept above the limit
    crowded: bool = True  # no more than two of one network near a key
    signed: bool = True  # nobody can be invented
    meeting: int = 0  # round trips before a stranger takes a question; 0: it rides in message 1 (DESIGN 3.5)


@dataclass(slots=True)
class Outcome:
    """One look-up."""

    right: bool
    seconds: float
    questions: int


@dataclass
class Crowd:
    """Members by point on the ring. ``characters`` holds those that are not honest, and how."""

    dice: Random
    ring: list[Neighbour]
    characters: dict[bytes, str]
    colluders: list[Neighbour]
    _known: dict[bytes, list[Neighbour]] = field(default_factory=dict)

    @classmethod
    def of(cls, count: int, hostile: float, seed: int, *, gone: float = 0.02) -> Crowd:
        """So many members, in half as many networks; a share hostile, a share gone without a word."""
        dice = Random(seed)
        ring = sorted((member(dice, network=dice.randrange(max(count // 2, 1))) for _ in range(count)), key=lambda n: n.point)
        bad = dice.sample(ring, round(count * hostile))
        characters = {n.node_id: HOSTILE[i % len(HOSTILE)] for i, n in enumerate(bad)}
        for n in dice.sample(ring, round(count * gone)):
            characters.setdefault(n.node_id, "gone")
        colluders = sorted((n for n in bad if characters[n.node_id] != "gone"), key=lambda n: n.point)
        return cls(dice, ring, characters, colluders)

    def honest(self) -> Neighbour:
        """Some member that is neither hostile nor gone."""
        while True:
            one = self.dice.choice(self.ring)
            if one.node_id not in self.characters:
                return one

    def with_ground(self, target: int, keys: int, networks: int) -> Crowd:
        """An attacker made so many keys and brought the 16 nearest to ``target`` in, from a few networks."""
        ground, distance = [], 0.0
        for _ in range(16):  # the smallest of so many random distances, one after the other
            distance += self.dice.expovariate(keys)
            point = target ^ (int(distance * 2**64) << 192 | self.dice.getrandbits(192))
            made = member(self.dice, network=10**6 + self.dice.randrange(networks))
            ground.append(replace(made, node_id=point.to_bytes(KEY, "big"), point=point))
        ring = sorted([*self.ring, *ground], key=lambda n: n.point)
        colluders = sorted([*self.colluders, *ground], key=lambda n: n.point)
        return Crowd(self.dice, ring, {**self.characters, **{n.node_id: "lies" for n in ground}}, colluders)

    def known_to(self, one: Neighbour) -> list[Neighbour]:
        """Whom a member knows above the limit, in the order of the ring: its surroundings, and 16 of each bucket."""
        known = self._known.get(one.node_id)
        if known is None:
            chosen = {n.node_id: n for n in nearest(one.point, self.ring, 2 * limits.NEAREST)}
            for bucket in buckets(one.point, self.ring):
                for n in self.dice.sample(bucket, min(limits.BUCKET, len(bucket))):
                    chosen[n.node_id] = n
            known = self._known[one.node_id] = sorted(chosen.values(), key=lambda n: n.point)
        return known


def member(dice: Random, *, network: int) -> Neighbour:
    """A member with an address in that /24."""
    node_id = dice.randbytes(KEY)
    host = f"{16 + (network >> 16)}.{network >> 8 & 255}.{network & 255}.{dice.randrange(256)}"
    return Neighbour(node_id, b"", (Address(host, 7653),), ROOT, int.from_bytes(node_id, "big"))


def buckets(point: int, ring: Sequence[Neighbour]) -> Iterator[Sequence[Neighbour]]:
    """The others by how many bits they share with the point: the far half, the next quarter ..."""
    first, end = 0, len(ring)
    for bit in range(8 * KEY - 1, -1, -1):
        if end - first <= limits.BUCKET:
            return
        low, high = first, end
        while low < high:  # where this bit becomes 1 between first and end
            middle = (low + high) // 2
            low, high = (low, middle) if ring[middle].point >> bit & 1 else (middle + 1, high)
        far = ring[first:low] if point >> bit & 1 else ring[low:end]
        first, end = (low, end) if point >> bit & 1 else (first, low)
        yield far


class Lookup:
    """One reader that wants one zone: a heap of what happens when, until the zone is here or time is up."""

    def __init__(self, crowd: Crowd, rules: Rules, reader: Neighbour, target: int, keepers: frozenset[bytes]) -> None:
        self.crowd, self.rules, self.reader, self.target, self.keepers = crowd, rules, reader, target, keepers
        self.now = 0.0
        self.questions = 0
        self._order = 0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._trips: dict[bytes, float] = {}  # round trip to those met so far, seconds
        self._seen: dict[bytes, Neighbour] = {}
        self._watch = Watch(0.0)
        self._search: Search | None = None
        self._ladder: list[Neighbour] = []
        self._done: float | None = None
        self.wanting = False

    def _after(self, delay: float, act: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._heap, (self.now + delay, self._order, act))

    def _ask(self, node: Neighbour, act: Callable[[], None], trips: int = 1) -> None:
        """A question to that node: ``act`` when its answer is here, never where it says nothing."""
        self.questions += 1
        trips += 0 if node.node_id in self._trips else self.rules.meeting
        trip = self._trips.setdefault(node.node_id, 2 * self.crowd.dice.lognormvariate(MIDDLE, SIGMA))
        character = self.crowd.characters.get(node.node_id, "")
        if character not in ("drops", "gone"):
            self._after(trips * trip + (SLOW if character == "slow" else 0.0), act)

    def in_table(self, gateway: Neighbour) -> Outcome:
        """Up to 10,000 clusters: the keepers stand in the table."""
        near = nearest(self.target, self.crowd.ring, limits.NEAREST)
        three = diverse(near, limits.CUSTODIANS) if self.rules.crowded else near[: limits.CUSTODIANS]
        self._ladder = [gateway, *three]
        return self._run()

    def by_search(self) -> Outcome:
        """Above: they are looked for."""
        self._search = self._begin(CLOSE)
        self.wanting = True
        return self._run()

    def publish(self) -> list[Neighbour]:
        """The nodes that a gateway finds for its zone."""
        self._search = self._begin(self.rules.copies)
        while not self._search.over and self._step():
            pass
        return self._search.found(self.rules.copies)

    def _begin(self, close: int) -> Search:
        seeds = nearest(self.target, self.crowd.known_to(self.reader), limits.NEAREST)
        return Search(
            self.target, seeds, me=self.reader.node_id, now=0.0, crowded=self.rules.crowded, close=close,
            paths=self.rules.paths, alpha=self.rules.alpha,
        )

    def _run(self) -> Outcome:
        while self._done is None and self.now < GIVE_UP and self._step():
            pass
        return Outcome(self._done is not None, self.now, self.questions)

    def _step(self) -> bool:
        if self._search is not None:
            for node in self._search.take():
                self._ask(node, partial(self._told, node), FIND_TRIPS)
            found = self._search.found() if self._search.over else []
            self._ladder = list({n.node_id: n for n in (*self._search.holders.values(), *found)}.values())
        by_id = {n.node_id: n for n in self._ladder}
        chosen = self._watch.to_ask([*by_id], self.now)
        if not chosen and self._search is not None and self._search.over and self.wanting and self._watch.idle(self.now):
            self._search.widen(self.now)
        for node_id in chosen:
            node = by_id[node_id]
            self._ask(node, partial(self._given, node))
        due = self._watch.wake_at(self.now)
        due = max(min(due, self._search.wake_at() if self._search is not None else math.inf), self.now + 0.01)
        if self._heap and self._heap[0][0] <= due:
            self.now, _, act = heapq.heappop(self._heap)
            act()
        elif due == math.inf:
            return False
        else:
            self.now = due
        if self._search is not None:
            self._search.wake(self.now)
        return True

    def _told(self, node: Neighbour) -> None:
        """A node answered whom it knows near the target."""
        assert self._search is not None
        character = self.crowd.characters.get(node.node_id, "")
        if not character or character in ("slow", "stale"):
            offers = nearest(self.target, self.crowd.known_to(node), limits.NEAREST)
        elif self.rules.signed:
            offers = nearest(self.target, self.crowd.colluders, limits.NEAREST)
        else:
            offers = [invented(self.crowd, self.target) for _ in range(limits.NEAREST)]
        claims = node.node_id in self.keepers if not character else character != "slow"
        self._search.answered(node.node_id, offers * (100 if character == "floods" else 1), self.now, holds=claims)

    def _given(self, node: Neighbour) -> None:
        """A node answered with the zone, or with nothing, or with what the zone once was."""
        character = self.crowd.characters.get(node.node_id, "")
        honest = node.node_id in self.keepers and character in ("", "slow")
        self._watch.answered(node.node_id, self.now, held=honest or character == "stale")
        if honest:
            self._done = self.now
        else:
            self._watch.doubted = True  # the zone's signed head says otherwise, or is too old to say anything


def invented(crowd: Crowd, target: int) -> Neighbour:
    """What a liar would show if nothing had to be signed: an id as near as it likes."""
    made = member(crowd.dice, network=crowd.dice.randrange(10**6))
    point = target ^ crowd.dice.getrandbits(128)
    node_id = point.to_bytes(KEY, "big")
    crowd.characters[node_id] = "lies"
    return replace(made, node_id=node_id, point=point)


def in_table(crowd: Crowd, rules: Rules, ground: tuple[int, int] | None = None) -> Outcome:
    """One cold look-up of a zone whose gateway is honest, and in one case of ten gone; every node has the table."""
    target = crowd.dice.getrandbits(8 * KEY)
    crowd = crowd.with_ground(target, *ground) if ground else crowd
    gateway = crowd.honest()
    near = nearest(target, crowd.ring, limits.NEAREST)
    keepers = [gateway, *(diverse(near, limits.CUSTODIANS) if rules.crowded else near[: limits.CUSTODIANS])]
    if crowd.dice.random() < 0.1:
        crowd = replace(crowd, characters={**crowd.characters, gateway.node_id: "gone"})
    return Lookup(crowd, rules, crowd.honest(), target, frozenset(n.node_id for n in keepers)).in_table(gateway)


def by_search(crowd: Crowd, rules: Rules, ground: tuple[int, int] | None = None) -> Outcome:
    """One cold look-up where nobody has the table: of a zone that its gateway has put where its own search led it."""
    target = crowd.dice.getrandbits(8 * KEY)
    crowd = crowd.with_ground(target, *ground) if ground else crowd
    kept = Lookup(crowd, rules, crowd.honest(), target, frozenset()).publish()
    return Lookup(crowd, rules, crowd.honest(), target, frozenset(n.node_id for n in kept)).by_search()


def summary(outcomes: Sequence[Outcome]) -> dict[str, float | int]:
    """How many were right, and the times and questions of those that were."""
    times = sorted(o.seconds for o in outcomes if o.right) or [math.inf]
    return {
        "lookups": len(outcomes), "right": round(sum(o.right for o in outcomes) / len(outcomes), 5),
        "p50_ms": round(1000 * statistics.median(times)), "p95_ms": round(1000 * times[int(len(times) * 0.95)]),
        "p99_ms": round(1000 * times[int(len(times) * 0.99)]), "questions": round(statistics.mean(o.questions for o in outcomes), 1),
    }


@dataclass(frozen=True, slots=True)
class Case:
    """One row: how many look-ups among how many members, in what way, against what."""

    name: str
    how: Callable[[Crowd, Rules, tuple[int, int] | None], Outcome]
    members: int
    lookups: int
    rules: Rules = Rules()
    ground: tuple[int, int] | None = None  # keys that an attacker made, networks that it has


TABLE_GOAL: Final = {"right": 0.99, "p50_ms": 120, "p95_ms": 400}
SMALL, LARGE = 10_000, 100_000
MET: Final = 3  # round trips more where a session comes first, as it does today: handshake, passports, admission (counted in the lab)
CASES: Final = (
    Case("table", in_table, SMALL, 10_000),
    Case("table, a session made first", in_table, SMALL, 3_000, Rules(meeting=MET)),
    Case("table, ids ground in one network", in_table, SMALL, 1_000, ground=(1_000, 1)),
    Case("search", by_search, SMALL, 1_000),
    Case("search", by_search, LARGE, 1_000),
    Case("search, sessions made first", by_search, LARGE, 500, Rules(meeting=MET)),
    Case("search, ids ground in one network", by_search, SMALL, 500, ground=(1_000, 1)),
    Case("search, ids ground in two networks, ten keys a member", by_search, SMALL, 200, ground=(100_000, 2)),
    Case("  without the rule of networks", by_search, SMALL, 200, Rules(crowded=False), (100_000, 2)),
    Case("  where networks cost nothing", by_search, SMALL, 200, ground=(100_000, 10**6)),
    Case("search by one path", by_search, SMALL, 1_000, Rules(paths=1)),
    Case("search by two paths", by_search, SMALL, 500, Rules(paths=2)),
    Case("search by eight paths", by_search, SMALL, 500, Rules(paths=8)),
    Case("search, one question at once on a path", by_search, SMALL, 500, Rules(alpha=1)),
    Case("search, zones kept by three", by_search, SMALL, 1_000, Rules(copies=3)),
    Case("search, anybody can be invented", by_search, SMALL, 100, Rules(signed=False)),
)


def measure(scale: float, hostile: float, seed: int) -> list[dict[str, object]]:
    """All cases, each with its figures."""
    crowds: dict[int, Crowd] = {}
    rows: list[dict[str, object]] = []
    for case in CASES:
        crowd = crowds.setdefault(case.members, Crowd.of(case.members, hostile, seed))
        begin = perf_counter()
        outcomes = [case.how(crowd, case.rules, case.ground) for _ in range(max(10, round(case.lookups * scale)))]
        figures = summary(outcomes)
        rows.append({"case": case.name, "members": case.members, **figures, "wall_s": round(perf_counter() - begin, 1)})
        print(
            f"{case.name:56} {case.members:7,}  {100 * figures['right']:6.2f} %  p50 {figures['p50_ms']:5} p95 {figures['p95_ms']:5} "
            f"p99 {figures['p99_ms']:5} ms  {figures['questions']:5} questions",
            flush=True,
        )
    return rows


def main() -> None:
    """Run, print, write ``results/lookup.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the look-ups of each case")
    parser.add_argument("--hostile", type=float, default=0.2, help="share of members that are hostile")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "lookup.json")
    asked = parser.parse_args()
    rows = measure(asked.scale, asked.hostile, asked.seed)
    result = {"machine": machine(), "hostile": asked.hostile, "one_way_s": SPREAD, "goal": TABLE_GOAL, "cases": rows}
    asked.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
