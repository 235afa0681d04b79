"""Addresses and ways: where a datagram came from or goes to. Plain values; classes of addresses stand in one table here.

RFC 6890 and its registry give the classes. Documentation ranges and loopback count as public (a test bed and a demo
are an internet of their own: research F8); link-local addresses carry a scope and never leave a LAN (F21).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from overlay.errors import Malformed, UsageError

REMEMBERED = 1_024  # addresses whose other forms are remembered: 0.3 MiB


class Address(NamedTuple):
    """An IP address in its shortest text form and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def packed(self) -> bytes:
        """4 or 16 octets of address, then 2 of port: the form in records."""
        return _packed(self.host, self.port)

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.host else 4


@lru_cache(maxsize=REMEMBERED)
def _packed(host: str, port: int) -> bytes:
    return ipaddress.ip_address(host.split("%")[0]).packed + port.to_bytes(2, "big")


class Way(NamedTuple):
    """One way that datagrams travel: protocol, the far end, our own address as the far end addressed it, connection.

    ``local`` is empty where the socket may choose; ``link`` numbers a TCP connection. For UDP it is 0, or numbers an extra socket.
    """

    proto: str  # "udp" or "tcp"
    remote: Address
    local: str = ""
    link: int = 0


def parse_address(text: str, default_port: int) -> Address:
    """``1.2.3.4``, ``1.2.3.4:7653``, ``::1``, ``[::1]:7653`` -> Address, or a ``UsageError``."""
    host, port = text.strip(), str(default_port)
    if host.startswith("["):
        host, bracket, rest = host[1:].partition("]")
        port = rest[1:] if rest.startswith(":") else port if bracket and not rest else ""
    elif host.count(":") == 1:
        host, _, port = host.partition(":")
    try:
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
            raise ValueError
        ip = ipaddress.ip_address(host)
        return Address(str(getattr(ip, "ipv4_mapped", None) or ip), int(port))  # IPv4 in IPv6 clothes: no record takes it so
    except ValueError:
        raise UsageError(f"{text[:80]!r} is not an address", "write IP or IP:port, IPv6 as [IP]:port", rule="address") from None


def unpack_address(data: object) -> Address:
    """6 or 18 octets from outside -> Address, or ``Malformed``."""
    if type(data) is not bytes or len(data) not in (6, 18):
        raise Malformed("an address has 6 or 18 octets", rule="address")
    return _unpacked(data)


@lru_cache(maxsize=REMEMBERED)
def _unpacked(data: bytes) -> Address:
    ip = ipaddress.ip_address(data[:-2])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        raise Malformed("an IPv4 address in IPv6 clothes", rule="address")
    port = int.from_bytes(data[-2:], "big")
    if port == 0:
        raise Malformed("port 0", rule="address")
    return Address(str(ip), port)


@lru_cache(maxsize=REMEMBERED)
def routable(host: str) -> bool:
    """Whether the address may stand in a record that leaves the LAN: no link-local, multicast, unspecified, scope."""
    if "%" in host:
        return False
    ip = ipaddress.ip_address(host)
    return not (ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip.is_reserved and ip.version == 4 and ip.packed[0] >= 240)


_OWN_SITE = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")))


@lru_cache(maxsize=REMEMBERED)
def worldwide(host: str) -> bool:
    """Whether the address means the same everywhere: no RFC 1918, 6598 or 4193, and nothing that is not :func:`routable`."""
    return routable(host) and not any(ipaddress.ip_address(host) in network for network in _OWN_SITE)


def on_link(host: str, networks: Iterable[str]) -> bool:
    """Whether a datagram from there has crossed no router: it came from this machine, or from one of these networks.

    ``networks`` are those of this machine's own interfaces. A private range alone says nothing: two homes are both
    192.168.1.0/24 (DESIGN 3.7). A network without a prefix is a mistake of whoever set the address, not the whole world.
    """
    bare, _, scope = host.partition("%")
    ip = ipaddress.ip_address(bare)
    if ip.is_loopback or (scope and ip.is_link_local):
        return True
    return any(ip in network for network in map(_network, networks) if network.prefixlen)


@lru_cache(maxsize=REMEMBERED)
def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(text)


def source_of(host: str) -> str | None:
    """Whose budget what comes from there counts on: an IPv4 address or an IPv6 /64; None for loopback, which has none."""
    ip = ipaddress.ip_address(host.partition("%")[0])
    if ip.is_loopback:
        return None
    return host if ip.version == 4 else str(ipaddress.ip_network((ip.packed[:8] + bytes(8), 64)))
