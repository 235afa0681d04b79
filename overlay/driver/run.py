"""Running a node: sockets, disk, clock and log around the one object that decides (DESIGN 4, 3.13).

It moves bytes and time into the node and its effects out, in two lots; it decides nothing about them. Who plugs in
(names, bootstrap, control) subscribes to what the node raises.

Task tree, one nursery for the life of the node:

    Engine.run
    |- TwoLots.run      commits what is to be durable, then lets out what is to be seen
    |- Udp.run          a task a socket, draining
    |- Tcp.run          a task a listener and a connection
    |- LanSockets.run   beacons, a task a family; not where `[lan] discovery` is off
    |- _timer           the node's next wake-up
    |- _keep_time       the floor of trusted time, peers' clocks
    `- watch            the machine's addresses
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Concatenate, ParamSpec, TypeVar

import trio
from trio_util import RepeatedEvent

from overlay.cluster.rounds import LAN
from overlay.driver.clock import Clock, clock_trouble
from overlay.driver.http import Site
from overlay.driver.interfaces import Interface, advertised, interfaces, watch
from overlay.driver.lan import LanSockets, links_of
from overlay.driver.listen import Listeners, Moved, name_of
from overlay.driver.logfile import LogFile
from overlay.driver.recorder import act
from overlay.driver.store import Store, TwoLots
from overlay.driver.tcp import Tcp
from overlay.driver.udp import Batch, Udp
from overlay.errors import StateError
from overlay.machine import CloseTcp, CloseUdp, Effect, Log, OpenTcp, Raise, Send, Step
from overlay.machine import Store as Write
from overlay.node import Node
from overlay.raised import Pong
from overlay.setup import OWN
from overlay.unkept import kept, unkept
from overlay.wire.address import Way
from overlay.wire.messages import Packet

FLOOR = b"time"  # in the store's table `own`: the durable floor of trusted time
LAST = b"clock"  # and the time that was believed last
LOOK = 2.0  # seconds between looks at this machine's clock
KEEP_TIME = 20.0  # seconds between looks at peers' clocks; while ours is in doubt, each look
KEEP_LAST = 600.0  # seconds for which what is believed may go unwritten: a disk is spared, and a crash costs no more
WITH_OTHERS = 60.0  # the same where something else is written: well within the tolerance of dates, limits.FUTURE
PINGED = 8  # peers whose clocks are asked
SLOW = 5.0  # seconds: a pong that took longer says too little

P = ParamSpec("P")
T = TypeVar("T")


def own_hosts(listeners: Listeners, wanted: Sequence[str] = (), found: Sequence[Interface] | None = None) -> tuple[str, ...]:
    """The machine's addresses that may be told to others, as far as the overlay's listeners are bound to them.

    Loopback counts where a listener was bound to it by name, or where the machine has nothing else (a test bed).
    """
    bound = [name_of(sock).host for sock in listeners.overlay_udp]
    found = interfaces() if found is None else found
    told = [one.host for one in advertised(found, wanted)] or [one.host for one in found if one.loopback]
    families = {"0.0.0.0": 4, "::": 6}
    anywhere = {families[host] for host in bound if host in families}
    present = {one.host for one in found}
    by_name = [host for host in bound if host in present or ip_address(host.partition("%")[0]).is_loopback]
    return tuple(dict.fromkeys([*by_name, *(host for host in told if (6 if ":" in host else 4) in anywhere)]))


class Engine:
    """One node, running. ``subscribe`` to what it raises; after each act of a person call :meth:`step`."""

    def __init__(
        self, node: Node, *, store: Store, clock: Clock, listeners: Listeners, log: LogFile, site: Site | None = None,
        advertise: Sequence[str] = (), virtual: str = "", tell: Callable[[str], None] | None = None,
    ) -> None:
        self.node = node
        self.clock = clock
        self.listeners = listeners
        self.counters: Counter[str] = Counter()
        self.problems: dict[str, str] = {}  # what a person should mend, a line each, by what it is about
        self.lots = TwoLots(store.commit, self.let_out, self.counters, self._disk)
        self.udp = Udp(listeners.overlay_udp, self.counters)
        self.lan = LanSockets(self.counters, self._lan_off) if node.setup.lan else None
        self.tcp = Tcp(self._batch, self._tcp_open, self._tcp_close, self.counters, site.connection if site is not None else None)
        if site is not None:
            site.upgrade = self.tcp.upgraded
        self.networks: tuple[str, ...] = ()  # on-link, of the interfaces that count: what comes from there has crossed no router
        self.udp_seen: dict[str, float] = {}  # host -> when a datagram last came from there (monotonic), the latest last
        self._log = log
        self._tell = tell if tell is not None else lambda line: None
        self._advertise = tuple(advertise)
        self._virtual = virtual  # an address that is here as long as this node leads: nobody is told that it is ours
        self._subscribers: list[Callable[[object], None]] = []
        self._sleeping_until = 0.0
        self._last_kept = -KEEP_LAST
        self._here: tuple[tuple[str, str], ...] = ()  # interface and address, of all that are up
        self._movers: list[Callable[[Moved], None]] = []
        self._kick = RepeatedEvent()

    def subscribe(self, subscriber: Callable[[object], None]) -> None:
        """Call it with every event that the node raises, after what it tells of is durable."""
        self._subscribers.append(subscriber)

    def on_move(self, mover: Callable[[Moved], None]) -> None:
        """Call it with what changed among the listeners, whenever the machine's addresses have changed."""
        self._movers.append(mover)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled. A ``StateError`` ends it: a state that is damaged, or more owed to the disk than memory may hold."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.lots.run)
            await nursery.start(self.tcp.run, [*self.listeners.overlay_tcp, *self.listeners.tls])
            nursery.start_soon(self.udp.run, self._batch, self.lots.room)
            if self.lan is not None:
                nursery.start_soon(self.lan.run, self._beacons)
            nursery.start_soon(self._timer)
            nursery.start_soon(self._keep_time)
            nursery.start_soon(watch, self._look_around)
            self.step()
            task_status.started()

    def step(self) -> None:
        """Let out what the node wants after an input."""
        now = self.clock.now()
        step = self.node.take(now, self.clock.at())
        if step.first and now >= self._last_kept + WITH_OTHERS:
            self.keep_time()  # so that a later run does not find records dated ahead of where this one left off
        self.lots.put(step)
        wake_at = self.node.wake_at()
        if wake_at is not None and wake_at < self._sleeping_until:
            self._kick.set()

    def act(self, what: Callable[Concatenate[Node, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Carry out what a person asks of the node (``overlay/acts.py``), so that the flight recorder hears of it."""
        return act(self.node, what, *args, **kwargs)

    async def settled(self) -> None:
        """Wait until all that was said so far is durable and sent, or (see ``lots.trouble``) owed."""
        await self.lots.settled()

    def problem(self, about: str, line: str) -> None:
        """Something that a person should mend, or (an empty line) that is mended: to status, log and stderr, once."""
        if line == self.problems.get(about, ""):
            return
        if line:
            self.problems[about] = line
            self._log.write(Log("error", "problem", {"about": about, "what": line}), self.clock.at())
        else:
            self._log.write(Log("info", "mended", {"about": about, "what": self.problems.pop(about)}), self.clock.at())
        self._tell(f"{about}: {line or 'mended'}")

    def _disk(self, error: StateError | None, sends: tuple[Send, ...]) -> None:
        """The disk takes nothing any more, or takes all again."""
        if error is not None:
            unkept(self.node, (send.way for send in sends), self.clock.now())
            self.problem("disk", f"{error.what}; names are served on from memory, changes are refused")
        else:
            kept(self.node)
            self.problem("disk", "")
        self.step()

    # -- inputs

    def _batch(self, batch: Batch) -> None:
        now, at = self.clock.now(), self.clock.at()
        for data, way in batch:
            self.node.datagram(data, way, now, at)
            if way.proto == "udp":
                self.udp_seen.pop(way.remote.host, None)
                self.udp_seen[way.remote.host] = now
        while len(self.udp_seen) > 1_024:
            del self.udp_seen[next(iter(self.udp_seen))]
        self.step()

    def _beacons(self, batch: Batch) -> None:
        """What was heard on a LAN. It is no proof that datagrams reach this node: it is not noted as seen."""
        now, at = self.clock.now(), self.clock.at()
        for data, way in batch:
            self.node.datagram(data, way, now, at)
        self.step()

    def _lan_off(self, line: str) -> None:
        self._log.write(Log("warning", "fallback", {"what": line}), self.clock.at())
        self._tell(line)

    def _tcp_open(self, way: Way) -> None:
        self.node.opened(way, self.clock.now(), self.clock.at())
        self.step()

    def _tcp_close(self, way: Way, reason: str) -> None:
        self.node.closed(way, self.clock.now(), self.clock.at())
        self.step()

    async def _timer(self) -> None:
        while True:
            wake_at = self.node.wake_at()
            self._sleeping_until = float("inf") if wake_at is None else wake_at
            with trio.move_on_at(self._sleeping_until):
                await self._kick.wait()
            self._sleeping_until = 0.0
            now = self.clock.now()
            wake_at = self.node.wake_at()
            if wake_at is not None and now >= wake_at:
                self.node.wake(now, self.clock.at())
                self.step()
            await trio.lowlevel.checkpoint()

    async def _keep_time(self) -> None:
        looked = -KEEP_TIME
        while True:
            now = self.clock.now()
            due = now - looked >= KEEP_TIME
            if due:
                looked = now
                rose = self.clock.signed(self.node.newest_issued)
                if rose or now >= self._last_kept + KEEP_LAST:
                    self.keep_time()
                self.clock.weigh()
            if not self.clock.settle() or due:
                for peer in sorted(self.node.peers.peers.values(), key=lambda peer: not peer.admitted)[:PINGED]:
                    self.node.ping(peer, now)
            self.problem("clock", clock_trouble(self.clock))
            self.step()
            await trio.sleep(LOOK)

    def _look_around(self) -> None:
        """The machine's addresses may have changed: listeners, paths and what is said of this node follow."""
        found = interfaces()
        own = [one for one in found if one.host != self._virtual or one.host in self._advertise]
        self.networks = tuple(dict.fromkeys(one.network for one in advertised(own, self._advertise)))
        here = tuple((one.name, one.host) for one in found)
        if here == self._here:
            return
        first, self._here = not self._here, here
        moved = self.listeners.follow(found, self._tell)
        self.udp.leave_from(one.host for one in found)
        links = links_of(found, [name_of(sock).host for sock in self.listeners.overlay_udp], self._advertise)
        if self.lan is not None:
            self.lan.follow(links)
        self.node.interfaces(own_hosts(self.listeners, self._advertise, own), links)
        if not first:
            for peer in self.node.peers.admitted():
                self.node.ping(peer, self.clock.now())  # from where we are now: so it learns of it, and answers there
            self.node.remembered.try_at = 0.0
        for mover in self._movers:
            mover(moved)
        for sock in moved.closing if not self._movers else ():
            sock.close()
        self.step()

    def keep_time(self) -> None:
        """Write down what time it is, for the next run. What peers alone say is not."""
        if self.clock.unaided:
            self._last_kept = self.clock.now()
            floor, last = (str(int(seconds)).encode() for seconds in (self.clock.floor, self.clock.at()))
            self.lots.put(Step(first=(Write(OWN, FLOOR, floor), Write(OWN, LAST, last))))

    def _pong(self, pong: Pong) -> None:
        """A peer has said what time it is. Strangers count only where this node knows nobody else."""
        peer, known = self.node.peers.by_exchange(pong.exchange), self.node.remembered
        counts = pong.exchange in known or (peer is not None and peer.admitted) or not known
        if counts and pong.rtt is not None and pong.rtt < SLOW and pong.peer_at:
            self.clock.said(pong.exchange, pong.peer_at + 0.5 + pong.rtt / 2)  # whole seconds, a way ago

    # -- effects

    def let_out(self, effects: tuple[Effect, ...]) -> None:
        """Perform effects: what they tell of is durable by now."""
        for effect in effects:
            match effect:
                case Send(way, data):
                    if way.proto == "udp":
                        self.udp.send(way, data)
                    elif way.proto == LAN:
                        if self.lan is not None:
                            self.lan.send(way, data)
                    else:
                        if data[0] != Packet.COOKIE.value:  # who merely knows our key has said nothing yet
                            self.tcp.accepted(way)  # an answer of ours says that what came was valid
                        self.tcp.send(way, data)
                case Raise(event):
                    if isinstance(event, Pong):
                        self._pong(event)
                    for subscriber in self._subscribers:
                        subscriber(event)
                case OpenTcp(address, over):
                    self.tcp.connect(address, over)
                case CloseTcp(way):
                    self.tcp.close(way)
                case CloseUdp(link):
                    self.udp.close(link)
                case Log():
                    self._log.write(effect, self.clock.at())
