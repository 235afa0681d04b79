"""Which packets with stream frames came over one link, and when to say so (DESIGN 3.4; RFC 9000, 13.2).

Every second packet is acknowledged at once, a single one after 25 ms, one out of order at once: the other end learns
early what it lost. Packets without stream frames are never written down here.
"""

from __future__ import annotations

from overlay import limits
from overlay.session.ranges import Ranges, add

EVERY = 2  # packets (RFC 9000, 13.2.2)
OLD = 1_024  # packets behind the newest: more than are in flight, so these were settled long ago
DELAY = 0.025  # seconds (RFC 9000, 18.2: max_ack_delay)


class Acks:
    """The packets of one link, by their counters."""

    __slots__ = ("_newest_at", "_since", "due_at", "forgotten", "ranges")

    def __init__(self) -> None:
        self.ranges: Ranges = []
        self.due_at = float("inf")  # then everything is said
        self.forgotten = 0
        self._since = 0  # packets since the last acknowledgement
        self._newest_at = 0.0

    def came(self, counter: int, now: float) -> None:
        """A packet to be acknowledged came."""
        ranges = self.ranges
        orderly = not ranges or counter == ranges[-1][1]
        if orderly or counter > ranges[-1][1]:
            self._newest_at = now
        add(ranges, counter, counter + 1)
        if ranges[0][1] < counter - OLD:
            del ranges[0]
        elif len(ranges) > limits.STREAM_ACKS:
            del ranges[0]
            self.forgotten += 1
        self._since += 1
        if self._since >= EVERY or not orderly:
            self.due_at = now
        elif self._since == 1:
            self.due_at = now + DELAY

    def say(self, now: float) -> tuple[int, list[int]]:
        """(microseconds since the newest came, its range and those before it as first and last numbers, the highest first)."""
        self.due_at, self._since = float("inf"), 0
        spans = [number for low, high in reversed(self.ranges) for number in (high - 1, low)]
        return int((now - self._newest_at) * 1e6), spans
