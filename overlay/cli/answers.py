"""What a running node answers to the commands that only look or reach: one handler a command (CONTRACT).

It changes nothing. Values come from ``overlay/reports.py`` and the stub; here only words become values, and a person waits
for a ping.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import trio
from trio_util import RepeatedEvent

from overlay import summaries
from overlay.cli.words import number, optional, text
from overlay.directory.view import HostEntry
from overlay.driver.control import Args, Handler
from overlay.driver.run import Engine
from overlay.errors import Absent, NotRunning, ReachError
from overlay.name import Path, parse_name
from overlay.node import Node
from overlay.peers import Peer
from overlay.raised import DialEnded, PeerChanged, Pong
from overlay.reports import Reports
from overlay.units import b64, unb64
from tld import codes
from tld.driver.stub import Stub
from tld.explain import expand

SHOWN: Final = 500  # names of nodes that a shell is offered
FETCH_TIMEOUT: Final = 5.0  # seconds for a zone to be brought here
PING_TIMEOUT: Final = 5.0  # seconds for one ping, and for a session to a node that none is open to


@dataclass(slots=True)
class Answers:
    """The window of one running node."""

    engine: Engine
    stub: Stub
    reports: Reports
    incarnation: int
    began: float
    warnings: Callable[[], list[str]]
    fetch: Callable[[Path], Awaitable[None]]  # brings a zone that is not held here
    _pongs: dict[int, float | None] = field(default_factory=dict)
    _news: RepeatedEvent = field(default_factory=RepeatedEvent)

    def __post_init__(self) -> None:
        self.engine.subscribe(self._heard)

    @property
    def node(self) -> Node:
        """The node."""
        return self.engine.node

    def handlers(self) -> Mapping[str, Handler]:
        """Command -> handler; group `overlay` may ask all of them."""
        commands = {
            "status": self.status, "nodes": self.nodes, "peers": self.peers, "clusters": self.clusters, "ping": self.ping, "resolve": self.resolve,
            "why": self.why, "expand": self.expand, "service.list": self.service_list, "name.list": self.name_list, "name.tree": self.name_tree,
            "grants": self.grants, "admit.list": self.admit_list, "root.show": self.root_show,
        }
        return {name: Handler(run, reading=True) for name, run in commands.items()}

    def _heard(self, event: object) -> None:
        if isinstance(event, Pong):
            self._pongs[event.ticket] = event.rtt
            while len(self._pongs) > 256:
                del self._pongs[next(iter(self._pongs))]
        if isinstance(event, Pong | DialEnded | PeerChanged):
            self._news.set()

    def _below(self, args: Args) -> Path:
        """The path whose names are asked for: the root where none is given."""
        return parse_name(optional(args, "path") or "", zone=self.reports.zone, tld=self.reports.tld)

    # -- looking

    async def status(self, args: Args) -> object:
        """`overlay status`."""
        if self.node.presence is None:
            raise NotRunning("the node has not joined yet", "wait for overlay join to say so, or see overlay log")
        clock = self.engine.clock
        found = self.reports.status(
            at=clock.at(), uptime=clock.now() - self.began, pid=os.getpid(), incarnation=self.incarnation, listen=self.engine.listeners.bound(),
        )
        return {**found, "problems": [f"{about}: {line}" for about, line in self.engine.problems.items()], "warnings": self.warnings()}

    async def nodes(self, args: Args) -> object:
        """The names of nodes known here, for shells that complete them: not all of thousands."""
        return [{"name": self.reports.full(host.name)} for host in islice(self.reports.hosts(), SHOWN)]

    async def peers(self, args: Args) -> object:
        """`overlay peers`."""
        return self.reports.peers(self.engine.clock.at())

    async def clusters(self, args: Args) -> object:
        """`overlay clusters [PATH]`: all of them, or the members of one; a zone that is not held here is fetched first."""
        if optional(args, "path") is None:
            return self.reports.clusters(self.engine.clock.at())
        path, directory = self._below(args), self.node.directory
        if directory is None or path not in summaries.by_cluster(self.node):
            raise Absent(f"no cluster {path} is known", "overlay clusters shows those there are", rule="unknown-cluster")
        zone = self.node.book.outline.zone_of(path)
        if not directory.holdings.holds(zone):
            with trio.move_on_after(FETCH_TIMEOUT):
                await self.fetch(zone)
        if not directory.holdings.holds(zone):
            raise ReachError(f"nobody who keeps {path} answers", "try again; overlay clusters shows when it was last heard of", rule="unreachable")
        return summaries.members(self.node, path, self.reports.full)

    async def resolve(self, args: Args) -> object:
        """`overlay resolve NAME [TYPE]`."""
        rtype = text(args, "type", "A").upper()
        codes.type_number(rtype)
        return await self.stub.resolve(text(args, "name"), rtype)

    async def expand(self, args: Args) -> object:
        """`overlay expand NAME`."""
        carriers = expand(self.stub.names, text(args, "name"))
        own = b64(self.node.identity.node_id)
        for carrier in carriers:
            peer = self.node.peers.by_node(unb64(carrier["node_id"]))
            rtt = 0.0 if carrier["node_id"] == own else peer.rtt if peer is not None else None
            carrier["distance_ms"] = None if rtt is None else round(rtt * 1000, 3)
        return carriers

    async def service_list(self, args: Args) -> object:
        """`overlay service list`."""
        return self.reports.services()

    async def name_list(self, args: Args) -> object:
        """`overlay name list [PATH]`."""
        return self.reports.names(self._below(args))

    async def name_tree(self, args: Args) -> object:
        """`overlay name tree`."""
        return self.reports.tree()

    async def grants(self, args: Args) -> object:
        """`overlay grants [PATH]`."""
        return self.reports.grants(self._below(args), self.engine.clock.at())

    async def admit_list(self, args: Args) -> object:
        """`overlay admit list`."""
        return self.reports.waiting(self.engine.clock.at())

    async def root_show(self, args: Args) -> object:
        """What `overlay root` works on."""
        found = self.reports.roots()
        return found if args.get("to") is None else {**found, "to": b64(self.reports.key_of(text(args, "to")))}

    # -- reaching

    async def why(self, args: Args) -> object:
        """`overlay why NODE`."""
        return self.reports.why(text(args, "node"))

    async def ping(self, args: Args) -> object:
        """`overlay ping NODE [-c N]`."""
        entry = self.reports.find_node(text(args, "node"))
        count = number(args, "count", 3, 1, 1_000)
        name = self.reports.full(entry.name)
        if entry.node_id == self.node.identity.node_id:
            return {"name": name, "path": "lan", "sent": count, "received": count, "rtt_ms": [0.0] * count}
        peer = await self._session(entry)
        rtts: list[float] = []
        for turn in range(count):
            if turn:
                await trio.sleep(0.2)
            ticket = self.node.ping(peer, self.engine.clock.now())
            self.engine.step()
            with trio.move_on_after(PING_TIMEOUT):
                while ticket not in self._pongs:
                    await self._news.wait()
            rtt = self._pongs.pop(ticket, None)
            if rtt is not None:
                rtts.append(round(rtt * 1000, 3))
        if not rtts:
            raise ReachError(f"{name} did not answer", "overlay peers shows the sessions there are", rule="ping")
        return {"name": name, "path": self.reports.path_of(peer), "sent": count, "received": len(rtts), "rtt_ms": rtts}

    async def _session(self, entry: HostEntry) -> Peer:
        clock = self.engine.clock
        peer = self.node.peers.by_node(entry.node_id)
        if peer is None and (entry.host.addresses or entry.host.relays):
            self.node.dial(entry.host.exchange, entry.host.addresses, clock.now(), clock.at(), entry.host.relays)
            self.engine.step()
            with trio.move_on_after(PING_TIMEOUT):
                while (peer := self.node.peers.by_node(entry.node_id)) is None:
                    await self._news.wait()
        if peer is None:
            raise ReachError(f"{self.reports.full(entry.name)} cannot be reached", "see whether it runs: overlay status there", rule="unreachable")
        return peer
