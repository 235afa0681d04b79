"""The lab's network: how long a datagram takes, whether it arrives, who is cut off from whom. Data, no nodes.

Delays are drawn from a range, so datagrams overtake each other; losses and duplicates are drawn for each. Partitions
are sets of hosts that hear only each other. Hosts of one LAN hear each other's multicast and broadcast, but for those that
are deaf to it. The dice are the sender's, so that what one host meets does not depend on what others do at the same instant.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random


@dataclass(slots=True)
class Network:
    """What happens to a datagram between two hosts."""

    delay: tuple[float, float] = (0.01, 0.06)  # seconds, one way: spread enough for reordering
    loss: float = 0.0
    duplicate: float = 0.0
    lan_delay: tuple[float, float] = (0.0003, 0.002)  # seconds, one way, of what goes to a whole LAN
    lan_loss: float = 0.0  # of multicast and broadcast: more than others where it goes by radio, unacknowledged
    lan_of: dict[str, str] = field(default_factory=dict)  # host -> its LAN
    deaf: set[str] = field(default_factory=set)  # hosts that multicast and broadcast never reach (they may send them)
    udp_blocked: set[str] = field(default_factory=set)  # hosts whose UDP never arrives anywhere
    _side: dict[str, int] = field(default_factory=dict)  # host -> the number of its part

    def partition(self, *parts: frozenset[str]) -> None:
        """From now on hosts of different parts do not hear each other; hosts in no part hear all."""
        self._side = {host: number for number, part in enumerate(parts) for host in part}

    def heal(self) -> None:
        """No more partitions."""
        self._side = {}

    def separated(self, a: str, b: str) -> bool:
        """Whether a partition stands between two hosts."""
        return bool(self._side) and a in self._side and b in self._side and self._side[a] != self._side[b]

    def udp(self, dice: Random, source: str, target: str) -> list[float]:
        """The delays of the copies of one datagram that arrive: none, one or two."""
        if self._side and self.separated(source, target):
            return []
        if self.udp_blocked and (source in self.udp_blocked or target in self.udp_blocked):
            return []
        if self.loss and dice.random() < self.loss:
            return []
        low, high = self.delay
        if self.duplicate and dice.random() < self.duplicate:
            return [low + (high - low) * dice.random(), low + (high - low) * dice.random()]
        return [low + (high - low) * dice.random()]

    def multicast(self, dice: Random, source: str) -> list[tuple[str, float]]:
        """Who on the source's LAN hears one multicast or broadcast, and after how long."""
        lan = self.lan_of.get(source)
        near = [host for host, other in self.lan_of.items() if lan is not None and other == lan and host != source]
        hearing = [host for host in near if host not in self.deaf and not self.separated(source, host) and dice.random() >= self.lan_loss]
        return [(host, dice.uniform(*self.lan_delay)) for host in hearing]

    def tcp(self, dice: Random, source: str, target: str) -> float | None:
        """The delay of one frame of a connection (loss becomes delay), None where nothing gets through."""
        if self.separated(source, target):
            return None
        return dice.uniform(*self.delay) + (0.2 if dice.random() < self.loss else 0.0)
