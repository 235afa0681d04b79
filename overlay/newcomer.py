"""A newcomer's side of admission: whom to ask, with which proof, what to do with the answer (DESIGN 3.3).

It decides the next question; sessions carry it. It asks only nodes whose passport is good, one question a session,
follows at most four pointers to a gateway, asks again where it is told to wait, and takes grants only when they are for its own key and judged good.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from overlay.admission.registrar import refusal
from overlay.admission.request import ELSEWHERE, GRANTED, LATER, Reply, Request, read_reply
from overlay.directory.book import Book
from overlay.errors import Malformed, OverlayError, TrustError
from overlay.identity.keys import Identity, Signer
from overlay.name import ROOT
from overlay.peers import Peer
from overlay.records import passport, rights
from overlay.records.kinds import Bind
from overlay.records.record import Record
from overlay.records.trust import MissingGrant
from overlay.statements import Statements
from overlay.wire.address import Address
from overlay.wire.codec import Value
from overlay.wire.messages import Method

AGAIN = 1.0  # seconds before a node that said "later" is asked again
LATERS = 40  # times: longer than a cluster takes to be known to all
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


Output = Question | Pointed | Refused | Granted


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
        return min((due for due, _ in self._later), default=None)

    def wake(self, now: float) -> None:
        """Ask again those who said "later"."""
        self._waiting += [peer for due, peer in self._later if due <= now]
        self._later = [(due, peer) for due, peer in self._later if due > now]
        self._next()

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
        else:
            self._out.append(Refused(refusal(reply)))

    def take(self) -> list[Output]:
        """What it wants since last asked."""
        out, self._out = self._out, []
        return out


def take_grants(book: Book, records: tuple[Record, ...], node_id: bytes, at: float) -> Record:
    """Put the grants of an answer into the book, chains first; the name grant, or a TrustError where something is wrong."""
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
    name = next((r for r in records if r.kind == "grant" and r.item == node_id and r.body[1] == [rights.OWN] and len(r.name) >= 2), None)
    if name is None:
        raise TrustError("the registrar's answer holds no name for us", "do not trust it; join through another node", rule="R05")
    return name


def own_passport(book: Book, statements: Statements, identity: Identity, name_grant: Record, at: float) -> passport.Passport:
    """This node's passport, newly bound."""
    binding = statements.sign(ROOT, "bind", Bind(exchange=identity.exchange_public).body(), at)
    records = passport.assemble(binding, [name_grant, *book.chain_of(name_grant)], book.trust.roots)
    return passport.check([record.raw for record in records], identity.exchange_public, at, book.trust)
