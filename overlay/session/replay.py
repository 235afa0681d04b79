"""The replay window: which packet numbers of one key have been taken (RFC 6479's idea; WireGuard's size).

It decides on numbers alone; a number is asked for before a packet is opened and marked after it has proved authentic.
"""

from __future__ import annotations

from overlay import limits


class ReplayWindow:
    """The highest number seen and a bit for each of the 8,128 below it."""

    __slots__ = ("_bits", "highest")

    def __init__(self) -> None:
        self.highest = -1
        self._bits = 0

    def fresh(self, number: int) -> bool:
        """Whether a packet of that number may still be taken."""
        behind = self.highest - number
        return behind < 0 or (behind < limits.REPLAY_WINDOW and not self._bits >> behind & 1)

    def mark(self, number: int) -> None:
        """An authentic packet of that number was taken."""
        if number > self.highest:
            shift = number - self.highest
            self._bits = ((self._bits << shift) | 1) & _MASK if shift < limits.REPLAY_WINDOW else 1
            self.highest = number
        else:
            self._bits |= 1 << (self.highest - number)


_MASK = (1 << limits.REPLAY_WINDOW) - 1
