"""How long somebody is suspected before it counts as dead, and how well we are ourselves (Lifeguard, 2017). Formulas, no state but counts.

What gets better with a longer suspicion is the false alarm rate, what gets worse is the time that a dead member stands as
alive. Nodes of homes stall: a laptop's disk, a virtual machine that is moved. Two seconds are forgiven (GOALS).
"""

from __future__ import annotations

import math
from typing import Final

SHORTEST: Final = 2.4  # seconds, when enough others agree: a stall of 2 s, and time for its end to be told
GROWS: Final = 0.5  # seconds more with each tenfold above 20 members: news takes a round longer to reach all
LONGEST: Final = 3.0  # times the shortest, while nobody agrees
AGREE: Final = 3  # others whose word shortens it all the way (memberlist's: suspicion multiplier 4, less one)
HEALTH: Final = 8  # the worst that a node thinks of itself (memberlist)
TOLD: Final = 4  # times the tenfold of members that a piece of news is told by each (memberlist: retransmit multiplier)


def shortest(members: int) -> float:
    """Seconds of suspicion at least, among so many."""
    return SHORTEST + GROWS * max(0.0, math.log10(max(members, 1) / 20))


def lasts(agreed: int, members: int) -> float:
    """Seconds of suspicion, where ``agreed`` others have said the same: from long to short by the logarithm."""
    low = shortest(members)
    enough = min(AGREE, members - 2)  # neither we nor the accused
    if enough < 1:
        return low
    high = LONGEST * low
    return max(low, high - (high - low) * math.log(agreed + 1) / math.log(enough + 1))


def told(members: int) -> int:
    """How often a piece of news is told on by each member."""
    return math.ceil(TOLD * math.log10(members + 1))


class Health:
    """How well this node is: 0 is well. Whoever is slow itself is slow to accuse others."""

    __slots__ = ("worst",)

    def __init__(self) -> None:
        self.worst = 0

    def good(self) -> None:
        """A probe was answered."""
        self.worst = max(0, self.worst - 1)

    def bad(self, by: int = 1) -> None:
        """A probe failed although helpers were heard, this node was accused, or it woke late."""
        self.worst = min(HEALTH, self.worst + by)

    def stretch(self, seconds: float) -> float:
        """So long for such a node."""
        return seconds * (1 + self.worst)
