"""The words in which a lease is spoken of, and the numbers of terms (DESIGN 3.6, F12).

``read`` is the decoder of a Note.LEASE message: a map ``{1: word, ...}``, one of four words.

| word | fields | says |
|---|---|---|
| 1 renew | 2 number, 3 beat, 4 standby (absent: none), 5 place | I hold the term (number, my id) for 3 s from now; you are the place-th to follow |
| 2 report | 2 number, 3 revision, 4 reach, 5 uptime in seconds, 6 asks | the highest number seen; what I say of myself; asks: renew to me |
| 3 hand | 2 number | take over from my term |
| 4 gone | 2 number, 3 leaves | I do not hold that term any more; leaves: and want no other |

A sender speaks only for itself: no word names the term of somebody else. A beat counts the renewals of a term, so that
a copy or a straggler is known by not being higher.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from overlay import limits
from overlay.errors import Malformed
from overlay.identity.keys import KEY
from overlay.machine import Store
from overlay.wire.codec import Fields, Value, ordered

TERM: Final = "term"  # table of the store
NUMBER: Final = b"number"
BLOCK: Final = 10  # numbers reserved at once (F12), so that a claim waits for no commit
TOP: Final = 2**63 - 1  # on the wire
SANE: Final = 2**62  # in our own store: beyond it lies damage; from here to TOP the bound on jumps leaves ages
_COUNT: Final = 2**53
_REACH: Final = 7
_PLACES: Final = 65_535


@dataclass(frozen=True, slots=True)
class Renew:
    """The sender's lease."""

    number: int
    beat: int
    standby: bytes | None
    place: int  # of whom it is sent to, in the order of those that would follow: 0 is the standby

    def body(self) -> Value:
        return ordered({1: 1, 2: self.number, 3: self.beat, 4: self.standby, 5: self.place})


@dataclass(frozen=True, slots=True)
class Report:
    """The sender's rank."""

    number: int
    revision: int
    reach: int
    uptime: int
    asks: bool = False

    def body(self) -> Value:
        return ordered({1: 2, 2: self.number, 3: self.revision, 4: self.reach, 5: self.uptime, 6: self.asks or None})


@dataclass(frozen=True, slots=True)
class Hand:
    """The sender wants the receiver to follow it."""

    number: int

    def body(self) -> Value:
        return {1: 3, 2: self.number}


@dataclass(frozen=True, slots=True)
class Gone:
    """The sender has stopped."""

    number: int
    leaves: bool = False

    def body(self) -> Value:
        return ordered({1: 4, 2: self.number, 3: self.leaves or None})


Word = Renew | Report | Hand | Gone


def read(body: Value) -> Word:
    """What another says, or :class:`Malformed`."""
    fields = Fields(body, "lease")
    number = fields.integer(2, 0, TOP)
    match fields.integer(1, 1, 4):
        case 1:
            fields.only(frozenset((1, 2, 3, 4, 5)))
            standby = fields.binary(4, KEY, KEY, default=b"") or None
            return Renew(number, fields.integer(3, 0, _COUNT), standby, fields.integer(5, 0, _PLACES))
        case 2:
            fields.only(frozenset((1, 2, 3, 4, 5, 6)))
            return Report(number, fields.integer(3, 0, _COUNT), fields.integer(4, 0, _REACH), fields.integer(5, 0, _COUNT), fields.flag(6))
        case 3:
            fields.only(frozenset((1, 2)))
            return Hand(number)
        case _:
            fields.only(frozenset((1, 2, 3)))
            return Gone(number, fields.flag(3))


def stored_number(value: bytes | None) -> int:
    """What ``Lease`` is to be made with, from the row (TERM, NUMBER) of the store; :class:`Malformed` where it is damaged."""
    text = (value or b"0").decode("ascii", "replace")
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= SANE):
        raise Malformed("the stored number of the last term is damaged", rule="term-number")
    return int(text)


class Numbers:
    """The counter of terms: ours go up for ever, across crashes, and above all that we have seen in this run.

    The threat: a speaker that names 2**63 would use the counter up. The rule: within a second what others say raises it
    by ``limits.TERM_AHEAD`` at most; a number above that counts as the bound. So a true distance (two parts that were split
    for months) is caught up with in seconds, and a lie ends the day its teller is shut out. At 1,000 a second 2**62
    lasts a hundred million years.
    """

    def __init__(self, stored: int) -> None:
        self.seen = 0  # the highest in use by anybody, as heard in this run
        self._floor = stored  # ours are above it: each of them may have been used before
        self._reserved = stored
        self._base, self._since = 0, float("-inf")

    def count(self, number: int, now: float) -> int:
        """What somebody else's number counts as; from now on it has been seen."""
        if now - self._since >= 1.0:
            self._base, self._since = max(self.seen, self._floor), now
        counted = min(number, self._base + limits.TERM_AHEAD)
        self.seen = max(self.seen, counted)
        return counted

    def reserve(self) -> Store | None:
        """Make sure that the next number can be taken without waiting."""
        following = max(self.seen, self._floor) + 1
        if following <= self._reserved:
            return None
        self._reserved = following + BLOCK - 1
        return Store(TERM, NUMBER, str(self._reserved).encode())

    def take(self) -> int:
        """The next number. ``reserve`` comes first."""
        self._floor = self.seen = max(self.seen, self._floor) + 1
        assert self._floor <= self._reserved
        return self._floor
