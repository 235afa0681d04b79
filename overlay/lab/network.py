"""The lab's network: how long a datagram takes, whether it arrives, who is cut off from whom. Data and dice, no nodes.

Delays are drawn from a range, so datagrams overtake each other; losses and duplicates are drawn for each. Partitions
are sets of hosts that hear only each other. All chance comes from the world's seed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random


@dataclass(slots=True)
class Network:
    """What happens to a datagram between two hosts."""

    dice: Random
    delay: tuple[float, float] = (0.01, 0.06)  # seconds, one way: spread enough for reordering
    loss: float = 0.0
    duplicate: float = 0.0
    udp_blocked: set[str] = field(default_factory=set)  # hosts whose UDP never arrives anywhere
    _parts: list[frozenset[str]] = field(default_factory=list)

    def partition(self, *parts: frozenset[str]) -> None:
        """From now on hosts of different parts do not hear each other; hosts in no part hear all."""
        self._parts = list(parts)

    def heal(self) -> None:
        """No more partitions."""
        self._parts = []

    def separated(self, a: str, b: str) -> bool:
        """Whether a partition stands between two hosts."""
        sides = [index for host in (a, b) for index, part in enumerate(self._parts) if host in part]
        return len(sides) == 2 and sides[0] != sides[1]

    def udp(self, source: str, target: str) -> list[float]:
        """The delays of the copies of one datagram that arrive: none, one or two."""
        if self.separated(source, target) or source in self.udp_blocked or target in self.udp_blocked or self.dice.random() < self.loss:
            return []
        copies = 2 if self.dice.random() < self.duplicate else 1
        return [self.dice.uniform(*self.delay) for _ in range(copies)]

    def tcp(self, source: str, target: str) -> float | None:
        """The delay of one frame of a connection (loss becomes delay), None where nothing gets through."""
        if self.separated(source, target):
            return None
        return self.dice.uniform(*self.delay) + (0.2 if self.dice.random() < self.loss else 0.0)
