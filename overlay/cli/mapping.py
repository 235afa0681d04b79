"""Ports mapped at the router while this node speaks for its cluster, or stands by (DESIGN 3.6).

It decides when to map and what is written into the log. What a router promises is a candidate only: nothing of it is told to
others before somebody outside has come in that way (DESIGN 3.7).
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Final

import trio

from overlay.cluster.outputs import Role
from overlay.driver.portmap import map_ports
from overlay.findings import OK, SKIPPED, Finding
from overlay.machine import Log
from overlay.nat.outputs import Mapped, Unmapped
from overlay.nat.portmap import PortMaps
from overlay.node import Node

SPEAKING: Final = (Role.GATEWAY, Role.STANDBY)

Wait = Callable[[Callable[[], bool]], Awaitable[None]]  # until that holds


class Mapping:
    """The mapped ports of one node; ``held`` are those that the router says it passes on."""

    def __init__(self, node: Node, *, now: Callable[[], float], write: Callable[[Log], None]) -> None:
        self.node = node
        self.machine = PortMaps(os.urandom, now(), secret=node.identity.derived(b"overlay port mapping 1"))
        self.held: dict[tuple[str, int], Mapped] = {}
        self._why: dict[tuple[str, int], str] = {}  # why a port is not passed on
        self._now = now
        self._write = write

    def _speaks(self) -> bool:
        """Whether ports are to be mapped. A node that is on loopback alone (a test bed) asks no router."""
        presence, belonging = self.node.presence, self.node.belonging
        if presence is None or belonging is None or belonging.lease.role not in SPEAKING:
            return False
        return not all(ip_address(host.partition("%")[0]).is_loopback for host in presence.interfaces)

    def findings(self) -> list[Finding]:
        """What `overlay doctor` tells of each port. That none is mapped is no fault: many a router does not do it."""
        if not self._speaks():
            return [Finding("portmap", SKIPPED, "no port is mapped: this node does not speak for its cluster, or is on loopback alone")]
        found = []
        for port in self._ports():
            proto, number = port
            held = self.held.get(port)
            if held is not None:
                at = f"{held.external_host}:{held.external_port}"
                left = max(0.0, held.expires - self._now())
                found.append(Finding("portmap", OK, f"the router passes {at}/{proto} on to port {number} ({held.protocol}), for {left:.0f} s more"))
            else:
                told = f"port {number}/{proto} is not mapped: {self._why.get(port, 'no router has answered yet')}"
                found.append(Finding("portmap", SKIPPED, told, "switch on PCP, NAT-PMP or UPnP at the router, if it stands behind one"))
        return found

    def _ports(self) -> list[tuple[str, int]]:
        return [(proto, self.node.setup.port) for proto in ("udp", "tcp")]

    async def run(self, wait: Wait) -> None:
        """Until cancelled."""
        while True:
            await wait(self._speaks)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._map, self._ports())
                await wait(lambda: not self._speaks())
                nursery.cancel_scope.cancel()

    async def _map(self, ports: list[tuple[str, int]]) -> None:
        await map_ports(self.machine, ports, self._told, now=self._now)

    def _told(self, event: Mapped | Unmapped) -> None:
        port = (event.proto, event.internal)
        if isinstance(event, Unmapped):
            self._why[port] = event.reason
            if self.held.pop(port, None) is not None or event.reason not in ("no-router", "dropped"):
                self._write(Log("info", "port-unmapped", {"proto": event.proto, "port": event.internal, "reason": event.reason}))
            return
        before = self.held.get(port)
        self.held[port] = event
        if before is None or (before.external_host, before.external_port) != (event.external_host, event.external_port):
            at = f"{event.external_host}:{event.external_port}"
            self._write(Log("info", "port-mapped", {"proto": event.proto, "port": event.internal, "at": at, "by": event.protocol}))
