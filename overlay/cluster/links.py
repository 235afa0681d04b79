"""The links of this machine: which addresses stand on its own LAN (DESIGN 3.7, "same LAN").

It decides that from the networks of the machine's own interfaces and nothing else: never from an address being private,
for two homes are both 192.168.1.0/24. A link-local address counts with the scope of such an interface. Which interfaces
lead to a LAN at all (no loopback, no containers, no VPNs) is decided by whoever lists them.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

from overlay import limits
from overlay.wire.address import Way

KNOWN: Final = 1_024  # hosts whose verdict is remembered; forgotten all at once, since one costs 5 us to make again
STRAIGHT: Final = ("udp", "tcp")  # ways whose far end is the peer itself; what a relay carries has no address that proves anything


class Link(NamedTuple):
    """One address of one interface that leads to a LAN. ``host`` has no scope; ``number`` is the interface's number."""

    name: str
    number: int
    host: str
    prefix: int  # bits of the network

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.host else 4

    @property
    def local(self) -> bool:
        """Whether the address is link-local."""
        return ipaddress.ip_address(self.host).is_link_local


class Links:
    """All of them, at one time."""

    def __init__(self, links: Iterable[Link] = (), counters: Counter[str] | None = None) -> None:
        found = tuple(links)
        self.all = found[: limits.LAN_LINKS]
        if counters is not None:
            counters["drop:lan-links"] += len(found) - len(self.all)
        self._scopes = {scope for link in self.all for scope in (link.name, str(link.number))}
        self._networks = [ipaddress.ip_network(f"{link.host}/{link.prefix}", strict=False) for link in self.all if link.prefix and not link.local]
        self._verdicts: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return bool(self.all)

    def near(self, way: Way) -> bool:
        """Whether the far end of that way stands on a LAN of ours."""
        return way.proto in STRAIGHT and self.on_link(way.remote.host)

    def on_link(self, host: str) -> bool:
        """Whether that address stands on a LAN of ours."""
        verdict = self._verdicts.get(host)
        if verdict is None:
            if len(self._verdicts) >= KNOWN:
                self._verdicts.clear()
            verdict = self._verdicts[host] = self._judge(host)
        return verdict

    def _judge(self, host: str) -> bool:
        bare, _, scope = host.partition("%")
        ip = ipaddress.ip_address(bare)
        if ip.is_loopback or ip.is_multicast or ip.is_unspecified:
            return False
        if ip.version == 6 and ip.is_link_local:
            return scope in self._scopes
        return any(ip.version == network.version and ip in network for network in self._networks)
