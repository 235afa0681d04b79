"""Beacons on the wire: one socket a family, joined to the group on every interface that leads to a LAN (DESIGN 3.6).

It decides which interfaces those are, and how a beacon leaves on one of them and not on another (RFC 3542, IP_PKTINFO). It
refuses to know what a beacon says. What does not open is a notice, not an end: the other family, unicast and all other
ways in are left. Several nodes of one machine share the port: Linux hands multicast and broadcast to each of them; what is
for one alone goes to its own overlay port.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import trio

from overlay import limits
from overlay.cluster.beacon import GROUP_4, GROUP_6, HOPS, LENGTH, PORT
from overlay.cluster.links import Link
from overlay.driver.interfaces import Interface, worthy
from overlay.driver.udp import IP_PKTINFO, Batch, from_socket, socket_address
from overlay.wire.address import Way
from overlay.wire.messages import Packet

ANYWHERE: Final = {4: "0.0.0.0", 6: "::"}
_JOIN_6: Final = struct.Struct("=16sI")  # ipv6_mreq
_JOIN_4: Final = struct.Struct("=4s4si")  # ip_mreqn; macOS takes the same
_BUFFER: Final = 64  # octets: more than a beacon has, so that what is too long is seen to be
_GONE: Final = (errno.ENODEV, errno.EADDRNOTAVAIL, errno.EADDRINUSE)  # of joining: the interface went, or it is joined already
_BEACON: Final = Packet.BEACON.value

Notice = Callable[[str], None]


def links_of(found: Sequence[Interface], bound: Sequence[str], wanted: Sequence[str] = ()) -> tuple[Link, ...]:
    """The addresses that lead to a LAN and at which the overlay listens (``bound``: hosts of its sockets, wildcards as such).

    No loopback, no containers, no VPNs but those named in ``wanted`` (``[listen] advertise``), as with what is told to others.
    """
    links = []
    for one in found:
        anywhere = ANYWHERE[6 if ":" in one.host else 4]
        if worthy(one, wanted) and not one.loopback and (anywhere in bound or one.host in bound):
            try:
                links.append(Link(one.name, one.index or socket.if_nametoindex(one.name), one.host, one.prefix))
            except OSError:
                continue  # it went while we looked
    return tuple(links)


class LanSockets:
    """The sockets of one node, or of a newcomer that has none yet. ``port`` 0: only answers by unicast are heard there."""

    def __init__(self, counters: Counter[str], notice: Notice, port: int = PORT) -> None:
        self.counters = counters
        self._notice = notice
        self._port = port
        self._sockets: dict[int, socket.socket] = {}  # by family
        self._joined: set[tuple[int, int]] = set()  # family, interface
        self._refused: set[int] = set()  # families of which it was said why there is none
        self._changed = trio.Event()

    def close(self) -> None:
        """Let go of all."""
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()
        self._joined.clear()

    def ports(self) -> dict[int, int]:
        """Family -> the port that is bound."""
        return {family: sock.getsockname()[1] for family, sock in self._sockets.items()}

    def follow(self, links: Sequence[Link]) -> None:
        """The links are these now: open what is missing, join the group on what is new. What is gone was left by the kernel."""
        usable = [link for link in links if link.family == 4 or link.local]
        for family in sorted({link.family for link in usable} - set(self._sockets)):
            try:
                self._sockets[family] = _open(family, self._port)
                self._changed.set()
                self._changed = trio.Event()
            except OSError as error:
                if family not in self._refused:  # said once, tried again with every change
                    self._notice(f"lan: beacons over IPv{family} are off: port {self._port} cannot be opened ({error.strerror})")
                self._refused.add(family)
        wanted = {(link.family, link.number) for link in usable}
        self._joined &= wanted
        for family, number in sorted(wanted - self._joined) if self._port else ():
            sock = self._sockets.get(family)
            if sock is not None and self._join(sock, family, number):
                self._joined.add((family, number))

    def _join(self, sock: socket.socket, family: int, number: int) -> bool:
        try:
            if family == 4:
                member = _JOIN_4.pack(socket.inet_aton(GROUP_4.host), bytes(4), number)
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
            else:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, _JOIN_6.pack(socket.inet_pton(socket.AF_INET6, GROUP_6.host), number))
        except OSError as error:
            if error.errno not in _GONE:
                self._notice(f"lan: no multicast over IPv{family} on interface {number} ({error.strerror})")
            return error.errno == errno.EADDRINUSE
        return True

    def send(self, way: Way, data: bytes) -> bool:
        """Send out of interface ``way.link`` from ``way.local``; False where it was dropped (counted)."""
        sock = self._sockets.get(way.remote.family)
        if sock is None:
            self.counters["drop:lan-no-socket"] += 1
            return False
        try:
            sock.sendmsg((data,), _source(way), 0, socket_address(way.remote))
        except OSError as error:  # the interface went down, a firewall of our own, a full queue: the next round comes
            self.counters[f"drop:lan-{errno.errorcode.get(error.errno or 0, 'unknown').lower()}"] += 1
            return False
        return True

    async def run(self, on_batch: Callable[[Batch], None]) -> None:
        """Hand on what looks like beacons, until cancelled."""
        running: set[int] = set()
        async with trio.open_nursery() as nursery:
            while True:
                changed = self._changed
                for family in sorted(set(self._sockets) - running):
                    running.add(family)
                    nursery.start_soon(self._pump, self._sockets[family], on_batch)
                await changed.wait()

    async def _pump(self, sock: socket.socket, on_batch: Callable[[Batch], None]) -> None:
        while True:
            await trio.lowlevel.wait_readable(sock)
            batch = self._drain(sock)
            if batch:
                on_batch(batch)

    def _drain(self, sock: socket.socket) -> Batch:
        batch: Batch = []
        for _ in range(limits.DRAIN):
            try:
                data, name = sock.recvfrom(_BUFFER)
            except BlockingIOError:
                return batch
            except OSError as error:  # an ICMP error of an earlier datagram
                self.counters[f"udp_receive:{errno.errorcode.get(error.errno or 0, 'unknown').lower()}"] += 1
                continue
            if len(data) == LENGTH and data[0] == _BEACON:
                batch.append((data, Way("udp", from_socket(name))))
            else:
                self.counters["drop:lan-other"] += 1
        self.counters["udp_drained_full"] += 1
        return batch


def _open(family: int, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if sys.platform != "linux":  # where that alone does not let nodes share; on Linux it would keep other users' nodes out
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, HOPS)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, HOPS)
        sock.bind((ANYWHERE[family], port))
    except BaseException:
        sock.close()
        raise
    return sock


def _source(way: Way) -> list[tuple[int, int, bytes]]:
    """What makes a datagram leave by that interface, from that address."""
    if way.remote.family == 6:
        return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, ipaddress.IPv6Address(way.local).packed + struct.pack("=I", way.link))]
    return [(socket.IPPROTO_IP, IP_PKTINFO, struct.pack("=i", way.link) + ipaddress.IPv4Address(way.local).packed + bytes(4))]
