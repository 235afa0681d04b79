"""How this node reaches others and is reached where no address of its own can be: relays and punched ways (DESIGN 3.7).

It decides which public nodes a node without a proved address keeps as its relays (two, told in its records), through whom
a node is dialled that has none itself, and when two ends that talk over a relay or TCP tell each other where their
datagrams come from, so that both send at the same moment and their NATs let each other's in (call PUNCH). The direct
attempt goes on after the relay has won, ever more rarely. What a way is worth is decided in ``session/paths.py``.

The threat: a member names a victim's addresses. A PUNCH names eight at most and counts against its session's budget; what
goes to each of them is ten probes of 93 octets. Private addresses are taken from one's own site alone.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Final

from overlay import limits
from overlay.directory.neighbours import Neighbour, nearest
from overlay.errors import Malformed
from overlay.peers import Peer, Peers
from overlay.presence import Presence
from overlay.records.kinds import Host
from overlay.session import events
from overlay.session.relaying import RELAY, SHORT, Relaying
from overlay.tried import Attempt, Tried
from overlay.wire.address import Address, Way, routable, unpack_address, worldwide
from overlay.wire.codec import Fields, Value, ordered
from overlay.wire.messages import Method

RELAYS: Final = 2  # that a node without a proved address keeps: one may die
THROUGH: Final = 3  # relays over which a dial goes at once
SEEN_FOR: Final = 300.0  # seconds for which an address that a peer saw is offered to others: NATs forget sooner (RFC 4787, REQ-5)
TOGETHER: Final = 60.0  # seconds within which what two peers see is compared: pings go out each 20 s
SEEN: Final = 32  # peers whose word is kept
WRITTEN: Final = 1_024  # hosts that were written to
WRITTEN_FOR: Final = 600.0  # seconds: twice what the most patient NATs remember
OFFERED: Final = 3  # of these addresses: an endpoint-dependent NAT shows each peer another port
PUNCH: Final = (1.0, 300.0)  # seconds between tries to leave a relay or TCP: first and longest
SECOND: Final = 0.7  # seconds that the end with the higher key waits for the other one's PUNCH
GUESS_AFTER: Final = 1.0  # seconds that simpler tries have before ports are guessed
LOOK: Final = 2.0  # seconds between looks at relays, where there must be some;
LOOK_SELDOM: Final = 60.0  # else: what changes, a session or an address, has them looked at anyway
CONNECTED: Final = 2  # addresses that are tried over TCP while a relay is in use
BUDGET_EACH: Final = 2.0  # seconds in which a session may ask for one more PUNCH

Back = Callable[[Any, float, float], None]


@dataclass(frozen=True, slots=True)
class ReachPorts:
    """What a node lends: calls with their answers, ways to try, dialling."""

    call: Callable[[int, Method, Value, Back, float], object]
    attempt: Callable[[int, Iterable[Way], float], None]
    connect: Callable[[int, Iterable[Address]], None]
    guess: Callable[[int, bool, tuple[Address, ...], float], object]
    dial: Callable[[bytes, Iterable[Address], float, float, Iterable[bytes]], None]


@dataclass(slots=True)
class _Plan:
    """When to try next to leave a relay or TCP."""

    next_at: float
    pause: float = PUNCH[0]
    guess_at: float = float("inf")  # when ports are guessed, if nothing has worked by then
    hard: bool = False  # whether it is our NAT that maps each far end to another port
    targets: tuple[Address, ...] = ()  # where the other end's datagrams come from


@dataclass(slots=True)
class _Budget:
    left: float = limits.PUNCHES_PER_PEER
    at: float = 0.0


@dataclass(slots=True)
class Reach:
    """One node's ways to others. ``presence`` comes with its name."""

    exchange: bytes
    peers: Peers
    relaying: Relaying
    ports: ReachPorts
    near: Callable[[Way], bool]
    presence: Presence | None = None
    counters: Counter[str] = field(default_factory=Counter)
    tried: Tried = field(default_factory=Tried)
    relays: tuple[bytes, ...] = ()  # exchange keys of the relays that are told in our records
    _seen: OrderedDict[bytes, tuple[Address, float]] = field(default_factory=OrderedDict)  # who saw us where, when
    _plans: dict[int, _Plan] = field(default_factory=dict)
    _budgets: dict[int, _Budget] = field(default_factory=dict)
    _wanted: dict[bytes, dict[bytes, None]] = field(default_factory=dict)  # a relay not connected yet -> who is to be dialled through it
    _wrote: OrderedDict[str, float] = field(default_factory=OrderedDict)  # hosts that datagrams of ours went to, the latest last
    _look_at: float = 0.0

    # -- as whom we are seen

    def seen_as(self, peer: Peer, seen: Address | None, now: float) -> None:
        """A member of the overlay saw us there: strangers' words do not count.

        That an address of our own is seen from another site proves that no NAT stands before it; a neighbour on the LAN
        proves as much only of an address that means the same everywhere.
        """
        presence = self.presence
        if seen is None or peer.passport is None or peer.way.proto == RELAY or not routable(seen.host):
            return
        if presence is not None and (worldwide(seen.host) or not (peer.passport.cluster == presence.cluster or self.near(peer.way))):
            presence.witnessed(seen.host)
        if peer.way.proto != "udp":
            return
        self._seen.pop(peer.exchange, None)
        self._seen[peer.exchange] = (seen, now)
        while len(self._seen) > SEEN:
            self._seen.popitem(last=False)

    def reflexive(self, now: float) -> dict[bytes, Address]:
        """Who saw us where of late, the latest last."""
        return {observer: address for observer, (address, at) in self._seen.items() if now - at <= SEEN_FOR}

    def hard(self, now: float) -> bool:
        """Whether our NAT maps each far end to another port: two peers see us at one address, and at different ports."""
        seen = [address for address, at in self._seen.values() if address.family == 4 and now - at <= TOGETHER]
        ports: dict[str, set[int]] = {}
        for address in seen:
            ports.setdefault(address.host, set()).add(address.port)
        return any(len(found) > 1 for found in ports.values())

    def strange(self, host: str, now: float) -> bool:
        """Whether nothing of ours went to that host for so long that no NAT remembers."""
        return host not in {peer.way.remote.host for peer in self.peers.peers.values()} and now - self._wrote.get(host, -WRITTEN_FOR) >= WRITTEN_FOR

    def wrote(self, addresses: Iterable[Address], now: float) -> None:
        """Datagrams of ours go there: whoever answers from there is no stranger."""
        for address in addresses:
            self._wrote.pop(address.host, None)
            self._wrote[address.host] = now
        while len(self._wrote) > WRITTEN:
            self._wrote.popitem(last=False)

    # -- dialling

    def through(self, exchange: bytes, addresses: tuple[Address, ...], hints: Iterable[bytes], now: float, at: float) -> list[bytes]:
        """The relays over which to dial that node at once. Those that it names and that are not connected are dialled."""
        named = tuple(hints)
        self.wrote(addresses, now)
        if addresses and not named and not self._blocked():
            return []
        near = [peer.exchange for peer in self._straight() if peer.exchange != exchange]
        if self.presence is None:  # a newcomer goes through whoever it has met
            near = [p.exchange for p in self.peers.peers.values() if p.passport is not None and p.way.proto != RELAY and p.exchange != exchange]
        short = {key[:SHORT]: key for key in near}
        for name in named:
            if name not in short and name != self.exchange[:SHORT] and name != exchange[:SHORT]:
                self._fetch(name, exchange, now, at)
        chosen = [short[name] for name in named if name in short] + [key for key in self.relays if key in near] + self._public(near)
        return list(dict.fromkeys(chosen))[:THROUGH]

    def _straight(self) -> list[Peer]:
        """Peers that are not behind a relay themselves."""
        return [peer for peer in self.peers.admitted() if peer.way.proto != RELAY]

    def _blocked(self) -> bool:
        """Whether no datagram of ours has led to anybody: UDP is blocked, as far as one can tell."""
        peers = self._straight()
        return bool(peers) and all(peer.way.proto == "tcp" for peer in peers)

    def _ring(self) -> list[Neighbour]:
        return self.presence.directory.holdings.ring() if self.presence is not None else []

    def _public(self, keys: Iterable[bytes]) -> list[bytes]:
        listed = {neighbour.exchange for neighbour in self._ring()}
        return [key for key in keys if key in listed]

    def _fetch(self, name: bytes, target: bytes, now: float, at: float) -> None:
        """Connect a relay that somebody names, to go through it."""
        relay = next((n for n in self._ring() if n.exchange[:SHORT] == name), None)
        if relay is None:
            return
        waiting = self._wanted.setdefault(relay.exchange, {})
        if target not in waiting and len(waiting) < limits.PUNCHES and len(self._wanted) <= limits.REACHING:
            waiting[target] = None
            self.ports.dial(relay.exchange, relay.addresses, now, at, ())

    # -- sessions

    def joined(self, peer: Peer, now: float, at: float) -> None:
        """A session was admitted."""
        self.tried.note(peer.exchange, Attempt(peer.way.proto, peer.way.remote, at, "works", ""))
        self.wrote([peer.way.remote], now)
        self._look_at = min(self._look_at, now)
        for target in self._wanted.pop(peer.exchange, {}):
            if self.peers.by_exchange(target) is None:
                self.ports.dial(target, (), now, at, (peer.exchange[:SHORT],))
        self._plan(peer, now)

    def left(self, peer: Peer | None, session: int, now: float) -> None:
        """It is over."""
        self.wrote([peer.way.remote] if peer is not None else [], now)
        self._plans.pop(session, None)
        self._budgets.pop(session, None)
        self._look_at = 0.0

    def handlers(self) -> dict[type, Callable[[Any, float, float], None]]:
        """Event -> handler, of what sessions tell of their ways."""
        return {events.PathChanged: self._moved, events.Stalled: self._stalled, events.WayTried: self._way_tried, events.Probed: self._probed}

    def failed(self, exchange: bytes, addresses: Iterable[Address], reason: str, at: float) -> None:
        """A dial came to nothing."""
        for address in addresses:
            self.tried.note(exchange, Attempt("udp", address, at, "failed", reason))

    def _probed(self, event: events.Probed, now: float, at: float) -> None:
        peer = self.peers.peers.get(event.session)
        if peer is not None and event.way.local:
            self.seen_as(peer, event.seen, now)

    def _way_tried(self, event: events.WayTried, now: float, at: float) -> None:
        self.tried.note(event.peer_key, Attempt(event.way.proto, event.way.remote, at, event.outcome, "" if event.rtt is not None else "silent"))

    def _moved(self, event: events.PathChanged, now: float, at: float) -> None:
        peer = self.peers.peers.get(event.session)
        if peer is None:
            return
        peer.way = event.way
        self.tried.note(peer.exchange, Attempt(peer.way.proto, peer.way.remote, at, "used", ""))
        self._plans.pop(peer.session, None)
        self._plan(peer, now)

    def _plan(self, peer: Peer, now: float) -> None:
        if peer.admitted and peer.way.proto != "udp" and peer.session not in self._plans:
            self._plans[peer.session] = _Plan(now + (SECOND if self.exchange > peer.exchange else 0.0))

    def _stalled(self, event: events.Stalled, now: float, at: float) -> None:
        """The way in use may carry no more: all others that we know are tried."""
        peer = self.peers.peers.get(event.session)
        if peer is None:
            return
        relays = [*self._named(peer), *(key[:SHORT] for key in self.relays)]
        short = {one.exchange[:SHORT]: one.exchange for one in self._straight() if one.exchange != peer.exchange}
        keys = [short[name] for name in relays if name in short] or self._public(short.values())
        ways = [self.relaying.way(key, peer.exchange) for key in list(dict.fromkeys(keys))[:THROUGH]]
        self.wrote(self._told(peer), now)
        self.ports.attempt(peer.session, [*ways, *(Way("udp", address) for address in self._told(peer))], now)
        self.tried.note(peer.exchange, Attempt(peer.way.proto, peer.way.remote, at, "failed", "silent"))

    def _named(self, peer: Peer) -> tuple[bytes, ...]:
        body = self._host(peer)
        return body.relays if body is not None else ()

    def _told(self, peer: Peer) -> tuple[Address, ...]:
        body = self._host(peer)
        return body.addresses if body is not None else ()

    def proved(self, peer: Peer) -> bool:
        """Whether a session goes to an address that the other end's records name, and not to a hole in its NAT."""
        body = self._host(peer)
        return body is None or peer.way.remote in body.addresses

    def _host(self, peer: Peer) -> Host | None:
        if self.presence is None or peer.passport is None:
            return None
        book = self.presence.directory.book
        record = book.records.get((peer.passport.name, "host", b"", peer.passport.node_id))
        body = book.body(record) if record is not None else None
        return body if isinstance(body, Host) else None

    # -- punching

    def offers(self, peer: Peer, now: float, theirs: Iterable[Address] = ()) -> list[Address]:
        """Where our datagrams come from, as far as that peer may know it."""
        if self.presence is None:
            return []
        outside = list(dict.fromkeys(reversed(self.reflexive(now).values())))[:OFFERED]
        mate = peer.passport is not None and peer.passport.cluster == self.presence.cluster
        same_site = mate or bool({address.host for address in outside} & {address.host for address in theirs})
        inside = [Address(host, self.presence.port) for host in sorted(self.presence.interfaces) if routable(host)] if same_site else []
        return list(dict.fromkeys([*self.presence.addresses, *outside, *inside]))[: limits.PUNCHES]

    def called(self, peer: Peer | None, body: Value, now: float) -> Value:
        """PUNCH: try where its datagrams come from, and say where ours do."""
        if peer is None:
            raise Malformed("a call from nobody", rule="no-peer")
        budget = self._budgets.setdefault(peer.session, _Budget(at=now))
        budget.left = min(limits.PUNCHES_PER_PEER, budget.left + (now - budget.at) / BUDGET_EACH)
        budget.at = now
        if budget.left < 1:
            raise Malformed("PUNCH too often", rule="punch-rate")
        budget.left -= 1
        theirs = self._read(peer, body, now)
        self._try(peer, theirs, now)
        self._think_of_guessing(peer, body, theirs, now)
        return self._punch_body(peer, now, theirs)

    def _punch_body(self, peer: Peer, now: float, theirs: Iterable[Address] = ()) -> Value:
        return ordered({1: [address.packed for address in self.offers(peer, now, theirs)], 2: self.hard(now) or None})

    def _read(self, peer: Peer, body: Value, now: float) -> list[Address]:
        fields = Fields(body, "punch")
        named = [unpack_address(item) for item in fields.items(1, 64)]
        if len(named) > limits.PUNCHES:
            self.counters["drop:punch-addresses"] += 1
        named = named[: limits.PUNCHES]
        ours = {address.host for address in self.reflexive(now).values()}
        assert self.presence is not None
        mate = peer.passport is not None and peer.passport.cluster == self.presence.cluster
        near = mate or any(address.host in ours for address in named)
        loopback = any(ip_address(host.partition("%")[0]).is_loopback for host in self.presence.interfaces)
        return [
            address for address in named
            if routable(address.host) and (near or worldwide(address.host)) and (loopback or not ip_address(address.host).is_loopback)
        ]  # fmt: skip

    def _try(self, peer: Peer, addresses: list[Address], now: float) -> None:
        if peer.way.proto != "udp":
            self.wrote(addresses, now)
            self.ports.attempt(peer.session, [Way("udp", address) for address in addresses], now)

    def _punch(self, peer: Peer, now: float) -> None:
        def back(body: Any, then: float, at: float) -> None:
            if body is not None and peer.session in self.peers.peers:
                try:
                    theirs = self._read(peer, body, then)
                    self._try(peer, theirs, then)
                    self._think_of_guessing(peer, body, theirs, then)
                except Malformed as why:
                    self.counters[f"drop:{why.rule}"] += 1

        self.ports.call(peer.session, Method.PUNCH, self._punch_body(peer, now), back, now)

    def _think_of_guessing(self, peer: Peer, body: Value, theirs: list[Address], now: float) -> None:
        """Where one of the two NATs alone is hard, ports are guessed if nothing simpler works."""
        plan, mine, other = self._plans.get(peer.session), self.hard(now), Fields(body, "punch").flag(2)
        outside = tuple(address for address in theirs if worldwide(address.host))
        if plan is not None and mine is not other and outside and plan.guess_at == float("inf"):
            plan.guess_at, plan.hard, plan.targets = now + GUESS_AFTER, mine, outside

    # -- relays of our own

    def _keep_relays(self, now: float, at: float) -> None:
        presence = self.presence
        if presence is None:
            return
        if presence.addresses:
            chosen: tuple[bytes, ...] = ()
        else:
            fit = [peer for peer in self._straight() if peer.passport is not None and peer.passport.cluster != presence.cluster]
            listed = self._public([peer.exchange for peer in sorted(fit, key=lambda peer: (peer.rtt or 1.0, peer.exchange))])
            kept = [key for key in self.relays if key in listed]
            chosen = tuple(dict.fromkeys([*kept, *listed]))[:RELAYS]
            if len(chosen) < RELAYS:
                self._widen(set(listed), now, at)
        if chosen != self.relays:
            self.relays = chosen
            presence.relays = tuple(sorted(key[:SHORT] for key in chosen))
            presence.hurry()

    def _widen(self, known: set[bytes], now: float, at: float) -> None:
        """Connect more of the public nodes that are nearest to our id: each node's relays are others."""
        assert self.presence is not None
        me = int.from_bytes(self.presence.statements.identity.node_id, "big")
        others = [n for n in self._ring() if n.exchange not in known and n.cluster != self.presence.cluster]
        for neighbour in nearest(me, others, RELAYS):
            if self.peers.by_exchange(neighbour.exchange) is None:
                self.ports.dial(neighbour.exchange, neighbour.addresses, now, at, ())

    # -- time

    def wake_at(self) -> float:
        """When :meth:`wake` wants to be called."""
        return min((self._look_at, *(min(plan.next_at, plan.guess_at) for plan in self._plans.values())))

    def wake(self, now: float, at: float) -> None:
        """Time passed."""
        if now >= self._look_at:
            self._look_at = now + (LOOK_SELDOM if self.presence is not None and self.presence.addresses else LOOK)
            self._keep_relays(now, at)
        for session, plan in list(self._plans.items()):
            if now < min(plan.next_at, plan.guess_at):
                continue
            peer = self.peers.peers.get(session)
            if peer is None or peer.way.proto == "udp":
                del self._plans[session]
                continue
            if now >= plan.guess_at:
                plan.guess_at = float("inf")
                self.ports.guess(session, plan.hard, plan.targets, now)
            if now < plan.next_at:
                continue
            plan.next_at = now + plan.pause
            plan.pause = min(plan.pause * 2, PUNCH[1])
            self._punch(peer, now)
            if peer.way.proto == RELAY:
                self.ports.connect(peer.session, self._told(peer)[:CONNECTED])
