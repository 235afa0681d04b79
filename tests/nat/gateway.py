"""A home router in virtual time: PCP, NAT-PMP and UPnP over one table of mappings, with switches for what routers do wrong.

A ``Lan`` joins routers, machines (``PortMaps``) and the clock. It obeys the RFCs where no switch says otherwise: what a
test sees of a machine is what it would do at such a router.
"""

from __future__ import annotations

import heapq
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random

from overlay.nat import markup, natpmp, pcp, upnp
from overlay.nat.outputs import Fetch, Mapped, SendTo, Unmapped
from overlay.nat.portmap import PortMaps
from overlay.wire.address import Address
from tests.nat.test_upnp import IP1, description, fault, found, reply

ROUTER, OUTSIDE = "192.168.1.1", "203.0.113.7"
DELAY = 0.002  # seconds each way


@dataclass(slots=True)
class Entry:
    client: str
    internal: int
    until: float
    nonce: bytes = b""


@dataclass
class Router:
    """One router. ``speaks`` says which protocols; the other fields which lies and failings."""

    speaks: set[str] = field(default_factory=lambda: {"pcp", "nat-pmp", "upnp"})
    outside: str = OUTSIDE
    up: bool = True
    started: float = 0.0
    table: dict[tuple[str, int], Entry] = field(default_factory=dict)
    location: str = f"http://{ROUTER}:5000/rootDesc.xml"
    http_port: int = 5000
    permanent_only: bool = False
    overwrites: bool = False  # UPnP version 1 at its worst: another client's mapping is written over
    lease: Callable[[int], int] = lambda asked: asked
    give: Callable[[int], int] = lambda asked: asked  # external port given for the one asked
    refuses: set[str] = field(default_factory=set)  # protocols that answer, and map nothing
    heard: list[tuple[float, str]] = field(default_factory=list)
    soap_broken: bool = False

    def reboot(self, now: float) -> None:
        self.up, self.started = True, now
        self.table.clear()

    def epoch(self, now: float) -> int:
        return int(now - self.started)

    def datagram(self, client: str, data: bytes, to: Address, now: float) -> list[tuple[Address, bytes]]:
        """The answers to a datagram, with the addresses they come from."""
        if not self.up:
            return []
        if to.port == 1900:
            self.heard.append((now, "ssdp"))
            # From another port than 1900, as the widely used libupnp answers.
            return [(Address(ROUTER, 40123), found(self.location))] if "upnp" in self.speaks else []
        if data[0] == 2:
            self.heard.append((now, "pcp"))
            if "pcp" in self.speaks:
                return [(Address(ROUTER, 5351), self.pcp(client, data, now))]
            if "nat-pmp" in self.speaks:
                return [(Address(ROUTER, 5351), bytes((0, 0x80 | data[1], 0, 1)) + self.epoch(now).to_bytes(4, "big"))]
            return []
        self.heard.append((now, "nat-pmp"))
        return [(Address(ROUTER, 5351), self.natpmp(client, data, now))] if "nat-pmp" in self.speaks else []

    def pcp(self, client: str, data: bytes, now: float) -> bytes:
        opcode, lifetime = data[1], int.from_bytes(data[4:8], "big")

        def answer(result: int, lifetime: int, body: bytes) -> bytes:
            return bytes((2, 0x80 | opcode, 0, result)) + lifetime.to_bytes(4, "big") + self.epoch(now).to_bytes(4, "big") + bytes(12) + body

        if opcode == pcp.ANNOUNCE:
            return answer(0, 0, b"")
        body = data[24:60]
        nonce, proto = body[:12], {17: "udp", 6: "tcp"}[body[12]]
        internal, wish = int.from_bytes(body[16:18], "big"), int.from_bytes(body[18:20], "big")
        if "pcp" in self.refuses:
            return answer(8, 30, body)
        mine = self.mine(client, proto, internal)
        if mine is not None and self.table[mine].nonce not in (b"", nonce) and self.table[mine].until > now:
            return answer(pcp.NOT_AUTHORIZED, 1800, body)
        port, life = self.map(client, proto, internal, wish, lifetime, now, nonce)
        packed = bytes(10) + b"\xff\xff" + ipaddress.ip_address(self.outside).packed
        return answer(0, life, body[:18] + port.to_bytes(2, "big") + packed)

    def natpmp(self, client: str, data: bytes, now: float) -> bytes:
        epoch = self.epoch(now).to_bytes(4, "big")
        if data[1] == natpmp.EXTERNAL:
            return bytes((0, 128, 0, 0)) + epoch + ipaddress.ip_address(self.outside).packed
        proto = {1: "udp", 2: "tcp"}[data[1]]
        internal, wish, lifetime = int.from_bytes(data[4:6], "big"), int.from_bytes(data[6:8], "big"), int.from_bytes(data[8:12], "big")
        if "nat-pmp" in self.refuses:
            return bytes((0, 0x80 | data[1], 0, 2)) + epoch + data[4:12]
        port, life = self.map(client, proto, internal, wish, lifetime, now)
        return bytes((0, 0x80 | data[1], 0, 0)) + epoch + data[4:6] + port.to_bytes(2, "big") + life.to_bytes(4, "big")

    def mine(self, client: str, proto: str, internal: int) -> tuple[str, int] | None:
        return next((key for key, one in self.table.items() if (one.client, one.internal, key[0]) == (client, internal, proto)), None)

    def map(self, client: str, proto: str, internal: int, wish: int, life: int, now: float, nonce: bytes = b"") -> tuple[int, int]:
        key = self.mine(client, proto, internal)
        if life == 0:
            self.table.pop(key or ("", 0), None)
            return 0, 0
        if key is None:
            port = self.give(wish or internal)
            while (proto, port) in self.table and self.table[proto, port].until > now:
                port += 1
            key = proto, port
        life = self.lease(life)
        self.table[key] = Entry(client, internal, now + life, nonce)
        return key[1], life

    def http(self, client: str, request: Fetch, now: float) -> tuple[int, bytes]:
        if not self.up or "upnp" not in self.speaks or not request.url.startswith(f"http://{ROUTER}:{self.http_port}/"):
            return 0, b""
        self.heard.append((now, "http"))
        if request.method == "GET":
            return 200, description((IP1, "/ctl"))
        name = dict(request.headers)["SOAPAction"].rpartition("#")[2].strip('"')
        given = {leaf.name: leaf.text for leaf in markup.leaves(request.body)}
        if self.soap_broken:
            return 500, b"oops"
        if name == "GetExternalIPAddress":
            return 200, reply(name, NewExternalIPAddress=self.outside)
        key = given["NewProtocol"].lower(), int(given["NewExternalPort"])
        there = self.table.get(key)
        there = there if there is not None and there.until > now else None
        if name == "GetSpecificPortMappingEntry":
            if there is None:
                return 500, fault(upnp.NO_SUCH_ENTRY)
            return 200, reply(name, NewInternalPort=str(there.internal), NewInternalClient=there.client, NewEnabled="1", NewLeaseDuration="60")
        if name == "DeletePortMapping":
            return (200, reply(name)) if self.table.pop(key, None) else (500, fault(upnp.NO_SUCH_ENTRY))
        life = int(given["NewLeaseDuration"])
        if "upnp" in self.refuses:
            return 500, fault(606)
        if self.permanent_only and life:
            return 500, fault(upnp.ONLY_PERMANENT)
        if there is not None and there.client != given["NewInternalClient"] and not self.overwrites:
            return 500, fault(upnp.CONFLICT)
        self.table[key] = Entry(given["NewInternalClient"], int(given["NewInternalPort"]), now + life if life else 1e18)
        return 200, reply(name)


@dataclass(slots=True)
class Lan:
    """A router, its clients, and the time."""

    router: Router = field(default_factory=Router)
    seed: int = 1
    now: float = 1_000.0
    clients: dict[str, PortMaps] = field(default_factory=dict)
    told: dict[str, list[tuple[float, Mapped | Unmapped]]] = field(default_factory=dict)
    sent: int = 0
    _agenda: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _count: int = 0

    def client(self, own: str = "192.168.1.2", *, secret: bytes = b"s" * 32, router: bool = True, **more: int) -> PortMaps:
        machine = PortMaps(Random(f"{self.seed} {own}").randbytes, self.now, secret=secret, **more)
        self.clients[own] = machine
        self.told.setdefault(own, [])
        if router:
            machine.router(ROUTER, own, self.now)
        return machine

    def at(self, when: float, act: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._agenda, (when, self._count, act))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        for _ in range(200_000):
            self._collect()
            times = [wake for machine in self.clients.values() if (wake := machine.wake_at()) is not None]
            upcoming = min([*times, *(when for when, _, _ in self._agenda[:1])], default=float("inf"))
            if upcoming > end:
                self.now = end
                return
            self.now = max(self.now, upcoming)
            while self._agenda and self._agenda[0][0] <= self.now:
                heapq.heappop(self._agenda)[2]()
            for machine in self.clients.values():
                if (wake := machine.wake_at()) is not None and wake <= self.now:
                    machine.wake(self.now)
        raise AssertionError("time stands still: something is due over and over")

    def _collect(self) -> None:
        for own, machine in self.clients.items():
            for out in machine.take():
                if isinstance(out, SendTo):
                    self.sent += 1
                    self._send(own, out)
                elif isinstance(out, Fetch):
                    self.sent += 1
                    self._fetch(own, out)
                else:
                    self.told[own].append((self.now, out))

    def _send(self, own: str, out: SendTo) -> None:
        def arrive() -> None:
            for source, data in self.router.datagram(own, out.data, out.address, self.now):
                self.at(self.now + DELAY, partial(self._deliver, own, source, data))

        self.at(self.now + DELAY, arrive)

    def _deliver(self, own: str, source: Address, data: bytes) -> None:
        self.clients[own].receive(source, data, self.now)

    def _fetch(self, own: str, out: Fetch) -> None:
        def arrive() -> None:
            status, body = self.router.http(own, out, self.now)
            self.at(self.now + DELAY, lambda: self.clients[own].http_done(out.ticket, status, body, self.now))

        self.at(self.now + DELAY, arrive)

    def announce(self) -> None:
        """The router says to everybody that it is there."""
        for machine in self.clients.values():
            machine.announced(Address(ROUTER, 5351), self.now)

    def last(self, own: str = "192.168.1.2", port: int = 7653, proto: str = "udp") -> Mapped | Unmapped | None:
        """What was told last of that port."""
        told = [out for _, out in self.told[own] if (out.proto, out.internal) == (proto, port)]
        return told[-1] if told else None

    def mapped(self, own: str = "192.168.1.2", port: int = 7653, proto: str = "udp") -> Mapped:
        last = self.last(own, port, proto)
        assert isinstance(last, Mapped), last
        return last
