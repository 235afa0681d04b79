"""The two clocks of a node: ``now`` that never jumps, and ``at``, the UTC second that the node believes (DESIGN 3.13).

It decides how far the system's clock is believed: never before the program was built, never before the latest validly
signed date, not where it leaps from where the node left off, and not against the median of three peers. The rules and
what they cost stand in ``docs/decisions/0015-clock.md``. The system clock itself is never set. It refuses to know who the peers
are and how their times came.
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
LEAP: Final = 7 * 86_400.0  # seconds that a clock may have gone on by itself: what is renewed has 10 days left then, or more
BACK: Final = float(limits.FUTURE)  # seconds that it may have gone back: others' clocks are tolerated as much
STEP: Final = 86_400.0  # seconds by which peers may move it with one look, so a month, a grant's life, takes them 10 minutes
HEARD: Final = 60.0  # seconds for which a peer's word counts


def elapsed() -> float:
    """Seconds that pass in any case: also while the machine sleeps, where the system has such a clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def median(values: Iterable[float]) -> float:
    """Not `statistics`: it brings fractions and decimal."""
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def clock_trouble(clock: Clock) -> str:
    """What a person should know of the machine's clock, where it is not believed or not believable."""
    if clock.doubt:
        return f"this machine's clock is {span(clock.doubt)} of where this node left off: not believed until a peer agrees; set it"
    if clock.correction:
        return f"this machine's clock is {span(-clock.correction)} of its peers: their time is used; set it"
    if abs(clock.middle) > DEAD_BAND:
        return f"this machine's clock is {span(-clock.middle)} of its peers, of whom fewer than {PEERS} are heard: set it"
    return ""


def span(seconds: float) -> str:
    """How far one clock is from another, in words so coarse that they seldom change."""
    number, unit = next((abs(seconds) // size, unit) for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))
                        if abs(seconds) >= 2 * size or size == 1)
    return f"{number:.0f} {unit}s {'ahead' if seconds > 0 else 'behind'}"


class Clock:
    """The clocks of one run. ``floor`` and ``last`` are what earlier runs have left in the store, in UTC seconds.

    ``doubt`` says how far the system's clock is from what is believed instead of it, ``correction`` how much is added to
    it on the word of peers, ``middle`` the median of their clocks less the system's; all in seconds, 0.0 where there is
    nothing to say.
    """

    def __init__(
        self, floor: float = 0.0, last: float | None = None, *, built: float = BUILT, system: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = elapsed,
    ) -> None:
        self._system = system
        self._elapsed = elapsed
        passed = elapsed()
        self._left = (passed, system() if last is None else last)  # where the belief stood, and when
        self._floor = (passed, max(floor, built))
        self._voices: dict[bytes, tuple[float, float]] = {}  # who -> (when, their UTC seconds)
        self.correction = self.doubt = self.middle = 0.0

    def now(self) -> float:
        """Monotonic seconds, of the Trio run (virtual under a ``MockClock``)."""
        return trio.current_time()

    def at(self) -> float:
        """Trusted UTC seconds."""
        passed = self._elapsed()
        says = self._system() + self.correction
        left = self._left[1] + passed - self._left[0]
        if -BACK <= says - left <= LEAP:
            self.doubt = 0.0
            self._left = (passed, says)
        else:
            self.doubt = says - left
            says = left
        since, floor = self._floor
        return max(says, floor + passed - since)

    # -- what is durable

    @property
    def floor(self) -> float:
        """What no later run may fall below, in UTC seconds."""
        return self._floor[1]

    @property
    def unaided(self) -> bool:
        """Whether no peer's word is in what is believed. Only then is anything of it written down: a lie must not last."""
        self.at()
        return self.correction == 0.0

    def signed(self, issued: float) -> bool:
        """A record with a valid signature was issued then; True where the floor rose, to be stored.

        The floor stays the tolerance below: as a record may be issued that much ahead of us, a floor at ``issued``
        itself would let any signer walk our clock forward, 300 s a record.
        """
        passed, at = self._elapsed(), self.at()
        since, floor = self._floor
        if issued - limits.FUTURE <= floor + passed - since or issued > at + limits.FUTURE or not self.unaided:
            return False
        self._floor = (passed, issued - limits.FUTURE)
        return True

    # -- peers

    def said(self, who: bytes, theirs: float) -> None:
        """A peer whose word counts has just said its UTC seconds."""
        self._voices.pop(who, None)
        self._voices[who] = (self._elapsed(), theirs)
        while len(self._voices) > 64:
            del self._voices[next(iter(self._voices))]
        self.settle()

    def settle(self) -> bool:
        """Whether nothing is in doubt, or was settled now by what peers have said."""
        self.at()
        offsets = self._offsets() if self.doubt else []
        return not self.doubt or (bool(offsets) and self._agree(offsets))

    def apart(self, who: bytes) -> float | None:
        """A peer's clock less what is believed, in seconds; None where it was not heard lately."""
        when, theirs = self._voices.get(who, (0.0, 0.0))
        passed = self._elapsed()
        return theirs + passed - when - self.at() if who in self._voices and passed - when <= HEARD else None

    def _offsets(self) -> list[float]:
        """Peers' clocks less our system's, now."""
        passed, system = self._elapsed(), self._system()
        self._voices = {who: voice for who, voice in self._voices.items() if passed - voice[0] <= HEARD}
        return [theirs + passed - when - system for when, theirs in self._voices.values()]

    def _agree(self, offsets: list[float]) -> bool:
        """Whether our system's clock is right by the word of its peers: by the median of three, or by any of fewer."""
        agreed = abs(median(offsets)) <= DEAD_BAND if len(offsets) >= PEERS else any(abs(offset) <= DEAD_BAND for offset in offsets)
        if agreed:
            self.correction = self.doubt = self.middle = 0.0
            self._left = (self._elapsed(), self._system())
        return agreed

    def weigh(self) -> None:
        """Look at what peers say, and move what is believed where three agree against us."""
        offsets = self._offsets()
        if not offsets:
            self.middle = 0.0
        if not offsets or self._agree(offsets):
            return
        self.middle = median(offsets)
        if len(offsets) >= PEERS:
            passed, system, at = self._elapsed(), self._system(), self.at()
            believed = at + min(STEP, max(-STEP, system + self.middle - at))
            self.correction = believed - system
            self._left = (passed, believed)
            self.doubt = 0.0
