"""What a session has once it carries streams, and when it is to be looked at because of them (DESIGN 3.4).

A value that ``streaming.py`` works with; a session without streams has none.
"""

from __future__ import annotations

from overlay.session.acks import Acks
from overlay.session.recovery import NEVER, Recovery
from overlay.session.streams import Streams

TRAP_EVERY = 64  # packets between numbers that are left out, at least, and at most 255 more


class Flow:
    """What one session has, once it carries streams."""

    __slots__ = ("ack_at", "acks", "acks_came", "recovery", "streams", "trap_in", "wide")

    def __init__(self, streams: Streams) -> None:
        self.streams = streams
        self.recovery = Recovery()
        self.acks: dict[int, Acks] = {}  # by our index of a link
        self.ack_at = NEVER  # when something must be acknowledged
        self.acks_came = 0  # in the packet under way
        self.trap_in = TRAP_EVERY
        self.wide = False  # whether credit is given in full

    def wake_at(self) -> float:
        """When ``Streaming.wake`` wants to be called."""
        due = min(self.ack_at, self.recovery.wake_at())
        return min(due, self.recovery.send_at()) if self.streams.wants() else due
