"""A newcomer's side of admission: whom to ask, with which proof, what to do with the answer (DESIGN 3.3).

It decides the next question; sessions carry it. It asks only nodes whose passport is good, one question at a time,
follows at most four pointers in a row to a gateway, asks again where it is told to wait, and takes grants only when they
are what it asked for, for its own key, and judged good. No member keeps it out alone, whatever it answers: a no, a grant
that does not hold and a pointer to nowhere count only when a second and a third node say no, or none of them can be
heard; who puts it off, or leaves it without an answer, has others looked for meanwhile.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from overlay.admission.registrar import refusal
from overlay.admission.request import ELSEWHERE, GRANTED, LATER, WAITING, Reply, Request, read_reply
from overlay.admission.waiting import code_of
from overlay.directory.book import Book
from overlay.errors import Malformed, OverlayError, TrustError
from overlay.identity.keys import Identity, Signer
from overlay.name import ROOT, Path
from overlay.peers import Peer
from overlay.records import kinds, passport, rights
from overlay.records.kinds import Bind, Cluster
from overlay.records.record import Record, parse
from overlay.records.trust import MissingGrant
from overlay.statements import Statements
from overlay.wire.address import Address
from overlay.wire.codec import Value
from overlay.wire.messages import Method

AGAIN = 1.0  # seconds before a node that said "later" is asked again
ADMITTED_YET = 2.0  # seconds between questions whether a person has said yes
SECOND = 1.5  # seconds that a refusal waits for another node's word: one liar must not keep anybody out
SENT_ON = 5.0  # seconds that it waits for a node that another one names: a dial by UDP, then TCP; guess
NOES = 3  # nodes that say no before it counts at once: guess
PATIENCE = 3  # answers "later" or "waiting" before others are looked for as well; guess
LATERS = 40  # times: longer than a cluster takes to be known to all
ASTRAY = 6  # times that who sends us to nodes that are all away is asked again: a dial each, longer than a lease takes
WAYS = 4  # other nodes that are dialled for a second opinion
POINTERS = 4  # gateways in a row to be sent on to: a cluster's, and room for its own ancestors'


@dataclass(frozen=True, slots=True)
class Question:
    """Call the node at the other end of that session."""

    session: int
    method: Method
    body: Value


@dataclass(frozen=True, slots=True)
class Pointed:
    """Open a session to that node and ask there."""

    exchange: bytes
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """The answer was no: tell the person."""

    error: OverlayError


@dataclass(frozen=True, slots=True)
class Granted:
    """In: the grants (name grant first) with their chains."""

    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """A person has to say yes: `overlay admit CODE` on the node of that name."""

    code: str
    where: Path


@dataclass(frozen=True, slots=True)
class Others:
    """Another node is to be heard: ask the one that is connected for ways to more."""


Output = Question | Pointed | Refused | Granted | Asked | Others


@dataclass(slots=True)
class Newcomer:
    """One attempt to get in."""

    identity: Identity
    request: Request
    seed: Signer | None = None
    redeemers: frozenset[bytes] = frozenset()  # where the token names them: nobody else is asked
    _asked: set[int] = field(default_factory=set)  # sessions
    _heard: set[bytes] = field(default_factory=set)  # exchange keys of those who were asked
    _waiting: list[Peer] = field(default_factory=list)
    _open: Peer | None = None  # the session whose answer is awaited: two answers would be two names
    _later: list[tuple[float, Peer]] = field(default_factory=list)  # when to ask whom again
    _put_off: Counter[int] = field(default_factory=Counter)  # times that a session said "later" or "waiting"
    _astray: Counter[int] = field(default_factory=Counter)  # times that all that a session sent us to were away
    _codes: set[str] = field(default_factory=set)  # that were shown
    _noes: int = 0
    _refusal: tuple[float, OverlayError] | None = None  # when the first no counts, unless another node says otherwise
    _sought: bool = False  # whether others were looked for though nobody had said no
    _hops: dict[bytes, int] = field(default_factory=dict)  # exchange keys that we were sent on to -> pointers on the way there
    _pointed: dict[bytes, Peer] = field(default_factory=dict)  # the same, where no session has failed yet -> by whom
    _out: list[Output] = field(default_factory=list)

    def known(self, peer: Peer) -> None:
        """A node with a good passport is at the other end of that session."""
        if peer.session in self._asked or (self.redeemers and peer.passport is not None and peer.passport.node_id not in self.redeemers):
            return
        self._asked.add(peer.session)
        self._waiting.append(peer)
        self._next()

    def _next(self) -> None:
        if self._open is None and self._waiting:
            peer = self._open = self._waiting.pop(0)
            self._heard.add(peer.exchange)
            method = Method.REDEEM if self.seed is not None else Method.ENROL
            self._out.append(Question(peer.session, method, self.request.body(self.identity, peer.handshake_hash, self.seed)))

    def failed(self, session: int) -> None:
        """The question was not answered: the next node is asked, this one when it comes again."""
        self._asked.discard(session)
        self._later = [(due, peer) for due, peer in self._later if peer.session != session]
        self._open = None
        self._seek()
        self._next()

    def unreachable(self, exchange: bytes, now: float) -> None:
        """No session came of a dial. Where all that a node sent us on to are away, it is asked again."""
        asked = self._pointed.pop(exchange, None)
        if asked is not None and asked not in self._pointed.values():
            self._seek()
            self._astray[asked.session] += 1
            if self._astray[asked.session] <= ASTRAY:
                self._later.append((now + AGAIN, asked))
            else:
                self._no(refusal(Reply(code=ELSEWHERE, what="who may let us in cannot be reached", todo="try again later, or another cluster")), now)

    def wake_at(self) -> float | None:
        """When :meth:`wake` wants to be called."""
        times = [due for due, _ in self._later]
        if self._refusal is not None and self._open is None:
            times.append(self._refusal[0])
        return min(times, default=None)

    def wake(self, now: float) -> None:
        """Ask again those who said "later"."""
        self._waiting += [peer for due, peer in self._later if due <= now]
        self._later = [(due, peer) for due, peer in self._later if due > now]
        self._next()
        if self._refusal is not None and now >= self._refusal[0] and self._open is None:
            self._out.append(Refused(self._refusal[1]))

    def answered(self, session: int, body: Value, now: float) -> None:
        """An answer came."""
        asked, self._open = self._open, None
        try:
            reply = read_reply(body)
        except Malformed as why:
            self._no(why, now)
            return
        if reply.code == GRANTED:
            self._out.append(Granted(reply.records))
        elif reply.code == WAITING and asked is not None and asked.passport is not None:
            code = code_of(asked.handshake_hash)  # our own: were it another's, somebody would stand between us
            if code not in self._codes:
                self._codes.add(code)
                self._out.append(Asked(code, asked.passport.name))
            self._is_put_off(asked, now, ADMITTED_YET)
        elif reply.code == LATER and asked is not None and self._put_off[session] < LATERS:
            self._is_put_off(asked, now, AGAIN)
        elif reply.code == ELSEWHERE and asked is not None:
            self._sent_on(asked, reply, now)
        else:
            self._no(refusal(reply), now)

    def disbelieved(self, error: OverlayError, now: float) -> None:
        """The grants of the last answer do not hold."""
        self._no(error, now)

    def _is_put_off(self, asked: Peer, now: float, wait: float) -> None:
        self._put_off[asked.session] += 1
        if self._put_off[asked.session] <= PATIENCE:
            self._hold(now + wait + SECOND)
        else:
            self._seek()
        self._later.append((now + wait, asked))
        self._next()

    def _sent_on(self, asked: Peer, reply: Reply, now: float) -> None:
        """Others decide: they are asked, unless the way there has no end."""
        hops = self._hops.get(asked.exchange, 0) + 1
        if hops > POINTERS or not reply.elsewhere:
            self._no(refusal(Reply(code=ELSEWHERE, what="one gateway sends us to the next", todo="try another cluster")), now)
            return
        for key, addresses in reply.elsewhere:
            if key not in self._heard:
                self._hold(now + SENT_ON)
            self._hops[key] = min(hops, self._hops.get(key, hops))
            self._pointed[key] = asked
            self._out.append(Pointed(key, addresses))
        self._next()

    def _no(self, error: OverlayError, now: float) -> None:
        """The first no is kept until a second and a third node have had time to say otherwise; the third counts at once.

        Where a token names one node that may redeem it, there is nobody else to hear.
        """
        first = self._refusal[1] if self._refusal is not None else error
        self._noes += 1
        if self._noes >= NOES or len(self.redeemers) == 1:
            self._out.append(Refused(first))
            return
        self._refusal = (now + SECOND, first)
        self._out.append(Others())
        self._next()

    def _hold(self, until: float) -> None:
        """Somebody may say otherwise by then."""
        if self._refusal is not None:
            self._refusal = (max(self._refusal[0], until), self._refusal[1])

    def _seek(self) -> None:
        """Who was asked is of no help so far, and has not said no either."""
        if not self._sought:
            self._sought = True
            self._out.append(Others())

    def take(self) -> list[Output]:
        """What it wants since last asked."""
        out, self._out = self._out, []
        return out


def take_grants(book: Book, records: tuple[Record, ...], request: Request, at: float) -> Record:
    """Put the grants of an answer into the book, chains first; the name grant, or a TrustError where something is wrong.

    It must be the name that was asked for: the label exactly where the person chose it, else with a number, in the cluster
    that was asked for.
    """
    waiting = list(records)
    for _ in range(len(records) + 1):
        again = []
        for record in waiting:
            try:
                book.add(record, at)
            except MissingGrant:
                again.append(record)
        if not again:
            break
        waiting = again
    else:
        raise TrustError("the registrar's grants do not lead to the root keys", "do not trust it; join through another node", rule="R04")
    named = (r for r in records if r.kind == "grant" and r.item == request.node_id and r.body[1] == [rights.OWN] and len(r.name) >= 2)
    name = next((r for r in named if _asked_for(r.name, request)), None)
    if name is None:
        raise TrustError("the registrar's answer does not hold the name that we asked for", "do not trust it; join through another node", rule="R05")
    return name


def _asked_for(name: Path, request: Request) -> bool:
    if request.cluster is not None and name.parent != request.cluster:
        return False
    stem, _, number = name.leaf.rpartition("-")
    numbered = not request.exact and bool(stem) and request.label.startswith(stem) and number.isdigit()
    return name.leaf == request.label or numbered


def own_passport(book: Book, statements: Statements, identity: Identity, name_grant: Record, at: float) -> passport.Passport:
    """This node's passport, newly bound."""
    binding = statements.sign(ROOT, "bind", Bind(exchange=identity.exchange_public).body(), at)
    records = passport.assemble(binding, [name_grant, *book.chain_of(name_grant)], book.trust.roots)
    return passport.check([record.raw for record in records], identity.exchange_public, at, book.trust)


def ways_of(body: Value) -> list[tuple[bytes, tuple[Address, ...]]]:
    """The answer to WAYS -> (exchange key, addresses) of each; what does not read is left out."""
    ways = []
    for raw in body[:WAYS] if isinstance(body, list) else ():
        try:
            record = parse(raw) if isinstance(raw, bytes) else None
            cluster = kinds.read(record) if record is not None else None
        except Malformed:
            continue
        if isinstance(cluster, Cluster) and cluster.addresses:
            ways.append((cluster.exchange, cluster.addresses))
    return ways
