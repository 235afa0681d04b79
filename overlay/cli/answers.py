"""What a running node answers to the commands that only look or reach: one handler a command (CONTRACT).

It changes nothing. Values come from ``overlay/reports.py`` and the stub; here only words become values, and a person waits
for a ping.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

import trio

from overlay import summaries
from overlay.cli.words import optional, text
from overlay.driver.control import Args, Handler
from overlay.driver.run import Engine
from overlay.errors import Absent, NotRunning, ReachError
from overlay.name import Path, parse_name
from overlay.node import Node
from overlay.reports import Reports
from overlay.units import b64, unb64
from tld import codes
from tld.driver.stub import Stub
from tld.explain import expand

SHOWN: Final = 500  # names of nodes that a shell is offered
FETCH_TIMEOUT: Final = 5.0  # seconds for a zone to be brought here


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

    @property
    def node(self) -> Node:
        """The node."""
        return self.engine.node

    def handlers(self) -> Mapping[str, Handler]:
        """Command -> handler; group `overlay` may ask all of them."""
        commands = {
            "status": self.status, "nodes": self.nodes, "peers": self.peers, "clusters": self.clusters, "resolve": self.resolve,
            "expand": self.expand, "service.list": self.service_list, "name.list": self.name_list, "name.tree": self.name_tree,
            "grants": self.grants, "admit.list": self.admit_list, "root.show": self.root_show,
        }
        return {name: Handler(run, reading=True) for name, run in commands.items()}

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
            now=clock.now(), at=clock.at(), uptime=clock.now() - self.began, pid=os.getpid(), incarnation=self.incarnation,
            listen=self.engine.listeners.bound(),
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

