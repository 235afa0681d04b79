"""From a session to a peer: passports shown, checked, admitted (DESIGN 3.4).

It decides when a keyed session becomes an admitted one: when we have checked the other end's passport and it says that
it has checked ours. A passport is fetched once and known by its digest afterwards; its dates and revocations are
looked at each time. A newcomer without a passport only checks, and learns whom it is talking to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from overlay.errors import Malformed, TrustError
from overlay.records.passport import Passport, check
from overlay.records.trust import Trust
from overlay.wire.address import Address, Way
from overlay.wire.codec import Fields, Value, ordered
from overlay.wire.messages import Method

KNOWN = 1_024  # passports remembered: 1.5 kB each


@dataclass(slots=True)
class Peer:
    """The other end of a session, as far as it is known."""

    session: int
    exchange: bytes
    way: Way
    initiator: bool
    since: float
    passport_digest: bytes
    boot_nonce: bytes
    seen: Address | None
    handshake_hash: bytes
    passport: Passport | None = None
    they_admit: bool = False
    admitted: bool = False
    asking: bool = False
    revision: int = 0
    rtt: float | None = None  # seconds, of the last ping
    offset: float | None = None  # its clock less ours, seconds


@dataclass(frozen=True, slots=True)
class AskPeer:
    """Call a peer on behalf of this machine."""

    session: int
    method: Method
    body: Value


@dataclass(frozen=True, slots=True)
class Known:
    """The other end's passport is good (it may not have checked ours yet)."""

    peer: Peer


@dataclass(frozen=True, slots=True)
class Admitted:
    """Both passports are checked."""

    peer: Peer


@dataclass(frozen=True, slots=True)
class Reject:
    """End the session: its other end is not entitled."""

    session: int
    reason: str


Output = AskPeer | Known | Admitted | Reject


class Peers:
    """All sessions of this node, by session number."""

    def __init__(self, *, trust: Trust, node_id: bytes, boot_nonce: bytes) -> None:
        self._trust = trust
        self._node_id = node_id
        self._boot_nonce = boot_nonce
        self._known: dict[bytes, Passport] = {}
        self._out: list[Output] = []
        self.own: Passport | None = None
        self.revision = 0
        self.peers: dict[int, Peer] = {}
        self.counters: Counter[str] = Counter()

    def admitted(self) -> list[Peer]:
        """The peers of admitted sessions."""
        return [peer for peer in self.peers.values() if peer.admitted]

    def by_node(self, node_id: bytes) -> Peer | None:
        """The admitted session with that node."""
        return next((p for p in self.peers.values() if p.admitted and p.passport is not None and p.passport.node_id == node_id), None)

    def by_exchange(self, exchange: bytes) -> Peer | None:
        """The session with the holder of that exchange key, whatever its grade."""
        return next((p for p in self.peers.values() if p.exchange == exchange), None)

    def opened(self, peer: Peer, at: float) -> None:
        """A session is up, keyed."""
        self.peers[peer.session] = peer
        known = self._known.get(peer.passport_digest)
        if known is not None and known.exchange == peer.exchange:
            self._judged(peer, [record.raw for record in known.records], at)
        elif peer.passport_digest:
            self._ask_passport(peer)

    def closed(self, session: int) -> Peer | None:
        """A session is gone."""
        return self.peers.pop(session, None)

    def set_own(self, passport: Passport) -> None:
        """This node has a (new) passport: show it to everybody. Who has admitted it goes on while it looks at the new one."""
        first, self.own = self.own is None, passport
        for peer in self.peers.values():
            if first:
                peer.they_admit = peer.admitted = False
            if peer.passport is not None:
                self._ask_admit(peer)

    def _ask_passport(self, peer: Peer) -> None:
        if not peer.asking:
            peer.asking = True
            self._out.append(AskPeer(peer.session, Method.PASSPORT, {}))

    def _ask_admit(self, peer: Peer) -> None:
        if self.own is not None:
            self._out.append(AskPeer(peer.session, Method.ADMIT, ordered({1: self.own.digest, 2: self.revision or None})))

    def called(self, session: int, method: Method, body: Value, at: float) -> Value:
        """Answer PASSPORT and ADMIT."""
        if method is Method.PASSPORT:
            return [record.raw for record in self.own.records] if self.own is not None else []
        peer = self.peers.get(session)
        fields = Fields(body, "admit")
        theirs = fields.binary(1, 32, 32)
        if peer is None:
            raise Malformed("a call from nobody", rule="no-peer")
        peer.they_admit = True
        peer.revision = fields.integer(2, 0, 2**53, default=0)
        if peer.passport is None or peer.passport.digest != theirs:
            peer.passport_digest = theirs
            known = self._known.get(theirs)
            if known is not None and known.exchange == peer.exchange:
                self._judged(peer, [record.raw for record in known.records], at)
            else:
                self._ask_passport(peer)
        self._complete(peer)
        return {1: True} if peer.admitted else {}  # it may have lost the session that we still have, and would wait for our ADMIT for ever

    def answered(self, session: int, method: Method, body: Value, at: float) -> None:
        """The answer to an ``AskPeer``."""
        peer = self.peers.get(session)
        if peer is None:
            return
        if method is not Method.PASSPORT:
            if type(body) is dict and body.get(1) is True:
                peer.they_admit = True
                self._complete(peer)
            return
        peer.asking = False
        if type(body) is not list or any(type(raw) is not bytes for raw in body):
            self._reject(peer, "passport-form")
            return
        self._judged(peer, body, at)

    def failed(self, session: int, method: Method) -> None:
        """An ``AskPeer`` was not answered: without a passport a session is of no use."""
        peer = self.peers.get(session)
        if peer is not None:
            self._reject(peer, "no-answer")

    def standing_on(self, grant: bytes) -> list[Peer]:
        """The peers whose passport has that grant in its chain, or one that has ended with it."""
        ended = self._trust.ended
        return [p for p in self.peers.values() if p.passport is not None and any(g.digest == grant or ended(g) for g in p.passport.chain)]

    def judge_again(self, at: float, revoked: bytes | None = None) -> None:
        """End the sessions that stand on what no longer holds: all are looked at, or those that stand on one revoked grant."""
        for peer in list(self.peers.values()) if revoked is None else self.standing_on(revoked):
            if peer.passport is None:
                continue
            try:
                check([record.raw for record in peer.passport.records], peer.exchange, at, self._trust)
            except (TrustError, Malformed) as why:
                self._reject(peer, why.rule)

    def _judged(self, peer: Peer, raws: Sequence[bytes], at: float) -> None:
        try:
            passport = check(raws, peer.exchange, at, self._trust)
        except (TrustError, Malformed) as why:
            self._reject(peer, why.rule)
            return
        if passport.node_id == self._node_id and peer.boot_nonce != self._boot_nonce:
            self.counters["twins"] += 1  # a second holder of this identity: a cloned machine
            self._reject(peer, "twin")
            return
        if len(self._known) >= KNOWN:
            self._known.clear()
        self._known[passport.digest] = passport
        peer.passport = passport
        self._out.append(Known(peer))
        self._ask_admit(peer)
        self._complete(peer)

    def _complete(self, peer: Peer) -> None:
        if peer.passport is not None and peer.they_admit and self.own is not None and not peer.admitted:
            peer.admitted = True
            self._out.append(Admitted(peer))

    def _reject(self, peer: Peer, reason: str) -> None:
        self.counters[f"reject:{reason}"] += 1
        self._out.append(Reject(peer.session, reason))

    def take(self) -> list[Output]:
        """What it wants since last asked."""
        out, self._out = self._out, []
        return out
