"""The lab's network: how long a datagram takes, whether it arrives, who is cut off from whom. Data, no nodes.

Delays are drawn from a range, so datagrams overtake each other; losses and duplicates are drawn for each. Partitions
are sets of hosts that hear only each other. The dice are the sender's, so that what one host meets does not depend on what
others do at the same instant.
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

    def tcp(self, dice: Random, source: str, target: str) -> float | None:
        """The delay of one frame of a connection (loss becomes delay), None where nothing gets through."""
        if self.separated(source, target):
            return None
        return dice.uniform(*self.delay) + (0.2 if dice.random() < self.loss else 0.0)
