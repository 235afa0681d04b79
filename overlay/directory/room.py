"""The room in a book, and who gives way where it is full (DESIGN 3.5).

It decides how much one key may say, and how much all that stands on one owner's grant: keys cost an owner nothing, so what
the keys say that it made is its own. It knows records by their bytes, judges nothing, and keeps no record itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable
from itertools import islice

from overlay import limits
from overlay.errors import TrustError
from overlay.name import ROOT
from overlay.records.record import Identity, Record
from overlay.records.trust import Grants, renewal

CROWD_OUT = 64  # records that a full book lets go of at once: finding them costs a look at all
SAID = frozenset({"data", "carry", "invite", "head"})  # what nothing stands on and nobody is reached by


def _ends(record: Record) -> bool:
    """Whether it takes rights away: that must work however full the book is, so it has room of its own."""
    return record.kind in ("revoke", "root")


class Room:
    """Who has said how much. ``links`` finds what a record stands on; ``registrar``: whether a key speaks for the whole overlay."""

    def __init__(self, records: dict[Identity, Record], links: Grants, hangs: Container[bytes], registrar: Callable[[bytes], bool]) -> None:
        self._records = records
        self._links = links
        self._hangs = hangs
        self._registrar = registrar
        self._owners: dict[Identity, bytes] = {}
        self._per_signer: Counter[tuple[bytes, bool]] = Counter()  # (signer, whether revocations)
        self._per_owner: Counter[tuple[bytes, bool]] = Counter()
        self.me: bytes | None = None  # this node: what it says, and what it holds, stays

    def owner(self, record: Record) -> bytes:
        """Whose doing a record is: the key that holds the highest grant below the root which it stands on, or is; else who signed it.

        A registrar's grant is its subject's, so that nobody runs out of room by letting others in.
        """
        start = self._links(record.item) if record.kind == "revoke" else record
        current = start
        for _ in range(2 * limits.CHAIN):
            above = self._links(_below(current)) if current is not None and current.via else None
            if current is None or above is None or above.name == ROOT:
                break
            current = above
        if current is None:
            return record.signer
        return current.item if current.kind == "grant" else current.signer

    def admit(self, record: Record) -> None:
        """Whether there is room for what is not held yet, before its signatures are paid for: else a TrustError."""
        if record.kind == "root":
            return  # each follows from the one before: nobody makes many
        ends, owner, registrar = _ends(record), self.owner(record), self._registrar(record.signer)
        if not ends and len(self._records) >= limits.BOOK and not self._greediest(owner, record)[1]:
            raise _full()
        quota = limits.BOOK if registrar and record.kind in ("grant", "revoke") else limits.PER_SIGNER  # every newcomer's
        if self._per_signer[record.signer, ends] >= quota:
            raise TrustError(
                f"one signer says more than {limits.PER_SIGNER} things", "remove names and services that nobody needs", rule="signer-full",
            )
        if ends and not registrar and record.signer != owner and self._per_owner[owner, True] >= limits.ENDS_PER_OWNER:
            raise TrustError(
                f"more than {limits.ENDS_PER_OWNER} revocations below one owner's grant", "let its owner revoke, or wait", rule="owner-full",
            )

    def _greediest(self, owner: bytes, record: Record) -> tuple[bytes, int]:
        """Whose are the most, and how many of them go for ``record``: many where they are far more than ``owner`` has, else none.

        A grant alone is worth one of whoever has more: nobody is kept out by a book that others have filled evenly.
        """
        most, greediest = max(((count, who) for (who, ends), count in self._per_owner.items() if not ends), default=(0, b""))
        more = most - self._per_owner[owner, False]
        return greediest, CROWD_OUT if more > CROWD_OUT else int(more > 1 and record.kind == "grant")

    def crowded(self, record: Record) -> list[Record]:
        """What a full book lets go of for this new record: the latest of the owner who has the most. A TrustError where nothing can go.

        So a few who flood it silence nobody else, with however many keys. First goes what was merely said; then what entitles
        or reaches a node as well, as far as nothing stands on it. What this node says or holds stays, and rights on the root.
        """
        if _ends(record) or len(self._records) < limits.BOOK:
            return []
        greediest, number = self._greediest(self.owner(record), record)
        for goes in (self._said, self._loose):
            latest = list(islice(filter(goes, self._of(greediest)), number))
            if latest:
                return latest
        raise _full()

    def _of(self, owner: bytes) -> Iterable[Record]:
        """The records of an owner, the latest first."""
        theirs = (record for record in reversed(self._records.values()) if self._owners.get(record.identity) == owner)
        return (record for record in theirs if self.me not in (record.signer, record.item))

    @staticmethod
    def _said(record: Record) -> bool:
        return record.kind in SAID

    def _loose(self, record: Record) -> bool:
        return not _ends(record) and record.digest not in self._hangs and not (record.kind == "grant" and record.name == ROOT)

    def came(self, record: Record) -> None:
        """It is held from now on."""
        self._owners[record.identity] = owner = self.owner(record)
        self._count(record, owner, 1)

    def went(self, record: Record) -> None:
        """It is held no more."""
        self._count(record, self._owners.pop(record.identity), -1)

    def _count(self, record: Record, owner: bytes, more: int) -> None:
        for counts, who in ((self._per_signer, record.signer), (self._per_owner, owner)):
            counts[who, _ends(record)] += more
            if not counts[who, _ends(record)]:
                del counts[who, _ends(record)]


def _full() -> TrustError:
    return TrustError("the book is full", "wait until what lapsed has gone, or revoke what nobody needs", rule="book-full")


def _below(record: Record) -> bytes:
    """The digest of the grant that a record stands on. It is not judged yet: what is no digest there leads nowhere."""
    renewed = record.body.get(2) if renewal(record) else None
    return renewed if type(renewed) is bytes else record.via
