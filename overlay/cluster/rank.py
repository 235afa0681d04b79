"""Who of a cluster should be its gateway: the order of nodes by rank, from claims that may be lies (DESIGN 3.6).

A rank is (revision, reachability, uptime, id). Revision and reachability are its *merit*; only a better merit is worth
a planned hand-over, uptime and id choose among equals. What others say of themselves is taken with three grains of salt:

- a revision above the highest that a signed release known *here* proves counts as none at all;
- what rises counts after it has stood for 60 s by our own clock, what falls counts at once: whoever goes up and down
  counts as its lowest of the last minute, so a flapping claim moves nothing;
- uptime is told as a duration and turned into a date of our own clock: no two machines' clocks are compared.

A rightful speaker may still lie about reachability and uptime, and claim a revision that was truly released: nobody can
look into another machine. It then becomes gateway by a planned hand-over, as it could by taking a term.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

SOAK: Final = 60.0  # seconds that a better merit has to stand (DESIGN 3.6)

STEPS: Final = 16  # guess: whoever changes more often in a minute counts as its lowest anyway

Merit = tuple[int, int]  # revision, reachability


@dataclass(frozen=True, slots=True)
class Rank:
    """What a node says of itself. ``started``: monotonic seconds of whoever holds this value; ``reach``: 0 to 7, higher is better."""

    revision: int
    reach: int
    started: float
    node_id: bytes


class Soaked:
    """A number that counts as its lowest of the last ``SOAK`` seconds: it rises when it has stood, and falls at once.

    Kept are the dates since which it has been at least so much, both ascending, ``STEPS`` of them at the most: who climbs
    faster counts as less for a while.
    """

    __slots__ = ("_since",)

    def __init__(self, value: int, now: float) -> None:
        self._since = [(now, value)]

    def say(self, value: int, now: float) -> None:
        """It is ``value`` from now on."""
        while len(self._since) > 1 and self._since[1][0] <= now - SOAK:
            del self._since[0]
        since = now
        while self._since and self._since[-1][1] >= value:
            since = self._since.pop()[0]
        if len(self._since) < STEPS:
            self._since.append((since, value))

    def counted(self, now: float) -> int:
        """What counts; 0 before it has stood at all."""
        return next((value for since, value in reversed(self._since) if since <= now - SOAK), 0)


class Standing:
    """What one node says of itself, and since when."""

    __slots__ = ("_reach", "_revision", "node_id", "started")

    def __init__(self, rank: Rank, now: float) -> None:
        self.node_id, self.started = rank.node_id, rank.started
        self._revision, self._reach = Soaked(rank.revision, now), Soaked(rank.reach, now)

    def say(self, rank: Rank, now: float) -> None:
        """It says this from now on."""
        self.started = rank.started
        self._revision.say(rank.revision, now)
        self._reach.say(rank.reach, now)

    def merit(self, now: float, proven: int) -> Merit:
        """What counts of it. ``proven``: the highest revision that a signed release known here proves."""
        revision = self._revision.counted(now)
        return revision if revision <= proven else 0, self._reach.counted(now)

    def order(self, now: float, proven: int) -> tuple[Merit, float, bytes]:
        """By which nodes are sorted: the highest is the best."""
        return self.merit(now, proven), -self.started, self.node_id


class Ranks:
    """The standings of one's own cluster, and the order that follows from them."""

    def __init__(self, me: Rank, now: float) -> None:
        self._me = me.node_id
        self._standings = {me.node_id: Standing(me, now)}
        self._standby: bytes | None = None
        self.proven = 0

    def say(self, rank: Rank, now: float) -> None:
        """A node says this of itself."""
        standing = self._standings.get(rank.node_id)
        if standing is None:
            self._standings[rank.node_id] = Standing(rank, now)
        else:
            standing.say(rank, now)

    def keep(self, speakers: Collection[bytes]) -> None:
        """Forget all others: they may not speak any more, or are gone."""
        self._standings = {node: standing for node, standing in self._standings.items() if node in speakers or node == self._me}

    def order(self, candidates: Collection[bytes], now: float) -> list[bytes]:
        """The candidates, the standby first, then the best first.

        Who is standby stays so until it is no candidate any more or another has a better merit: a standby by a few
        seconds of uptime is not worth a change.
        """
        found = sorted(candidates, key=lambda node: self._order(node, now), reverse=True)
        if not found:
            self._standby = None
            return []
        standby = self._standby
        if standby is None or standby not in candidates or self._merit(found[0], now) > self._merit(standby, now):
            self._standby = standby = found[0]
        found.remove(standby)
        return [standby, *found]

    def better(self, candidates: Collection[bytes], now: float) -> bytes | None:
        """The best candidate, where its merit is better than our own."""
        best = max(candidates, key=lambda node: self._order(node, now), default=None)
        return best if best is not None and self._merit(best, now) > self._merit(self._me, now) else None

    def _order(self, node: bytes, now: float) -> tuple[Merit, float, bytes]:
        standing = self._standings.get(node)
        return standing.order(now, self.proven) if standing is not None else ((0, 0), -now, node)

    def _merit(self, node: bytes, now: float) -> Merit:
        return self._order(node, now)[0]
