"""The LAN, seen from a node: beacons go to discovery, what it finds is dialled, and who is near is told to the registrar.

It decides when a node speaks on its LAN: once it has a name, and where ``[lan] discovery`` lets it. Before that a newcomer
asks (``bootstrap/lan.py``). What a beacon is worth is decided in ``cluster/discovery.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from overlay.cluster.discovery import Discovery, Found, Neighbourhood
from overlay.cluster.links import Link, Links
from overlay.machine import Send
from overlay.peers import Peers
from overlay.remembered import Remembered
from overlay.setup import Setup
from overlay.wire.address import Address, Way, routable
from overlay.wire.messages import Packet

BEACON = bytes((Packet.BEACON.value,))  # the first octet of a datagram for :meth:`Lan.heard`


class Lan:
    """One node's LANs; silent and without neighbours where it is switched off."""

    def __init__(self, setup: Setup, peers: Peers, remembered: Remembered) -> None:
        self._setup = setup
        self._peers = peers
        self._remembered = remembered
        self._links = setup.links if setup.lan else ()
        self._discovery: Discovery | None = None

    @property
    def counters(self) -> Mapping[str, int]:
        """What was counted."""
        return self._discovery.counters if self._discovery is not None else {}

    @property
    def links(self) -> Links:
        """The links of this machine."""
        return self._discovery.links if self._discovery is not None else Links(self._links)

    def enrolled(self) -> None:
        """The node has its name: from now on it speaks."""
        if self._setup.lan and self._discovery is None:
            self._discovery = Discovery(
                overlay_id=self._setup.overlay_id, exchange=self._setup.identity.exchange_public, port=self._setup.port, entropy=self._setup.entropy,
                around=Neighbourhood(self._connected, self._away), links=self._links,
            )

    def follow(self, links: Iterable[Link]) -> None:
        """The machine's links are these now."""
        self._links = tuple(links) if self._setup.lan else ()
        if self._discovery is not None:
            self._discovery.follow(self._links)

    def near(self, way: Way) -> bool:
        """Whether the far end of that way stands on a LAN of ours: proved for a session's way, a hint for any other."""
        return self.links.near(way)

    def heard(self, data: bytes, way: Way, now: float, at: float) -> None:
        """A beacon came."""
        if self._discovery is not None:
            self._discovery.heard(data, way, now, at)

    def found(self, event: Found) -> tuple[bytes, tuple[Address, ...]]:
        """Note where a neighbour is: over there own addresses are proved, also where its session goes by a link-local one. Whom to dial, where."""
        if routable(event.address.host):
            self._remembered.dialling(event.exchange, (event.address,))
        return event.exchange, (event.address,)

    def _connected(self, exchange: bytes) -> bool:
        peer = self._peers.by_exchange(exchange)
        return peer is not None and routable(peer.way.remote.host)

    def _away(self) -> list[Address]:
        """Where peers were last that are not connected."""
        here = {peer.exchange for peer in self._peers.peers.values()}
        return [address for key, addresses in self._remembered.ways() if key not in here for address in addresses]

    def wake_at(self) -> float | None:
        """When :meth:`wake` wants to be called."""
        return self._discovery.wake_at() if self._discovery is not None else None

    def wake(self, now: float, at: float) -> None:
        """Time passed."""
        if self._discovery is not None:
            self._discovery.wake(now, at)

    def take(self) -> list[Send | Found]:
        """What it wants since last asked."""
        return self._discovery.take() if self._discovery is not None else []
