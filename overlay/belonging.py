"""A node's place in its cluster: what members tell each other, carried to sessions and back (DESIGN 3.6).

It decides nothing that ``cluster/members.py`` and ``cluster/lease.py`` do not; it knows which session leads to a member,
whom to dial where there is none, who may speak for the cluster by the grants in the book, and who hears of a new role.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from overlay import limits
from overlay.cluster.lease import TERM, Lease, stored_number
from overlay.cluster.members import Card, Member, Membership
from overlay.cluster.outputs import MemberChanged, Role, RoleChanged, Tell
from overlay.cluster.rank import Rank
from overlay.errors import Malformed
from overlay.machine import Store
from overlay.peers import Peer, Peers
from overlay.presence import Presence
from overlay.records import rights
from overlay.wire.address import Address
from overlay.wire.codec import Value
from overlay.wire.messages import Method, Note

SYNC_EVERY = 30.0  # seconds between full comparisons with one member by chance (memberlist's push/pull)
LETTERS = 64  # messages that wait for a session to their member; one of a kind and member
WAIT = 3.0  # seconds that they wait: what is older, SWIM and the lease have said again

Back = Callable[[Any, float, float], None]


@dataclass(frozen=True, slots=True)
class MatePorts:
    """What a node lends: messages, calls with their answers, dialling, the log, telling whoever plugged in."""

    message: Callable[[int, int, Value, float], None]
    call: Callable[[int, Method, Value, Back, float], None]
    dial: Callable[[bytes, Iterable[Address], float, float], None]
    log: Callable[..., None]
    tell: Callable[[object], None]


class Belonging:
    """This node among the members of its cluster."""

    def __init__(self, members: Membership, lease: Lease, *, peers: Peers, presence: Presence, ports: MatePorts, now: float) -> None:
        self.members = members
        self.lease = lease
        self.incarnation = 0
        self._peers = peers
        self._presence = presence
        self._ports = ports
        self._letters: dict[tuple[bytes, Note], tuple[Value, float]] = {}  # what waits for a session, since when
        self._sync_at = now + SYNC_EVERY
        self._looked: tuple[frozenset[bytes], frozenset[bytes]] | None = None
        self._presence.role = lease.role

    # -- sessions

    def joined(self, peer: Peer, now: float, at: float) -> None:
        """A session was admitted: a member is met first hand, and what waited for it goes out."""
        assert peer.passport is not None
        if peer.passport.cluster != self._presence.cluster:
            return
        node_id = peer.passport.node_id
        self.members.greet(node_id, peer.exchange, now)
        for to, note in [letter for letter in self._letters if letter[0] == node_id]:
            body, _ = self._letters.pop((to, note))
            self._ports.message(peer.session, note, body, now)
        self._pull(peer, now)
        self.look(now, at)

    def left(self, peer: Peer, reason: str, now: float, at: float) -> None:
        """The session with it ended."""
        if peer.passport is not None and peer.admitted and peer.passport.cluster == self._presence.cluster:
            if self._peers.by_node(peer.passport.node_id) is None:
                self.members.lost(peer.passport.node_id, reason == "leaving", now)
            self.look(now, at)

    def heard(self, peer: Peer, kind: int, body: Value, now: float, at: float) -> None:
        """A message came; ``Malformed`` where it makes no sense, or comes from nobody who belongs here."""
        if peer.passport is None or not peer.admitted or peer.passport.cluster != self._presence.cluster:
            raise Malformed("a message among members, from none", rule="message-stranger")
        if kind == Note.MEMBERS:
            self.members.receive(peer.passport.node_id, body, now)
        else:
            self.lease.receive(peer.passport.node_id, body, now)

    def _pull(self, peer: Peer, now: float) -> None:
        """Ask a member for all that it knows of the others."""
        assert peer.passport is not None
        node_id = peer.passport.node_id

        def back(body: Any, now: float, at: float) -> None:
            if body is not None:
                self.members.merge(node_id, body, now)

        self._ports.call(peer.session, Method.MATES, {}, back, now)

    # -- who may speak

    def look(self, now: float, at: float) -> None:
        """Grants, or who is alive, may have changed: tell the lease."""
        book, path = self._presence.directory.book, self._presence.cluster
        speakers = frozenset(
            grant.item for place in (path, *path.ancestors()) for grant in book.grants_on(place, at - limits.LAPSED)
            if rights.SPEAK in grant.body.get(1, ())
        )  # fmt: skip
        alive = frozenset(self.members.alive())
        if self._looked != (alive, speakers):
            self._looked = alive, speakers
            self.lease.members(alive, speakers, now)

    # -- what the machines want

    def handlers(self) -> dict[type, Callable[[Any, float, float], None]]:
        """Event -> handler, of all that :meth:`take` gives but the stores."""
        return {Tell: self._tell, RoleChanged: self._role, MemberChanged: self._member}

    def take(self) -> list[Tell | RoleChanged | MemberChanged | Store]:
        """What it wants since last asked."""
        return [*self.members.take(), *self.lease.take()]

    def _tell(self, tell: Tell, now: float, at: float) -> None:
        peer = self._peers.by_node(tell.to)
        if peer is not None:
            self._ports.message(peer.session, tell.note, tell.body, now)
            return
        where = self._way(tell.to)
        if where is None:
            return
        self._letters.pop((tell.to, tell.note), None)
        self._letters[tell.to, tell.note] = tell.body, now
        while len(self._letters) > LETTERS:
            del self._letters[next(iter(self._letters))]
        self._ports.dial(*where, now, at)

    def _way(self, node_id: bytes) -> tuple[bytes, tuple[Address, ...]] | None:
        """Where that member may be: as it said among members, and as its records say."""
        member = self.members.members().get(node_id)
        view = self._presence.directory.holdings.view(self._presence.cluster)
        host = next((entry.host for entry in view.hosts if entry.node_id == node_id), None)
        exchange = member.card.exchange if member is not None and member.card.exchange else host.exchange if host is not None else b""
        addresses = (*(member.card.addresses if member is not None else ()), *(host.addresses if host is not None else ()))
        return (exchange, tuple(dict.fromkeys(addresses))) if exchange and addresses else None

    def _member(self, event: MemberChanged, now: float, at: float) -> None:
        self._ports.log("info", "member", id=event.node_id.hex()[:16], life=str(event.life))
        self._ports.tell(event)
        self.look(now, at)

    def _role(self, event: RoleChanged, now: float, at: float) -> None:
        self._presence.role = event.role
        self._presence.hurry()
        self._ports.log("info", "role", role=str(event.role), term=event.number)
        self._ports.tell(event)

    # -- time

    def wake_at(self) -> float:
        """When :meth:`wake` wants to be called."""
        return min(self.members.wake_at(), self.lease.wake_at(), self._sync_at)

    def wake(self, now: float, at: float) -> None:
        """Time passed."""
        self.members.wake(now)
        self.lease.wake(now)
        if now >= self._sync_at:
            self._sync_at = now + SYNC_EVERY
            self._letters = {key: letter for key, letter in self._letters.items() if now - letter[1] < WAIT}
            self.look(now, at)
            mates = [p for p in self._peers.admitted() if p.passport is not None and p.passport.cluster == self._presence.cluster]
            if mates:
                self._pull(mates[self.members.pick(len(mates))], now)
