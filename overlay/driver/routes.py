"""The default router of this machine, and our own address towards it, as the kernel has them.

Linux tells in ``/proc/net/route`` and ``/proc/net/ipv6_route`` (proc(5)). Elsewhere none is known yet; macOS would tell through
``sysctl(3)``, ``NET_RT_FLAGS``: this is the one place to add it. It refuses to know what a router is asked.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
from pathlib import Path
from typing import Final, NamedTuple

from overlay.driver.udp import socket_address
from overlay.wire.address import Address

_UP: Final = 0x1  # RTF_UP, RTF_GATEWAY, RTF_REJECT (linux/route.h)
_GATEWAY: Final = 0x2
_REJECT: Final = 0x200
_ANY_PORT: Final = 9  # discard: nothing is sent there, the kernel only chooses an address


class Default(NamedTuple):
    """A default router by number, a link-local one with its scope; our address towards it; the number of its interface."""

    gateway: str
    own: str
    scope: int


def default_router(family: int = 4, proc: Path = Path("/proc/net")) -> Default | None:
    """The router that packets to the world are given to, or None. ``family``: 4 or 6."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        text = (proc / ("route" if family == 4 else "ipv6_route")).read_text("ascii", "replace")
    except OSError:
        return None
    found = sorted(_defaults4(text) if family == 4 else _defaults6(text))
    for _, gateway, name in found:
        try:
            index = socket.if_nametoindex(name)
            scoped = f"{gateway}%{index}" if gateway.startswith("fe80:") else gateway
            return Default(scoped, _towards(scoped), index)
        except OSError:
            continue  # the interface went away, or has no address
    return None


def _defaults4(text: str) -> list[tuple[int, str, str]]:
    """(metric, gateway, interface) of each default route. Addresses stand in the machine's byte order."""
    found = []
    for line in text.splitlines()[1:]:
        parts = line.split()
        if len(parts) >= 8 and parts[1] == parts[7] == "00000000" and int(parts[3], 16) & (_UP | _GATEWAY) == _UP | _GATEWAY:
            gateway = ipaddress.IPv4Address(int(parts[2], 16).to_bytes(4, sys.byteorder))
            found.append((int(parts[6]), str(gateway), parts[0]))
    return found


def _defaults6(text: str) -> list[tuple[int, str, str]]:
    found = []
    for line in text.splitlines():
        parts = line.split()
        if len(parts) >= 10 and parts[1] == "00" and int(parts[0], 16) == 0:
            if int(parts[8], 16) & (_UP | _GATEWAY | _REJECT) == _UP | _GATEWAY:
                found.append((int(parts[5], 16), str(ipaddress.IPv6Address(int(parts[4], 16))), parts[9]))
    return found


def _towards(gateway: str) -> str:
    """Our address towards a host. Towards a link-local one of IPv6: that which the world would see, if there is one."""
    for target in ("2001:db8::1", gateway) if ":" in gateway else (gateway,):
        with socket.socket(socket.AF_INET6 if ":" in target else socket.AF_INET, socket.SOCK_DGRAM) as sock:
            try:
                sock.connect(socket_address(Address(target, _ANY_PORT)))
            except OSError:
                continue
            own: str = sock.getsockname()[0]
            return own.partition("%")[0]
    raise OSError("no address towards the router")
