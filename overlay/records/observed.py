"""Bodies of the kinds `running` and `observed`: what a node runs of a channel, and what a cluster has seen of it (DESIGN 3.9, 3.10).

It decides what such a body looks like. Who may say it stands in ``kinds.py``, when a revision counts as stable in
``overlay/release/standing.py``. A node says what it runs to its own cluster's zone; a cluster says it to everybody, one vote a cluster.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from overlay.errors import Malformed, UsageError
from overlay.identity.keys import DIGEST
from overlay.name import Path
from overlay.records.record import Record
from overlay.records.releases import MAX_HTTP, MAX_REVISION, channel_item
from overlay.wire.address import Address, unpack_address
from overlay.wire.codec import Fields, Value, ordered

MOST: Final = 1_000_000  # nodes that are counted
MAX_HOLDING: Final = 8  # nodes that are named: a person looks at the first of them
LABELS: Final = 256  # octets of their labels together: with the longest names such a record still has less than 1,000
MAX_INCARNATION: Final = 2**48  # of incarnations


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What the signer runs of the channel (the item): ``revision`` 0 where it takes the channel and nothing runs yet.

    ``content`` as in ``release/gate.content_of``; ``incarnation`` counts the starts of the program itself, where that is the channel.
    ``restless``: it has restarted twice within 10 minutes; ``failed``: the revision whose command failed here last, 0 for none.
    """

    revision: int = 0
    content: bytes = b""
    held: int = 0  # the highest revision that is here, verified
    restless: bool = False
    failed: int = 0
    incarnation: int = 0
    withdrawn: bool = False

    def body(self) -> dict[int, Value]:
        return ordered({
            1: self.revision, 2: self.content or None, 3: self.held, 4: self.restless or None, 5: self.failed or None, 6: self.incarnation or None,
            7: self.withdrawn or None,
        })

    @classmethod
    def read(cls, record: Record) -> Running:
        fields = Fields(record.body, "running")
        fields.only(frozenset(range(1, 8)))
        channel_item(record)
        return cls(
            revision=fields.integer(1, 0, MAX_REVISION), content=fields.binary(2, DIGEST, DIGEST, default=b""),
            held=fields.integer(3, 0, MAX_REVISION), restless=fields.flag(4),
            failed=fields.integer(5, 0, MAX_REVISION, default=0), incarnation=fields.integer(6, 0, MAX_INCARNATION, default=0),
            withdrawn=fields.flag(7),
        )


class Why(IntEnum):
    """Why a node holds a revision back."""

    BEHIND = 1  # it runs an earlier one, or none
    FAILED = 2  # its command failed there
    SOAKING = 3  # it runs it, and has not been well for long enough
    RESTLESS = 4  # it has restarted twice within 10 minutes
    AHEAD = 5  # it runs a later one


DEVELOPING: Final = frozenset({Why.SOAKING, Why.RESTLESS, Why.AHEAD})  # *in development* (DESIGN 3.10); the others are merely not there yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A cluster's word about a channel (the item): how many of its live subscribers hold, run and are well on ``revision``.

    ``stable`` is the revision that all of them ran, well, for long enough; where it is ``revision``, ``release`` is announced by
    this. ``holding``: who is in its way, by label. ``addresses``: where the cluster gives it away over HTTP, at /CHANNEL/rN.
    """

    revision: int = 0
    release: bytes = b""
    stable: int = 0
    live: int = 0
    installed: int = 0
    restarted: int = 0
    healthy: int = 0
    holding: tuple[tuple[str, Why], ...] = ()
    addresses: tuple[Address, ...] = ()
    withdrawn: bool = False

    @property
    def development(self) -> tuple[str, ...]:
        """The labels of those that are in development."""
        return tuple(label for label, why in self.holding if why in DEVELOPING)

    def body(self) -> dict[int, Value]:
        return ordered({
            1: self.revision, 2: self.release or None, 3: self.stable, 4: [self.live, self.installed, self.restarted, self.healthy],
            5: [[label, int(why)] for label, why in self.holding] or None, 6: [address.packed for address in self.addresses] or None,
            7: self.withdrawn or None,
        })

    @classmethod
    def read(cls, record: Record) -> Observed:
        fields = Fields(record.body, "observed")
        fields.only(frozenset(range(1, 8)))
        channel_item(record)
        counts = fields.items(4, 4)
        if len(counts) != 4 or any(type(count) is not int or not 0 <= count <= MOST for count in counts):
            raise Malformed("observed: four counts of nodes", rule="observed-counts")
        release, stable = fields.binary(2, DIGEST, DIGEST, default=b""), fields.integer(3, 0, MAX_REVISION)
        return cls(
            revision=fields.integer(1, 0, MAX_REVISION), release=release, stable=stable, live=counts[0], installed=counts[1], restarted=counts[2],
            healthy=counts[3], holding=tuple(map(_holding, fields.items(5, MAX_HOLDING))),
            addresses=tuple(unpack_address(item) for item in fields.items(6, MAX_HTTP)), withdrawn=fields.flag(7),
        )


def _holding(value: Value) -> tuple[str, Why]:
    if type(value) is not list or len(value) != 2:
        raise Malformed("observed: who holds is [label, why]", rule="observed-holding")
    fields = Fields(dict(enumerate(value)), "holding")
    try:
        (label,) = Path((fields.text(0, 63),)).labels
    except UsageError as why:
        raise Malformed(why.what, rule="observed-holding") from None
    return label, Why(fields.integer(1, 1, len(Why)))


@dataclass(frozen=True, slots=True)
class Vote:
    """The newest word of a cluster about a channel."""

    record: Record
    said: Observed


def votes(said: Iterable[tuple[Record, Observed]]) -> dict[Path, Vote]:
    """One vote a cluster: what was said last by whoever may speak for it there; none where that was taken back."""
    newest: dict[Path, Vote] = {}
    for record, body in said:
        held = newest.get(record.name)
        if held is None or (held.record.issued, held.record.digest) < (record.issued, record.digest):
            newest[record.name] = Vote(record, body)
    return {path: vote for path, vote in sorted(newest.items(), key=lambda item: item[0]) if not vote.said.withdrawn}
