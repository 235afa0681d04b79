"""One session: the relation to one exchange key, what carries it, and whether its other end still lives (DESIGN 3.4).

It knows dates: when to probe, when to keep a mapping alive, when to give up, and how many octets an address that has
not proved itself may get. It sends nothing; ``machine.py`` does.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from overlay.session.calls import Calls
from overlay.session.events import Called
from overlay.session.flow import Flow
from overlay.session.link import Link
from overlay.wire.address import Way
from overlay.wire.codec import Value
from overlay.wire.messages import Grade, Method

KEEPALIVE = 25.0  # seconds without sending (NAT mappings of 30 s are the shortest that are common: research overlay.md 2.2)
PROBE = 5.0  # seconds unanswered before a path is probed
PROBE_AGAIN = 1.0  # seconds between probes
PROBE_FRESH = 0.5  # seconds between probes of a link on which nothing was heard yet: its confirmation may be lost
KEEPALIVE_LEAST = 10.0  # seconds: what is learnt of a NAT that forgets sooner goes no lower (RFC 4787, REQ-5: two minutes; some take 15 s)
SILENT = 15.0  # seconds unanswered before a session is given up
CHALLENGE_AGAIN = 0.25  # seconds
TOKEN = 8  # octets of a challenge
STALL = 0.5  # seconds unanswered before other ways are looked at; a path that died is left within a second (GOALS, "Reach": 2 s)
DOUBT = 0.25  # seconds that a way in doubt has to answer before another one takes over
DOUBT_AGAIN = 2.0  # seconds of silence after which all ways are looked at once more


@dataclass(slots=True)
class Candidate:
    """A way that packets came from and that has not proved itself: it gets no more octets than came from it."""

    way: Way
    token: bytes
    credit: int = 0
    next_at: float = 0.0

    def charge(self, octets: int, now: float) -> None:
        """So many octets went there, a challenge among them where one was due."""
        self.credit -= octets
        if now >= self.next_at:
            self.next_at = now + CHALLENGE_AGAIN


@dataclass(slots=True, eq=False)
class Try:
    """A way that is probed, or was: it carries if a probe of ours was answered there."""

    way: Way
    token: bytes
    proved: float = float("-inf")  # when it answered last
    rtt: float | None = None
    until: float = 0.0
    next_at: float = float("inf")
    pause: float = 0.0
    sent: float = 0.0

    def begin(self, now: float, until: float, pause: float) -> None:
        """Probe it from now on."""
        self.next_at, self.until, self.pause = now, until, pause

    def send(self, now: float, longest: float) -> None:
        """A probe goes out."""
        self.sent, self.next_at = now, now + self.pause
        self.pause = min(self.pause * 2, longest)

    def answered(self, now: float) -> None:
        """It carries."""
        self.proved, self.rtt, self.next_at = now, now - self.sent, float("inf")


@dataclass(slots=True, eq=False)
class Session:
    """``number`` names it to the node; ``link`` seals what is sent, ``previous`` still opens what comes."""

    peer: bytes
    number: int
    boot_nonce: bytes
    way: Way
    link: Link
    calls: Calls
    source: str | None  # on whose budget it stands while it is keyed
    previous: Link | None = None
    grade: int = Grade.KEYED.value
    sent: float = 0.0
    unanswered: float | None = None  # since when something that wants an answer went unanswered
    candidate: Candidate | None = None
    tries: list[Try] = field(default_factory=list)  # other ways
    doubt: float | None = None  # since when the way in use may carry no more
    judge_at: float = float("inf")  # when another one takes over from it
    keepalive: float = KEEPALIVE
    heard: float = 0.0  # when something came last
    quiet: float = 0.0  # seconds without a word, before the question that went unanswered
    held: list[Called] = field(default_factory=list)  # calls above its grade
    flow: Flow | None = None  # where it carries streams
    open: bool = True

    def begin(self, waiting: list[tuple[int, Method, Value]], now: float) -> None:
        """Make the calls that waited for the session: ticket, method, body."""
        for ticket, method, body in waiting:
            self.calls.call(ticket, method, body, now)
        waiting.clear()

    # The same sums stand in due() and in what it leads to: a difference may round to just below a bound, and the timer
    # would fire for ever.

    def due(self) -> float:
        """When to look at it again."""
        due = self.sent + self.keepalive
        if self.unanswered is not None:
            due = min(due, max(self.unanswered + PROBE, self.sent + PROBE_AGAIN), self.unanswered + SILENT)
            due = min(due, self.unanswered + STALL if self.doubt is None else self.doubt + DOUBT_AGAIN)
        due = min(due, self.judge_at)
        for one in self.tries:
            due = min(due, one.next_at)
        retry = self.calls.wake_at()
        if retry is not None:
            due = min(due, retry)
        if self.flow is not None:
            due = min(due, self.flow.wake_at())
        return min(due, self.sent + PROBE_FRESH) if self._unheard() else due

    def dead(self, now: float) -> bool:
        """Whether it was silent for too long."""
        return self.unanswered is not None and now >= self.unanswered + SILENT

    def stalls(self, now: float) -> bool:
        """Whether a question goes unanswered for so long that other ways are looked at."""
        if self.unanswered is None:
            return False
        return now >= (self.unanswered + STALL if self.doubt is None else self.doubt + DOUBT_AGAIN)

    def wants_probe(self, now: float) -> bool:
        """Whether something must be sent that is answered: to find out, to be found, or to keep a mapping."""
        if now >= self.sent + self.keepalive or (self._unheard() and now >= self.sent + PROBE_FRESH):
            return True
        return self.unanswered is not None and now >= max(self.unanswered + PROBE, self.sent + PROBE_AGAIN)

    def _unheard(self) -> bool:
        """Nothing came over our link yet: the other end may not know that it is good."""
        return self.link.initiator and self.link.window.highest < 0
