"""Looking for the nodes nearest to a key, where no table holds them all: Kademlia by disjoint paths (DESIGN 3.5).

It decides whom to ask next and when enough is known. Four paths start from different contacts, and no node is asked on
two of them, so a liar spoils the path it stands on and no other (S/Kademlia: Baumgart and Mies 2007, 4.2 and 5). Answers
are united, not outvoted: each candidate is a node whose signed record was judged, so a liar can leave out and cannot
invent, and whatever one honest path brings counts. It knows no sessions and no records; who feeds it has judged them.

A path asks up to three nodes at once, nearest first. One that is silent for ``PATIENCE`` stops holding its place, and its
answer still counts when it comes. Memory: 16 unasked candidates a path, and a mark for each question, of which there are 64.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from overlay import limits
from overlay.directory.neighbours import Neighbour, diverse

PATHS: Final = 4  # with 20 % liars and three steps a path is clean with 0.8**3 = 51 %, one of four with 94 % (see decision 11)
ALPHA: Final = 3  # questions at once on a path (DESIGN 3.5)
CLOSE: Final = 4  # a path is over when its four nearest have been asked: the three keepers of a key, and one to spare
PATIENCE: Final = 1.0  # seconds: twice the slowest twentieth of round trips (0.3 s), with the handshake before it
LASTS: Final = 10.0  # seconds after which a search ends with what it has


@dataclass(slots=True)
class _Path:
    """One way towards the key. ``known``: whom it was told of and may rely on, by distance; asked ones stay in it."""

    known: dict[int, Neighbour] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)  # the distances of those, sorted
    waits: dict[bytes, float] = field(default_factory=dict)  # asked, silent so far -> when its place is free again


class Search:
    """One search for the nodes nearest to ``target``. Ask whom :meth:`take` names; tell it what they said."""

    def __init__(
        self, target: int, seeds: Sequence[Neighbour], *, me: bytes, now: float, crowded: bool = True, close: int = CLOSE,
        paths: int = PATHS, alpha: int = ALPHA, counters: Counter[str] | None = None,
    ) -> None:
        """``seeds``: contacts to begin with, the nearest first. ``crowded``: whether two of one network are enough near a key."""
        self.target = target
        self.holders: dict[bytes, Neighbour] = {}  # who says that it keeps what stands under the key, in the order of their answers
        self.counters: Counter[str] = counters if counters is not None else Counter()
        self._me = me
        self._crowded = crowded
        self._alpha = alpha
        self._close = close
        self._left = limits.QUESTIONS
        self._ends = now + LASTS
        self._asked: dict[bytes, tuple[_Path, Neighbour]] = {}  # by node id: the one path that asked it
        self._answered: dict[bytes, Neighbour] = {}
        self._silent: set[bytes] = set()  # asked in vain, or for longer than is worth waiting
        self._out: list[Neighbour] = []
        self._paths = [_Path() for _ in range(paths)]
        for number, path in enumerate(self._paths):
            self._learn(path, seeds[number::paths])
        self.over = False
        self._go_on(now)

    # -- answers

    def answered(self, node_id: bytes, offers: Iterable[Neighbour], now: float, *, holds: bool = False) -> None:
        """The answer of a node that was asked: at most 16 nodes whose records were judged; ``holds``: it keeps what is sought."""
        if node_id not in self._asked or node_id in self._answered:
            return
        path, node = self._asked[node_id]
        path.waits.pop(node_id, None)
        self._silent.discard(node_id)
        self._answered[node_id] = node
        if holds:
            self.holders[node_id] = node
        several = list(islice(offers, limits.NEAREST + 1))
        if len(several) > limits.NEAREST:
            self.counters["drop:find-too-long"] += 1
        self._learn(path, several[: limits.NEAREST])
        self._go_on(now)

    def failed(self, node_id: bytes, now: float) -> None:
        """A node that was asked cannot be reached, or said nothing of use."""
        if node_id in self._asked and node_id not in self._answered:
            self._asked[node_id][0].waits.pop(node_id, None)
            self._silent.add(node_id)
            self._go_on(now)

    def _learn(self, path: _Path, nodes: Iterable[Neighbour]) -> None:
        for node in nodes:
            distance = node.point ^ self.target
            if node.node_id != self._me and distance not in path.known:
                path.known[distance] = node
                insort(path.order, distance)
        unasked = [distance for distance in path.order if path.known[distance].node_id not in self._asked]
        for distance in unasked[limits.NEAREST :]:
            del path.known[distance]
            path.order.remove(distance)

    # -- whom to ask

    def _next(self, path: _Path) -> Neighbour | None:
        """The nearest node of the path that was not asked, where it is among the nearest that may still answer."""
        living = (node for distance in path.order if (node := path.known[distance]).node_id not in self._silent)
        near = diverse(living, self._close) if self._crowded else islice(living, self._close)
        return next((node for node in near if node.node_id not in self._asked), None)

    def _go_on(self, now: float) -> None:
        if self.over:
            return
        waiting = True
        while waiting:  # in turns, so that the paths share what they have in common
            waiting = False
            for path in self._paths:
                node = self._next(path) if len(path.waits) < self._alpha else None
                if node is None:
                    continue
                if not self._left:
                    self.counters["searches_cut"] += 1
                    break
                self._left -= 1
                self._asked[node.node_id] = (path, node)
                path.waits[node.node_id] = now + PATIENCE
                self._out.append(node)
                waiting = True
        self.over = not any(path.waits for path in self._paths)

    def widen(self, now: float) -> bool:
        """What was found is of no use: ask twice as many near the key. False where all was done that may be."""
        if not self.over or self._close >= limits.NEAREST or not self._left:
            return False
        self._close *= 2
        self._ends = now + LASTS
        self.over = False
        self._go_on(now)
        return not self.over

    def take(self) -> list[Neighbour]:
        """Whom to ask now."""
        out, self._out = self._out, []
        return out

    # -- time

    def wake_at(self) -> float:
        """When somebody has been silent for too long."""
        due = [until for path in self._paths for until in path.waits.values()]
        return min([self._ends, *due]) if not self.over else float("inf")

    def wake(self, now: float) -> None:
        """Time passed: places of the silent are free."""
        for path in self._paths:
            for node_id in [node_id for node_id, until in path.waits.items() if until <= now]:
                del path.waits[node_id]
                self._silent.add(node_id)
                self.counters["questions_silent"] += 1
        self._go_on(now)
        self.over = self.over or now >= self._ends

    # -- what was found

    def found(self, count: int = limits.NEAREST) -> list[Neighbour]:
        """The nearest of all paths that answered, the nearest first; not all of one network, where there are many."""
        ordered = sorted(self._answered.values(), key=lambda node: node.point ^ self.target)
        return diverse(ordered, count) if self._crowded else ordered[:count]

    @property
    def asked(self) -> int:
        """How many questions it took so far."""
        return len(self._asked)
