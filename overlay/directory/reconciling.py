"""Comparing with others what is held: whom, how much at once, and when to leave one for the next (DESIGN 3.5).

It decides the questions of a comparison: digests of units, sums of the buckets of those that differ, lists of the buckets
that differ, the records themselves; both ends have the union in the end. One peer is compared with at a time, since what
one has told the next need not. But a peer may be slow, or lie: after ``SHARE`` seconds the next one has its turn, whatever
the first still says; a list of records that it then does not hand out is not followed to its end.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from overlay import limits
from overlay.directory.book import TABLE, Unit
from overlay.directory.holdings import Holdings
from overlay.directory.outputs import Ask
from overlay.directory.pushing import Partner, Pushing, sample
from overlay.directory.spread import CORE
from overlay.machine import Entropy
from overlay.name import parse_path
from overlay.wire.codec import Value, octet_list
from overlay.wire.messages import Method

PASSES: Final = 3  # of one comparison: table, zones that it names, and one to spare
SHARE: Final = 10.0  # seconds that a peer has for itself: a table of 10,000 clusters comes in 3 s over 20 Mbit/s
AT_ONCE: Final = 3  # comparisons under way with those whose share is over; the oldest is let go
WINDOW: Final = 4  # questions in flight: with 3 pushes one less than a session's 8 calls
RECORDS: Final = 64  # records asked for at once, by key
GRANTS: Final = 32  # the same by digest
HURRY: Final = 3.0  # seconds between tries while no comparison was ever completed
UNITS: Final = 10_000  # that a peer may name
NOTHING: Final = 512  # octets of the sums of a unit; as many zeros where there is nothing in it


@dataclass(slots=True)
class _Comparison:
    """With one peer, under a number that its questions carry."""

    peer: Partner
    began: float
    todo: deque[tuple[Method, Value, tuple[object, ...]]] = field(default_factory=deque)
    waiting: int = 0  # questions in flight
    passes: int = 0
    again: bool = False  # there are units that could not be compared yet
    complete: bool = True  # all questions were answered


class Reconciling:
    """All comparisons of a node.

    ``take`` takes in records from a peer: how many were acceptable, which grants they lack. ``partial`` hears that a peer has
    no whole table to compare.
    """

    def __init__(
        self, *, holdings: Holdings, pushing: Pushing, entropy: Entropy, ask: Callable[[Ask], None],
        take: Callable[[Partner, list[bytes], float], tuple[int, list[bytes]]], partial: Callable[[], None], now: float,
    ) -> None:
        self.synced = False  # whether one comparison is complete
        self._holdings = holdings
        self._pushing = pushing
        self._entropy = entropy
        self._ask = ask
        self._take = take
        self._partial = partial
        self._comparisons: dict[int, _Comparison] = {}
        self._current = 0  # the one that has its share of time now; 0: none
        self._last = 0
        self._queue: dict[tuple[int, Unit], None] = {}  # sessions to compare with, in order; in one unit alone, where it is named
        self._next_at = now + self._period()

    @property
    def _counters(self) -> Counter[str]:
        return self._pushing.counters

    # -- whom

    def begin(self, session: int, now: float, unit: Unit = "") -> None:
        """Compare with that peer, after those that are being compared with: all that both hold, or one unit that it should hold."""
        self._queue[session, unit] = None
        if not self._current:
            self._begin_next(now)

    def left(self, session: int, now: float) -> None:
        """A session ended."""
        self._queue = {queued: None for queued in self._queue if queued[0] != session}
        for number in [number for number, one in self._comparisons.items() if one.peer.session == session]:
            self._end(number, now)

    def _begin_next(self, now: float) -> None:
        for session, unit in list(self._queue):
            del self._queue[session, unit]
            peer = self._pushing.partners.get(session)
            if peer is not None:
                self._last += 1
                self._current = self._last
                self._comparisons[self._current] = _Comparison(peer, now)
                self._counters["reconciliations"] += 1
                if unit:
                    self._question(self._current, Method.BUCKETS, {1: unit}, ("buckets", self._current, unit))
                else:
                    self._summary(self._current)
                return

    def _end(self, number: int, now: float) -> None:
        self._comparisons.pop(number, None)
        if number == self._current:
            self._current = 0
            self._begin_next(now)

    def wake_at(self) -> float:
        """When the next peer has its turn."""
        share = self._comparisons[self._current].began + SHARE if self._current else self._next_at
        return min(share, self._next_at)

    def wake(self, now: float) -> None:
        """Time passed: the next one, by the clock or because this one has had its share."""
        if self._current and now >= self._comparisons[self._current].began + SHARE:
            self._counters["reconciliations_slow"] += 1
            self._current = 0
            while len(self._comparisons) > AT_ONCE:
                del self._comparisons[next(iter(self._comparisons))]
            self._begin_next(now)
        if now >= self._next_at:
            self._next_at = now + self._period()
            for peer in sample(self._entropy, list(self._pushing.partners.values()), 1):
                self.begin(peer.session, now)

    def _period(self) -> float:
        return (limits.RECONCILE if self.synced else HURRY) * (0.75 + self._entropy(1)[0] / 512)

    # -- what

    def _summary(self, number: int) -> None:
        one = self._comparisons[number]
        one.passes += 1
        one.again = False
        self._question(number, Method.SUMMARY, {}, ("summary", number))

    def _question(self, number: int, method: Method, body: Value, context: tuple[object, ...]) -> None:
        self._comparisons[number].todo.append((method, body, context))
        self._pump(self._comparisons[number])

    def _pump(self, one: _Comparison) -> None:
        while one.todo and one.waiting < WINDOW:
            one.waiting += 1
            self._ask(Ask(one.peer.session, *one.todo.popleft()))

    def answered(self, context: tuple[object, ...], peer: Partner, body: Value, at: float, now: float) -> None:
        """An answer; one that comes after its comparison was let go brings records at best."""
        number = context[1] if type(context[1]) is int else 0
        one = self._comparisons.get(number)
        complete = False
        try:
            match context:
                case ("summary", _) if one is not None:
                    self._compare(number, one, octet_list(body, UNITS))
                case ("buckets", _, str(unit)) if one is not None:
                    self._buckets(number, unit, body)
                case ("listing", _, str(unit), tuple(buckets)) if one is not None:
                    self._exchange(number, one, unit, octet_list(body, limits.BOOK), [n for n in buckets if type(n) is int], now)
                case ("fetch", _, str(unit), int(asked)):
                    accepted, wanted = self._take(peer, octet_list(body, asked), at)
                    self.fetch_grants(peer, wanted, number)
                    if not accepted and one is not None:
                        self._counters["drop:listing-empty"] += 1
                        one.todo = deque(question for question in one.todo if question[2][::2] != ("fetch", unit))
            complete = True
        finally:
            self._settle(number, now, complete=complete)

    def failed(self, context: tuple[object, ...], now: float) -> None:
        """A question was not answered: the rest may be, and what is missing another peer may have."""
        if type(context[1]) is int:
            self._settle(context[1], now, complete=False)

    def _settle(self, number: int, now: float, *, complete: bool) -> None:
        one = self._comparisons.get(number)
        if one is None:
            return
        one.waiting -= 1
        one.complete = one.complete and complete
        self._pump(one)
        if one.waiting > 0:
            return
        if one.again and one.complete and one.passes < PASSES:
            self._summary(number)
        else:
            self.synced = self.synced or one.complete
            self._end(number, now)

    def _compare(self, number: int, one: _Comparison, entries: list[bytes]) -> None:
        theirs = {entry[8:].decode(errors="replace"): entry[:8] for entry in entries}
        if self._holdings.shared_out:
            theirs.pop(TABLE, None)
            theirs.setdefault(CORE, b"")
        elif CORE in theirs and TABLE not in theirs:
            self._partial()
        for unit, digest in theirs.items():
            mine = self._holdings.replica(unit)
            if mine is None:
                one.again = not self._holdings.shared_out  # its cut is in the table, which comes first
            elif mine.digest != digest and (unit in (TABLE, CORE) or self._holdings.holds(parse_path(unit.removeprefix("zone:")))):
                self._question(number, Method.BUCKETS, {1: unit}, ("buckets", number, unit))

    def _buckets(self, number: int, unit: Unit, body: Value) -> None:
        replica = self._holdings.replica(unit)
        if type(body) is bytes and len(body) in (0, NOTHING) and replica is not None:
            buckets = replica.differing(body or bytes(NOTHING))
            if buckets:
                self._question(number, Method.LISTING, {1: unit, 2: buckets}, ("listing", number, unit, tuple(buckets)))

    def _exchange(self, number: int, one: _Comparison, unit: Unit, listing: list[bytes], buckets: list[int], now: float) -> None:
        replica = self._holdings.replica(unit)
        if replica is None:
            return
        fetch, offer = replica.compare(listing, buckets)
        for start in range(0, len(fetch), RECORDS):
            keys = fetch[start : start + RECORDS]
            self._question(number, Method.FETCH, {2: unit, 3: keys}, ("fetch", number, unit, len(keys)))
        for key in offer:
            record = self._holdings.by_key(unit, key)
            if record is not None:
                self._pushing.box(one.peer, record)
        self._pushing.flush(one.peer, now)

    def fetch(self, peer: Partner, unit: Unit, keys: list[bytes]) -> None:
        """Ask that peer for records that it named."""
        self._ask(Ask(peer.session, Method.FETCH, {2: unit, 3: keys}, ("fetch", 0, unit, len(keys))))

    def fetch_grants(self, peer: Partner, wanted: list[bytes], number: int = 0) -> None:
        """Ask that peer for grants that records of its stand on: what it serves, it serves with its chain."""
        for start in range(0, len(wanted), GRANTS):
            digests = wanted[start : start + GRANTS]
            context = ("fetch", number, "", 2 * len(digests))  # each may come with the grant by which its zone begins
            if number in self._comparisons:
                self._question(number, Method.FETCH, {1: digests}, context)
            else:
                self._ask(Ask(peer.session, Method.FETCH, {1: digests}, context))


def compares(context: tuple[object, ...]) -> bool:
    """Whether an answer under that context belongs here."""
    return context[0] in ("summary", "buckets", "listing", "fetch")
