"""Ports mapped at the router: the sockets, the HTTP requests and the clock of ``overlay.nat.portmap`` (DESIGN 3.6, 3.7).

It decides nothing about mappings. It listens to what routers announce to everybody (RFC 6886, 3.2.1; RFC 6887, 14; UDA 1.2), on
the groups' own addresses so that no datagram meant for another program comes here, and tells the machine no more of it than who
spoke. HTTP goes to the address that the machine names, from our own, without proxy and redirect, bounded in time and size.

The task tree: ``map_ports`` -> workers (shielded until everything is dropped) -> receivers, timer, watcher, one task a request.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from typing import Final
from urllib.parse import urlsplit

import h11
import trio

from overlay import __version__, limits
from overlay.driver import interfaces
from overlay.driver.routes import Default, default_router
from overlay.driver.udp import from_socket, socket_address
from overlay.nat.outputs import Fetch, Mapped, SendTo, Unmapped
from overlay.nat.portmap import PortMaps
from overlay.wire.address import Address

LEAVE: Final = 1.0  # seconds for a router to hear that its mappings are not wanted any more
HTTP_TIME: Final = 4.0  # seconds for one request; the machine waits 6
LOOK: Final = 30.0  # seconds between looks at the routes: what changes without an address is not told by the watcher
GROUPS: Final = {4: (Address("224.0.0.1", 5350), Address("239.255.255.250", 1900)), 6: (Address("ff02::1", 5350),)}
_HOPS: Final = 2  # UDA 1.1: of multicasts
_DATAGRAM: Final = 4_097  # octets read: more than any answer may have
_CHUNK: Final = 16_384


async def map_ports(
    machine: PortMaps,
    ports: Iterable[tuple[str, int]],
    told: Callable[[Mapped | Unmapped], None],
    *,
    now: Callable[[], float],
    family: int = 4,
) -> None:
    """Keep ``ports`` (("udp", 7653), ...) mapped until cancelled; then have them removed, within a second.

    ``told`` hears what was mapped and what is no more. ``now`` is the machine's clock. Nothing of the machine is shared with
    another task. A machine without a router costs a look at the routes every 30 s.
    """
    mapper = _Mapper(machine, told, now, family)
    async with trio.open_nursery() as nursery:
        workers = trio.CancelScope(shield=True)
        nursery.start_soon(mapper.work, workers)
        try:
            for proto, port in (wanted := list(ports)):
                machine.want(port, proto, now())
            mapper.stir()
            await trio.sleep_forever()
        finally:
            with trio.move_on_after(LEAVE, shield=True):
                for proto, port in wanted:
                    machine.drop(port, proto, now())
                mapper.stir()
                while not machine.quiet:
                    await mapper.stirred.wait()
            workers.cancel()


class _Mapper:
    def __init__(self, machine: PortMaps, told: Callable[[Mapped | Unmapped], None], now: Callable[[], float], family: int) -> None:
        self.machine, self.told, self.now, self.family = machine, told, now, family
        self.stirred = trio.Event()
        self._default: Default | None = None
        self._sock: socket.socket | None = None  # what the router is asked through, bound to our address towards it
        self._sockets: trio.CancelScope | None = None
        self._nursery: trio.Nursery | None = None

    async def work(self, scope: trio.CancelScope) -> None:
        """Move bytes until ``scope`` is cancelled."""
        with scope:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._timer)
                self._nursery.start_soon(self._look_again)
                self._nursery.start_soon(interfaces.watch, self._look)

    def stir(self) -> None:
        """After anything went into the machine: do what it wants done."""
        for out in self.machine.take():
            if isinstance(out, SendTo):
                self._send(out)
            elif isinstance(out, Fetch):
                assert self._nursery is not None and self._default is not None
                self._nursery.start_soon(self._answer, out, self._default.own)
            else:
                self.told(out)
        stirred, self.stirred = self.stirred, trio.Event()
        stirred.set()

    # -- time and routes

    async def _timer(self) -> None:
        while True:
            at = self.machine.wake_at()
            with trio.move_on_after(float("inf") if at is None else max(0.0, at - self.now())):
                await self.stirred.wait()
                continue
            self.machine.wake(self.now())
            self.stir()

    async def _look_again(self) -> None:
        while True:
            await trio.sleep(LOOK)
            self._look()

    def _look(self) -> None:
        """The default router may be another one."""
        default = default_router(self.family)
        if default == self._default:
            return
        if self._sockets is not None:
            self._sockets.cancel()
        self._sock, self._sockets = None, trio.CancelScope()
        assert self._nursery is not None
        if default is not None and not self._open(default, self._sockets, self._nursery):
            default = None  # looked for again soon
        self._default = default
        self.machine.router(default and default.gateway, default and default.own, self.now())
        self.stir()

    # -- datagrams

    def _open(self, default: Default, scope: trio.CancelScope, nursery: trio.Nursery) -> bool:
        """Sockets towards that router, read until ``scope`` is cancelled; False where the router cannot be asked."""
        with ExitStack() as opened:
            try:
                self._sock = opened.enter_context(_asking(default))
            except OSError:
                self.machine.counters["portmap_deaf"] += 1  # the address has gone again, or is not there yet
                return False
            groups = []
            for group in GROUPS[self.family]:
                try:
                    groups.append(opened.enter_context(_listening(group, default)))
                except OSError:  # somebody holds the port for himself: reboots are found out by looking
                    self.machine.counters["portmap_deaf"] += 1
            nursery.start_soon(self._receive, opened.pop_all(), scope, self._sock, groups)
        return True

    async def _receive(self, opened: ExitStack, scope: trio.CancelScope, asking: socket.socket, groups: list[socket.socket]) -> None:
        with opened, scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read, asking, lambda source, data: self.machine.receive(source, data, self.now()))
                for group in groups:
                    nursery.start_soon(self._read, group, lambda source, _: self.machine.announced(source, self.now()))

    async def _read(self, sock: socket.socket, hear: Callable[[Address, bytes], None]) -> None:
        while True:
            await trio.lowlevel.wait_readable(sock)
            for _ in range(limits.DRAIN):
                try:
                    data, source = sock.recvfrom(_DATAGRAM)
                except BlockingIOError:
                    break
                except OSError as error:  # an ICMP error of an earlier datagram: the router has no such port
                    self.machine.counters[f"udp_receive:{errno.errorcode.get(error.errno or 0, 'unknown').lower()}"] += 1
                    if error.errno in (errno.EBADF, errno.ENOTSOCK):
                        raise
                    continue
                hear(from_socket(source), data)
            self.stir()

    def _send(self, out: SendTo) -> None:
        try:
            if self._sock is not None:
                self._sock.sendto(out.data, socket_address(out.address))
        except OSError as error:  # no route, or a firewall of our own; asked again as if it was lost
            self.machine.counters[f"drop:udp-{errno.errorcode.get(error.errno or 0, 'unknown').lower()}"] += 1

    # -- HTTP

    async def _answer(self, request: Fetch, own: str) -> None:
        status, body = await fetch(request, own)
        self.machine.http_done(request.ticket, status, body, self.now())
        self.stir()


def _asking(default: Default) -> socket.socket:
    family = socket.AF_INET6 if ":" in default.own else socket.AF_INET
    with ExitStack() as opened:
        sock = opened.enter_context(socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC))
        sock.bind(socket_address(Address(default.own, 0)))
        if family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(default.own))
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, _HOPS)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        opened.pop_all()
        return sock


def _listening(group: Address, default: Default) -> socket.socket:
    """What hears a group on one interface, and nothing else: bound to the group's address, shared with whoever listens too."""
    family = socket.AF_INET6 if ":" in group.host else socket.AF_INET
    with ExitStack() as opened:
        sock = opened.enter_context(socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET:
            sock.bind(tuple(group))
            membership = socket.inet_aton(group.host) + socket.inet_aton(default.own)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        else:
            sock.bind((group.host, group.port, 0, default.scope))
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(family, group.host) + struct.pack("=I", default.scope))
        opened.pop_all()
        return sock


async def fetch(request: Fetch, own: str) -> tuple[int, bytes]:
    """Status and body of one request to a router, from our own address; (0, b"") where there is no whole answer within bounds."""
    parts = urlsplit(request.url)
    to = (parts.hostname or "", parts.port or 80)
    with suppress(OSError, trio.BrokenResourceError, h11.RemoteProtocolError), trio.move_on_after(HTTP_TIME):
        with trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            await sock.bind((own, 0))
            await sock.connect(to)
            target = parts.path + (f"?{parts.query}" if parts.query else "")
            headers = [("Host", f"{to[0]}:{to[1]}"), ("User-Agent", f"overlay/{__version__} UPnP/1.1"), ("Connection", "close")]
            headers += [*request.headers, ("Content-Length", str(len(request.body)))]
            return await _exchange(trio.SocketStream(sock), h11.Request(method=request.method, target=target, headers=headers), request.body)
    return 0, b""


async def _exchange(stream: trio.SocketStream, request: h11.Request, body: bytes) -> tuple[int, bytes]:
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=limits.HTTP_HEAD)
    await stream.send_all((http.send(request) or b"") + (http.send(h11.Data(data=body)) or b"") + (http.send(h11.EndOfMessage()) or b""))
    status, read = 0, bytearray()
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await stream.receive_some(_CHUNK))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            read += event.data
            if len(read) > limits.PORTMAP_BODY:
                return 0, b""
        elif isinstance(event, h11.EndOfMessage):
            return status, bytes(read)
        elif not isinstance(event, h11.InformationalResponse):
            return 0, b""
