"""Datagrams of the overlay: drained reading, and answers that leave from the address that was asked (DESIGN 3.4).

It decides how many datagrams one wake-up takes (``limits.DRAIN``), which socket a way belongs to, and which source
address a datagram carries (RFC 3542, IP_PKTINFO; research F21). It refuses to know what is in them. Nothing here waits
to send: a full socket drops, as the network would, and is counted.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final

import trio

from overlay import limits
from overlay.wire.address import Address, Way

# Absent from the socket module of Python 3.11; linux/in.h and Darwin's netinet/in.h.
IP_PKTINFO: Final[int] = getattr(socket, "IP_PKTINFO", 26 if sys.platform == "darwin" else 8)
_ANCILLARY: Final = socket.CMSG_SPACE(20) + socket.CMSG_SPACE(12)
_KNOWN: Final = 4_096  # remembered ways and addresses; forgotten all at once, since they cost 2 us to make again
_TRUNCATED: Final = int(socket.MSG_TRUNC)  # as a plain number: an IntFlag's "&" costs 4 us a datagram
_BUFFER: Final = 2_048  # more than limits.WRAPPED, so that what is too long is seen to be

Batch = list[tuple[bytes, Way]]
SocketAddress = tuple[str, int] | tuple[str, int, int, int]
Route = tuple[socket.socket, SocketAddress, list[tuple[int, int, bytes]]]  # socket, destination, ancillary data


def socket_address(address: Address) -> SocketAddress:
    """An address as the socket calls want it; a scope (``fe80::1%2`` or ``%eth0``) becomes its number.

    Raises ``OSError`` where there is no such interface.
    """
    if address.family == 4:
        return (address.host, address.port)
    host, _, scope = address.host.partition("%")
    number = int(scope) if scope.isascii() and scope.isdigit() else socket.if_nametoindex(scope) if scope else 0
    return (host, address.port, 0, number)


def from_socket(name: tuple[str, int] | tuple[str, int, int, int]) -> Address:
    """What ``recvmsg`` or ``getpeername`` says -> an address; link-local ones keep their scope, by number."""
    host = name[0].partition("%")[0]
    if ":" in host:
        if "." in host:  # ``::1.2.3.4`` of the C library is not the shortest form
            host = str(ipaddress.ip_address(host))
        if len(name) == 4 and name[3]:
            host = f"{host}%{name[3]}"
    return Address(host, name[1])


class Udp:
    """All UDP sockets of the overlay's listeners, as one. The sockets are bound, non-blocking, and stay the caller's."""

    def __init__(self, sockets: Sequence[socket.socket], counters: Counter[str]) -> None:
        self._sockets = [_Socket(sock, counters) for sock in sockets]
        self._counters = counters
        self._routes: dict[Way, Route] = {}
        self._extra: dict[int, tuple[_Socket, trio.CancelScope]] = {}  # sockets of short life, by number: see :meth:`_open`
        self._nursery: trio.Nursery | None = None
        self._on_batch: Callable[[Batch], None] = lambda batch: None
        self._hosts: frozenset[str] | None = None

    def leave_from(self, hosts: Iterable[str]) -> None:
        """The machine's addresses are these now. What would leave from one that is gone leaves from whichever fits."""
        self._hosts = frozenset(hosts)
        self._routes.clear()

    async def run(self, on_batch: Callable[[Batch], None], room: Callable[[], Awaitable[None]] | None = None) -> None:
        """Hand every batch of datagrams to ``on_batch``, until cancelled.

        ``await room()`` comes before each read: what is not read waits in the kernel's queue, which has a length.
        """
        async with trio.open_nursery() as nursery:
            self._nursery, self._on_batch = nursery, on_batch
            try:
                for sock in self._sockets:
                    nursery.start_soon(sock.pump, on_batch, room)
                await trio.sleep_forever()
            finally:
                self._nursery = None

    def close(self, link: int) -> None:
        """Close an extra socket; unknown ones are closed already."""
        found = self._extra.pop(link, None)
        if found is not None:
            found[1].cancel()
            trio.lowlevel.notify_closing(found[0].sock)
            found[0].sock.close()
            self._routes.clear()

    def _open(self, link: int, family: socket.AddressFamily) -> _Socket | None:
        """The extra socket of that number, on a port that the system chooses; opened where it is not. None where there are too many."""
        found = self._extra.get(link)
        if found is not None:
            return found[0]
        if self._nursery is None or len(self._extra) >= limits.UDP_EXTRA:
            self._counters["drop:udp-extra-full"] += 1
            return None
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 0))
        made = _Socket(sock, self._counters, link)
        scope = trio.CancelScope()
        self._extra[link] = (made, scope)
        self._nursery.start_soon(self._pump_extra, made, scope)
        return made

    async def _pump_extra(self, sock: _Socket, scope: trio.CancelScope) -> None:
        with scope, suppress(trio.ClosedResourceError):
            await sock.pump(self._on_batch, None)

    def send(self, way: Way, data: bytes) -> bool:
        """Send one datagram, from ``way.local`` where given; False where it was dropped (counted)."""
        if len(data) > limits.WRAPPED:
            self._counters["drop:too-long"] += 1
            return False
        try:
            route = self._routes.get(way) or self._route(way)
            if route is None:
                self._counters["drop:udp-no-socket"] += 1
                return False
            sock, name, ancillary = route
            sock.sendmsg((data,), ancillary, 0, name)
        except (BlockingIOError, InterruptedError):
            self._counters["drop:udp-send-full"] += 1
            return False
        except OSError as error:  # no route, a firewall of our own, an address that is no longer ours
            self._counters[f"drop:udp-{errno.errorcode.get(error.errno or 0, 'unknown').lower()}"] += 1
            return False
        return True

    def _route(self, way: Way) -> Route | None:
        """Which socket a way belongs to, and what its system call takes. Raises ``OSError`` for an unknown scope."""
        host = way.remote.host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        if way.link:
            extra = self._open(way.link, family)
            return (extra.sock, socket_address(way.remote), []) if extra is not None else None
        loopback = host == "::1" or host.startswith("127.")
        ours = [sock for sock in self._sockets if sock.family == family]
        if not ours:
            return None
        # The address asked, else one that may use any address, else one on the same side of the machine, else any.
        best = min(ours, key=lambda s: (s.bound.host != way.local, not s.wildcard, s.loopback is not loopback))
        if len(self._routes) >= _KNOWN:
            self._routes.clear()
        local = way.local.partition("%")[0]
        gone = self._hosts is not None and local not in self._hosts and not local.startswith("127.")  # all of 127/8 is ours
        route = self._routes[way] = (best.sock, socket_address(way.remote), best.source("" if gone else way.local))
        return route


class _Socket:
    def __init__(self, sock: socket.socket, counters: Counter[str], link: int = 0) -> None:
        self.sock = sock
        self.link = link
        self.family = sock.family
        self.bound = from_socket(sock.getsockname())
        ip = ipaddress.ip_address(self.bound.host.partition("%")[0])
        self.wildcard = ip.is_unspecified
        self.loopback = ip.is_loopback
        self.counters = counters
        self._ways: dict[tuple[object, ...], Way] = {}
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, limits.UDP_BUFFER)  # the kernel cuts it to net.core.rmem_max
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limits.UDP_BUFFER)
        if self.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)

    async def pump(self, on_batch: Callable[[Batch], None], room: Callable[[], Awaitable[None]] | None) -> None:
        while True:
            if room is not None:
                await room()
            await trio.lowlevel.wait_readable(self.sock)  # one checkpoint a batch; returns soon where more waits
            batch = self.drain()
            if batch:
                on_batch(batch)

    def drain(self) -> Batch:
        """What waits in the socket, at most ``limits.DRAIN`` datagrams. Never waits, never raises for the network."""
        batch: Batch = []
        receive, ways = self.sock.recvmsg, self._ways
        for _ in range(limits.DRAIN):
            try:
                data, ancillary, flags, name = receive(_BUFFER, _ANCILLARY)
            except BlockingIOError:
                return batch
            except OSError as error:  # an ICMP error of an earlier datagram; the next read goes on
                self.counters[f"udp_receive:{errno.errorcode.get(error.errno or 0, 'unknown').lower()}"] += 1
                if error.errno in (errno.EBADF, errno.ENOTSOCK):
                    raise
                continue
            if len(data) > limits.WRAPPED or flags & _TRUNCATED:
                self.counters["drop:too-long"] += 1
                continue
            if not data:
                self.counters["drop:empty"] += 1
                continue
            key = (name, ancillary[0][2] if ancillary else b"")
            way = ways.get(key)
            if way is None:
                if len(ways) >= _KNOWN:
                    ways.clear()
                way = ways[key] = Way("udp", from_socket(name), self._asked(ancillary), self.link)
            batch.append((data, way))
        self.counters["udp_drained_full"] += 1
        return batch

    def _asked(self, ancillary: list[tuple[int, int, bytes]]) -> str:
        """Our address that a datagram was sent to (for a broadcast, the address of ours that belongs there)."""
        for level, kind, data in ancillary:
            if level == socket.IPPROTO_IP and kind == IP_PKTINFO and len(data) >= 12:
                return socket.inet_ntop(socket.AF_INET, data[4:8])  # ipi_spec_dst
            if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO and len(data) >= 20:
                if data[0] == 0xFF:
                    return ""  # multicast: the kernel chooses what to answer from
                return str(ipaddress.IPv6Address(data[:16]))
        return "" if self.wildcard else self.bound.host

    def source(self, local: str) -> list[tuple[int, int, bytes]]:
        """What makes a datagram leave from that address of ours."""
        if not local or not self.wildcard:
            return []  # a socket on one address answers from it by itself
        host = local.partition("%")[0]
        if self.family == socket.AF_INET6:
            packed = socket.inet_pton(socket.AF_INET6, host)
            return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, packed + struct.pack("=I", 0))]
        packed = socket.inet_pton(socket.AF_INET, host)
        return [(socket.IPPROTO_IP, IP_PKTINFO, struct.pack("=i", 0) + packed + bytes(4))]
