"""The lab's world: hosts with clocks, processors and disks, nodes that live on them, a network between (DESIGN 4).

It drives the same ``Node`` as Trio does, with the same two lots: a step's stores go to the host's disk, and a crash may
fall before, between or after them. Time is virtual and quantised to a millisecond; all chance comes from one seed, each
host having dice of its own, so the same seed gives the same run, which ``World.digest`` shows.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from overlay import limits
from overlay.acts import usable
from overlay.admission.request import Request
from overlay.cluster.links import Link
from overlay.cluster.rounds import LAN
from overlay.directory.spread import Spread
from overlay.founding import Plan, founder_grants, founding_record
from overlay.identity.keys import Signer
from overlay.lab.agenda import TICKS, Agenda, Heap
from overlay.lab.crypto import REAL, Crypto
from overlay.lab.host import Connection, Host, Power
from overlay.lab.nat import WEB, Kind, Nat, enter, leave
from overlay.lab.network import Network
from overlay.lab.price import Meter, Price
from overlay.machine import CloseTcp, CloseUdp, Effect, Log, OpenTcp, Raise, Send, Step
from overlay.name import Path, parse_path
from overlay.node import Node
from overlay.raised import Joined, JoinRefused, ZonesChanged
from overlay.records.record import Record
from overlay.setup import Setup, found
from overlay.wire.address import Address, Way

PORT = 7653
LISTENS = {"tcp": PORT, "tls": 443, "http": 80}  # where hosts take connections, by what is around them
EXTRA = 20_000  # ports of extra sockets begin here
ROUNDING = 1e-6  # ticks: what floating seconds lose
EPOCH = 1_800_000_000  # UTC seconds at the world's beginning: any date after the program's build will do
SPREAD = Spread()  # as the product is
NO_WAIT = (0.0, 0.0)  # a disk that commits at once


class World:
    """Hosts, a network and a clock."""

    def __init__(
        self, seed: int, *, delay: tuple[float, float] = (0.01, 0.06), loss: float = 0.0, duplicate: float = 0.0,
        small: int = limits.SMALL_OVERLAY, spread: Spread = SPREAD, commit: tuple[float, float] = NO_WAIT, crypto: Crypto = REAL,
        price: Price | None = None, agenda: Agenda | None = None,
    ) -> None:
        """``small`` and ``spread``: as in a node's directory. ``commit``: seconds that a disk takes, from .. to."""
        self.small = small
        self.spread = spread
        self.commit = commit
        self.crypto = crypto
        self.price = price if price is not None else Price()
        self.agenda = agenda if agenda is not None else Heap()
        self.dice = Random(seed)
        self.network = Network(delay, loss, duplicate)
        self.hosts: dict[str, Host] = {}
        self.by_address: dict[str, Host] = {}
        self.counters: Counter[str] = Counter()
        self.root: Record | None = None
        self.founder_way: tuple[bytes, Address] | None = None
        self._seed = seed
        self._machines: list[Host] = []  # all that there ever were, also those whose name another has taken
        self._verdicts: dict[tuple[bytes, bytes, bytes], bool] = {}
        self._connections: dict[int, Connection] = {}
        self._moves = 0  # of routers to other addresses
        self._outsides: dict[str, Host] = {}  # the address of the last NAT before a host

    # -- the clock

    @property
    def now(self) -> float:
        """Seconds since the world's beginning."""
        return self.agenda.ticks / TICKS

    def run(self, seconds: float) -> None:
        """Let virtual time pass."""
        assert isinstance(self.agenda, Heap)
        self.agenda.run(self.agenda.ticks + round(seconds * TICKS))

    def run_until(self, condition: Callable[[], bool], limit: float, step: float = 0.1) -> float | None:
        """Let time pass until the condition holds; the seconds it took, or None where it did not within ``limit``."""
        begin = self.agenda.ticks
        while not condition():
            if self.agenda.ticks - begin >= limit * TICKS:
                return None
            self.run(step)
        return (self.agenda.ticks - begin) / TICKS

    def at(self, host: Host) -> float:
        """That host's clock (UTC seconds)."""
        return EPOCH + self.now * (1 + host.clock_drift) + host.clock_offset

    def _now(self, host: Host) -> float:
        """That host's monotonic clock, which stands while it is suspended."""
        return (self.agenda.ticks - host.slept) / TICKS

    def _put(self, ticks: float, target: Host, source: Host, action: Callable[[], None]) -> int:
        """Do it at that instant, rounded up to a tick to come: no instant repeats for ever. The tick taken."""
        tick = max(math.ceil(ticks - ROUNDING), self.agenda.ticks + 1)
        self.agenda.put(tick, target, source, action)
        return tick

    @property
    def digest(self) -> str:
        """A digest over every datagram delivered, to whom and when: equal for equal seeds."""
        total = hashlib.blake2s()
        for host in self._machines:
            total.update(host.trace.digest())
        return total.hexdigest()

    # -- hosts and nodes

    def partition(self, *parts: Iterable[Host]) -> None:
        """Cut the network into parts that do not hear each other; hosts in no part hear all."""
        self.network.partition(*(frozenset(host.address for host in part) for part in parts))

    def host(
        self, name: str, *, address: str | None = None, lan: str = "", offset: float = 0.0, drift: float = 0.0, nats: Sequence[Kind] = (),
    ) -> Host:
        """A new machine without a node, its clock ``offset`` seconds ahead and ``drift`` seconds a second too fast.

        ``lan``: the LAN that it stands on, by name; its network is the address's /24. ``nats``: the kinds of the routers
        before it, the nearest first (a carrier's stands behind the home's); its own address is then a private one.
        """
        number = len(self._machines) + 1
        outside = f"{60 + number // 62_500}.{number // 250 % 250}.{number % 250}.1"  # each in a network of its own
        address = address or (f"10.{number // 250}.{number % 250}.2" if nats else outside)
        dice = Random(f"{self._seed} {number}")
        host = Host(
            name=name, number=number, address=address, identity=self.crypto.identity(dice.randbytes(32)), dice=dice, meter=Meter(self.price),
            lan=lan, clock_offset=offset, clock_drift=drift,
            nats=tuple(Nat(kind, outside if place == len(nats) - 1 else f"100.64.{number // 250}.{number % 250}", dice)
                       for place, kind in enumerate(nats)),
        )  # fmt: skip
        if nats:
            self._outsides[outside] = host
        self.hosts[name] = self.by_address[address] = host
        self._machines.append(host)
        if lan:
            self.network.lan_of[address] = lan
        return host

    def found(
        self, name: str, *, admission: str = "open", zone: str = "cloud.example.net", host: Host | None = None, entries: Sequence[bytes] = (),
    ) -> Host:
        """Found the overlay on a new host (or on that one), with the node up under that name-path; ``entries``: keys of the root zone."""
        host = host or self.host(name)
        plan = Plan.checked(zone=zone, tld="cloud", admission=admission, name=parse_path(name))
        root_keys = [self.crypto.signer(host.dice.randbytes(32))]
        at = int(self.at(host))
        self.root = founding_record(plan, root_keys, at, entries)
        for store in found(self.root, founder_grants(plan, self.root, root_keys, host.identity, at), host.identity, at, self._verify):
            host.store(store)
        self.founder_way = (host.identity.exchange_public, Address(host.address, PORT))
        self.start(host)
        return host

    def start(self, host: Host) -> Node:
        """Start (or restart) the node of a host from its disk."""
        assert self.root is not None
        self.crash(host)
        setup = Setup(
            identity=host.identity, overlay_id=self.root.digest, entropy=host.dice.randbytes, port=PORT, interfaces=(host.address,),
            advertised=(host.address,) if self.founder_way is not None and self.founder_way[0] == host.identity.exchange_public else (),
            incarnation=host.life + 1, links=(Link("eth0", 2, host.address, 24),) if host.lan else (), lan=bool(host.lan), lan_admit=host.lan_admit,
            small=self.small, spread=self.spread, stored={table: dict(rows) for table, rows in host.disk.items()},
            verifier=host.meter.verifier(self._verify), suite=host.meter.suite(self.crypto.suite),
        )
        host.node = Node(setup, self._now(host), self.at(host))
        self._settle(host)
        return host.node

    def join(
        self, name: str, *, seed: Signer | None = None, exact: bool = True, through: Host | None = None, host: Host | None = None,
        nats: Sequence[Kind] = (),
    ) -> Host:
        """Start a newcomer that asks for the name-path, openly or with a token's seed.

        It knocks at the founder, or at ``through``; on a new host, or on ``host``.
        """
        assert self.founder_way is not None
        host = host or self.host(name, nats=nats)
        node = self.start(host)
        path = parse_path(name)
        request = Request(
            label=path.leaf, cluster=path.parent, node_id=host.identity.node_id, exact=exact, seed=seed.public if seed else b"",
        )
        node.join(request, seed)
        exchange, address = (through.identity.exchange_public, Address(through.address, PORT)) if through else self.founder_way
        node.dial(exchange, [address], self._now(host), self.at(host))
        self._settle(host)
        return host

    def crash(self, host: Host) -> None:
        """The machine stops at once: nothing is said, what is on disk stays, what was not committed is lost.

        A lot under way may have reached the disk although nobody was told: the host's dice say.
        """
        if host.committing and host.dice.random() < 0.5:
            self._write(host, host.committing)
        elif host.committing or host.lots:
            self.counters["lost-writes"] += 1
        host.life += 1
        host.node = host.wake = None
        host.committing = ()
        host.lots.clear()
        host.queue.clear()
        host.busy = host.meter.spent = 0.0

    def power(self, host: Host, power: Power) -> None:
        """Stall a machine, suspend it, or let it go on."""
        if host.power is Power.RUNNING:
            host.halted_at = self.agenda.ticks
        elif host.power is Power.SUSPENDED:
            host.slept += self.agenda.ticks - host.halted_at
            host.halted_at = self.agenda.ticks
        host.power = power
        if power is Power.RUNNING:
            host.wake = None
            self._schedule(host)
            self._serve_soon(host)

    def stop(self, host: Host) -> None:
        """The node stops and tells its peers."""
        if host.node is not None:
            host.node.farewell(self._now(host))
            self._settle(host)
            self.crash(host)

    def do(self, host: Host, action: Callable[[Node, float], None], done: Callable[[], None] | None = None) -> None:
        """A person's act on that host: ``action(node, at)``. ``done`` is called when what it stores is durable."""
        assert host.node is not None
        action(host.node, self.at(host))
        self._settle(host, done)

    def joined(self, host: Host) -> bool:
        """Whether the host's node is usable."""
        return host.node is not None and usable(host.node, self._now(host))

    def _verify(self, public: bytes, signature: bytes, message: bytes) -> bool:
        """Check each signature once for all nodes of the world: the same octets, the same verdict."""
        asked = (public, signature, message)
        verdict = self._verdicts.get(asked)
        if verdict is None:
            verdict = self._verdicts[asked] = self.crypto.verifier(public, signature, message)
        return verdict

    # -- steps: the bill, the disk, the effects

    def _settle(self, host: Host, done: Callable[[], None] | None = None) -> None:
        node = host.node
        if node is None:
            return
        step = node.take(self._now(host), self.at(host))
        spent = host.meter.spent
        if spent:
            host.busy = max(host.busy, self.agenda.ticks) + spent * TICKS
            host.meter.spent = 0.0
        if done is not None:
            step = Step(step.first, (*step.then, Raise(_Done(done))))
        if step.first or host.lots or host.committing:
            host.lots.append(step)
            if not host.committing:
                self._commit(host)
        else:
            self._perform(host, step)
        self._schedule(host)

    def _commit(self, host: Host) -> None:
        """What waits for the disk goes there together, as in the driver: the slower the disk, the larger the lots."""
        host.committing = tuple(host.lots)
        host.lots.clear()
        if self.commit == NO_WAIT:
            self._committed(host, host.life)
        else:
            wait = host.dice.uniform(*self.commit) if any(step.first for step in host.committing) else 0.0
            self._put(self.agenda.ticks + wait * TICKS, host, host, partial(self._committed, host, host.life))

    def _write(self, host: Host, steps: Iterable[Step]) -> bool:
        stores = [store for step in steps for store in step.first]
        for store in stores:
            host.store(store)
        return bool(stores)

    def _committed(self, host: Host, life: int) -> None:
        if host.life != life:
            return
        steps = host.committing
        if self._write(host, steps) and host.crash_next:
            host.crash_next, host.committing = False, ()
            self.counters["crashed-between-lots"] += 1
            self.crash(host)
            return
        host.committing = ()
        for step in steps:
            self._perform(host, step)
        if host.lots and not host.committing:
            self._commit(host)

    def _perform(self, host: Host, step: Step) -> None:
        for effect in step.then:
            self._effect(host, effect)

    def _effect(self, host: Host, effect: Effect) -> None:
        if isinstance(effect, Send):
            if effect.way.proto == "udp":
                self._send_udp(host, effect)
            elif effect.way.proto == LAN:
                self._send_lan(host, effect)
            else:
                self._send_tcp(host, effect)
        elif isinstance(effect, OpenTcp):
            self._open_tcp(host, effect.address, effect.over)
        elif isinstance(effect, CloseTcp):
            self._close_tcp(host, effect.way.link)
        elif isinstance(effect, CloseUdp):
            pass  # ports cost nothing here
        elif isinstance(effect, Log):
            host.logs[effect.event] += 1
        elif isinstance(effect.event, _Done):
            effect.event.call()
        elif not isinstance(effect.event, ZonesChanged):
            host.events.append(effect.event)

    # -- datagrams

    def _after(self, host: Host, delay: float, target: Host, action: Callable[[], None]) -> None:
        """So many seconds after the host has finished what it is at."""
        self._put(max(host.busy, self.agenda.ticks) + delay * TICKS, target, host, action)

    def _send_udp(self, host: Host, effect: Send) -> None:
        self.counters["sent"] += 1
        remote = effect.way.remote
        source = Address(host.address, PORT if not effect.way.link else EXTRA + effect.way.link % EXTRA)
        if effect.way.link:
            host.extra[source.port] = effect.way.link
        target = self.by_address.get(remote.host) or self._outsides.get(remote.host)
        mate = target is not None and remote.host == target.address and host.lan == target.lan != ""
        seen = source if mate else leave(host.nats, source, remote, self.now)
        if target is None or seen is None or (target.nats and remote.host == target.address and not mate):
            return
        if target is host and not (host.nats and host.nats[-1].kind.hairpin):
            return
        for delay in self.network.udp(host.dice, host.address, target.address):
            self._after(host, delay, target, partial(self._come, target, effect.data, remote, seen))

    def _come(self, host: Host, data: bytes, to: Address, source: Address) -> None:
        """A datagram is at the outermost router of a host, or at the host: it is let in, or dropped."""
        inner = to if to.host == host.address else enter(host.nats, to, source, self.now)
        if inner is not None and (link := host.extra.get(inner.port, 0 if inner.port == PORT else -1)) >= 0:
            self._arrive(host, data, Way("udp", source, host.address, link))

    def _send_lan(self, host: Host, effect: Send) -> None:
        """One multicast or broadcast, to all on the host's LAN that hear it."""
        way = Way("udp", Address(host.address, PORT))
        for address, delay in self.network.multicast(host.dice, host.address):
            self.counters["sent"] += 1
            target = self.by_address[address]
            self._after(host, delay, target, partial(self._arrive, target, effect.data, way))

    def _arrive(self, host: Host, data: bytes, way: Way) -> None:
        """A datagram is there: it is handled at once, waits for the processor, or finds no room."""
        if host.node is None or host.power is Power.SUSPENDED:
            return
        if host.queue or host.busy >= self.agenda.ticks + 1 or host.power is Power.STALLED:
            if len(host.queue) < self.price.queue:
                host.queue.append((data, way))
                self._serve_soon(host)
            else:
                host.counters["queue-full"] += 1
                self.counters["queue-full"] += 1
        else:
            self._receive(host, host.node, data, way)

    def _serve_soon(self, host: Host) -> None:
        if host.queue and not host.serving and host.power is Power.RUNNING:
            host.serving = True
            self._put(math.floor(host.busy), host, host, partial(self._serve, host))

    def _serve(self, host: Host) -> None:
        """The processor is free: take from the queue what can be begun within this tick."""
        host.serving = False
        while host.queue and host.node is not None and host.busy < self.agenda.ticks + 1 and host.power is Power.RUNNING:
            self._receive(host, host.node, *host.queue.popleft())
        self._serve_soon(host)

    def _receive(self, host: Host, node: Node, data: bytes, way: Way) -> None:
        self.counters["delivered"] += 1
        host.heard(data, self.agenda.ticks)
        host.meter.spent += self.price.message
        node.datagram(data, way, self._now(host), self.at(host))
        self._settle(host)

    # -- TCP

    def _open_tcp(self, host: Host, address: Address, over: str) -> None:
        target = self.by_address.get(address.host)
        host.links += 1
        link = host.number * 100_000 + host.links
        mine = Way("tcp", address, host.address, link)
        delay = self.network.tcp(host.dice, host.address, address.host)
        shut = any(nat.kind.web_only for nat in host.nats) and address.port not in WEB
        if target is None or target.node is None or delay is None or target.nats or shut or address.port != LISTENS[over]:
            self._after(host, 1.0, host, partial(self._tcp_event, host, mine, up=False))
            return
        theirs = Way("tcp", Address(host.nats[-1].outside if host.nats else host.address, 40_000 + host.links % 20_000), target.address, link)
        self._connections[link] = Connection(((host, mine), (target, theirs)))
        self._after(host, delay, target, partial(self._tcp_event, target, theirs, up=True))
        self._after(host, delay * 2, host, partial(self._tcp_event, host, mine, up=True))

    def _tcp_event(self, host: Host, way: Way, *, up: bool) -> None:
        if host.power is Power.STALLED:
            self._after(host, 0.1, host, partial(self._tcp_event, host, way, up=up))
        elif host.node is not None and host.power is not Power.SUSPENDED:
            (host.node.opened if up else host.node.closed)(way, self._now(host), self.at(host))
            self._settle(host)

    def _send_tcp(self, host: Host, effect: Send) -> None:
        connection = self._connections.get(effect.way.link)
        if connection is None or host.number in connection.deaf:
            return
        target, way = connection.other(host)
        delay = self.network.tcp(host.dice, host.address, target.address)
        if delay is not None:
            self._after(host, delay, target, partial(self._arrive_tcp, connection, target, effect.data, way))

    def _arrive_tcp(self, connection: Connection, target: Host, data: bytes, way: Way) -> None:
        if target.number not in connection.deaf:
            self._arrive(target, data, way)

    def _close_tcp(self, host: Host, link: int) -> None:
        connection = self._connections.get(link)
        if connection is not None and host.number not in connection.deaf:
            connection.deaf.add(host.number)
            for end, way in connection.ends:
                self._after(host, 0.01, end, partial(self._tcp_down, connection, end, way, first=end is host))

    def _tcp_down(self, connection: Connection, end: Host, way: Way, *, first: bool) -> None:
        if first or end.number not in connection.deaf:
            connection.deaf.add(end.number)
            self._tcp_event(end, way, up=False)

    # -- timers

    def _schedule(self, host: Host) -> None:
        wake = host.node.wake_at() if host.node is not None else None
        if wake is None or host.power is not Power.RUNNING:
            return
        due = max(self.agenda.ticks + 1, math.ceil(wake * TICKS - ROUNDING) + host.slept)
        if host.wake is None or due < host.wake:
            host.wake = due
            self.agenda.put(due, host, host, partial(self._wake, host, due))

    def _wake(self, host: Host, due: int) -> None:
        """One of a host's dates came; those that an earlier one overtook are void."""
        if host.node is None or host.wake != due or host.power is not Power.RUNNING:
            return
        if host.busy >= self.agenda.ticks + 1:
            host.wake = self._put(math.floor(host.busy), host, host, partial(self._wake, host, math.floor(host.busy)))
            return
        host.wake = None
        host.node.wake(self._now(host), self.at(host))
        self._settle(host)


@dataclass(frozen=True, slots=True)
class _Done:
    """What a person did is durable: tell them."""

    call: Callable[[], None]


def reboot(world: World, host: Host) -> None:
    """The routers before a host start again, and the world sees it at another address."""
    world._moves += 1
    new = f"200.{world._moves // 250}.{world._moves % 250}.1"
    world._outsides[new] = world._outsides.pop(host.nats[-1].outside)
    for nat in host.nats:
        nat.reboot(new if nat is host.nats[-1] else nat.outside)


def name_of(host: Host) -> Path | None:
    """The name that a host's node got."""
    joined = next((event for event in host.events if isinstance(event, Joined)), None)
    return joined.name if joined is not None else (host.node.name if host.node is not None else None)


def refusal_of(host: Host) -> JoinRefused | None:
    """Why the newcomer on that host was refused, if it was."""
    return next((event for event in host.events if isinstance(event, JoinRefused)), None)
