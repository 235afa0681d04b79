"""Who speaks for the cluster: a lease with a term, renewed each second (DESIGN 3.6, F6; docs/decisions/0016-gateway-lease.md).

It decides whether this node is gateway, standby or member, and refuses to know who is alive (``members`` says it), what
time it is elsewhere, and what a gateway does. The words that members exchange stand in ``terms``. There is no majority
and so no consensus: a home of two machines has none. What is promised, where messages mostly arrive (5 % may be lost)
and clocks run within 1 % of the true second:

- no term (number, node id) is ever held twice: a number is durable before anybody can hear of it (``terms.Numbers``);
- one gateway on a whole LAN; none for at most 4 s after a crash; two for at most one lease (3 s);
- a gateway that stalls holds nothing from the moment that its lease runs out: ``holds(now)`` says so before anything else
  is done, and others wait for 3 s by the slowest clock before they follow it;
- each part of a split LAN has its own; once both sides know each other again, the higher term stays and the other yields
  within 2 s. Terms are never equal, so rank has its say afterwards, by a planned hand-over;
- a better merit (``rank``) takes over only by a planned hand-over, after it has stood for 60 s, one a minute at most;
- in a planned hand-over somebody holds the lease at each instant: the old gateway goes on until it has heard the renewal
  of its successor's own term (both hold theirs for as long as that takes to arrive); 0.3 s in all.

Not promised: one gateway where A hears B and B hears C but A does not hear C; anything at all while more than that is lost;
anything against a member with the right to speak that claims and gives up terms on purpose (revoke its grant).
What gateways write is therefore safe under two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from overlay.cluster.outputs import Role, RoleChanged, Tell
from overlay.cluster.rank import SOAK, Rank, Ranks
from overlay.cluster.terms import Gone, Hand, Numbers, Renew, Report, Word, read
from overlay.machine import Entropy, Store
from overlay.wire.codec import Value
from overlay.wire.messages import Note

LEASE: Final = 3.0  # seconds (DESIGN 3.6)
RENEW: Final = 1.0
DRIFT: Final = 0.01  # by which a clock may be fast or slow
PATIENCE: Final = LEASE * (1 + DRIFT) / (1 - DRIFT)  # 3.06: a whole lease by the slowest clock, on the fastest
SPREAD: Final = 0.7  # over so many seconds the others follow the standby: 3.06 + 0.7, by a slow clock, leave 0.2 s of the 4
ASKS: Final = (1.6, 2.1, 2.6)  # seconds after the last renewal at which its sender is asked: the loss of three in a row unseats nobody
LATE: Final = 0.3  # seconds behind its own date after which this node knows that it stalled (guess: a busy machine lags less)
GRACE: Final = 1.3  # seconds for which a node that stalled, or whose gateway stepped down, listens: one renewal, and some
AGAIN: Final = (0.03, 0.1, 0.25)  # seconds after which a new term is told again: whoever comes next waits for 0.2 s
REPORT: Final = 10.0  # seconds between reports of one's rank
HAND_AGAIN: Final = 0.04  # seconds: five tries within what a hand-over may take
HAND_FOR: Final = 0.25  # seconds that one candidate gets
_LAST: Final = 2**53  # no beat of a term that is over counts
TRIED: Final = 4  # so many, when it leaves; then it goes without
RAISE: Final = 15.0  # seconds between two terms that a gateway takes because others have seen higher numbers


@dataclass(slots=True)
class _Followed:
    """A gateway that we hear."""

    gateway: bytes
    number: int  # as it counts here (terms.Numbers)
    until: float
    standby: bytes | None


@dataclass(slots=True)
class _Handing:
    """A planned hand-over under way."""

    to: bytes
    until: float
    again: float
    leaving: bool
    tried: set[bytes] = field(default_factory=set)


@dataclass(slots=True)
class _Held:
    """Our own term."""

    number: int
    until: float
    again: list[float]  # when it is told next, ascending; the last is the next renewal
    beat: int = 0
    raised: float = float("-inf")
    settled: float = 0.0  # no planned hand-over for the sake of rank before
    order: list[bytes] = field(default_factory=list)  # who would follow; the first is the standby
    handing: _Handing | None = None

    @property
    def standby(self) -> bytes | None:
        return self.order[0] if self.order else None


class Lease:
    """One node's part in the election. ``number``: the highest stored (``terms.stored_number``); ``able``: it may speak."""

    def __init__(self, me: bytes, number: int, able: bool, entropy: Entropy, now: float) -> None:
        self.me = me
        self.counters: Counter[str] = Counter()
        self._numbers = Numbers(number)
        self._able = able
        self._entropy = entropy
        self._alive: frozenset[bytes] = frozenset()  # others
        self._speakers: frozenset[bytes] = frozenset()  # others
        self._rank = Rank(0, 0, now, me)
        self._ranks = Ranks(self._rank, now)
        self._gone: set[bytes] = set()  # those who leave
        self._heard: dict[bytes, tuple[int, int]] = {}  # speaker -> number and beat of its last renewal
        self._held: _Held | None = None
        self._followed: _Followed | None = None
        self._leaving = False
        self._claim_at = now + PATIENCE + self._chance()
        self._asks: list[float] = [now]
        self._report_at = now + REPORT
        self._told: tuple[Role, bytes | None, bytes | None, int] = (Role.MEMBER, None, None, 0)
        self._out: list[Tell | RoleChanged | Store] = []
        self._reserve()

    # -- what is known

    @property
    def role(self) -> Role:
        if self._held is not None:
            return Role.GATEWAY
        return Role.STANDBY if self.standby == self.me else Role.MEMBER

    @property
    def gateway(self) -> bytes | None:
        if self._held is not None:
            return self.me
        return self._followed.gateway if self._followed is not None else None

    @property
    def standby(self) -> bytes | None:
        known = self._held or self._followed
        return known.standby if known is not None else None

    @property
    def term(self) -> tuple[int, bytes] | None:
        """(number, node id) of the gateway's term."""
        if self._held is not None:
            return self._held.number, self.me
        return (self._followed.number, self._followed.gateway) if self._followed is not None else None

    def holds(self, now: float) -> bool:
        """Whether this node may act as gateway at this instant: to be asked at each use."""
        return self._held is not None and now < self._held.until

    # -- what happens

    def members(self, alive: Collection[bytes], speakers: Collection[bytes], now: float) -> None:
        """Who is alive in this cluster, and who may speak for it by grants in the book, this node included, alive or not.

        Speakers that are not alive count: where there are any, a node that starts alone listens before it claims.
        """
        self._begin(now)
        before, self._alive = self._alive, frozenset(alive) - {self.me}
        self._speakers = frozenset(speakers) - {self.me}
        could, self._able = self._able, self.me in speakers
        self._ranks.keep(self._speakers)
        self._gone &= self._speakers & self._alive
        self._heard = {node: heard for node, heard in self._heard.items() if node in self._speakers}
        self._reserve()
        if self._held is not None and not self._able:
            self._held = None
            self._listen(now, GRACE)
        if self._followed is not None and self._followed.gateway not in self._speakers:
            self._followed = None
            self._listen(now, 0.0)
        if self._able and not could and self._followed is None:
            self._listen(now, PATIENCE)
        if self._held is not None:
            for node in sorted(self._alive - before):
                self._renewal(node)
        elif self._followed is None:
            for node in sorted((self._alive - before) & self._speakers):
                self._report(node, now, asks=True)
            if not self._speakers:
                self._claim_at = now
        self._go_on(now)

    def rank(self, rank: Rank, now: float, proven: int = 0) -> None:
        """This node's own rank; ``proven``: the highest revision that a signed release in the book proves."""
        self._begin(now)
        changed = (rank.revision, rank.reach) != (self._rank.revision, self._rank.reach)
        self._rank = rank
        self._ranks.proven = proven
        self._ranks.say(rank, now)
        if changed:
            self._report_at = now
        self._go_on(now)

    def receive(self, sender: bytes, body: Value, now: float) -> None:
        """A Note.LEASE message of an admitted member; only :class:`Malformed` is raised."""
        word = read(body)
        self._begin(now)
        if sender not in self._speakers:
            self.counters["drop:lease-unentitled"] += 1
        else:
            self._take(sender, word, now)
        self._go_on(now)

    def leave(self, now: float) -> None:
        """This node goes: hand over, then be a member for good. While ``role`` is GATEWAY it is still under way (0.3 s, at the worst 1 s)."""
        self._begin(now)
        self._leaving = True
        if self._held is not None:
            if self._held.handing is not None:
                self._held.handing.leaving = True
            else:
                self._hand(now, leaving=True)
        elif self._followed is not None and self._able:
            self._tell(self._followed.gateway, Gone(0, leaves=True))
        self._go_on(now)

    def wake_at(self) -> float | None:
        """When ``wake`` is due."""
        if self._held is not None:
            dates = [self._held.until, self._held.again[0]]
            if self._held.handing is not None:
                dates += [self._held.handing.again, self._held.handing.until]
        else:
            dates = [self._followed.until] if self._followed is not None else []
            if self._able and not self._leaving:
                dates += [self._claim_at, self._report_at, *self._asks[:1]]
        return min(dates, default=None)

    def wake(self, now: float) -> None:
        """A date has come."""
        self._begin(now)
        self._go_on(now)

    def take(self) -> list[Tell | RoleChanged | Store]:
        """What is to be done; each Store before what tells of it."""
        out, self._out = self._out, []
        return out

    # -- each input: first what time has done, then the input, then what is due

    def _begin(self, now: float) -> None:
        """Where this node stalled: what it held has run out, and what it would claim may be another's meanwhile."""
        due = self.wake_at()
        if self._held is not None:
            if now >= self._held.until:
                self.counters["lease_lapsed"] += 1
                self._held = None
                self._listen(now, GRACE)
        elif due is not None and now - due > LATE:
            self._claim_at = max(self._claim_at, now + GRACE + self._chance())
            self._asks = [now]
        if self._followed is not None and now >= self._followed.until:
            self._followed = None

    def _go_on(self, now: float) -> None:
        if self._held is not None:
            self._serve(now)
        elif self._able and not self._leaving:
            self._wait(now)
        told = (self.role, self.gateway, self.standby, self.term[0] if self.term is not None else 0)
        if told[:3] != self._told[:3] or (self._held is not None and told != self._told):
            self._told = told
            self._out.append(RoleChanged(*told))

    def _serve(self, now: float) -> None:
        """As gateway: renew, and hand over where that is better."""
        held = self._held
        assert held is not None
        self._choose(now)
        if held.again[0] <= now:
            if held.again[-1] <= now:
                held.until, held.again = now + LEASE, [now + RENEW]
            else:
                held.again = [date for date in held.again if date > now]
            for node in sorted(self._alive):
                self._renewal(node)
        if held.handing is not None:
            self._go_on_handing(held, held.handing, now)
        elif held.settled <= now and self._ranks.better(self._candidates(), now) is not None:
            self._hand(now, leaving=False)

    def _wait(self, now: float) -> None:
        """As another who may speak: report, ask where the gateway is silent, and claim where nobody is."""
        if self._asks and self._asks[0] <= now:
            self._asks = [date for date in self._asks if date > now]
            for node in [self._followed.gateway] if self._followed is not None else sorted(self._alive & self._speakers):
                self._report(node, now, asks=True)
            if not self._asks and self._followed is None:
                self._asks = [now + RENEW]
        if self._report_at <= now:
            self._report_all(now)
        if self._claim_at <= now:
            self._claim(now)

    # -- what others say

    def _take(self, sender: bytes, word: Word, now: float) -> None:
        match word:
            case Renew():
                if (word.number, word.beat) <= self._heard.get(sender, (-1, -1)):
                    self.counters["drop:lease-old"] += 1
                    return
                self._heard[sender] = (word.number, word.beat)
                self._gone.discard(sender)
                self._renewed(sender, word, self._count(word.number, now), now)
            case Report():
                seen = self._count(word.number, now)
                self._gone.discard(sender)
                self._ranks.say(Rank(word.revision, word.reach, now - word.uptime, sender), now)
                if self._held is not None:
                    if seen > self._held.number and now - self._held.raised >= RAISE:
                        self._raise(now)
                    elif word.asks:
                        self._renewal(sender)
            case Hand():
                self._handed(sender, word, now)
            case Gone():
                before = self._heard.get(sender, (0, 0))
                self._heard[sender] = max(before, (word.number, _LAST))
                if word.leaves:
                    self._gone.add(sender)
                if self._followed is not None and self._followed.gateway == sender and word.number >= before[0]:
                    self._followed = None
                    self._listen(now, GRACE)

    def _renewed(self, sender: bytes, word: Renew, number: int, now: float) -> None:
        """The highest term that is alive is followed. Who holds a higher one says so at once."""
        if self._held is not None:
            if (number, sender) < (self._held.number, self.me):
                self._renewal(sender)
                return
            self._step_down()
        elif self._followed is not None and sender != self._followed.gateway and (number, sender) < (self._followed.number, self._followed.gateway):
            return
        new = self._followed is None or self._followed.gateway != sender
        standby = word.standby if word.standby is None or word.standby == self.me or word.standby in self._speakers else None
        self._followed = _Followed(sender, number, now + PATIENCE, standby)
        self._claim_at = now + PATIENCE + (0.0 if standby == self.me else SPREAD * (1 - 0.7 ** max(1, word.place)))
        self._asks = [now + after for after in ASKS]
        if new:
            self._report_at = now

    def _handed(self, sender: bytes, word: Hand, now: float) -> None:
        """The gateway wants us to follow it; asked again, we say again that we have."""
        if self._held is not None:
            self._renewal(sender)
        elif self._able and not self._leaving and self._heard.get(sender, (0, 0))[0] <= word.number:
            if self._followed is None or self._followed.gateway == sender:
                self._count(word.number, now)
                self._claim(now)

    # -- what is done

    def _claim(self, now: float) -> None:
        """Take a new term. Its number is durable already, or is stored before anything of this step can be heard."""
        self.counters["lease_claims"] += 1
        self._reserve()
        self._followed, self._claim_at = None, now
        self._held = _Held(
            self._numbers.take(), now + LEASE, [*(now + after for after in AGAIN), now + RENEW], settled=now + SOAK,
        )  # fmt: skip
        self._reserve()
        self._held.order = self._ranks.order(self._candidates(), now)
        for node in sorted(self._alive):
            self._renewal(node)

    def _raise(self, now: float) -> None:
        """Somebody has seen a higher number than ours: take one above it, so that later terms are higher ones."""
        before = self._held
        self._claim(now)
        assert before is not None and self._held is not None
        self._held.settled, self._held.raised, self._held.handing = before.settled, now, before.handing

    def _hand(self, now: float, *, leaving: bool) -> None:
        held = self._held
        assert held is not None
        tried = held.handing.tried if held.handing is not None else set()
        candidates = self._candidates() - tried if len(tried) < TRIED else frozenset()
        to = next((node for node in held.order if node in candidates), None) if leaving else self._ranks.better(candidates, now)
        if to is None and not leaving:
            held.handing, held.settled = None, now + SOAK
        elif to is None:
            self._step_down()
            self._listen(now, GRACE)
        else:
            held.handing = _Handing(to, now + HAND_FOR, now, leaving, {*tried, to})
            self.counters["lease_handed"] += 1

    def _go_on_handing(self, held: _Held, handing: _Handing, now: float) -> None:
        if now >= handing.until or handing.to not in self._candidates():
            if handing.leaving:
                self._hand(now, leaving=True)
            else:
                held.handing, held.settled = None, now + SOAK
        if held is self._held and held.handing is not None and held.handing.again <= now:
            held.handing.again = now + HAND_AGAIN
            self._tell(held.handing.to, Hand(held.number))

    def _step_down(self) -> None:
        """Our term is over, and all are told."""
        held, self._held = self._held, None
        assert held is not None
        for node in sorted(self._alive):
            self._tell(node, Gone(held.number, self._leaving))

    def _listen(self, now: float, least: float) -> None:
        """Nobody is followed: claim after a while, unless somebody is heard."""
        self._claim_at = now + least + self._chance() if self._speakers else now
        self._asks = [now]

    def _choose(self, now: float) -> None:
        """Who would follow, of those who are alive, may speak and do not leave; another standby is told at once."""
        held = self._held
        if held is not None:
            before, held.order = held.standby, self._ranks.order(self._candidates(), now)
            if held.standby != before and held.again[0] > now:
                held.again.insert(0, now)

    def _candidates(self) -> frozenset[bytes]:
        return (self._alive & self._speakers) - self._gone

    def _count(self, number: int, now: float) -> int:
        counted = self._numbers.count(number, now)
        if counted < number:
            self.counters["lease_numbers_bounded"] += 1
        self._reserve()
        return counted

    def _reserve(self) -> None:
        if self._able and (store := self._numbers.reserve()) is not None:
            self._out.append(store)

    def _chance(self) -> float:
        """Where nobody has told our place: somewhere within the spread."""
        return SPREAD * int.from_bytes(self._entropy(2), "big") / 65_536

    # -- what is told

    def _tell(self, to: bytes, word: Word) -> None:
        self._out.append(Tell(to, Note.LEASE, word.body()))

    def _renewal(self, to: bytes) -> None:
        held = self._held
        assert held is not None
        held.beat += 1
        place = held.order.index(to) if to in held.order else len(held.order)
        self._tell(to, Renew(held.number, held.beat, held.standby, place))

    def _report(self, to: bytes, now: float, *, asks: bool = False) -> None:
        if not self._able or self._leaving:
            return
        rank = self._rank
        self._tell(to, Report(self._numbers.seen, rank.revision, rank.reach, max(0, int(now - rank.started)), asks))

    def _report_all(self, now: float) -> None:
        self._report_at = now + REPORT
        if self._followed is not None:
            self._report(self._followed.gateway, now)
            standby = self._followed.standby
            if standby is not None and standby not in (self.me, self._followed.gateway):
                self._report(standby, now)
