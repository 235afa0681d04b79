"""The node: sums the machines by a table event -> handler, and decides nothing itself (DESIGN 4).

Datagrams go to sessions; what sessions raise goes to peers, the newcomer's or the registrar's desk, or the directory;
what those want goes back to sessions. All that a step must make durable comes out in its first lot, all that the world
may see in its second. One node, one object; Trio and the lab drive it alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args

from overlay import limits
from overlay.admission.registrar import USES, Registrar
from overlay.admission.request import Request
from overlay.admission.shadows import Shadows
from overlay.arriving import Arriving, Ports
from overlay.belonging import Belonging, MatePorts, belong
from overlay.calling import Calling
from overlay.cluster.discovery import Found
from overlay.cluster.links import Link
from overlay.directory import outputs
from overlay.directory.book import RECORDS, Book
from overlay.directory.machine import Directory
from overlay.errors import Malformed, OverlayError, TrustError
from overlay.identity.keys import Signer
from overlay.lan import BEACON, Lan
from overlay.machine import CloseTcp, CloseUdp, Effect, Log, OpenTcp, Raise, Send, Step, Store
from overlay.name import Path
from overlay.nat.stun import STUN, Stun
from overlay.newcomer import Granted, own_passport, take_grants
from overlay.operating import operate
from overlay.outlook import KNOCK, Outlook, OutlookPorts
from overlay.peers import Admitted, AskPeer, Known, Peer, Peers, Reject
from overlay.presence import Presence
from overlay.probing import probes
from overlay.raised import DialEnded, Joined, PassportGood, PeerChanged, Pong, ReleasesChanged, SessionEnded, Streamed, ZonesChanged
from overlay.reach import Reach, ReachPorts
from overlay.records import passport as passports
from overlay.records.kinds import RELEASES
from overlay.records.record import Record, parse
from overlay.records.releases import spoken_of
from overlay.records.trust import Trust
from overlay.remembered import Remembered
from overlay.renewal import Renewals, best_name
from overlay.session import events
from overlay.session.machine import Sessions
from overlay.setup import FOUNDING, NAME, OWN, PASSPORT, PEERS, Setup, Stored, counted
from overlay.statements import SERVICES, Statements
from overlay.upholding import Upholding
from overlay.welcoming import Welcoming
from overlay.wire.address import Address, Way
from overlay.wire.codec import decode, encode
from overlay.wire.messages import Method


class Node:
    """All machines of one node."""

    def __init__(self, setup: Setup, now: float, at: float) -> None:
        self.setup = setup
        self.identity = setup.identity
        self.boot_nonce = setup.entropy(8)
        self.trust = Trust(setup.overlay_id, setup.verifier)
        self.book = Book(self.trust)
        self.statements = Statements(identity=setup.identity, overlay_id=setup.overlay_id, book=self.book)
        self.peers = Peers(trust=self.trust, node_id=self.identity.node_id, boot_nonce=self.boot_nonce)
        self.sessions = Sessions(
            exchange=self.identity.exchange, overlay_id=setup.overlay_id, passport_digest=b"", boot_nonce=self.boot_nonce,
            entropy=setup.entropy, suite=setup.suite, near=lambda way: self.lan.near(way),
        )
        self.counters: Counter[str] = Counter()
        self._first: list[Store] = []
        self._then: list[Effect] = []
        self.directory: Directory | None = None
        self.presence: Presence | None = None
        self.registrar: Registrar | None = None
        self.welcoming: Welcoming | None = None
        self.belonging: Belonging | None = None
        self.calling = Calling(self.sessions, self.counters)
        self.arriving = Arriving(self.identity, self.peers, Ports(self.calling.call, self.dial, self._raise))
        self.load = 0
        self.newest_issued = 0  # UTC seconds, of what rightful signers said: what trusted time cannot be before
        self.remembered = Remembered(setup.stored.get(PEERS, {}), now)
        self.lan = Lan(setup, self.peers, self.remembered)
        paths, self.sessions.guessing.allowed, self.sessions.relaying.allowed = self.sessions.paths, setup.guess, setup.relay
        self.reach = Reach(
            self.identity.exchange_public, self.peers, self.sessions.relaying,
            ReachPorts(self.calling.call, paths.attempt, paths.connect, self.sessions.guessing.begin, self.dial), self.lan.near,
        )
        self.outlook = Outlook(self.peers, self.reach, OutlookPorts(self.calling.call, lambda effect: self._then.append(effect)), setup.entropy)
        self.stun = Stun(self.outlook.ports.emit)
        self._doors = {BEACON: self.lan.heard, KNOCK: self.outlook.knocked, STUN: self.stun.asked}  # by the first octet; sessions have the others
        self._now = now
        self.upholding = Upholding(self.peers, self.calling.call, now)
        self._boot_at = at
        self._handlers: dict[type, Callable[[Any, float, float], None]] = {
            events.Opened: self._opened, events.Closed: self._closed, events.Called: self._called, events.Answered: self.calling.answered,
            events.CallFailed: self.calling.failed, events.DialFailed: self._dial_failed, events.Message: self._message,
            AskPeer: self._ask_peer, Known: self._known, Admitted: self._admitted, Reject: self._reject,
            Granted: self._granted, **self.arriving.handlers(),
            outputs.Ask: self._ask, outputs.Answer: self._answer, outputs.Changed: self._changed, outputs.Arrived: self._arrived,
            outputs.Reach: lambda event, now, at: self.dial(event.to.exchange, event.to.addresses, now, at), outputs.Part: self._part,
            Found: lambda event, now, at: self.dial(*self.lan.found(event), now, at),
            **self.reach.handlers(), **dict.fromkeys(get_args(events.StreamEvent), lambda event, now, at: self._raise(Streamed(event))),
            Store: lambda store, now, at: self._first.append(store),
            **dict.fromkeys((Send, OpenTcp, CloseTcp, CloseUdp, Log), lambda effect, now, at: self._then.append(effect)),
        }
        self._load(setup.stored, now, at)

    def _load(self, stored: Stored, now: float, at: float) -> None:
        own = stored.get(OWN, {})
        raws = list(stored.get(RECORDS, {}).values())
        if FOUNDING in own:
            raws.insert(0, own[FOUNDING])
        self.book.load(raws, at)
        self.counters["drop:stored-peer"] += self.remembered.damaged
        self.counters["drop:stored-service"] += self.statements.load(stored.get(SERVICES, {}))
        if PASSPORT in own:
            try:
                passport = passports.check(decode(own[PASSPORT]), self.identity.exchange_public, at, self.trust)
            except TrustError:  # its date has passed, or who renewed it was revoked: bound anew from what stands in the book
                grant = best_name(self.book, parse(decode(own[PASSPORT])[1]), at)
                if grant is None:
                    raise
                passport = self._bind(grant, at)
            self._enrolled(passport, now, uses=stored.get(USES, {}))

    # -- what the world does to it

    def datagram(self, data: bytes, way: Way, now: float, at: float) -> None:
        """Octets arrived."""
        self._doors.get(data[:1], self.sessions.receive)(data, way, now, at)

    def opened(self, way: Way, now: float, at: float) -> None:
        """A TCP connection is up."""
        self.sessions.opened(way, now, at)

    def closed(self, way: Way, now: float, at: float) -> None:
        """A TCP connection is gone, or could not be opened."""
        self.sessions.closed(way, now, at)

    def interfaces(self, hosts: Iterable[str], links: Iterable[Link] = ()) -> None:
        """The machine's own addresses are these now, and these of them lead to a LAN."""
        self.lan.follow(links)
        if self.presence is not None:
            self.presence.on_interfaces(hosts)
            self.outlook.look_soon(self._now)
        if self.belonging is not None:
            self.belonging.look_soon()

    # -- what a person or a plug asks of it

    def dial(self, exchange: bytes, addresses: Iterable[Address], now: float, at: float, relays: Iterable[bytes] = ()) -> None:
        """Open a session to the holder of that key at one of these addresses, or through the relays that its records name."""
        if exchange != self.identity.exchange_public and self.peers.by_exchange(exchange) is None:
            targets = tuple(addresses)
            self.remembered.dialling(exchange, targets)
            through = self.reach.through(exchange, targets, relays, now, at)
            if targets or through or not relays:
                self.sessions.dial(exchange, targets, now, at, relays=through)

    def join(self, request: Request, seed: Signer | None, redeemers: frozenset[bytes] = frozenset()) -> None:
        """Ask whoever is reached (or one of ``redeemers``) for a name. Raised: ``Joined`` or ``JoinRefused``."""
        self.arriving.begin(request, seed, redeemers)

    def publish(self, records: Iterable[Record], at: float) -> None:
        """Say these statements of this node's own."""
        assert self.directory is not None
        for record in records:
            self.directory.publish(record, at)

    def keep(self, *stores: Store) -> None:
        """Make durable with the next step; what is said about this node may have changed with it."""
        self._first += stores
        self._hurry()

    def _say(self, records: Iterable[Record], at: float) -> None:
        """Publish what was due by itself: a right that has lapsed or was revoked is logged, not raised, and so is what has no room."""
        for record in records:
            try:
                self.publish([record], at)
            except (TrustError, Malformed) as why:
                self.counters[f"unsaid:{why.rule}"] += 1
                self._log("warning", "unsaid", kind=record.kind, name=record.name.dotted, reason=why.rule)

    def ping(self, peer: Peer, now: float) -> int:
        """One ping; answered by a ``Pong`` with the ticket returned."""
        return self.calling.ping(peer, self._pong, now)

    def _pong(self, pong: Pong, seen: Address | None, peer: Peer, now: float) -> None:
        self.reach.seen_as(peer, seen, now)
        self._raise(pong)

    def farewell(self, now: float) -> None:
        """Tell all peers that this node stops."""
        for session in list(self.peers.peers):
            self.sessions.close(session, "leaving", now)

    @property
    def name(self) -> Path | None:
        """The node's own name, once it has one."""
        return self.presence.name if self.presence is not None else None

    # -- time

    def wake_at(self) -> float | None:
        """When :meth:`wake` wants to be called, None for not at all."""
        times = [at for at in (self.sessions.wake_at(), self.arriving.wake_at(), self.lan.wake_at()) if at is not None]
        if self.directory is not None and self.presence is not None:
            at_work = min(self.directory.wake_at(), self.presence.wake_at(), self.upholding.wake_at())
            times += [at_work, self.reach.wake_at(), self.outlook.wake_at()]
            if self.belonging is not None:
                times.append(self.belonging.wake_at())
                if self.belonging.astray and self.remembered:
                    times.append(self.remembered.try_at)
        return min(times, default=None)

    def wake(self, now: float, at: float) -> None:
        """Time passed."""
        self.sessions.wake(now, at)
        self.arriving.wake(now)
        self.lan.wake(now, at)
        if self.directory is None or self.presence is None:
            return
        self.directory.wake(now, at)
        if self.belonging is not None:
            self.belonging.wake(now, at)
        self.upholding.wake(now, at)
        self.reach.wake(now, at)
        self.outlook.wake(now)
        if now >= self.presence.wake_at():
            self._say(self.presence.due(now, at, self.load), at)
            for session, own in probes(self.presence, self.peers.admitted(), self.book, self.remembered, now):
                self.sessions.paths.probe(session, own)
            connected = {p.passport.node_id for p in self.peers.peers.values() if p.passport is not None}
            for neighbour in self.presence.to_dial(connected, now):
                self.dial(neighbour.exchange, neighbour.addresses, now, at)
        if self.belonging is not None and self.belonging.astray:
            for exchange, addresses in self.remembered.due(now):
                self.dial(exchange, addresses, now, at)

    def take(self, now: float, at: float) -> Step:
        """Carry events from machine to machine until all are quiet; then what is to be stored and what is to be sent."""
        self._now = now
        handlers, then, moved = self._handlers, self._then, True
        while moved:
            moved = False  # whether an event made some machine act, so that there may be more
            for machine in (self.sessions, self.peers, self.arriving, self.lan, self.belonging, self.directory):
                for event in machine.take() if machine is not None else ():
                    if type(event) is Send:
                        then.append(event)
                    else:
                        moved = True
                        handlers[type(event)](event, now, at)
        self._first += self.book.take_stores()
        step = Step(tuple(self._first), tuple(self._then))
        self._first, self._then = [], []
        return step

    # -- sessions' events

    def _opened(self, event: events.Opened, now: float, at: float) -> None:
        peer = Peer(
            session=event.session, exchange=event.peer_key, way=event.way, initiator=event.initiator, since=at,
            passport_digest=event.passport_digest, boot_nonce=event.boot_nonce, seen=event.seen, handshake_hash=event.handshake_hash,
        )
        self.peers.opened(peer, at)
        self.ping(peer, now)  # before passports are judged: a peer may know better what time it is

    def _closed(self, event: events.Closed, now: float, at: float) -> None:
        peer = self.peers.closed(event.session)
        self._raise(SessionEnded(event.peer_key, event.reason))
        self.reach.left(peer, event.session, now)
        self._raise(Streamed(event))
        if self.registrar is not None and peer is not None:
            self.registrar.room.ended(peer.handshake_hash)
        if self.directory is not None:
            self.directory.left(event.session)
        if self.presence is not None:
            self.presence.look_soon(now)
        if self.belonging is not None and peer is not None:
            self.belonging.left(peer, event.reason, now)
        if peer is not None and peer.admitted and peer.passport is not None:
            self._log("info", "peer-gone", name=peer.passport.name.dotted, reason=event.reason)
            self._raise(PeerChanged(peer.passport.node_id, peer.passport.name, False))

    def _message(self, event: events.Message, now: float, at: float) -> None:
        peer = self.peers.peers.get(event.session)
        if self.belonging is None or peer is None or not self.belonging.heard(peer, event.kind, event.body, now):
            self.counters["drop:message-unknown"] += 1  # numbers are free for `chat` and the like

    def _dial_failed(self, event: events.DialFailed, now: float, at: float) -> None:
        self.arriving.unreachable(event.peer_key, now)
        self.reach.failed(event.peer_key, self.remembered.dialled(event.peer_key), event.reason, at)
        self._raise(DialEnded(event.peer_key, event.reason))

    def _called(self, event: events.Called, now: float, at: float) -> None:
        peer = self.peers.peers.get(event.session)
        try:
            if event.method is Method.PING:
                seen = {2: peer.way.remote.packed} if peer is not None and peer.way.proto == "udp" else {}
                self.sessions.reply(event.session, event.ticket, {1: int(at), **seen}, now)
            elif event.method in (Method.PASSPORT, Method.ADMIT):
                body = self.peers.called(event.session, event.method, event.body, at)
                self.sessions.reply(event.session, event.ticket, body, now)
            elif event.method in (Method.ENROL, Method.REDEEM):
                self._welcome(event, now, at)
            elif self.directory is None or self.belonging is None:
                self.sessions.refuse(event.session, event.ticket, "not-ready", now)
            elif event.method is Method.WAYS:
                self.sessions.reply(event.session, event.ticket, [r.raw for r in self.directory.holdings.ways(self.setup.entropy(1)[0])], now)
            elif event.method in (Method.PUNCH, Method.DIAL_BACK, Method.MATES):
                desk = {Method.PUNCH: self.reach.called, Method.DIAL_BACK: self.outlook.called, Method.MATES: self.belonging.told}[event.method]
                self.sessions.reply(event.session, event.ticket, desk(peer, event.body, now), now)
            elif event.method is Method.OPERATE:
                self._raise(operate(event, peer, self.book, self.name, at))
            else:
                self.directory.called(event.session, event.ticket, event.method, event.body, now, at)
        except Malformed as why:
            self.counters[f"drop:{why.rule}"] += 1
            self.sessions.refuse(event.session, event.ticket, why.rule or "malformed", now)

    def _welcome(self, event: events.Called, now: float, at: float) -> None:
        peer = self.peers.peers.get(event.session)
        if peer is None or self.welcoming is None:
            self.sessions.refuse(event.session, event.ticket, "not-ready", now)
            return
        welcome = self.welcoming.ask(event, peer, at)
        self._first += welcome.stores
        self._then += welcome.effects
        reply = welcome.reply
        if reply is not None:
            self.counters[f"enrol:{reply.code}"] += 1
            self.sessions.reply(event.session, event.ticket, reply.body(), now)

    def public(self, label: str, exists: bool | None, now: float, at: float) -> None:
        """The public DNS said whether it has that label below the TLD (None: it could not be asked): newcomers wait for it."""
        for event in self.welcoming.told(label, exists, at) if self.welcoming is not None else ():
            self._called(event, now, at)

    # -- peers

    def _ask_peer(self, ask: AskPeer, now: float, at: float) -> None:
        def back(body: Any, now: float, at: float) -> None:
            if body is None:
                self.peers.failed(ask.session, ask.method)
            else:
                self.peers.answered(ask.session, ask.method, body, at)

        self.calling.call(ask.session, ask.method, ask.body, back, now)

    def _known(self, event: Known, now: float, at: float) -> None:
        assert event.peer.passport is not None
        self.reach.seen_as(event.peer, event.peer.seen, now)
        self._raise(PassportGood(event.peer.exchange, event.peer.passport.node_id))
        self.arriving.known(event.peer)

    def _admitted(self, event: Admitted, now: float, at: float) -> None:
        peer = event.peer
        assert peer.passport is not None
        self.sessions.admit(peer.session)
        if self.directory is not None:
            self.directory.joined(peer.session, peer.passport.node_id, peer.passport.cluster, initiator=peer.initiator, now=now)
        self._log("info", "peer", name=peer.passport.name.dotted, way=str(peer.way.remote), proto=peer.way.proto)
        self._hurry()
        if peer.initiator or (peer.way.proto == "udp" and self.remembered.wants_more()):  # a node sends from where it listens
            self._first += self.remembered.reached(peer.exchange, (peer.way.remote,))
        self.reach.seen_as(peer, peer.seen, now)
        self.reach.joined(peer, now, at)
        self.outlook.joined(now)
        if self.belonging is not None:
            self.belonging.joined(peer, now)
        self._raise(PeerChanged(peer.passport.node_id, peer.passport.name, True))

    def _reject(self, event: Reject, now: float, at: float) -> None:
        self._log("warning", "peer-rejected", reason=event.reason)
        self.sessions.close(event.session, event.reason, now)

    # -- getting a name

    def _granted(self, event: Granted, now: float, at: float) -> None:
        try:
            grant = take_grants(self.book, event.records, self.arriving.request, at)
            passport = self._bind(grant, at)
        except OverlayError as why:
            self.arriving.disbelieved(why, now)
            return
        self.arriving.end()
        for peer in self.peers.peers.values():  # with the name, in one lot: a crash now must not leave it with nobody to go to
            if peer.initiator:
                self._first += self.remembered.reached(peer.exchange, (peer.way.remote,))
        self._enrolled(passport, now)
        self._raise(Joined(passport.name))

    def _bind(self, grant: Record, at: float) -> passports.Passport:
        passport = own_passport(self.book, self.statements, self.identity, grant, at)
        self._first += [
            Store(OWN, PASSPORT, encode([record.raw for record in passport.records])), Store(OWN, NAME, grant.digest),
            Store(OWN, FOUNDING, self.trust.roots[0].raw),
        ]
        return passport

    def _enrolled(self, passport: passports.Passport, now: float, uses: Mapping[bytes, bytes] | None = None) -> None:
        self.directory = Directory(
            me=self.identity.node_id, cluster=passport.cluster, book=self.book, entropy=self.setup.entropy, now=now, small=self.setup.small,
            spread=self.setup.spread,
        )
        self.presence = Presence(
            name=passport.name, statements=self.statements, directory=self.directory, port=self.setup.port,
            advertised=frozenset(self.setup.advertised), dns=self.setup.dns, interfaces=frozenset(self.setup.interfaces),
            renewals=Renewals(self.statements, self.book),
        )
        self.registrar = Registrar(
            self.directory, self.statements, counted(uses or {}), shadows=Shadows(self.setup.asks_public), lan_admit=self.setup.lan_admit,
        )
        self.welcoming = Welcoming(self.registrar, self.setup.verifier, self.lan.near)
        self.lan.enrolled()
        self.reach.presence = self.presence
        for peer in self.peers.peers.values():
            self.reach.seen_as(peer, peer.seen, now)
        self.belonging = belong(
            self.setup, self.presence, self.peers, MatePorts(self.sessions.message, self.calling.call, self.dial, self._log, self._raise), now,
        )
        self.registrar.mates = self.belonging.cards
        self._handlers |= self.belonging.handlers()
        self.sessions.set_passport(passport.digest)
        self.peers.set_own(passport)

    # -- the directory

    def _ask(self, ask: outputs.Ask, now: float, at: float) -> None:
        def back(body: Any, now: float, at: float) -> None:
            if self.directory is not None and body is None:
                self.directory.failed(ask.context, ask.session)
            elif self.directory is not None:
                self.directory.answered(ask.context, ask.session, body, now, at)

        self.calling.call(ask.session, ask.method, ask.body, back, now)

    def _answer(self, answer: outputs.Answer, now: float, at: float) -> None:
        self.sessions.reply(answer.session, answer.ticket, answer.body, now)

    def _part(self, event: outputs.Part, now: float, at: float) -> None:
        self.sessions.close(event.session, event.reason, now)

    def _changed(self, event: outputs.Changed, now: float, at: float) -> None:
        self._raise(ZonesChanged(event.units))

    def _arrived(self, event: outputs.Arrived, now: float, at: float) -> None:
        if event.record.issued > self.newest_issued:
            self.newest_issued = event.record.issued
        kind, own = event.record.kind, self.peers.own
        if event.told and event.record.signer == self.identity.node_id and event.record.issued > self._boot_at + limits.FUTURE:
            self._twin(event.record)
        if kind == "root":
            self.peers.judge_again(at)
        elif kind == "revoke":
            self.upholding.revoked(event.record, now)
            if own is not None and any(self.trust.ended(grant) for grant in own.chain):
                self._renewed(own, at)
        elif kind in ("cluster", "grant") and self.presence is not None:
            self.presence.look_soon(now)
        if kind in RELEASES:
            self._raise(ReleasesChanged(spoken_of(event.record)))
        if kind in ("grant", "revoke") and self.belonging is not None:
            self.belonging.look_soon()
        if kind == "grant" and own is not None and event.record.item == own.node_id:
            self._renewed(own, at)

    def _twin(self, record: Record) -> None:
        """Somebody speaks with this node's key: a cloned machine. Both go on, say so, and do not shout each other down."""
        self.statements.twin(record)
        self.counters["twins"] += 1
        if self.counters["twins"] == 1:
            self._log("error", "twin", kind=record.kind, name=record.name.dotted)

    def _renewed(self, own: passports.Passport, at: float) -> None:
        """This node's name was renewed, or a renewal of it has ended: from now on it shows what stands and lasts longest."""
        best = best_name(self.book, own.chain[0], at)
        if best is None and any(self.trust.ended(grant) for grant in own.chain):
            self._log("error", "own-name-revoked", name=own.name.dotted)
        elif best is not None and best.digest != own.chain[0].digest:
            passport = self._bind(best, at)
            self.sessions.set_passport(passport.digest)
            self.peers.set_own(passport)
            self._log("info", "name-renewed", name=passport.name.dotted, until=best.expires)

    # -- small things

    def _hurry(self) -> None:
        if self.presence is not None:
            self.presence.hurry()

    def _raise(self, event: object) -> None:
        self._then.append(Raise(event))

    def _log(self, level: str, event: str, **fields: object) -> None:
        self._then.append(Log(level, event, fields))
