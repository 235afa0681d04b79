"""What a running node does for the commands of its machine: one handler a command of the control socket (CONTRACT).

It turns arguments as typed into acts on the node, and answers with the JSON of the contract. Rights and names are
judged below; here only words become values.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import trio

from bootstrap.entrance import WayIn
from bootstrap.invite import Token, encode_token
from overlay.directory.view import HostEntry
from overlay.driver.control import Args, Handler
from overlay.driver.run import Engine
from overlay.errors import Absent, NotRunning, ReachError, UsageError
from overlay.identity.keys import Signer
from overlay.name import ROOT, Path, parse_name
from overlay.node import DialEnded, Node, PeerChanged, Pong
from overlay.peers import Peer
from overlay.records import rights
from overlay.reports import Reports
from overlay.statements import Service
from overlay.units import b64, unb64
from overlay.wire.address import parse_address
from tld import codes, rdata
from tld.delegation import GENERATED_ONLY, text_rdata
from tld.driver.stub import Stub
from tld.explain import expand

PING_TIMEOUT = 5.0  # seconds for one ping, and for a session to a node that none is open to
MAX_TTL = 604_800  # seconds; RFC 8767 4 advises caches to cap there
HEALTHS = ("tcp", "http://", "https://", "cmd:", "none")


@dataclass(slots=True)
class Operations:
    """The desk of one running node. ``stop`` ends the run; ``forget`` too, and lets go of the overlay."""

    engine: Engine
    stub: Stub
    reports: Reports
    incarnation: int
    began: float
    stop: Callable[[], None]
    forget: Callable[[], None]
    _pongs: dict[int, float | None] = field(default_factory=dict)
    _news: trio.Event = field(default_factory=trio.Event)

    def __post_init__(self) -> None:
        self.engine.subscribe(self._heard)

    @property
    def node(self) -> Node:
        """The node."""
        return self.engine.node

    def handlers(self) -> Mapping[str, Handler]:
        """Command -> handler."""
        reading = {
            "status": self.status, "peers": self.peers, "clusters": self.clusters, "ping": self.ping, "resolve": self.resolve, "expand": self.expand,
            "service.list": self.service_list, "name.list": self.name_list, "name.tree": self.name_tree,
        }
        acting = {
            "service.add": self.service_add, "service.remove": self.service_remove, "name.set": self.name_set, "name.remove": self.name_remove,
            "invite": self.invite, "down": self.down, "leave": self.leave,
        }
        return {name: Handler(run, reading=True) for name, run in reading.items()} | {name: Handler(run) for name, run in acting.items()}

    def _heard(self, event: object) -> None:
        if isinstance(event, Pong):
            self._pongs[event.ticket] = event.rtt
            while len(self._pongs) > 256:
                del self._pongs[next(iter(self._pongs))]
        if isinstance(event, Pong | DialEnded | PeerChanged):
            self._news.set()
            self._news = trio.Event()

    # -- looking

    async def status(self, args: Args) -> object:
        """`overlay status`."""
        if self.node.presence is None:
            raise NotRunning("the node has not joined yet", "wait for overlay join to say so, or see overlay log")
        clock = self.engine.clock
        return self.reports.status(
            at=clock.at(), uptime=clock.now() - self.began, pid=os.getpid(), incarnation=self.incarnation, listen=self.engine.listeners.bound(),
        )

    async def peers(self, args: Args) -> object:
        """`overlay peers`."""
        return self.reports.peers(self.engine.clock.at())

    async def clusters(self, args: Args) -> object:
        """`overlay clusters`."""
        return self.reports.clusters(self.engine.clock.at())

    async def resolve(self, args: Args) -> object:
        """`overlay resolve NAME [TYPE]`."""
        rtype = _text(args, "type", "A").upper()
        codes.type_number(rtype)
        return await self.stub.resolve(_text(args, "name"), rtype)

    async def expand(self, args: Args) -> object:
        """`overlay expand NAME`."""
        carriers = expand(self.stub.names, _text(args, "name"))
        own = b64(self.node.identity.node_id)
        for carrier in carriers:
            peer = self.node.peers.by_node(unb64(carrier["node_id"]))
            carrier["distance_ms"] = 0.0 if carrier["node_id"] == own else round(peer.rtt * 1000, 3) if peer is not None and peer.rtt is not None else None
        return carriers

    async def service_list(self, args: Args) -> object:
        """`overlay service list`."""
        return self.reports.services()

    async def name_list(self, args: Args) -> object:
        """`overlay name list [PATH]`."""
        return self.reports.names(self._name(args["path"]) if args.get("path") else ROOT)

    async def name_tree(self, args: Args) -> object:
        """`overlay name tree`."""
        return self.reports.tree()

    # -- reaching

    async def ping(self, args: Args) -> object:
        """`overlay ping NODE [-c N]`."""
        entry = self._node(_text(args, "node"))
        count = _number(args, "count", 3, 1, 1_000)
        name = self.reports.full(entry.name)
        if entry.node_id == self.node.identity.node_id:
            return {"name": name, "path": "lan", "sent": count, "received": count, "rtt_ms": [0.0] * count}
        peer = await self._session(entry)
        rtts: list[float] = []
        for number in range(count):
            if number:
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

    def _node(self, text: str) -> HostEntry:
        """A node by its name or id, among those whose host records are held."""
        directory = self.node.directory
        hosts = [host for path in directory.zones() for host in directory.view(path).hosts] if directory is not None else []
        try:
            wanted = unb64(text, 32)
        except UsageError:
            name = self._name(text)
            found = next((host for host in hosts if host.name == name), None)
        else:
            found = next((host for host in hosts if host.node_id == wanted), None)
        if found is None:
            raise Absent(f"no node {text[:80]!r} is known", "overlay name tree shows the nodes there are", rule="unknown-node")
        return found

    async def _session(self, entry: HostEntry) -> Peer:
        clock = self.engine.clock
        peer = self.node.peers.by_node(entry.node_id)
        if peer is None and entry.host.addresses:
            self.node.dial(entry.host.exchange, entry.host.addresses, clock.now(), clock.at())
            self.engine.step()
            with trio.move_on_after(PING_TIMEOUT):
                while (peer := self.node.peers.by_node(entry.node_id)) is None:
                    await self._news.wait()
        if peer is None:
            raise ReachError(f"{self.reports.full(entry.name)} cannot be reached", "see whether it runs: overlay status there", rule="unreachable")
        return peer

    # -- names and services

    def _name(self, text: object) -> Path:
        if not isinstance(text, str):
            raise UsageError("a name is missing", "see --help")
        return parse_name(text, zone=self.reports.zone, tld=self.reports.tld)

    def _claimable(self, text: str) -> Path:
        name = self._name(text)
        if name == ROOT or rights.reserved(name):
            raise UsageError(f"{text!r} is reserved", "choose a name below your cluster, such as www.home.eu", rule="reserved")
        return name

    async def _done(self) -> dict[str, Any]:
        self.engine.step()
        await self.engine.settled()
        return {"ok": True}

    async def service_add(self, args: Args) -> object:
        """`overlay service add NAME --port N`."""
        name = self._claimable(_text(args, "name"))
        proto, health = _text(args, "proto", "tcp"), _text(args, "health", "none")
        if proto not in ("tcp", "udp"):
            raise UsageError(f"{proto!r} is not a protocol", "choose tcp or udp")
        if not health.startswith(HEALTHS) or len(health) > 255:
            raise UsageError(f"{health[:60]!r} is not a health check", "choose tcp, http://..., cmd:... or none")
        given = args.get("address") or ()
        addresses = tuple(parse_address(str(text), 1).host for text in ([given] if isinstance(given, str) else given))
        service = Service(
            name=name, proto=proto, port=_number(args, "port", 0, 1, 65_535), addresses=addresses, health=health,
            weight=_number(args, "weight", 10, 0, 65_535), healthy=health == "none",
        )
        self.node.add_service(service, self.engine.clock.at())
        return await self._done()

    async def service_remove(self, args: Args) -> object:
        """`overlay service remove NAME`."""
        name = self._name(args.get("name"))
        carried = [service for service in self.node.statements.services.values() if service.name == name]
        if not carried:
            raise Absent(f"this node does not carry {name.dotted}", "overlay service list shows who carries what", rule="unknown-service")
        for service in carried:
            self.node.remove_service(service, self.engine.clock.at())
        return await self._done()

    async def name_set(self, args: Args) -> object:
        """`overlay name set NAME TYPE VALUE...`."""
        name = self._claimable(_text(args, "name"))
        rtype = _text(args, "type").upper()
        values = tuple(str(value) for value in args.get("values") or ())
        if not values:
            raise UsageError("a value is missing", "overlay name remove takes a name away", rule="values")
        self._check_values(rtype, values)
        self.node.set_data(name, rtype, values, _number(args, "ttl", 30, 0, MAX_TTL), self.engine.clock.at())
        return await self._done()

    def _check_values(self, rtype: str, values: tuple[str, ...]) -> None:
        number = codes.type_number(rtype)
        if number in GENERATED_ONLY or number in (0, codes.NS, codes.DS) or 128 <= number <= 255:
            raise UsageError(f"{rtype} is made by the overlay itself", "set A, AAAA, SRV, SVCB, HTTPS, TXT, CNAME, DNAME, MX, PTR or CAA", rule="rtype")
        if number in (codes.CNAME, codes.DNAME) and len(values) > 1:
            raise UsageError(f"a name has one {rtype}", "give one value", rule="values")
        for value in values:
            if number == codes.TXT:
                text_rdata(value)
            else:
                rdata.to_wire(number, value, self.stub.names.tld)

    async def name_remove(self, args: Args) -> object:
        """`overlay name remove NAME [TYPE]`."""
        name = self._name(args.get("name"))
        rtype = args.get("type")
        held = [row for row in self.reports.names(name) if row["name"] == self.reports.full(name) and rtype in (None, "", row["type"])]
        if not held:
            raise Absent(f"{name.dotted} has no such data", "overlay name list shows what there is", rule="unknown-name")
        for row in held:
            self.node.set_data(name, row["type"], (), 0, self.engine.clock.at())
        return await self._done()

    # -- letting in, going away

    async def invite(self, args: Args) -> object:
        """`overlay invite [PATH]`."""
        text = args.get("path")
        path = self._name(text) if text else None
        uses, life = _number(args, "uses", 1, 1, 1_000_000), _number(args, "expires_s", 86_400, 1, 366 * 86_400)
        seed = secrets.token_bytes(32)
        at = self.engine.clock.at()
        record = self.node.invite(path, uses, life, Signer.from_seed(seed).public, at)
        await self._done()
        presence = self.node.presence
        assert presence is not None
        ways = (WayIn(presence.addresses[:8], self.node.identity.exchange_public),) if presence.addresses else ()
        token = Token(
            overlay_id=self.node.setup.overlay_id, zone=self.reports.zone, tld=self.reports.tld, path=record.name, seed=seed, expires=record.expires,
            ways=ways, redeemers=(self.node.identity.node_id,),
        )
        return {"token": encode_token(token), "expires": record.expires, "uses": uses, "path": str(record.name)}

    async def down(self, args: Args) -> object:
        """`overlay down`."""
        self.stop()
        return {"ok": True}

    async def leave(self, args: Args) -> object:
        """`overlay leave`."""
        self.node.leave(self.engine.clock.at())
        await self._done()
        await trio.sleep(0.5)  # the withdrawals are on their way: pushed at once, answered within a round trip
        self.forget()
        return {"ok": True}


def _text(args: Args, key: str, default: str | None = None) -> str:
    value = args.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{key.upper()} is missing", "see --help")
    return value


def _number(args: Args, key: str, default: int, low: int, high: int) -> int:
    value = args.get(key)
    if value is None:
        value = default
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise UsageError(f"{key} must be a whole number from {low} to {high}", "see --help", rule="number")
    return value
