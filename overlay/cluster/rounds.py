"""When beacons go out, and by which ways: for each interface by itself (DESIGN 3.6).

It decides the rhythm: at once when an interface comes or changes or the machine woke, then after 1 s, 2 s, 4 s .. 30 s.
A beacon a second for ever has upset routers; who comes later asks, and is answered at once. Each round goes by IPv4
multicast, IPv4 broadcast and IPv6 multicast, since access points and switches drop now this, now that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from overlay.cluster.beacon import BROADCAST, GROUP_4, GROUP_6
from overlay.cluster.links import Link
from overlay.machine import Entropy
from overlay.wire.address import Address, Way

LAN: Final = "lan"  # ``Way.proto`` of what goes out on one interface: ``link`` is the interface's number, ``local`` our address there
PAUSE: Final = (1.0, 30.0)  # seconds between rounds: first, doubling to the last (DESIGN 3.6)
NEW: Final = 3.0  # seconds: an interface with a pause below has just come; three rounds, since one may be lost
BROADCASTS: Final = 30  # bits: longer IPv4 prefixes have no broadcast address (RFC 3021)


@dataclass(slots=True)
class _Beat:
    """The rhythm of one interface."""

    links: tuple[Link, ...]
    ways: tuple[Way, ...]
    pause: float
    due: float = 0.0


class Rounds:
    """The rhythms of all interfaces."""

    def __init__(self, entropy: Entropy, pause: tuple[float, float] = PAUSE) -> None:
        self._entropy = entropy
        self._first, self._last = pause
        self._beats: dict[int, _Beat] = {}

    def follow(self, links: Iterable[Link]) -> None:
        """The links are these now: what is new or has changed begins anew, what is gone is silent."""
        before, self._beats = self._beats, {}
        for index, group in groupby(sorted(links, key=lambda link: link.number), key=lambda link: link.number):
            mine = tuple(group)
            held = before.get(index)
            self._beats[index] = held if held is not None and held.links == mine else _Beat(mine, ways_of(mine), self._first)

    def again(self) -> None:
        """All begin anew."""
        for beat in self._beats.values():
            beat.due, beat.pause = 0.0, self._first

    def due(self, now: float) -> list[tuple[Way, bool]]:
        """The ways whose time has come, and whether their interface has just come."""
        ways = []
        for beat in self._beats.values():
            if now >= beat.due:
                ways += [(way, beat.pause < NEW) for way in beat.ways]
                beat.due = now + beat.pause * (0.75 + self._entropy(1)[0] / 510)  # 0.75 to 1.25: a LAN that got its power back spreads out
                beat.pause = min(2 * beat.pause, self._last)
        return ways

    def wake_at(self) -> float | None:
        """When the next is due."""
        return min((beat.due for beat in self._beats.values()), default=None)


def ways_of(links: Iterable[Link]) -> tuple[Way, ...]:
    """The ways out of one interface: from each IPv4 address by multicast and broadcast, by IPv6 from its link-local one."""
    ways = []
    for link in links:
        if link.family == 4:
            ways.append(Way(LAN, GROUP_4, link.host, link.number))
            if link.prefix <= BROADCASTS:
                ways.append(Way(LAN, BROADCAST, link.host, link.number))
        elif link.local:
            ways.append(Way(LAN, Address(f"{GROUP_6.host}%{link.number}", GROUP_6.port), link.host, link.number))
    return tuple(ways)
