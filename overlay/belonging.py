"""A node's place in its cluster: what members tell each other, carried to sessions and back (DESIGN 3.6).

It decides nothing that ``cluster/members.py`` and ``cluster/lease.py`` do not; it knows which session leads to a member,
whom to dial where there is none, who may speak for the cluster by the grants in the book, and who hears of a new role.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from overlay import limits
from overlay.cluster.lease import Lease
from overlay.cluster.member import Card
from overlay.cluster.members import Membership
from overlay.cluster.outputs import Life, MemberChanged, Role, RoleChanged, Tell
from overlay.cluster.rank import Rank
from overlay.cluster.terms import NUMBER, TERM, stored_number
from overlay.errors import Malformed
from overlay.machine import Entropy, Store
from overlay.peers import Peer, Peers
from overlay.presence import Presence
from overlay.records import rights
from overlay.setup import Setup
from overlay.units import b64
from overlay.wire.address import Address, worldwide
from overlay.wire.codec import Value
from overlay.wire.messages import Method, Note

PULL_EVERY = 30.0  # seconds between full comparisons with one member by chance (memberlist's push/pull)
PULL_FIRST = 3  # members of whom a newcomer asks at once for all others; from the rest it hears news
KEPT = 3.0  # seconds that a message waits for a session: what is older, SWIM and the lease have said again
LISTEN = 5.0  # seconds that a newcomer waits to hear who else is in its cluster
LOOK_AGAIN = 0.1  # seconds, while it waits
LOOK_EVERY = 10.0  # seconds between looks at grants: they lapse by date
LEAVING = "leaving"  # why a session ends whose peer stops
CARD_ADDRESSES = 4
NOTES = frozenset(Note)

Back = Callable[[Any, float, float], None]


@dataclass(frozen=True, slots=True)
class MatePorts:
    """What a node lends: messages, calls with their answers, dialling, the log, telling whoever plugged in."""

    message: Callable[[int, int, Value, float], None]
    call: Callable[[int, Method, Value, Back, float], object]
    dial: Callable[[bytes, Iterable[Address], float, float], None]
    log: Callable[..., None]
    tell: Callable[[object], None]


class Belonging:
    """This node among the members of its cluster."""

    def __init__(
        self, members: Membership, lease: Lease, *, peers: Peers, presence: Presence, ports: MatePorts, entropy: Entropy, now: float,
    ) -> None:
        self.members = members
        self.lease = lease
        self.counters: Counter[str] = Counter()
        self._peers = peers
        self._presence = presence
        self._ports = ports
        self._log = ports.log
        self._entropy = entropy
        self._letters: dict[tuple[bytes, Note], tuple[Value, float]] = {}  # what waits for a session, since when
        self._pull_at = now + PULL_EVERY
        self._look_at = now
        self._alone_at = now + LISTEN
        self._leaving = False
        self._told: tuple[frozenset[bytes], frozenset[bytes]] | None = None
        self._started = now
        self._reach = 0
        self._unled_since: float | None = now  # since when nobody speaks for the cluster, as far as is known here
        presence.role = lease.role

    # -- sessions

    def joined(self, peer: Peer, now: float) -> None:
        """A session was admitted: a member is met first hand, and what waited for it goes out."""
        node_id = self._mate(peer)
        if node_id is None:
            return
        self.members.greet(node_id, peer.exchange, now)
        for to, note in [letter for letter in self._letters if letter[0] == node_id]:
            body, _ = self._letters.pop((to, note))
            self._ports.message(peer.session, note, body, now)
        if len(self.members.members()) <= PULL_FIRST:
            self._pull(peer.session, node_id, now)
        self._look_at = now

    def left(self, peer: Peer, reason: str, now: float) -> None:
        """The session with it ended."""
        node_id = self._mate(peer)
        if node_id is not None and self._peers.by_node(node_id) is None:
            self.members.lost(node_id, reason == LEAVING, now)
            self._look_at = now

    def heard(self, peer: Peer, kind: int, body: Value, now: float) -> bool:
        """A message came. False where it is of another kind."""
        if kind not in NOTES:
            return False
        node_id = self._mate(peer)
        try:
            if node_id is None:
                raise Malformed("a message among members, from somebody else", rule="message-stranger")
            (self.members if kind == Note.MEMBERS else self.lease).receive(node_id, body, now)
        except Malformed as why:
            self.counters[f"drop:{why.rule}"] += 1
        return True

    def _mate(self, peer: Peer) -> bytes | None:
        """The node id of a peer that belongs to this cluster."""
        passport = peer.passport
        return passport.node_id if peer.admitted and passport is not None and passport.cluster == self._presence.cluster else None

    def told(self, peer: Peer | None, body: Value, now: float) -> Value:
        """All that is known of members, for one that asks; ``Malformed`` for others."""
        if peer is None or self._mate(peer) is None:
            raise Malformed("a question among members, from somebody else", rule="message-stranger")
        return self.members.sync()

    def near(self) -> dict[bytes, tuple[str, ...]]:
        """The LAN addresses of this cluster's nodes, as they say among themselves, by node id."""
        presence = self._presence
        mine = {presence.statements.identity.node_id: tuple(sorted(presence.interfaces))}
        cards = {node_id: tuple(address.host for address in addresses) for node_id, addresses in self.cards().items()}
        return {node_id: hosts for node_id, hosts in {**cards, **mine}.items() if hosts}

    def cards(self) -> dict[bytes, tuple[Address, ...]]:
        """Where the other members say among themselves that they are, by node id."""
        return {node_id: member.card.addresses for node_id, member in self.members.members().items() if member.card.addresses}

    def _pull(self, session: int, node_id: bytes, now: float) -> None:
        """Ask a member for all that it knows of the others."""

        def back(body: Any, now: float, at: float) -> None:
            if body is not None:
                try:
                    self.members.merge(node_id, body, now)
                except Malformed as why:
                    self.counters[f"drop:{why.rule}"] += 1

        self._ports.call(session, Method.MATES, {}, back, now)

    # -- who may speak

    def look_soon(self) -> None:
        """Grants came or went, or this machine's addresses did."""
        self._look_at = 0.0

    def _look(self, now: float, at: float) -> None:
        """Tell the lease who is alive and who may speak.

        A newcomer that was let into a cluster by somebody far away may not have heard yet who else is in it: it waits for
        its first comparison with the overlay before it takes itself for the only one.
        """
        self._say_where(now)
        presence = self._presence
        book, path, me = presence.directory.book, presence.cluster, presence.statements.identity.node_id
        grants = [grant for place in (path, *path.ancestors()) for grant in book.grants_on(place, at - limits.LAPSED)]
        speakers = frozenset(grant.item for grant in grants if rights.SPEAK in grant.body.get(1, ()))
        first = any(grant.item == me and grant.name == path and rights.OWN in grant.body.get(1, ()) for grant in grants)
        if speakers <= {me} and not first and now < self._alone_at and not presence.directory.compared:
            self._look_at = now + LOOK_AGAIN
            return
        alive = frozenset(self.members.alive())
        if self._told != (alive, speakers):
            self._told = alive, speakers
            self.lease.members(alive, speakers, now)

    def _say_where(self, now: float) -> None:
        """Members hear of new addresses of this node, the lease of whether it can be reached from outside."""
        presence = self._presence
        if presence.interfaces:  # without any, nobody could hear of it; what was said last is the better hint
            self.members.change(card_addresses(sorted(presence.interfaces), presence.port), now)
        reach = int(any(worldwide(address.host) for address in presence.addresses))
        if reach != self._reach:
            self._reach = reach
            self.lease.rank(Rank(0, reach, self._started, self.members.me), now)

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
        if len(self._letters) > limits.LETTERS:
            self.counters["drop:letters-full"] += 1
            del self._letters[next(iter(self._letters))]
        self._ports.dial(*where, now, at)

    def _way(self, node_id: bytes) -> tuple[bytes, tuple[Address, ...]] | None:
        """Where that member may be: as it says among members, and as its record says."""
        card = self.members.card(node_id)
        view = self._presence.directory.holdings.view(self._presence.cluster)
        host = next((entry.host for entry in view.hosts if entry.node_id == node_id), None)
        exchange = host.exchange if host is not None else card.exchange if card is not None else b""
        addresses = (*(card.addresses if card is not None else ()), *(host.addresses if host is not None else ()))
        return (exchange, tuple(dict.fromkeys(addresses))) if exchange and addresses else None

    def _member(self, event: MemberChanged, now: float, at: float) -> None:
        if event.life is not Life.SUSPECT:
            self._log("info", "member", name=self._called(event.node_id), life=str(event.life))
        self._ports.tell(event)
        self._look_at = now

    def _role(self, event: RoleChanged, now: float, at: float) -> None:
        self._presence.role = event.role
        self._presence.hurry()
        if event.gateway is not None:
            self._unled_since = None
        elif self._unled_since is None:
            self._unled_since = now
        gateway = self._called(event.gateway) if event.gateway is not None else ""
        self._log("info", "role", role=str(event.role), gateway=gateway, term=event.number)
        self._ports.tell(event)

    @property
    def astray(self) -> bool:
        """Whether ways in are to be tried: nobody is connected, or this node speaks for a cluster that has no session with another."""
        peers = self._peers.peers.values()
        return not peers or (self.lease.role is Role.GATEWAY and not any(peer.admitted and self._mate(peer) is None for peer in peers))

    def _called(self, node_id: bytes) -> str:
        """A member's name, or its id where no record tells it."""
        if node_id == self.members.me:
            return self._presence.name.dotted
        peer = self._peers.by_node(node_id)
        if peer is not None and peer.passport is not None:
            return peer.passport.name.dotted
        view = self._presence.directory.holdings.view(self._presence.cluster)
        return next((entry.name.dotted for entry in view.hosts if entry.node_id == node_id), b64(node_id))

    @property
    def standing(self) -> RoleChanged:
        """Who speaks for the cluster, as far as is known here."""
        lease = self.lease
        return RoleChanged(lease.role, lease.gateway, lease.standby, lease.term[0] if lease.term is not None else 0)

    def unled(self, now: float) -> float:
        """For how many seconds nobody has spoken for the cluster; 0 where somebody does."""
        return now - self._unled_since if self._unled_since is not None else 0.0

    def leave(self, now: float) -> bool:
        """This node is about to stop. Whether somebody else speaks for the cluster now, or nobody can."""
        if not self._leaving:
            self._leaving = True
            self.lease.leave(now)
        return self.lease.role is not Role.GATEWAY

    # -- time

    def wake_at(self) -> float:
        """When :meth:`wake` wants to be called."""
        due = self.lease.wake_at()
        return min(self.members.wake_at(), self._pull_at, self._look_at, due if due is not None else self._pull_at)

    def wake(self, now: float, at: float) -> None:
        """Time passed."""
        self.members.wake(now)
        self.lease.wake(now)
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY
            self._look(now, at)
        if now >= self._pull_at:
            self._pull_at = now + PULL_EVERY
            self._letters = {key: letter for key, letter in self._letters.items() if now - letter[1] < KEPT}
            mates = [(peer.session, node_id) for peer in self._peers.peers.values() if (node_id := self._mate(peer)) is not None]
            if mates:
                self._pull(*mates[self._entropy(1)[0] % len(mates)], now)


def card_addresses(hosts: Iterable[str], port: int) -> tuple[Address, ...]:
    """What a member says of where it is."""
    return tuple(Address(host, port) for host in hosts)[:CARD_ADDRESSES]


def belong(setup: Setup, presence: Presence, peers: Peers, ports: MatePorts, now: float) -> Belonging:
    """A node that has its name takes its place: its card, its stored term, its rank."""
    me = setup.identity.node_id
    card = Card(
        node_id=me, exchange=setup.identity.exchange_public, addresses=card_addresses(sorted(setup.interfaces), setup.port),
        incarnation=setup.incarnation, version=0,
    )
    members = Membership(me, card, setup.entropy, now)
    lease = Lease(me, stored_number(setup.stored.get(TERM, {}).get(NUMBER)), False, setup.entropy, now)
    lease.rank(Rank(revision=0, reach=0, started=now, node_id=me), now)
    return Belonging(members, lease, peers=peers, presence=presence, ports=ports, entropy=setup.entropy, now=now)
