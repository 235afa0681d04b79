"""A budget: so many at once, then one more each so many seconds (ITU-T I.371's generic cell rate algorithm, one number)."""

from __future__ import annotations


class Budget:
    """``burst`` at once, then one each ``every`` seconds."""

    __slots__ = ("_every", "_slack", "_used")

    def __init__(self, burst: int, every: float) -> None:
        self._every = every
        self._slack = (burst - 1) * every
        self._used = float("-inf")

    def room(self, now: float) -> bool:
        """Whether there is room for one more now."""
        return self._used - now <= self._slack

    def lets(self, now: float) -> bool:
        """Whether there is room for one more now; it is then taken."""
        if not self.room(now):
            return False
        self._used = max(self._used, now) + self._every
        return True
