"""What an external address, as a router tells it, is worth: one table of networks (RFC 6890 and its registry).

A router whose own external address is not of the internet stands behind another one: what it maps nobody outside can
reach. Documentation networks count as the internet, as everywhere in this program (``overlay/wire/address.py``).
"""

from __future__ import annotations

import ipaddress
from typing import Final

_INSIDE: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",  # RFC 1918
        "100.64.0.0/10",  # RFC 6598, carrier-grade NAT
        "127.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24",  # loopback, link-local, DS-Lite (RFC 6333)
        "fc00::/7", "fe80::/10", "::1/128", "64:ff9b::/96",  # RFC 4193, link-local, loopback, NAT64
    )
)  # fmt: skip
_NOTHING: Final = tuple(ipaddress.ip_network(text) for text in ("0.0.0.0/8", "224.0.0.0/3", "::/128", "ff00::/8"))


def trouble(host: str, own: str) -> str:
    """Why an external address is told to nobody: ``double-nat``, ``no-external``, or "" where there is no reason.

    ``own`` is our address towards the router: being told that back means a router that translates nothing, but for IPv6,
    where a mapping is a hole in a firewall.
    """
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return "no-external"
    if any(ip in network for network in _NOTHING if network.version == ip.version):
        return "no-external"
    if ip.version == 4 and host == own or any(ip in network for network in _INSIDE if network.version == ip.version):
        return "double-nat"
    return ""
