"""The machine's own addresses, and which of them are worth telling others (CONTRACT, ``[listen] advertise``).

It decides what counts as a bridge, a container's or a VPN's interface (a table of names) and leaves those out unless
they are named. It refuses to know which addresses others can reach: that is proved, never read off a table (DESIGN 3.7).
``getifaddrs(3)`` through ctypes: the one source that Linux and macOS share, without a dependency. On Linux the kernel tells
of changes (rtnetlink(7)); elsewhere they are looked for.
"""

from __future__ import annotations

import ctypes
import errno
import fnmatch
import ipaddress
import os
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from overlay.errors import StateError

# Interfaces of containers, virtual machines and VPNs: whoever is behind them has other ways to us, or none. Not veth: on a
# host its ends carry no address, inside a container or a network namespace it is the way to the world.
LEFT_OUT: Final = (
    *("docker*", "br-*", "virbr*", "lxcbr*", "lxdbr*", "cni*", "flannel*", "cali*", "podman*", "vmnet*", "vboxnet*"),
    *("tun*", "tap*", "wg*", "utun*", "ppp*", "ipsec*", "tailscale*", "zt*", "nebula*", "ifb*", "dummy*"),
)
_UP: Final = 0x1  # IFF_UP and IFF_LOOPBACK, the same on Linux and macOS (net/if.h)
_LOOPBACK: Final = 0x8
_GROUPS: Final = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR (linux/rtnetlink.h)
SETTLE: Final = 0.2  # seconds: what changes together is looked at together
POLL: Final = 5.0  # seconds between looks where nobody tells


@dataclass(frozen=True, slots=True)
class Interface:
    """One address of one interface that is up. ``host`` has no scope; ``index`` is the scope of a link-local one."""

    name: str
    host: str
    prefix: int  # bits of the network
    loopback: bool
    index: int = 0

    @property
    def network(self) -> str:
        """The on-link network, such as ``192.168.1.0/24``."""
        return str(ipaddress.ip_network(f"{self.host}/{self.prefix}", strict=False))

    @property
    def link_local(self) -> bool:
        """Whether the address means nothing outside its link."""
        return ipaddress.ip_address(self.host).is_link_local


class _Ifaddrs(ctypes.Structure):
    pass


_Ifaddrs._fields_ = [
    ("next", ctypes.POINTER(_Ifaddrs)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("address", ctypes.c_void_p),
    ("netmask", ctypes.c_void_p),
    ("other", ctypes.c_void_p),
    ("data", ctypes.c_void_p),
]


def interfaces() -> list[Interface]:
    """Every IPv4 and IPv6 address of every interface that is up, in the system's order."""
    library = ctypes.CDLL(None, use_errno=True)
    head = ctypes.POINTER(_Ifaddrs)()
    if library.getifaddrs(ctypes.byref(head)) != 0:
        raise StateError(f"the network interfaces cannot be listed: {os.strerror(ctypes.get_errno())}", rule="interfaces")
    found: list[Interface] = []
    try:
        entry = head
        while entry:
            item = entry.contents
            address = _address(item.address)
            if address is not None and item.flags & _UP:
                host, index = address
                mask = _address(item.netmask, socket.AF_INET6 if ":" in host else socket.AF_INET)
                bits = int(ipaddress.ip_address(mask[0])).bit_count() if mask else ipaddress.ip_address(host).max_prefixlen
                found.append(Interface(item.name.decode("utf-8", "replace"), host, bits, bool(item.flags & _LOOPBACK), index))
            entry = item.next
    finally:
        library.freeifaddrs(head)
    return found


def _address(pointer: int | None, family: int | None = None) -> tuple[str, int] | None:
    """A ``sockaddr`` in memory -> (host, scope), or None for other families. macOS leaves the family of masks blank."""
    if not pointer:
        return None
    first = ctypes.string_at(pointer, 2)
    kind = family if family is not None else first[1] if sys.platform == "darwin" else int.from_bytes(first, sys.byteorder)
    if kind == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, ctypes.string_at(pointer + 4, 4)), 0
    if kind == socket.AF_INET6:
        packed = ctypes.string_at(pointer + 8, 16)
        scope = 0
        if packed[0] == 0xFE and packed[1] & 0xC0 == 0x80:
            scope = int.from_bytes(ctypes.string_at(pointer + 24, 4), sys.byteorder)
            packed = packed[:2] + bytes(2) + packed[4:]  # BSDs write the scope into the address
        return str(ipaddress.IPv6Address(packed)), scope
    return None


async def watch(on_change: Callable[[], None]) -> None:
    """Call ``on_change`` at once, and whenever addresses or interfaces may have changed; until cancelled."""
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        sock.bind((0, _GROUPS))
    except (OSError, AttributeError):
        while True:
            on_change()
            await trio.sleep(POLL)
    with sock:
        on_change()
        while True:
            await trio.lowlevel.wait_readable(sock)
            await trio.sleep(SETTLE)
            _drain(sock)
            on_change()


def _drain(sock: socket.socket) -> None:
    """What was told does not matter, only that it was."""
    while True:
        try:
            sock.recv(65_536)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # more was told than fits
                raise


def advertised(found: Iterable[Interface], wanted: Sequence[str] = ()) -> list[Interface]:
    """Those worth telling others: not left out by name, not link-local; loopback only where named in ``wanted``.

    ``wanted`` holds interface names or addresses (``[listen] advertise``); what is named there is always told.
    """
    return [one for one in found if worthy(one, wanted) and (not one.link_local or one.name in wanted or one.host in wanted)]


def worthy(one: Interface, wanted: Sequence[str] = ()) -> bool:
    """Whether the interface leads to a network of others: not left out by name, no loopback; or named in ``wanted``."""
    left_out = one.loopback or any(fnmatch.fnmatchcase(one.name, pattern) for pattern in LEFT_OUT)
    return one.name in wanted or one.host in wanted or not left_out
