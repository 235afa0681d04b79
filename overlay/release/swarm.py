"""Who is asked for which piece of a release, and who is given one (DESIGN 3.9; research/release 2, 6).

It decides, for one release at one node, from what its mates say they have. It refuses to know streams, octets and clocks:
``now`` is monotonic seconds, a mate is whatever the caller names it by. What a mate says is believed only as far as asking
goes; a piece counts when its leaves are proved.

- The rarest piece first, ties by chance; a few pieces asked of a mate at once, so that no way runs dry.
- Near mates (of this cluster) first, but never only they: what no near one has is asked of far ones. That one copy crosses
  a site's uplink is the caller's part: of a cluster one node has far mates, and another takes over where it stalls.
- A source, which had all from the beginning, hands each piece out once: who asks for one that another was given gets one
  that nobody was given yet, and where there is none, the names of those who were given it, for ``ONCE`` seconds.
- A mate that leaves a question open for ``PATIENCE`` is slow: what it owes is asked of others, and it comes last. One that
  sends what was never signed is banned for good.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import Final, Generic, NamedTuple, TypeVar

from overlay.errors import Malformed
from overlay.machine import Entropy

PIECE: Final = 4  # leaves: 64 KiB, a quarter of a stream's window; 1,024 of them in 64 MiB (research/release 2: 1.01 T at 1,023 nodes)
DEPTH: Final = 2  # pieces asked of one mate at once, where there are several; tests/release/test_swarm.py: 4 cost 0.2 T more at 63
DEPTH_ALL: Final = 8  # of all mates together at least: 5 MB/s at 100 ms from one alone
PATIENCE: Final = 5.0  # seconds (research/release 6: a slow peer is replaced within 5 s)
ONCE: Final = 3.0  # seconds for which a piece is handed out once; measured in tests/release/test_swarm.py: 1.1 copies at the source
REST: Final = (0.1, 1.6)  # seconds, doubling: before a mate that sent us elsewhere is asked anything again
NAMED: Final = 3  # mates that are named to who is sent elsewhere
GIVEN_KEPT: Final = 8  # of those whom a piece was given

Mate = TypeVar("Mate", bound=Hashable)


class Ask(NamedTuple, Generic[Mate]):
    """Ask that mate for that piece."""

    mate: Mate
    piece: int


class Answer(NamedTuple, Generic[Mate]):
    """To a mate's question: the piece that it is given (which may be another than it asked for), or none and who was given it."""

    piece: int | None
    mates: tuple[Mate, ...] = ()


@dataclass(slots=True)
class _Mate:
    near: bool
    has: set[int] = field(default_factory=set)
    asked: dict[int, float] = field(default_factory=dict)  # piece -> since when
    rests: float = -1e9  # not before
    rest: float = REST[0]
    slow: int = 0  # questions left open for too long
    wanted: float = -1e9  # when it last asked us


class Swarm(Generic[Mate]):
    """One release at one node: ``pieces`` in all, ``have`` of them here."""

    def __init__(self, pieces: int, have: Iterable[int], entropy: Entropy) -> None:
        self.pieces = pieces
        self.missing = set(range(pieces)) - set(have)
        self.source = not self.missing  # whether all was here from the beginning
        self._fresh = set(range(pieces)) if self.source else set()  # what nobody was given yet
        self.banned: set[Mate] = set()
        self.counters: Counter[str] = Counter()
        self._entropy = entropy
        self._mates: dict[Mate, _Mate] = {}
        self._count = [0] * pieces  # how many mates have each
        self._given: dict[int, list[tuple[Mate, float]]] = {}  # to whom each piece was handed, and when

    # -- mates

    def joined(self, mate: Mate, *, near: bool) -> None:
        """A mate is there; nothing is known of what it has."""
        if mate not in self.banned:
            self._mates.setdefault(mate, _Mate(near))

    def left(self, mate: Mate) -> None:
        """A mate is gone; what it owed is asked of others."""
        gone = self._mates.pop(mate, None)
        if gone is not None:
            for piece in gone.has:
                self._count[piece] -= 1

    def ban(self, mate: Mate) -> None:
        """It sent what was never signed."""
        self.banned.add(mate)
        self.left(mate)
        self.counters["sources_banned"] += 1

    def has(self, mate: Mate, pieces: Iterable[int]) -> None:
        """A mate says that it has these. ``Malformed`` where there is no such piece."""
        held = self._mates.get(mate)
        for piece in pieces:
            if not 0 <= piece < self.pieces:
                raise Malformed("a piece beyond the end", rule="swarm-piece")
            if held is not None and piece not in held.has:
                held.has.add(piece)
                self._count[piece] += 1

    # -- what to ask

    def to_ask(self, now: float) -> list[Ask[Mate]]:
        """What to ask now. Each is on its way from here on, until ``came``, ``refused``, or too much time."""
        if not self.missing:
            return []
        self._lapse(now)
        found: list[Ask[Mate]] = []
        depth = max(DEPTH, DEPTH_ALL // max(1, len(self._mates)))
        if all(len(mate.asked) >= _depth(mate, depth) or mate.rests > now for mate in self._mates.values()):
            return found  # the usual case, and the cheap one
        under_way = {piece for mate in self._mates.values() for piece in mate.asked}
        open_ = self.missing - under_way
        near = {piece for mate in self._mates.values() if mate.near and not mate.slow for piece in mate.has & open_}
        dice = int.from_bytes(self._entropy(4), "big")
        for name, mate in sorted(self._mates.items(), key=lambda item: (item[1].slow, not item[1].near)):
            room = _depth(mate, depth) - len(mate.asked)
            if room <= 0 or not open_ or mate.rests > now:
                continue
            can = mate.has & open_ if mate.near else mate.has & open_ - near
            for piece in nsmallest(room, can, key=lambda piece: (self._count[piece], (piece * 2_654_435_761 ^ dice) % 4_294_967_291)):
                mate.asked[piece] = now
                open_.discard(piece)
                found.append(Ask(name, piece))
        return found

    def _lapse(self, now: float) -> None:
        for mate in self._mates.values():
            for piece in [piece for piece, since in mate.asked.items() if now - since > PATIENCE]:
                del mate.asked[piece]
                mate.rests = now + PATIENCE
                mate.slow += 1
                self.counters["mates_slow"] += 1

    def came(self, mate: Mate, piece: int, asked: int) -> bool:
        """A piece came, proved, where ``asked`` was asked for. False where it was here already."""
        held = self._mates.get(mate)
        if held is not None:
            held.asked.pop(asked, None)
            held.slow, held.rest = 0, REST[0]
        if piece not in self.missing:
            return False
        self.missing.discard(piece)
        return True

    def refused(self, mate: Mate, piece: int, now: float) -> None:
        """It does not give that piece now."""
        held = self._mates.get(mate)
        if held is not None:
            held.asked.pop(piece, None)
            held.rests, held.rest = now + held.rest, min(2 * held.rest, REST[1])

    def wake_at(self) -> float | None:
        """When :meth:`to_ask` may have more to say though nothing came."""
        times = [since + PATIENCE for mate in self._mates.values() for since in mate.asked.values()]
        times += [mate.rests for mate in self._mates.values() if mate.rests > -1e9 and not mate.asked]
        return min(times, default=None) if self.missing else None

    # -- what to give

    def give(self, mate: Mate, piece: int, now: float) -> Answer[Mate]:
        """A mate asks for a piece. What is not here is given to nobody."""
        asking = self._mates.get(mate)
        if piece in self.missing or not 0 <= piece < self.pieces or mate in self.banned:
            return Answer(None)
        if asking is not None:
            asking.wanted = now
        if self.source and asking is not None and piece not in self._fresh:
            others = sum(one.wanted > now - ONCE for one in self._mates.values())
            given = [(other, at) for other, at in self._given.get(piece, ()) if other in self._mates and at > now - ONCE]
            if others > 1 and given and all(other != mate for other, _ in given):
                instead = next((fresh for fresh in self._fresh if fresh not in asking.has), None)
                if instead is None:
                    self.counters["pieces_elsewhere"] += 1
                    return Answer(None, tuple(other for other, _ in given[-NAMED:]))
                piece = instead
        self._fresh.discard(piece)
        self._given[piece] = [*self._given.get(piece, ())[-GIVEN_KEPT:], (mate, now)]
        self.counters["pieces_given"] += 1
        return Answer(piece)


def _depth(mate: _Mate, usual: int) -> int:
    """How many questions it may have open."""
    return 1 if mate.slow else usual
