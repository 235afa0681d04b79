"""The lab's world: a heap of instants, hosts with clocks and disks, nodes that live on them (DESIGN 4).

It drives the same ``Node`` as Trio does, with the same two lots: a step's stores go to the host's disk, and a crash may
fall between them and the sends. Time is virtual and quantised to a millisecond; all chance comes from one seed, so the
same seed gives the same run, which ``World.digest`` shows.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random

from overlay import limits
from overlay.admission.request import Request
from overlay.founding import Plan, founder_grants, founding_record
from overlay.identity.keys import Identity, Signer, verify
from overlay.lab.network import Network
from overlay.machine import CloseTcp, Effect, Log, OpenTcp, Raise, Send, Store
from overlay.name import Path, parse_path
from overlay.node import Node
from overlay.raised import Joined, JoinRefused, ZonesChanged
from overlay.records.record import Record
from overlay.setup import Setup, found
from overlay.wire.address import Address, Way

PORT = 7653
ROUNDING = 1e-6  # ticks: what floating seconds lose
TICKS = 1_000  # a second: time is counted in whole ticks, so an instant is the same however a run is cut into pieces
EPOCH = 1_800_000_000  # UTC seconds at the world's beginning: any date after the program's build will do


@dataclass(slots=True)
class Host:
    """One machine: an address, a clock that may be wrong, a disk, and at times a running node."""

    name: str
    address: str
    identity: Identity
    clock_offset: float = 0.0  # seconds
    clock_drift: float = 0.0  # seconds a second
    disk: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    node: Node | None = None
    wake: int | None = None  # the tick at which its node wants to be woken
    events: list[object] = field(default_factory=list)
    crash_next: bool = False  # crash between the two lots of the next step that stores something
    logs: Counter[str] = field(default_factory=Counter)


class World:
    """Hosts, a network and a clock."""

    def __init__(
        self, seed: int, *, delay: tuple[float, float] = (0.01, 0.06), loss: float = 0.0, duplicate: float = 0.0,
        small: int = limits.SMALL_OVERLAY,
    ) -> None:
        """``small``: up to so many clusters every node holds every zone."""
        self.small = small
        self.dice = Random(seed)
        self.network = Network(self.dice, delay, loss, duplicate)
        self.ticks = 0
        self.hosts: dict[str, Host] = {}
        self.by_address: dict[str, Host] = {}
        self.counters: Counter[str] = Counter()
        self.root: Record | None = None
        self.founder_way: tuple[bytes, Address] | None = None
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0
        self._links = 0
        self._verdicts: dict[tuple[bytes, bytes, bytes], bool] = {}
        self._connections: dict[int, tuple[Host, Way, Host, Way]] = {}
        self._trace = hashlib.blake2s()

    # -- the clock

    @property
    def now(self) -> float:
        """Seconds since the world's beginning."""
        return self.ticks / TICKS

    def after(self, delay: float, action: Callable[[], None]) -> None:
        """Do it then, rounded up to the next tick."""
        self._at_tick(self.ticks + math.ceil(delay * TICKS - ROUNDING), action)

    def _at_tick(self, tick: int, action: Callable[[], None]) -> int:
        """Do it at that tick or the next one, whichever is later: no instant repeats for ever. The tick taken."""
        tick = max(tick, self.ticks + 1)
        self._order += 1
        heapq.heappush(self._heap, (tick, self._order, action))
        return tick

    def run(self, seconds: float) -> None:
        """Let virtual time pass."""
        end = self.ticks + round(seconds * TICKS)
        heap = self._heap
        while heap and heap[0][0] <= end:
            self.ticks, _, action = heapq.heappop(heap)
            action()
        self.ticks = end

    def run_until(self, condition: Callable[[], bool], limit: float, step: float = 0.1) -> float | None:
        """Let time pass until the condition holds; the seconds it took, or None where it did not within ``limit``."""
        begin = self.ticks
        while not condition():
            if self.ticks - begin >= limit * TICKS:
                return None
            self.run(step)
        return (self.ticks - begin) / TICKS

    def at(self, host: Host) -> float:
        """That host's clock (UTC seconds)."""
        return EPOCH + self.now * (1 + host.clock_drift) + host.clock_offset

    @property
    def digest(self) -> str:
        """A digest over every datagram delivered, in order: equal for equal seeds."""
        return self._trace.hexdigest()

    # -- hosts and nodes

    def partition(self, *parts: Iterable[Host]) -> None:
        """Cut the network into parts that do not hear each other; hosts in no part hear all."""
        self.network.partition(*(frozenset(host.address for host in part) for part in parts))

    def host(self, name: str, *, address: str | None = None, offset: float = 0.0, drift: float = 0.0) -> Host:
        """A new machine without a node, its clock ``offset`` seconds ahead and ``drift`` seconds a second too fast."""
        number = len(self.hosts) + 1
        address = address or f"{60 + number // 62_500}.{number // 250 % 250}.{number % 250}.1"  # each in a network of its own
        host = Host(
            name=name, address=address, identity=Identity.from_secret(self.dice.randbytes(32)), clock_offset=offset, clock_drift=drift,
        )
        self.hosts[name] = self.by_address[address] = host
        return host

    def found(self, name: str, *, admission: str = "open", tld: str = "cloud", zone: str = "cloud.example.net") -> Host:
        """Found the overlay on a new host, with the node up under that name-path."""
        host = self.host(name)
        plan = Plan.checked(zone=zone, tld=tld, admission=admission, name=parse_path(name))
        root_keys = [Signer.from_seed(self.dice.randbytes(32))]
        at = int(self.at(host))
        self.root = founding_record(plan, root_keys, at)
        for store in found(self.root, founder_grants(plan, self.root, root_keys, host.identity, at), host.identity, at):
            self._store(host, store)
        self.founder_way = (host.identity.exchange_public, Address(host.address, PORT))
        self.start(host)
        return host

    def start(self, host: Host) -> Node:
        """Start (or restart) the node of a host from its disk."""
        assert self.root is not None
        host.wake = None
        setup = Setup(
            identity=host.identity, overlay_id=self.root.digest, entropy=self.dice.randbytes, port=PORT, interfaces=(host.address,),
            advertised=(host.address,) if self.founder_way is not None and self.founder_way[0] == host.identity.exchange_public else (),
            small=self.small, stored={table: dict(rows) for table, rows in host.disk.items()}, verifier=self._verify,
        )
        host.node = Node(setup, self.now, self.at(host))
        self._settle(host)
        return host.node

    def join(
        self, name: str, *, seed: Signer | None = None, exact: bool = True, through: Host | None = None, host: Host | None = None,
    ) -> Host:
        """Start a newcomer that asks for the name-path, openly or with a token's seed.

        It knocks at the founder, or at ``through``; on a new host, or on ``host``.
        """
        assert self.founder_way is not None
        host = host or self.host(name)
        node = self.start(host)
        path = parse_path(name)
        request = Request(
            label=path.leaf, cluster=path.parent, node_id=host.identity.node_id, exact=exact, seed=seed.public if seed else b"",
        )
        node.join(request, seed)
        exchange, address = (through.identity.exchange_public, Address(through.address, PORT)) if through else self.founder_way
        node.dial(exchange, [address], self.now, self.at(host))
        self._settle(host)
        return host

    def crash(self, host: Host) -> None:
        """The machine stops at once: nothing is said, what is on disk stays."""
        host.node = host.wake = None

    def stop(self, host: Host) -> None:
        """The node stops and tells its peers."""
        if host.node is not None:
            host.node.farewell(self.now)
            self._settle(host)
            self.crash(host)

    def do(self, host: Host, action: Callable[[Node, float], None]) -> None:
        """A person's act on that host: ``action(node, at)``."""
        assert host.node is not None
        action(host.node, self.at(host))
        self._settle(host)

    def joined(self, host: Host) -> bool:
        """Whether the host's node is usable."""
        return host.node is not None and host.node.usable()

    def _verify(self, public: bytes, signature: bytes, message: bytes) -> bool:
        """Check each signature once for all nodes of the world: the same octets, the same verdict."""
        asked = (public, signature, message)
        verdict = self._verdicts.get(asked)
        if verdict is None:
            verdict = self._verdicts[asked] = verify(public, signature, message)
        return verdict

    # -- effects

    def _settle(self, host: Host) -> None:
        node = host.node
        if node is None:
            return
        step = node.take(self.now, self.at(host))
        for store in step.first:
            self._store(host, store)
        if step.first and host.crash_next:
            host.crash_next = False
            self.counters["crashed-between-lots"] += 1
            self.crash(host)
            return
        for effect in step.then:
            self._perform(host, effect)
        self._schedule(host)

    @staticmethod
    def _store(host: Host, store: Store) -> None:
        table = host.disk.setdefault(store.table, {})
        if store.value is None:
            table.pop(store.key, None)
        else:
            table[store.key] = store.value

    def _perform(self, host: Host, effect: Effect) -> None:
        if isinstance(effect, Send):
            if effect.way.proto == "udp":
                self._send_udp(host, effect)
            else:
                self._send_tcp(host, effect)
        elif isinstance(effect, OpenTcp):
            self._open_tcp(host, effect.address)
        elif isinstance(effect, CloseTcp):
            self._close_tcp(effect.way.link)
        elif isinstance(effect, Log):
            host.logs[effect.event] += 1
        elif isinstance(effect, Raise) and not isinstance(effect.event, ZonesChanged):
            host.events.append(effect.event)

    def _send_udp(self, host: Host, effect: Send) -> None:
        self.counters["sent"] += 1
        target = self.by_address.get(effect.way.remote.host)
        if target is None or effect.way.remote.port != PORT:
            return
        way = Way("udp", Address(host.address, PORT), target.address)
        for delay in self.network.udp(host.address, target.address):
            self.after(delay, lambda: self._deliver(target, effect.data, way))

    def _deliver(self, host: Host, data: bytes, way: Way) -> None:
        if host.node is None:
            return
        self.counters["delivered"] += 1
        self._trace.update(data)
        host.node.datagram(data, way, self.now, self.at(host))
        self._settle(host)

    def _open_tcp(self, host: Host, address: Address) -> None:
        target = self.by_address.get(address.host)
        self._links += 1
        link = self._links
        mine = Way("tcp", address, host.address, link)
        delay = self.network.tcp(host.address, address.host)
        if target is None or target.node is None or delay is None or address.port != PORT:
            self.after(1.0, lambda: self._tcp_event(host, mine, up=False))
            return
        theirs = Way("tcp", Address(host.address, 40_000 + link), target.address, link)
        self._connections[link] = (host, mine, target, theirs)
        self.after(delay, lambda: self._tcp_event(target, theirs, up=True))
        self.after(delay * 2, lambda: self._tcp_event(host, mine, up=True))

    def _tcp_event(self, host: Host, way: Way, *, up: bool) -> None:
        if host.node is not None:
            (host.node.opened if up else host.node.closed)(way, self.now, self.at(host))
            self._settle(host)

    def _send_tcp(self, host: Host, effect: Send) -> None:
        ends = self._connections.get(effect.way.link)
        if ends is None:
            return
        target, way = (ends[2], ends[3]) if ends[0] is host else (ends[0], ends[1])
        delay = self.network.tcp(host.address, target.address)
        if delay is not None:
            self.after(delay, lambda: self._deliver(target, effect.data, way))

    def _close_tcp(self, link: int) -> None:
        ends = self._connections.pop(link, None)
        if ends is not None:
            for host, way in ((ends[0], ends[1]), (ends[2], ends[3])):
                self.after(0.01, lambda host=host, way=way: self._tcp_event(host, way, up=False))  # type: ignore[misc]

    def _schedule(self, host: Host) -> None:
        node = host.node
        wake = node.wake_at() if node is not None else None
        if wake is None:
            return
        due = max(self.ticks + 1, math.ceil(wake * TICKS - ROUNDING))
        if host.wake is None or due < host.wake:
            host.wake = self._at_tick(due, lambda: self._wake(host))

    def _wake(self, host: Host) -> None:
        """One of a host's dates came; those that an earlier one overtook are void."""
        if host.node is None or host.wake != self.ticks:
            return
        host.wake = None
        host.node.wake(self.now, self.at(host))
        self._settle(host)


def name_of(host: Host) -> Path | None:
    """The name that a host's node got."""
    joined = next((event for event in host.events if isinstance(event, Joined)), None)
    return joined.name if joined is not None else (host.node.name if host.node is not None else None)


def refusal_of(host: Host) -> JoinRefused | None:
    """Why the newcomer on that host was refused, if it was."""
    return next((event for event in host.events if isinstance(event, JoinRefused)), None)
