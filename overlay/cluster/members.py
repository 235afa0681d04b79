"""Who is in this cluster and alive: SWIM with Lifeguard (Das et al. 2002; Dadgar et al. 2017), as memberlist has made it known.

It decides whom to probe, whom to suspect, and when a member counts as dead; it refuses to know how a word travels (the
node has sessions), who may be a member (passports say), and who leads. The rules beside the papers':

- a member's own word, first hand, replaces whatever was said about it: a session proves who speaks;
- what others say is a hint. Nobody is a member by hearsay: who is named is asked, and counts when it answers. Nobody is
  dead or gone by hearsay: an accusation starts or shortens our own suspicion, which the accused can end, and which lasts as
  long as a stall of 2 s (``suspicion.py``). Nobody is revived by hearsay either. So a liar costs a few words, no member;
- who never answers is found dead however much it gossips: an answer to a question, or a new version in reply to an
  accusation, clears somebody of silence, and others' word that it lives does so twice at most;
- a node that woke late blames itself: others were silent only because it slept (Lifeguard's local health);
- the dead are asked again now and then, so that the parts of a split LAN find each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from overlay import limits
from overlay.cluster.member import COUNT, NEWS, NUMBER, Card, Kind, Member, News, Word, read, read_news
from overlay.cluster.outputs import Life, MemberChanged, Tell
from overlay.cluster.suspicion import Health, lasts, told
from overlay.errors import Malformed
from overlay.machine import Entropy
from overlay.wire.address import Address
from overlay.wire.codec import Value
from overlay.wire.messages import Note

PERIOD: Final = 1.0  # seconds between probes of a node that is well: each member is probed once a second, by somebody (memberlist's)
ANSWER: Final = 0.5  # seconds that an answer may take, directly or by helpers
TIMEOUT: Final = 0.2  # seconds that a probe is waited for before others are asked to probe as well
HELPERS: Final = 3
NACK: Final = 0.8  # of that time: when a helper says that it hears nothing either
ACCUSED: Final = (1.0, 0.5)  # seconds: first and next questions of each member to one accused. News of its answer to others may be lost
GOSSIP: Final = 0.1  # seconds between rounds of news, while there is any: three rounds of three reach 20
FANOUT: Final = 3
LATE: Final = 1.0  # seconds behind its own date after which this node knows that it slept
DEAD_AGAIN: Final = (5.0, 60.0)  # seconds between questions to one of the dead: lately dead, long dead
LATELY: Final = 600.0  # seconds
BURIED: Final = 86_400.0  # seconds that a dead member is remembered
ROOM: Final = 1_000  # octets of news in one word: a datagram less heads
OCTETS: Final = 125  # of one piece of news: three keys and numbers
OCTETS_EACH: Final = 20  # of each address in it
HINT: Final = 3.0  # seconds in which somebody that was only named has to answer
CLEARED: Final = 2  # times that others' word ends a suspicion, between two answers of the suspect itself
LEAP: Final = 1_000  # incarnations and versions that hearsay may be ahead of what is known (a day of crashes): more is a lie

_UP: Final = frozenset((Life.ALIVE, Life.SUSPECT))


@dataclass(slots=True)
class _Probe:
    """A question to a member that is not answered yet. ``asker``: for whom, and under which number of theirs."""

    target: bytes
    ends: float
    ask_at: float | None
    asker: tuple[bytes, int] | None = None
    helpers: set[bytes] = field(default_factory=set)  # those asked that have not answered
    heard: int = 0  # those that did


@dataclass(slots=True)
class _Suspicion:
    began: float
    ask_at: float  # when the accused is asked by us, whoever accused it
    by: set[bytes]


class Membership:
    """One node's view of its cluster. ``card`` is its own."""

    def __init__(self, me: bytes, card: Card, entropy: Entropy, now: float) -> None:
        self.me = me
        self.counters: Counter[str] = Counter()
        self._card = card
        self._entropy = entropy
        self._health = Health()
        self._members: dict[bytes, Member] = {}
        self._proved: dict[bytes, tuple[int, int]] = {}  # what members said of themselves, first hand
        self._unplaced: set[bytes] = set()  # of whom a newer order was heard than their addresses came with
        self._hints: dict[bytes, tuple[Card, float]] = {}  # who was named and is asked, since when
        self._cleared: Counter[bytes] = Counter()  # suspicions that others' word ended
        self._suspicions: dict[bytes, _Suspicion] = {}
        self._news: dict[bytes, tuple[News, int]] = {}  # by member: what is told, how often it was
        self._probes: dict[int, _Probe] = {}
        self._round: list[bytes] = []
        self._number = int.from_bytes(entropy(3), "big")
        self._probe_at = now + PERIOD * entropy(1)[0] / 256  # members that start together do not probe together
        self._gossip_at = now
        self._dead_at = now + DEAD_AGAIN[0]
        self._out: list[Tell | MemberChanged] = []

    # -- what is known

    def members(self) -> Mapping[bytes, Member]:
        """All others that are known, the dead as well, by node id."""
        return self._members

    def card(self, node_id: bytes) -> Card | None:
        """What is known of somebody, be it hearsay: to find it by."""
        member = self._members.get(node_id)
        return member.card if member is not None else self._hints.get(node_id, (None, 0.0))[0]

    def alive(self) -> set[bytes]:
        """The node ids of those that are not known to be dead or gone, this node included."""
        return {self.me, *(node for node, member in self._members.items() if member.life in _UP)}

    # -- what happens

    def change(self, addresses: tuple[Address, ...], now: float) -> None:
        """This node's own addresses are these now."""
        if addresses != self._card.addresses:
            self._card = replace(self._card, addresses=addresses, version=self._card.version + 1)
            self._tell_of_me(Life.ALIVE, now)

    def greet(self, node_id: bytes, exchange: bytes, now: float) -> None:
        """An admitted session with a member is up. It is asked at once what it says of itself."""
        if node_id == self.me:
            return
        self._met(node_id, None, exchange, now, answers=True)
        if node_id not in self._proved and node_id in self._members:
            self._ping(node_id, now)

    def lost(self, node_id: bytes, left: bool, now: float) -> None:
        """The session with a member ended; ``left``: it said farewell."""
        member = self._members.get(node_id)
        if member is None or member.life not in _UP:
            return
        if left:
            self._set(member, Life.LEFT, self.me, now)
        elif node_id not in (probe.target for probe in self._probes.values()):
            self._ping(node_id, now)  # whether it is gone is for a probe to say

    def receive(self, sender: bytes, body: Value, now: float) -> None:
        """A word of an admitted member; only :class:`Malformed` is raised."""
        word = read(body)
        if sender == self.me:
            raise Malformed("our own word came back", rule="members-own")
        self._met(sender, word.order, b"", now, answers=word.kind is Kind.ACK)
        for news in word.news:
            self._hear(news, sender, now)
        match word.kind:
            case Kind.PING:
                self._say(sender, Kind.ACK, number=word.number)
            case Kind.ASK if word.target is not None and word.target in self._members:
                self._ping(word.target, now, asker=(sender, word.number))
            case Kind.ACK | Kind.NACK:
                self._answered(sender, word, now)

    def leave(self, now: float) -> None:
        """This node goes: tell some at once, who tell all."""
        self._tell_of_me(Life.LEFT, now)
        self._gossip(now)

    def sync(self) -> Value:
        """All that is known, for a member that asks."""
        mine = News(self._card, Life.ALIVE)
        return [mine.body(), *(News(member.card, member.life).body() for member in self._members.values())]

    def merge(self, sender: bytes, body: Value, now: float) -> None:
        """All that another member knows; only :class:`Malformed` is raised."""
        if type(body) is not list or len(body) > limits.MEMBERS + 1:
            raise Malformed("a list of members is wanted", rule="members-sync")
        for news in [read_news(one) for one in body]:
            self._hear(replace(news, by=sender) if news.life in (Life.SUSPECT, Life.DEAD) else news, sender, now)

    # -- time

    def wake_at(self) -> float:
        """When :meth:`wake` wants to be called."""
        if not self._members:
            return float("inf")  # a machine alone has nobody to ask
        due = min(self._probe_at, self._dead_at)
        for probe in self._probes.values():
            due = min(due, probe.ends if probe.ask_at is None else probe.ask_at)
        for node_id, suspicion in self._suspicions.items():
            due = min(due, suspicion.ask_at, self._ends(node_id, suspicion))
        return min(due, self._gossip_at) if self._news else due

    def wake(self, now: float) -> None:
        """Time passed."""
        late = now - self.wake_at()
        if late > LATE:
            self._slept(late, now)
        for number, probe in list(self._probes.items()):
            self._look(number, probe, now)
        for node_id, suspicion in list(self._suspicions.items()):
            if now >= self._ends(node_id, suspicion):
                self.counters["members_dead"] += 1
                self._set(self._members[node_id], Life.DEAD, self.me, now)
            elif now >= suspicion.ask_at:
                suspicion.ask_at = now + ACCUSED[1]
                self._say(node_id, Kind.PING)
        if now >= self._probe_at:
            self._probe_at = now + self._health.stretch(PERIOD)
            target = self._next()
            if target is not None:
                self._ping(target, now)
        if self._news and now >= self._gossip_at:
            self._gossip(now)
        if now >= self._dead_at:
            self._dead_at = now + DEAD_AGAIN[0]
            self._ask_the_dead(now)

    def take(self) -> list[Tell | MemberChanged]:
        """What it wants since last asked."""
        out, self._out = self._out, []
        return out

    def _slept(self, late: float, now: float) -> None:
        """Whatever was not heard meanwhile may wait in our own queue: nobody is blamed for it."""
        self.counters["members_late"] += 1
        self._health.bad(2)
        self._probes.clear()
        for suspicion in self._suspicions.values():
            suspicion.began += late
            suspicion.ask_at = now
        self._probe_at = max(self._probe_at, now)

    # -- probing

    def _next(self) -> bytes | None:
        """Whom to probe: all in turn, in an order shuffled anew each time round, so that none waits for more than two rounds."""
        for _ in range(2):
            while self._round:
                node_id = self._round.pop()
                member = self._members.get(node_id)
                if member is not None and member.life in _UP:
                    return node_id
            self._round = self._shuffled([node for node, member in self._members.items() if member.life in _UP])
        return None

    def _ping(self, target: bytes, now: float, asker: tuple[bytes, int] | None = None) -> None:
        if len(self._probes) >= limits.MEMBERS:
            self.counters["drop:members-probes"] += 1
            return
        self._number = self._number % NUMBER + 1
        ends = now + self._health.stretch(ANSWER) * (NACK if asker is not None else 1.0)
        self._probes[self._number] = _Probe(target, ends, None if asker is not None else now + self._health.stretch(TIMEOUT), asker)
        self._say(target, Kind.PING, number=self._number)

    def _look(self, number: int, probe: _Probe, now: float) -> None:
        """What is due for a question that is not answered yet."""
        if probe.ask_at is not None and now >= probe.ask_at:
            probe.ask_at = None
            others = [node for node in self._shuffled(self._reachable()) if node != probe.target][:HELPERS]
            probe.helpers = set(others)
            for helper in others:
                self._say(helper, Kind.ASK, number=number, target=probe.target)
        if now < probe.ends:
            return
        del self._probes[number]
        if probe.asker is not None:
            self._say(probe.asker[0], Kind.NACK, number=probe.asker[1])
            return
        if probe.helpers and not probe.heard:
            self._health.bad()  # not even helpers are heard: the fault is near
        member = self._members.get(probe.target)
        if member is not None and member.life in _UP:
            self._suspect(member, self.me, now)

    def _answered(self, sender: bytes, word: Word, now: float) -> None:
        probe = self._probes.get(word.number)
        if probe is None:
            return
        if sender == probe.target and word.kind is Kind.ACK:
            del self._probes[word.number]
            if probe.asker is not None:
                self._say(probe.asker[0], Kind.ACK, number=probe.asker[1])
            else:
                self._health.good()
        elif sender in probe.helpers:
            probe.helpers.discard(sender)
            probe.heard += 1
            if word.kind is Kind.ACK:  # somebody hears it: what stands against it, it will hear and refute
                del self._probes[word.number]

    def _ask_the_dead(self, now: float) -> None:
        """One of the dead, by chance: of those that died lately each time, of the others once a minute."""
        for node_id, member in list(self._members.items()):
            if member.life not in _UP and now - member.since >= BURIED:
                self._forget(node_id)
        dead = [(node, now - member.since) for node, member in self._members.items() if member.life is Life.DEAD]
        if not dead:
            return
        lately = [node for node, ago in dead if ago < LATELY]
        often = DEAD_AGAIN[0] / DEAD_AGAIN[1]
        if lately or self._entropy(1)[0] < 256 * often:
            self._say(self._shuffled(lately or [node for node, _ in dead])[0], Kind.PING)

    # -- lives

    def _met(self, node_id: bytes, order: tuple[int, int] | None, exchange: bytes, now: float, *, answers: bool) -> None:
        """A member itself was heard. Who stands accused, or counts as dead, must have answered, or say that it heard of it."""
        member = self._members.get(node_id)
        if answers:
            self._cleared.pop(node_id, None)
        if member is None:
            hint = self._hints.pop(node_id, (Card(node_id=node_id), 0.0))[0]
            if self._room():
                member = Member(replace(hint, exchange=exchange or hint.exchange), Life.DEAD, now)
                self._set(replace(member, card=self._own_word(member.card, order)), Life.ALIVE, self.me, now)
            return
        proved = self._proved.get(node_id, (0, 0))
        if order is not None and order[0] == proved[0] and order < proved:
            order = None  # an old word that was long on its way. A lower incarnation is a disk that was put back
        card = self._own_word(replace(member.card, exchange=exchange or member.card.exchange), order)
        if member.life is not Life.ALIVE and (answers or card.order > member.card.order):
            self._set(replace(member, card=card), Life.ALIVE, self.me, now)
        elif card != member.card:
            self._members[node_id] = replace(member, card=card)

    def _own_word(self, card: Card, order: tuple[int, int] | None) -> Card:
        """What a member says of itself replaces what was said about it."""
        if order is None:
            return card
        self._proved[card.node_id] = order
        if order != card.order:
            self._unplaced.add(card.node_id)
        return card if order == card.order else replace(card, incarnation=order[0], version=order[1])

    def _hear(self, news: News, sender: bytes, now: float) -> None:
        """Hearsay about a member."""
        card = news.card
        if card.node_id == self.me:
            self._refute(news, now)
            return
        member = self._members.get(card.node_id)
        if member is None:
            if news.life is Life.ALIVE:
                self._hint(card, now)
            return
        known = member.card
        if max(card.incarnation - known.incarnation, card.version - known.version if card.incarnation == known.incarnation else 0) > LEAP:
            self.counters["drop:members-leap"] += 1
        elif card.node_id == sender and news.life is Life.LEFT:
            self._set(member, Life.LEFT, sender, now)
        elif news.life is not Life.ALIVE:
            if card.order >= known.order and member.life in _UP:
                self._suspect(member, news.by if news.by in self._members else sender, now)
        elif card.order > known.order and member.life is Life.ALIVE:
            self._unplaced.discard(card.node_id)
            self._set(Member(_merged(known, card), member.life, member.since), Life.ALIVE, sender, now)
        elif card.order > known.order and member.life is Life.SUSPECT and self._cleared[card.node_id] < CLEARED:
            self._cleared[card.node_id] += 1
            self._unplaced.discard(card.node_id)
            self._set(Member(_merged(known, card), member.life, member.since), Life.ALIVE, sender, now)
        elif card.order > known.order:
            self._hint(card, now)
        elif card.order == known.order and card.addresses and (not known.addresses or card.node_id == sender or card.node_id in self._unplaced):
            placed = replace(member, card=replace(known, exchange=known.exchange or card.exchange, addresses=card.addresses))
            self._members[card.node_id] = placed
            if card.node_id in self._unplaced and member.life is Life.ALIVE and card.addresses != known.addresses:
                self._spread(News(placed.card, Life.ALIVE), now)
            self._unplaced.discard(card.node_id)

    def _hint(self, card: Card, now: float) -> None:
        """Somebody is named that is not known, or counts as dead: it is asked, a few at a time."""
        for node_id, (_, since) in list(self._hints.items()):
            if now - since >= HINT:
                del self._hints[node_id]
        if card.node_id in self._hints:
            return
        if len(self._hints) >= limits.MEMBER_HINTS:
            self.counters["drop:members-hints"] += 1
            return
        self._hints[card.node_id] = card, now
        self._say(card.node_id, Kind.PING)

    def _refute(self, news: News, now: float) -> None:
        """Somebody speaks of us: what is wrong is answered with a higher version."""
        mine, said = self._card, news.card
        if said.order < mine.order or (news.life is Life.ALIVE and said.order == mine.order):
            return
        if news.life is Life.SUSPECT:
            self._health.bad()
        self.counters["members_refuted"] += 1
        ahead = said.version if said.incarnation == mine.incarnation and said.version - mine.version <= LEAP else mine.version
        self._card = replace(mine, version=min(ahead + 1, COUNT))
        self._tell_of_me(Life.ALIVE, now)

    def _suspect(self, member: Member, by: bytes, now: float) -> None:
        node_id = member.card.node_id
        suspicion = self._suspicions.get(node_id)
        if suspicion is None:
            self.counters["members_suspected"] += 1
            self._suspicions[node_id] = _Suspicion(now, now + ACCUSED[0], {by})
            self._set(member, Life.SUSPECT, by, now)
            self._say(node_id, Kind.GOSSIP)  # it hears first what it stands accused of
        elif by not in suspicion.by and len(suspicion.by) <= HELPERS:
            suspicion.by.add(by)
            self._spread(News(member.card, Life.SUSPECT, by), now)

    def _ends(self, node_id: bytes, suspicion: _Suspicion) -> float:
        return suspicion.began + lasts(len(suspicion.by) - 1, 1 + len(self._reachable()))

    def _set(self, member: Member, life: Life, by: bytes, now: float) -> None:
        """So it is from now on; told to all."""
        node_id = member.card.node_id
        before = self._members.get(node_id)
        self._members[node_id] = Member(member.card, life, now)
        if life is not Life.SUSPECT:
            self._suspicions.pop(node_id, None)
        if before is None:
            self._probe_at = max(self._probe_at, now)
            self._dead_at = max(self._dead_at, now)
        if before is None or before.life is not life:
            self._out.append(MemberChanged(node_id, life, by))
        self._spread(News(member.card, life, by if life in (Life.SUSPECT, Life.DEAD) else b""), now)

    def _room(self) -> bool:
        """Whether one more member is taken: the longest dead makes room, nobody alive does."""
        if len(self._members) < limits.MEMBERS:
            return True
        down = [(member.since, node) for node, member in self._members.items() if member.life not in _UP]
        if not down:
            self.counters["drop:members-full"] += 1
            return False
        self._forget(min(down)[1])
        return True

    def _forget(self, node_id: bytes) -> None:
        for known in (self._members, self._proved, self._suspicions, self._news, self._hints, self._cleared):
            known.pop(node_id, None)
        self._unplaced.discard(node_id)

    # -- telling

    def _tell_of_me(self, life: Life, now: float) -> None:
        self._spread(News(self._card, life), now)

    def _spread(self, news: News, now: float) -> None:
        if not self._news:
            self._gossip_at = now
        self._news[news.card.node_id] = news, 0

    def _gossip(self, now: float) -> None:
        self._gossip_at = now + GOSSIP
        others = self._shuffled(self._reachable())
        if not others:
            self._news.clear()
        for node_id in others[:FANOUT]:
            self._say(node_id, Kind.GOSSIP)

    def _say(self, to: bytes, kind: Kind, *, number: int = 0, target: bytes | None = None) -> None:
        """A word, and news with it: what was told least goes first; what its receiver said or is needs no telling, but accusations do."""
        most = told(1 + len(self._members))
        accused = self._members.get(to)
        chosen = [News(accused.card, Life.SUSPECT, self.me)] if accused is not None and accused.life is not Life.ALIVE else []
        room = ROOM - len(chosen) * OCTETS
        for node_id, (news, times) in sorted(self._news.items(), key=lambda item: item[1][1])[: 2 * NEWS]:
            size = OCTETS + OCTETS_EACH * len(news.card.addresses)
            if node_id == to or len(chosen) >= NEWS or size > room:
                continue
            room -= size
            chosen.append(news)
            if times + 1 >= most:
                del self._news[node_id]
            else:
                self._news[node_id] = news, times + 1
        self._out.append(Tell(to, Note.MEMBERS, Word(kind=kind, number=number, order=self._card.order, target=target, news=tuple(chosen)).body()))

    def _reachable(self) -> list[bytes]:
        return [node for node, member in self._members.items() if member.life in _UP]

    def _shuffled(self, nodes: list[bytes]) -> list[bytes]:
        dice = self._entropy(2 * len(nodes))
        return [nodes[n] for n in sorted(range(len(nodes)), key=lambda n: (dice[2 * n : 2 * n + 2], n))]


def _merged(known: Card, card: Card) -> Card:
    """What hearsay adds to a card: a key that is known stays."""
    return replace(card, exchange=known.exchange or card.exchange, addresses=card.addresses or known.addresses)
