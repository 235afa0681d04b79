"""A newcomer's side of admission: whom to ask, with which proof, what to do with the answer (DESIGN 3.3).

It decides the next question; sessions carry it. It asks only nodes whose passport is good, one question a session,
follows at most four pointers to a gateway, asks again where it is told to wait, hears a second node where the first says
no and there is one, and takes grants only when they are what it asked for, for its own key, and judged good.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from overlay.admission.registrar import refusal
from overlay.admission.request import ELSEWHERE, GRANTED, LATER, REFUSED, WAITING, Reply, Request, read_reply
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
LATERS = 40  # times: longer than a cluster takes to be known to all
WAYS = 4  # other nodes that are dialled for a second opinion
POINTERS = 4  # gateways to be sent on to: a cluster's, and room for its own ancestors'


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
    _asked: set[int] = field(default_factory=set)
    _waiting: list[Peer] = field(default_factory=list)
    _open: Peer | None = None  # the session whose answer is awaited: two answers would be two names
    _later: list[tuple[float, Peer]] = field(default_factory=list)  # when to ask whom again
    _laters: int = 0
    _code: str = ""  # the code that was shown last
    _refusal: tuple[float, OverlayError] | None = None  # when it counts, unless another node says otherwise
    _pointers: int = 0
    _pointed: dict[bytes, Peer] = field(default_factory=dict)  # exchange keys that we were sent on to, and by whom
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
            method = Method.REDEEM if self.seed is not None else Method.ENROL
            self._out.append(Question(peer.session, method, self.request.body(self.identity, peer.handshake_hash, self.seed)))

    def failed(self, session: int) -> None:
        """The question was not answered: the next node is asked, this one when it comes again."""
        self._asked.discard(session)
        self._later = [(due, peer) for due, peer in self._later if peer.session != session]
        self._open = None
        self._next()

    def unreachable(self, exchange: bytes, now: float) -> None:
        """No session came of a dial. Where all that we were sent on to are away, who sent us is asked again."""
        asked = self._pointed.pop(exchange, None)
        if asked is not None and not self._pointed:
            self._pointers -= 1
            self._later.append((now + AGAIN, asked))

    def wake_at(self) -> float | None:
        """When :meth:`wake` wants to be called."""
        times = [due for due, _ in self._later]
        if self._refusal is not None:
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
            self._out.append(Refused(why))
            return
        if reply.code == GRANTED:
            self._out.append(Granted(reply.records))
        elif reply.code == WAITING and asked is not None and asked.passport is not None:
            code = code_of(asked.handshake_hash)  # our own: were it another's, somebody would stand between us
            if code != self._code:
                self._code = code
                self._out.append(Asked(code, asked.passport.name))
            self._later.append((now + ADMITTED_YET, asked))
            self._next()
        elif reply.code == LATER and asked is not None and self._laters < LATERS:
            self._laters += 1
            self._later.append((now + AGAIN, asked))
            self._next()
        elif reply.code == ELSEWHERE and self._pointers < POINTERS and asked is not None:
            self._pointers += 1
            self._pointed = {key: asked for key, _ in reply.elsewhere}
            self._out.extend(Pointed(key, addresses) for key, addresses in reply.elsewhere)
            self._next()
        elif reply.code == ELSEWHERE:
            self._out.append(Refused(refusal(Reply(code=ELSEWHERE, what="one gateway sends us to the next", todo="try another cluster"))))
        elif reply.code == REFUSED and not self.redeemers:
            self._hear_another(refusal(reply), now)
        else:
            self._out.append(Refused(refusal(reply)))

    def _hear_another(self, error: OverlayError, now: float) -> None:
        """The first no is kept until a second node has had time to say otherwise; a second no counts at once."""
        if self._refusal is not None:
            self._out.append(Refused(self._refusal[1]))
            return
        self._refusal = (now + SECOND, error)
        self._out.append(Others())
        self._next()

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
