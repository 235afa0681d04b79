"""The replay window: which packet numbers of one key have been taken (RFC 6479; WireGuard's size).

It decides on numbers alone; a number is asked for before a packet is opened and marked after it has proved authentic.
The window is a ring of bits that is never shifted: moving on clears the octets that are entered anew, so one octet more
than the window is kept.
"""

from __future__ import annotations

from overlay import limits

_OCTETS = 1 << (limits.REPLAY_WINDOW // 8).bit_length()  # 1,024: room for 8,192 bits
_MASK = _OCTETS - 1


class ReplayWindow:
    """The highest number seen and a bit for each of the 8,128 up to it."""

    __slots__ = ("_ring", "highest")

    def __init__(self) -> None:
        self.highest = -1
        self._ring = bytearray(_OCTETS)

    def fresh(self, number: int) -> bool:
        """Whether a packet of that number may still be taken."""
        behind = self.highest - number
        return behind < 0 or (behind < limits.REPLAY_WINDOW and not self._ring[number >> 3 & _MASK] >> (number & 7) & 1)

    def mark(self, number: int) -> None:
        """An authentic packet of that number was taken."""
        ring, block = self._ring, number >> 3
        if number > self.highest:
            entered = self.highest >> 3
            if block - entered >= _OCTETS:
                ring[:] = bytes(_OCTETS)
            elif block != entered:
                for octet in range(entered + 1, block + 1):
                    ring[octet & _MASK] = 0
            self.highest = number
        ring[block & _MASK] |= 1 << (number & 7)
