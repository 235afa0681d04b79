"""The two clocks of a node: ``now`` that never jumps, and ``at``, the UTC second that the node believes (DESIGN 3.13).

It decides how far the system's clock is believed: never before the program was built, never before the latest validly
signed date less the tolerance, and moved by the median of at least three peers where that differs by more than a minute.
The system clock itself is never set. It refuses to know where peers' times come from.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

import trio

from overlay import limits

BUILT: Final = 1_793_491_200  # 2026-11-01, UTC seconds: no machine runs this program before it was written
PEERS: Final = 3  # DESIGN 3.13: fewer cannot outvote a liar
DEAD_BAND: Final = 60.0  # seconds; DESIGN 3.13: below it a correction would do more harm than good


def trusted(system: float, built: float, floor: float, correction: float) -> float:
    """What time it is, in UTC seconds: the corrected system clock, but neither before ``built`` nor ``floor``."""
    return max(system + correction, built, floor)


def correction(offsets: Iterable[float]) -> float:
    """Peers' clocks less our system clock, in seconds -> how much to add to ours: their median, or 0."""
    heard = sorted(offsets)
    if len(heard) < PEERS:
        return 0.0
    median = (heard[(len(heard) - 1) // 2] + heard[len(heard) // 2]) / 2  # not `statistics`: it brings fractions and decimal
    return median if abs(median) > DEAD_BAND else 0.0


class Clock:
    """The clocks of one run. ``floor`` is what an earlier run has left in the store, in UTC seconds."""

    def __init__(self, floor: float = 0.0, *, built: float = BUILT, system: Callable[[], float] = time.time) -> None:
        self._system = system
        self._built = built
        self.floor = floor
        self.correction = 0.0

    def now(self) -> float:
        """Monotonic seconds, of the Trio run (virtual under a ``MockClock``)."""
        return trio.current_time()

    def at(self) -> float:
        """Trusted UTC seconds."""
        return trusted(self._system(), self._built, self.floor, self.correction)

    def signed(self, issued: float) -> bool:
        """A record with a valid signature was issued then; True where the floor rose, to be stored.

        The floor stays the tolerance below: as a record may be issued that much ahead of us, a floor at ``issued``
        itself would let any signer walk our clock forward, 300 s a record.
        """
        if issued - limits.FUTURE <= self.floor or issued > self.at() + limits.FUTURE:
            return False
        self.floor = issued - limits.FUTURE
        return True

    def heard(self, peers: Iterable[float]) -> float:
        """Peers' UTC seconds, all taken now -> the correction from now on."""
        system = self._system()
        self.correction = correction(their - system for their in peers)
        return self.correction
