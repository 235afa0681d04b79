"""The names under which releases are found: ``download`` for the program itself, ``CHANNEL.download`` (CONTRACT, DNS).

It decides whose addresses stand there: those who hold the newest release that anybody holds and have a place free, the
freest first, then who has served fewest; of addresses those that mean the same everywhere, where there are any. No data
before there is any; SERVFAIL while all are busy, so that callers come back. It refuses to know how anybody comes to hold one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from overlay.records.releases import KERNEL
from overlay.wire.address import worldwide
from tld import codes
from tld.engine import Answer
from tld.label import Name

TTL: Final = 5  # seconds; research/release 6: resolvers keep answers, and free places do not last
SHOWN: Final = 4  # addresses in one answer: a caller tries them in order
BUSY: Final = (codes.EDE_NOT_READY, "all who hold it are busy; ask again in some seconds")


class Holder(NamedTuple):
    """Who gives away a release of a channel: its addresses, how many places are free, how often it has served."""

    hosts: tuple[str, ...]
    revision: int
    slots: int
    served: int
    usual: bool  # whether it listens on port 80


Holders = Callable[[str], Sequence[Holder] | None]  # of a channel; None: there is no such channel


def nobody(channel: str) -> Sequence[Holder] | None:
    """What is held before a node says otherwise: the channel of the program is there, and empty."""
    return () if channel == KERNEL else None


def channel_of(below: Name) -> str | None:
    """The channel that the labels in front of ``download`` name; None where they name none."""
    if not below:
        return KERNEL
    return below[0].decode("ascii", "replace") if len(below) == 1 else None


def hosts_of(holders: Sequence[Holder]) -> tuple[str, ...] | None:
    """The addresses to be told, in order; None while all are busy."""
    newest = max((holder.revision for holder in holders), default=0)
    current = [holder for holder in holders if holder.revision == newest and holder.hosts]
    public = [holder._replace(hosts=tuple(host for host in holder.hosts if worldwide(host))) for holder in current]
    if any(holder.hosts for holder in public):
        current = [holder for holder in public if holder.hosts]
    free = sorted((holder for holder in current if holder.slots), key=lambda holder: (not holder.usual, -holder.slots, holder.served))
    if current and not free:
        return None
    return tuple(dict.fromkeys(host for holder in free for host in holder.hosts))[:SHOWN]


def busy() -> Answer:
    """What is said while all are busy."""
    return Answer(rcode=codes.SERVFAIL, ede=BUSY)
