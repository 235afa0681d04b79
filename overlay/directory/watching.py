"""Zones that are watched at others: which keepers to ask, how many, and whom to leave for the next (DESIGN 3.5).

It decides from what keepers did, not from what they are. Two are asked at once and stay: one that is slow, gone or a liar
then costs nothing. A keeper that has nothing, or says nothing for ``PATIENCE``, is left for the next nearest; when none is
left the round begins anew after a pause. Where what came is not what the zone's signed head says, all the others are asked
as well, two at a time: records prove themselves, so answers are united, and a truncated one adds what it has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from overlay import limits
from overlay.directory import views
from overlay.directory.book import Book, zone_unit
from overlay.directory.neighbours import Neighbour
from overlay.directory.reaching import Reaching
from overlay.name import Path
from overlay.records.kinds import Head
from overlay.wire.messages import Method

AT_ONCE: Final = 2  # keepers that are asked at once and go on telling
PATIENCE: Final = 0.4  # seconds: the slowest twentieth of round trips takes 0.3 (DESIGN 3.5's delays)
RENEW: Final = 40.0  # seconds: a watch is renewed at two thirds of its lease
PAUSE: Final = 2.0  # seconds before a keeper that had nothing is asked again (guess)
KEEP: Final = 600.0  # seconds without a question before a watch is let go (guess)
LONGEST_PAUSE: Final = 60.0  # seconds: the pause doubles up to this


@dataclass(slots=True)
class Watch:
    """The conversation about one zone with those who may keep it, by node id."""

    used: float  # when somebody here last asked for names of it
    holders: dict[bytes, float] = field(default_factory=dict)  # who gave the zone -> when to ask again
    _asked: dict[bytes, float] = field(default_factory=dict)  # who has not answered yet -> when its place is free
    _barren: dict[bytes, tuple[float, float]] = field(default_factory=dict)  # who had nothing -> (not before, pause)
    doubted: bool = False  # what came so far is not what the head says
    exhausted: bool = False  # all who may keep it have had their turn
    look_at: float = 0.0  # when there is something to decide
    known: dict[bytes, Neighbour] = field(default_factory=dict)  # its keepers, as they were last named

    @property
    def held(self) -> bool:
        """Whether somebody gave the zone and goes on telling of changes."""
        return bool(self.holders)

    def to_ask(self, keepers: Sequence[bytes], now: float, surest: Sequence[bytes] = ()) -> list[bytes]:
        """Whom to ask now, the best first; they count as asked from here on.

        One of ``surest`` is always among them while one may answer: it is told of changes before all others.
        """
        chosen = []
        for node_id in [node_id for node_id, renew in self.holders.items() if now >= renew and node_id not in self._asked]:
            if len(self.holders) > AT_ONCE and not self.doubted and node_id not in surest:
                del self.holders[node_id]  # asked in doubt, which is over
            else:
                chosen.append(node_id)
        places = AT_ONCE - sum(now < until for node_id, until in self._asked.items() if node_id not in self.holders)
        places -= 0 if self.doubted else len(self.holders)
        free = [node_id for node_id in (*surest, *keepers) if self._may_ask(node_id, now)]
        if not any(node_id in self.holders or now < self._asked.get(node_id, now) for node_id in surest):
            places = max(places, int(any(node_id in surest for node_id in free)))
        chosen += list(dict.fromkeys(free))[: max(places, 0)]
        for node_id in chosen:
            self._asked[node_id] = now + PATIENCE
        return chosen

    def _may_ask(self, node_id: bytes, now: float) -> bool:
        return node_id not in self.holders and node_id not in self._asked and now >= self._barren.get(node_id, (0.0, 0.0))[0]

    def answered(self, node_id: bytes, now: float, *, held: bool) -> None:
        """Its answer came; ``held``: with the zone in it."""
        self._asked.pop(node_id, None)
        if held:
            self._barren.pop(node_id, None)
            self.holders[node_id] = now + RENEW
        else:
            self.failed(node_id, now)

    def failed(self, node_id: bytes, now: float) -> None:
        """It cannot be reached, its session ended, or it had nothing."""
        self._asked.pop(node_id, None)
        self.holders.pop(node_id, None)
        pause = min(self._barren.get(node_id, (0.0, PAUSE / 2))[1] * 2, LONGEST_PAUSE)
        self._barren[node_id] = (now + pause, pause)

    def idle(self, now: float) -> bool:
        """Whether nobody is waited for: all keepers known have had their turn."""
        return all(until <= now for node_id, until in self._asked.items() if node_id not in self.holders)

    def wake_at(self, now: float) -> float:
        """When the next of them is to be asked again, or a silent one's place is free."""
        dates = (*self.holders.values(), *self._asked.values(), *(at for at, _ in self._barren.values()))
        return min((date for date in dates if date > now), default=float("inf"))


class Watches:
    """The zones that a node watches.

    ``keepers`` says who is sure to keep one, and who may, the best first (and looks for more where told to); ``widen`` hears that
    these are of no use.
    """

    def __init__(
        self, *, book: Book, keepers: Callable[[Path, bool], tuple[list[Neighbour], list[Neighbour]]], widen: Callable[[Path], None],
        reaching: Reaching, counters: Counter[str],
    ) -> None:
        self._book = book
        self._keepers = keepers
        self._widen = widen
        self._reaching = reaching
        self._counters = counters
        self._watches: dict[Path, Watch] = {}

    def __contains__(self, path: object) -> bool:
        return path in self._watches

    def __iter__(self) -> Iterator[Path]:
        return iter(self._watches)

    def __len__(self) -> int:
        return len(self._watches)

    def want(self, path: Path, now: float) -> bool:
        """Somebody here asks for names of that zone. True where it is here, and is what its head says or all that there is."""
        watch = self._watches.get(path)
        if watch is None:
            if len(self._watches) >= limits.WATCHES:
                del self._watches[min(self._watches, key=lambda path: self._watches[path].used)]
                self._counters["drop:watches-full"] += 1
            self._watches[path] = Watch(now)
            self._counters["watches_begun"] += 1
            return False
        watch.used = now
        return watch.held and (watch.exhausted or not watch.doubted)

    def answered(self, path: Path, node_id: bytes, now: float, *, held: bool) -> None:
        """What a keeper said to a watch; what was in it is in the book by now."""
        watch = self._watches.get(path)
        if watch is not None:
            watch.answered(node_id, now, held=held)
            watch.doubted = not self._vouched(path)
            self._look(path, watch, now)

    def failed(self, path: Path, node_id: bytes, now: float) -> None:
        """A keeper did not answer."""
        watch = self._watches.get(path)
        if watch is not None:
            watch.failed(node_id, now)
            self._look(path, watch, now)

    def look_soon(self, path: Path, now: float) -> None:
        """More is known of who keeps that zone."""
        watch = self._watches.get(path)
        if watch is not None:
            watch.look_at = now

    def left(self, node_id: bytes, now: float) -> None:
        """The session with a node ended, and what it told us with it."""
        for watch in self._watches.values():
            if node_id in watch.holders:
                watch.failed(node_id, now)
                watch.look_at = now

    def holders(self) -> set[bytes]:
        """The nodes that tell us of changes."""
        return {node_id for watch in self._watches.values() for node_id in watch.holders}

    def _vouched(self, path: Path) -> bool:
        """Whether the zone is what the newest head says that its builder saw."""
        signers = {grant.item for grant in self._book.grants_on(path)}
        heads = [self._book.records[key] for signer in signers if (key := (path, "head", b"", signer)) in self._book.records]
        newest = max(heads, key=lambda head: head.order, default=None)
        body = self._book.body(newest) if newest is not None else None
        return isinstance(body, Head) and body.digest == views.view(self._book, path).digest

    def _look(self, path: Path, watch: Watch, now: float) -> None:
        surest, others = self._keepers(path, not watch.held)
        named = {keeper.node_id: keeper for keeper in (*surest, *others)}
        keepers = watch.known = {**{node_id: watch.known[node_id] for node_id in watch.holders if node_id in watch.known}, **named}
        chosen = watch.to_ask(list(named), now, [keeper.node_id for keeper in surest])
        watch.exhausted = not chosen and watch.idle(now)
        if watch.exhausted and (watch.doubted or not watch.held):
            self._widen(path)
        replica = self._book.units.get(zone_unit(path))
        body = {1: str(path), 2: replica.digest if replica is not None else b""}
        for node_id in chosen:
            keeper = keepers.get(node_id)
            if keeper is None or not self._reaching.ask(keeper, Method.WATCH, body, ("watch", path, node_id), now):
                watch.failed(node_id, now)
        watch.look_at = min(watch.wake_at(now), now + 1.0 if not watch.held else watch.used + KEEP)

    # -- time

    def wake_at(self) -> float:
        """When there is something to decide."""
        return min((watch.look_at for watch in self._watches.values()), default=float("inf")) if self._watches else float("inf")

    def wake(self, now: float) -> None:
        """Time passed."""
        for path, watch in list(self._watches.items()):
            if now - watch.used >= KEEP:
                del self._watches[path]
            elif now >= watch.look_at:
                self._look(path, watch, now)
