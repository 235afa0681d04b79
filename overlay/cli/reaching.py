"""What a running node answers about its ways to others: `ping`, `why`, `netcheck` (CONTRACT).

`netcheck` looks anew: it has peers knock (``overlay/outlook.py``), opens a TCP connection and a TLS one to public nodes, and
asks one for this node's address over HTTP, where a captive portal shows itself by answering something else.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import trio
from trio_util import RepeatedEvent

from bootstrap.driver.fetch import fetch
from overlay import netcheck
from overlay.cli.words import number, text
from overlay.directory.view import HostEntry
from overlay.driver.control import Args, Handler
from overlay.driver.run import Engine
from overlay.errors import ReachError
from overlay.node import Node
from overlay.peers import Peer
from overlay.raised import DialEnded, PeerChanged, Pong
from overlay.reports import Reports
from overlay.units import b64
from overlay.wire.address import Address

PING_TIMEOUT: Final = 5.0  # seconds for one ping, and for a session to a node that none is open to
ASKED: Final = 3  # public nodes that `netcheck` connects to
CONNECT: Final = 2.0  # seconds for each
LOOK, LOOKS = 0.05, 40  # seconds between glances at whether the NAT was looked at, and how many: knocks have one second
TLS_PORT: Final = 443
REFUSED: Final = (ConnectionRefusedError, ConnectionResetError)  # somebody there says no: the packets got through


@dataclass(slots=True)
class Reaching:
    """The handlers of one running node. ``portmap`` says what the router speaks."""

    engine: Engine
    reports: Reports
    portmap: Callable[[], str | None]
    _pongs: dict[int, float | None] = field(default_factory=dict)
    _news: RepeatedEvent = field(default_factory=RepeatedEvent)

    def __post_init__(self) -> None:
        self.engine.subscribe(self._heard)

    @property
    def node(self) -> Node:
        """The node."""
        return self.engine.node

    def handlers(self) -> Mapping[str, Handler]:
        """Command -> handler."""
        return {name: Handler(run, reading=True) for name, run in {"ping": self.ping, "why": self.why, "netcheck": self.netcheck}.items()}

    def _heard(self, event: object) -> None:
        if isinstance(event, Pong):
            self._pongs[event.ticket] = event.rtt
            while len(self._pongs) > 256:
                del self._pongs[next(iter(self._pongs))]
        if isinstance(event, Pong | DialEnded | PeerChanged):
            self._news.set()

    async def why(self, args: Args) -> object:
        """`overlay why NODE`."""
        return netcheck.why(self.reports, self.reports.find_node(text(args, "node")))

    async def ping(self, args: Args) -> object:
        """`overlay ping NODE [-c N]`."""
        entry = self.reports.find_node(text(args, "node"))
        count = number(args, "count", 3, 1, 1_000)
        name = self.reports.full(entry.name)
        if entry.node_id == self.node.identity.node_id:
            return {"name": name, "path": "lan", "sent": count, "received": count, "rtt_ms": [0.0] * count}
        peer = await self.session(entry)
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
            raise ReachError(f"{name} did not answer", "overlay why shows the paths that were tried", rule="ping")
        return {"name": name, "path": self.reports.path_of(peer), "sent": count, "received": len(rtts), "rtt_ms": rtts}

    async def session(self, entry: HostEntry) -> Peer:
        """A session with a node: the one that there is, or a new one. ``ReachError`` where none comes of it."""
        clock = self.engine.clock
        peer = self.node.peers.by_node(entry.node_id)
        if peer is None and (entry.host.addresses or entry.host.relays):
            self.node.dial(entry.host.exchange, entry.host.addresses, clock.now(), clock.at(), entry.host.relays)
            self.engine.step()
            with trio.move_on_after(PING_TIMEOUT):
                while (peer := self.node.peers.by_node(entry.node_id)) is None:
                    await self._news.wait()
        if peer is None:
            raise ReachError(
                f"{self.reports.full(entry.name)} cannot be reached", f"overlay why {b64(entry.node_id)} shows the paths that were tried",
                rule="unreachable",
            )
        return peer

    # -- netcheck

    async def netcheck(self, args: Args) -> object:
        """`overlay netcheck`."""
        outlook, clock = self.node.outlook, self.engine.clock
        began = clock.now()
        outlook.look_soon(began)
        self.engine.step()
        found: dict[str, object] = {}
        async with trio.open_nursery() as nursery:
            addresses = netcheck.asked(self.reports, ASKED)
            nursery.start_soon(self._tcp, addresses, found)
            nursery.start_soon(self._tls, addresses, found)
            nursery.start_soon(self._portal, addresses, found)
            for _ in range(LOOKS):
                if outlook.looked_at is not None and outlook.looked_at >= began:
                    break
                await trio.sleep(LOOK)
        return {**netcheck.seen(self.reports, clock.now()), "portmap": self.portmap(), **found}

    async def _tcp(self, addresses: list[Address], found: dict[str, object]) -> None:
        for address in addresses:
            reason = await _connects(address)
            found["tcp"] = not reason
            if not reason:
                return

    async def _tls(self, addresses: list[Address], found: dict[str, object]) -> None:
        """Whether TLS to port 443 gets through; where nobody offers it, that is not known."""
        for address in addresses:
            reason = await _connects(Address(address.host, TLS_PORT), tls=True)
            if reason == "timeout":
                found.setdefault("tls443", False)
            elif not reason:
                found["tls443"] = True
                return

    async def _portal(self, addresses: list[Address], found: dict[str, object]) -> None:
        for address in addresses:
            try:
                with trio.fail_after(CONNECT):
                    body = await fetch(address, "/?IP")
            except (ReachError, trio.TooSlowError):
                continue
            try:
                ipaddress.ip_address(body.decode("ascii", "replace").strip())
                found["captive_portal"] = False
            except ValueError:
                found["captive_portal"] = True
            return


async def _connects(address: Address, *, tls: bool = False) -> str:
    """Empty where a connection came up; else why not, in a word."""
    try:
        with trio.fail_after(CONNECT):
            stream = await trio.open_tcp_stream(address.host, address.port)
            async with stream:
                if tls:
                    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # whom we talk to is proved inside
                    await trio.SSLStream(stream, context, server_hostname=address.host).do_handshake()
        return ""
    except trio.TooSlowError:
        return "timeout"
    except REFUSED:
        return "refused"
    except (OSError, trio.BrokenResourceError, ssl.SSLError):
        return "failed"
