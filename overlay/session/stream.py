"""One stream: what we write and what the other end wrote (DESIGN 3.4).

``Sending`` keeps what was written until it is acknowledged, and says which octets to send next; ``Receiving`` puts in
order what comes. Neither knows packets, sessions or time. Offsets count octets from the stream's beginning.

The threat: a peer that sends beyond its credit, changes where the stream ends, leaves thousands of gaps, or says the
same octets twice and differently. The property: an octet is handed up once, in order; what waits behind a gap is never
more than the credit given, in a number of pieces that is bounded. Of two versions of an octet that was not handed up yet
the later one counts: a peer that lies about its own octets could as well have sent others.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from overlay import limits
from overlay.errors import Malformed
from overlay.session.ranges import Ranges, add, remove

REFUSED = 1  # code of a reset: nobody serves that kind of stream here
MOST = 2**62  # no offset is higher


class Sending:
    """Our half. ``most`` is the offset up to which the other end takes octets."""

    __slots__ = ("_acked", "_data", "_end_acked", "_end_sent", "_lost", "base", "blocked", "last", "most", "next")

    def __init__(self, most: int) -> None:
        self.base = 0  # all below is acknowledged
        self.next = 0  # all below was sent once
        self.most = most
        self.last: int | None = None  # where the stream ends, once that is known
        self.blocked = False  # somebody wrote more than there was room for
        self._data = bytearray()  # from ``base`` on
        self._acked: Ranges = []
        self._lost: Ranges = []
        self._end_sent = self._end_acked = False

    @property
    def held(self) -> int:
        """Octets written and not acknowledged."""
        return len(self._data)

    def write(self, data: bytes, room: int) -> int:
        """Take as much of ``data`` as there is room for, here and (``room``) in the session; how much that was."""
        taken = min(len(data), max(0, min(room, limits.STREAM_BUFFER - len(self._data))))
        self._data += data[:taken]
        self.blocked = taken < len(data)
        return taken

    def finish(self) -> None:
        """Nothing more will be written."""
        if self.last is None:
            self.last = self.base + len(self._data)

    def drop(self) -> None:
        """The stream was reset: nothing is sent any more."""
        self.last = self.next
        self._data.clear()
        self._lost.clear()
        self._end_sent, self.blocked = True, False

    def wants(self, fresh: int) -> bool:
        """Whether there is something to send, where the session lets ``fresh`` octets more go out for the first time."""
        if self._lost or (self.last == self.next and not self._end_sent):
            return True
        return fresh > 0 and self.next < self.most and self.next < self.base + len(self._data)

    def cut(self, room: int, fresh: int) -> tuple[int, bytearray, bool]:
        """At most ``room`` octets to send now: (offset, octets, whether the stream ends behind them). What was lost goes first."""
        if self._lost:
            low, high = self._lost[0]
            high = min(high, low + room)
            remove(self._lost, low, high)
        else:
            low = self.next
            high = self.next = low + max(0, min(self.base + len(self._data) - low, room, fresh, self.most - low))
        ends = self.last == high
        self._end_sent = self._end_sent or ends
        return low, self._data[low - self.base : high - self.base], ends

    def acked(self, low: int, high: int, ends: bool) -> None:
        """These octets arrived."""
        low = max(low, self.base)
        if low < high:
            remove(self._lost, low, high)
            add(self._acked, low, high)
            if self._acked[0][0] == self.base:
                _, high = self._acked.pop(0)
                del self._data[: high - self.base]
                self.base = high
        self._end_acked = self._end_acked or ends

    @property
    def done(self) -> bool:
        """Whether all is acknowledged, the end too."""
        return self._end_acked and self.base == self.last

    def lost(self, low: int, high: int, ends: bool) -> None:
        """These octets did not arrive, or may not have."""
        low = max(low, self.base)
        if low < high:
            add(self._lost, low, high)
            for first, last in self._acked:
                remove(self._lost, first, last)
        if ends and not self._end_acked:
            self._end_sent = False


@dataclass(slots=True)
class Receiving:
    """The other end's half. ``most`` is the offset up to which we have said that we take octets."""

    most: int
    next: int = 0  # all below was handed up
    highest: int = 0  # all that came is below
    consumed: int = 0  # all below was taken by the reader
    last: int | None = None  # where the stream ends, once that is known
    _late: bytearray = field(default_factory=bytearray)  # from ``next`` on, with gaps
    _came: Ranges = field(default_factory=list)  # what of it is there

    def rise(self, offset: int, length: int, ends: bool) -> int:
        """How much further the stream reaches with these octets; Malformed where it must not."""
        high = offset + length
        if high > self.most:
            raise Malformed("octets beyond the credit of a stream", rule="stream-credit")
        if self.last is not None and (high > self.last or (ends and high != self.last)) or (ends and high < self.highest):
            raise Malformed("a stream that ends in two places", rule="stream-end")
        return max(0, high - self.highest)

    def put(self, offset: int, data: bytes, ends: bool) -> bytes | None:
        """Octets came, and :meth:`rise` found them good. What can be handed up now; None where they leave too many gaps."""
        high = offset + len(data)
        if offset < self.next:
            data, offset = data[self.next - offset :], self.next
        if data and (self._came or offset != self.next):
            behind = offset - self.next
            add(self._came, offset, high)
            if len(self._came) > limits.STREAM_GAPS:
                remove(self._came, offset, high)
                return None
            if behind > len(self._late):
                self._late += bytes(behind - len(self._late))
            self._late[behind : behind + len(data)] = data
            data = b""
            if self._came[0][0] == self.next:
                _, end = self._came.pop(0)
                data = bytes(self._late[: end - self.next])
                del self._late[: end - self.next]
        self.next += len(data)
        self.highest = max(self.highest, high)
        if ends:
            self.last = high
        return data

    def drop(self) -> None:
        """The stream was reset: nothing is handed up any more."""
        self._late.clear()
        self._came.clear()

    @property
    def ended(self) -> bool:
        """Whether all was handed up."""
        return self.next == self.last
