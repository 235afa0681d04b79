"""How fast streams may send: a window of octets in flight, and pacing (DESIGN 3.4).

CUBIC (RFC 9438), since it is what nearly all TCP senders run: beside them it neither starves nor crowds out; on short
paths it is RFC 9438's stand-in for Reno. Slow start ends by delay, HyStart++ (RFC 9406), before the queue at the
bottleneck overflows; loss is answered once a round trip. Sizes are octets of datagrams, times seconds.
"""

from __future__ import annotations

from overlay import limits

SEGMENT = limits.DATAGRAM
FIRST = 10 * SEGMENT  # RFC 6928; RFC 9002, 7.2
LEAST = 2 * SEGMENT  # RFC 9002, 7.2
BETA = 0.7  # RFC 9438, 4.6
CUBIC = 0.4  # RFC 9438, 5.1: C, segments a cubic second
FRIENDLY = 3 * (1 - BETA) / (1 + BETA)  # RFC 9438, 4.3: segments a round trip
LEAST_RISE, MOST_RISE = 0.004, 0.016  # seconds of delay that end slow start (RFC 9406, 4.3)
SAMPLES = 8  # of a round, before its delay counts
SLOWER = 4  # how much slower conservative slow start grows
ROUNDS = 5  # of conservative slow start
GAIN = 1.25  # how much faster than the window's rate packets go out (RFC 9002, 7.7)
STARTING_GAIN = 2.0  # in slow start the window doubles in a round trip: the pace must not hold it back
BURST = 10 * SEGMENT  # at once (RFC 9002, 7.7), or
BURST_SHARE = 4  # the window divided by this: a process that is not woken in time catches up


class Window:
    """Octets that may be in flight."""

    __slots__ = (
        "_baseline", "_cautious", "_epoch", "_friendly", "_k", "_last", "_lately", "_peak", "_recovery", "_round", "_round_end", "_samples", "size",
        "threshold",
    )  # fmt: skip

    def __init__(self) -> None:
        self.size = float(FIRST)
        self.threshold = float("inf")  # slow start below it
        self._recovery = float("-inf")  # when the window was last cut: what was sent before cuts it no more
        self._epoch: float | None = None  # when this curve of CUBIC began
        self._peak = 0.0  # W_max
        self._friendly = 0.0  # W_est
        self._k = 0.0
        self._last = 0.0  # when an acknowledgement last came
        self._round_end = 0  # the first packet of the next round, by its number
        self._round = self._lately = self._baseline = float("inf")  # least round trip of this round, of the one before, before caution
        self._samples = 0
        self._cautious = 0  # rounds of conservative slow start that are left

    @property
    def starting(self) -> bool:
        """Whether this is slow start."""
        return self.size < self.threshold

    def acked(self, octets: int, *, sent_at: float, number: int, next_number: int, srtt: float, now: float, limited: bool) -> None:
        """Octets arrived, the newest in packet ``number``; ``limited``: the window, not the writer, held sending back."""
        idle, self._last = now - self._last, now
        if sent_at <= self._recovery:
            return
        if not limited:
            if self._epoch is not None:
                self._epoch += idle  # RFC 9438, 5.8: the curve does not run on while nobody tries it
            return
        if self.starting:
            self.size += octets / SLOWER if self._cautious else octets
            self._next_round(number, next_number)
        else:
            self._cubic(octets, srtt, now)

    def measured(self, rtt: float) -> None:
        """A round trip was measured: where the queue grows, slow start ends (RFC 9406)."""
        if not self.starting:
            return
        self._round = min(self._round, rtt)
        self._samples += 1
        if self._samples < SAMPLES:
            return
        if self._cautious:
            if self._round < self._baseline:  # the delay was not ours
                self._cautious, self._baseline = 0, float("inf")
        elif self._lately < float("inf") and self._round >= self._lately + min(max(self._lately / 8, LEAST_RISE), MOST_RISE):
            self._baseline, self._cautious = self._round, ROUNDS

    def _next_round(self, number: int, next_number: int) -> None:
        if number < self._round_end:
            return
        self._round_end = next_number
        self._lately, self._round, self._samples = self._round, float("inf"), 0
        if self._cautious:
            self._cautious -= 1
            if not self._cautious:
                self.threshold = self.size

    def _cubic(self, octets: int, srtt: float, now: float) -> None:
        if self._epoch is None:
            self._epoch, self._friendly = now, self.size
            self._peak = max(self._peak, self.size)
            self._k = ((self._peak - self.size) / SEGMENT / CUBIC) ** (1 / 3)
        self._friendly += (FRIENDLY if self._friendly < self._peak else 1.0) * SEGMENT * octets / self.size
        t = now - self._epoch
        if self._curve(t) < self._friendly:
            self.size = max(self.size, self._friendly)
        else:
            target = min(max(self._curve(t + srtt), self.size), 1.5 * self.size)
            self.size += (target - self.size) * octets / self.size

    def _curve(self, t: float) -> float:
        return self._peak + CUBIC * (t - self._k) ** 3 * SEGMENT

    def lost(self, sent_at: float, now: float) -> None:
        """A packet sent at ``sent_at`` was lost."""
        if sent_at <= self._recovery:
            return
        self._recovery, self._epoch = now, None
        self._peak = self.size * (1 + BETA) / 2 if self.size < self._peak else self.size  # RFC 9438, 4.7: fast convergence
        self.size = self.threshold = max(self.size * BETA, float(LEAST))
        self._cautious = 0

    def collapsed(self) -> None:
        """Nothing came through for several timeouts (RFC 9002, 7.6): begin again, carefully."""
        self.size, self._epoch, self._recovery = float(LEAST), None, float("-inf")


class Pacer:
    """When the next packet may go out: the window's octets are spread over a round trip, but for a small burst."""

    __slots__ = ("next_at",)

    def __init__(self) -> None:
        self.next_at = float("-inf")

    def sent(self, octets: int, window: Window, srtt: float, now: float) -> None:
        """A packet went out."""
        each = srtt / (window.size * (STARTING_GAIN if window.starting else GAIN))  # seconds an octet
        self.next_at = max(self.next_at, now - max(float(BURST), window.size / BURST_SHARE) * each) + octets * each
