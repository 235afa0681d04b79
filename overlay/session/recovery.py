"""What is in flight, what arrived, what was lost, and when to ask (RFC 9002, for the packets that carry stream frames).

Packets are numbered here in the order of sending, over all links of the session: the counters of one link have holes,
where packets without stream frames went, and begin anew with a new link. A packet is lost where one sent three later
arrived, or one sent 9/8 of a round trip later. Where nothing arrives at all, a probe timeout sends the oldest again.

The threat: a receiver that acknowledges what it has not got, to make us send faster than its path carries. It cannot know
which numbers are never sent: now and then one is left out, and who acknowledges it has lied.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from overlay.errors import Malformed
from overlay.session.acks import DELAY
from overlay.session.congestion import SEGMENT, Pacer, Window

REORDERED = 3  # packets (RFC 9002, 6.1.1)
LATE = 9 / 8  # round trips (RFC 9002, 6.1.2)
GRAIN = 0.001  # seconds (RFC 9002, 6.1.2)
FIRST_RTT = 0.333  # seconds (RFC 9002, 6.2.2)
LAST_PROBE = 4.0  # seconds between probes of a path whose round trip is shorter; as calls are repeated
HOPELESS = 3  # probe timeouts without any arrival, after which the window collapses (RFC 9002, 7.6.1)
PROBES = 2  # packets of one timeout, whatever the window says (RFC 9002, 6.2.4)
NEVER = float("inf")
TRAPS = 2  # left-out numbers that are remembered

Piece = tuple[int, int, int, int, bool]  # frame, stream, from, to, whether the stream ends there


@dataclass(slots=True, eq=False)
class Sent:
    """A packet in flight."""

    number: int
    index: int  # of the link, as the other end calls it
    counter: int
    at: float
    size: int
    path: int
    pieces: list[Piece]
    settled: bool = False  # arrived, or lost


class Recovery:
    """Of one session. Pieces that must be sent again are returned by what finds them lost."""

    def __init__(self) -> None:
        self.window = Window()
        self.pacer = Pacer()
        self.srtt = FIRST_RTT
        self.in_flight = 0
        self.probes = 0  # packets that may go out whatever the window says
        self.lost_packets = 0
        self._variation = FIRST_RTT / 2
        self._measured = False
        self._latest = FIRST_RTT
        self._sent: deque[Sent] = deque()
        self._traps: deque[tuple[int, int]] = deque(maxlen=TRAPS)
        self._next = 0
        self._path = 0
        self._largest = -1  # highest number that arrived
        self._timeouts = 0
        self._probe_from = 0.0  # when something was last sent that wants an answer
        self._late_at = NEVER

    # -- sending

    def may_send(self, now: float) -> bool:
        """Whether another packet may go out now."""
        return bool(self.probes) or (self.in_flight + SEGMENT <= self.window.size and self.pacer.next_at <= now)

    def send_at(self) -> float:
        """When pacing lets the next packet out; never where the window is full: an arrival must come first."""
        return self.pacer.next_at if self.in_flight + SEGMENT <= self.window.size else NEVER

    def sent(self, index: int, counter: int, size: int, pieces: list[Piece], now: float) -> None:
        """A packet went out."""
        self._sent.append(Sent(self._next, index, counter, now, size, self._path, pieces))
        self._next += 1
        self.in_flight += size
        self._probe_from = now
        self.probes = max(0, self.probes - 1)
        self.pacer.sent(size, self.window, self.srtt, now)

    def left_out(self, index: int, counter: int) -> None:
        """This number is not sent."""
        self._traps.append((index, counter))

    # -- what comes back

    def acked(self, index: int, spans: list[int], delay: float, now: float) -> tuple[list[Piece], list[Piece]]:
        """An acknowledgement, as in the frame: (pieces that arrived, pieces to be sent again). Malformed where it lies."""
        for trap, counter in self._traps:
            if trap == index and _named(spans, counter):
                raise Malformed("a packet acknowledged that was never sent", rule="stream-ack")
        fresh = self._arrived(index, spans)
        if not fresh:
            return [], []
        newest, flying = fresh[-1], self.in_flight
        for sent in fresh:
            self._settle(sent)
        self._largest = max(self._largest, newest.number)
        self._timeouts = self.probes = 0
        if newest.path == self._path:
            if newest.counter == spans[0]:
                self._measure(now - newest.at, delay)
            window = self.window
            limited = flying + 3 * SEGMENT >= window.size or (window.starting and 2 * flying >= window.size)
            window.acked(
                sum(sent.size for sent in fresh if sent.path == self._path), sent_at=newest.at, number=newest.number, next_number=self._next,
                srtt=self.srtt, now=now, limited=limited,
            )  # fmt: skip
        again = self._late(now)
        return [piece for sent in fresh for piece in sent.pieces], again

    def _arrived(self, index: int, spans: list[int]) -> list[Sent]:
        """Packets in flight that these spans name, in the order of sending: both rise, so one walk finds them."""
        fresh: list[Sent] = []
        at = len(spans) - 2
        for sent in self._sent:
            if sent.index != index:
                continue
            counter = sent.counter
            while at >= 0 and counter > spans[at]:
                at -= 2
            if at < 0:
                break
            if counter >= spans[at + 1] and not sent.settled:
                fresh.append(sent)
        return fresh

    def _settle(self, sent: Sent) -> None:
        sent.settled = True
        if sent.path == self._path:
            self.in_flight -= sent.size
        while self._sent and self._sent[0].settled:
            self._sent.popleft()

    def _measure(self, rtt: float, delay: float) -> None:
        """RFC 9002, 5.3; a delay that the other end claims shortens a round trip only as far as it may wait."""
        self._latest = rtt
        self.window.measured(rtt)
        rtt = max(rtt - min(delay, DELAY), rtt / 2) if self._measured else rtt
        if self._measured:
            self._variation += (abs(self.srtt - rtt) - self._variation) / 4
            self.srtt += (rtt - self.srtt) / 8
        else:
            self.srtt, self._variation, self._measured = rtt, rtt / 2, True

    def _late(self, now: float) -> list[Piece]:
        """What of it is lost by now."""
        patience = max(LATE * max(self.srtt, self._latest), GRAIN)
        gone: list[Sent] = []
        self._late_at = NEVER
        for sent in self._sent:
            if sent.number > self._largest:
                break
            if sent.settled:
                continue
            if sent.number + REORDERED <= self._largest or sent.at + patience <= now:
                gone.append(sent)
            else:
                self._late_at = sent.at + patience
                break
        for sent in gone:
            self._settle(sent)
            self.lost_packets += 1
            if sent.path == self._path:
                self.window.lost(sent.at, now)
        return [piece for sent in gone for piece in sent.pieces]

    # -- time

    def wake_at(self) -> float:
        """When something is to be found lost, or asked for."""
        if not self._sent:
            return NEVER
        return self._probe_at() if self._late_at == NEVER else self._late_at

    def _probe_at(self) -> float:
        wait = self.srtt + max(4 * self._variation, GRAIN) + DELAY
        return self._probe_from + max(wait, min(wait * (1 << min(self._timeouts, 16)), LAST_PROBE))

    def wake(self, now: float) -> list[Piece]:
        """Time passed: pieces to be sent again."""
        if not self._sent:
            return []
        if self._late_at != NEVER:
            return self._late(now) if now >= self._late_at else []
        if now < self._probe_at():
            return []
        self._timeouts += 1
        self._probe_from = now
        self.probes = PROBES
        if self._timeouts == HOPELESS:
            self.window.collapsed()
        return self._oldest()

    def _oldest(self) -> list[Piece]:
        return [piece for sent in [sent for sent in self._sent if not sent.settled][:PROBES] for piece in sent.pieces]

    def moved(self) -> list[Piece]:
        """The session goes another way: what was learned of the old one does not count (RFC 9000, 9.4).

        The oldest pieces in flight are sent again at once: that they arrive shows which others did not.
        """
        self._path += 1
        self.in_flight = 0
        self.window, self.pacer = Window(), Pacer()
        self.srtt, self._variation, self._measured, self._latest = FIRST_RTT, FIRST_RTT / 2, False, FIRST_RTT
        self._timeouts, self.probes = 0, PROBES
        return self._oldest()


def _named(spans: list[int], counter: int) -> bool:
    """Whether spans, the highest first, name a packet."""
    for at in range(0, len(spans), 2):
        if counter > spans[at]:
            return False
        if counter >= spans[at + 1]:
            return True
    return False
