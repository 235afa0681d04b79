"""Rights that last: whose grants this node says again, and when (DESIGN 3.2, trust rules R20 and R21).

A grant is renewed at two thirds of its life, unchanged, by any holder of `grant` or `speak` above who sees its subject
alive, so no single machine's loss ends the rest's rights. Those who may take turns by chance of their ids: the first
does it, the others see that it is done. What was revoked, what a person dated, and what the root keys gave is left alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from overlay.directory.book import Book
from overlay.errors import UsageError
from overlay.records import kinds, rights
from overlay.records.kinds import Grant
from overlay.records.record import Record
from overlay.records.trust import given, renewed_by_speaker, since
from overlay.statements import Statements

SHARE: Final = 2 / 3  # of a grant's life: then it is renewed (DESIGN 3.2)
TURNS: Final = 1 / 6  # of a grant's life: over this span those who may renew it take turns, so most see that it is done
RETURNED: Final = 60.0  # seconds: the same for a grant that was due while its subject was away
GAIN: Final = 1 / 12  # of a grant's life: a renewal that a giver's end would cut below this is not worth saying

Family = tuple[object, ...]  # what renewals leave as it is: name, subject, rights, shadow


@dataclass(slots=True)
class Renewals:
    """One node's part in keeping grants alive."""

    statements: Statements
    book: Book

    def due(self, at: float) -> list[Record]:
        """The renewals that are this node's to say now, signed."""
        me = self.statements.identity.node_id
        seen = self._seen(at)
        seen[me] = 0
        said = []
        for family in self._families(seen):
            newest = max(family, key=lambda g: (g.expires, g.digest))
            first = max((g for g in family if self._original(g)), key=lambda g: (g.issued, g.digest), default=None)
            if first is None or first.body.get(3) or self._revoked_since(family, newest):
                continue
            if at >= self._turn(first, newest, me, seen[newest.item]):
                said += self._again(first, newest, at)
        return said

    def _seen(self, at: float) -> dict[bytes, int]:
        """The nodes that live: since when (UTC seconds) their newest host or cluster record says so."""
        seen: dict[bytes, int] = {}
        for record in self.book.records.values():
            if record.kind in ("host", "cluster") and at < record.expires and not record.body.get(7):
                seen[record.signer] = max(seen.get(record.signer, 0), record.issued)
        return seen

    def _families(self, subjects: Iterable[bytes]) -> Iterable[list[Record]]:
        alive = frozenset(subjects)
        families: dict[Family, list[Record]] = {}
        for grant in self.book.grants.values():
            if grant.item in alive and grant.via:
                family = (grant.name, grant.item, tuple(grant.body[1]), grant.body.get(64))
                families.setdefault(family, []).append(grant)
        return families.values()

    def _original(self, grant: Record) -> bool:
        """Whether a grant was given (or taken) rather than renewed by a neighbour."""
        via = self.book.grants.get(grant.via)
        return via is not None and not renewed_by_speaker(grant, via)

    def _revoked_since(self, family: list[Record], newest: Record) -> bool:
        revoked = self.book.trust.revoked
        ended = max((revoked[g.digest].issued for g in family if g.digest in revoked), default=-1)
        return newest.issued <= ended or newest.digest in revoked

    @staticmethod
    def _turn(first: Record, newest: Record, me: bytes, seen: int) -> float:
        """When it is this node's turn (UTC seconds). Who gave it comes first."""
        life = newest.expires - newest.issued
        due = newest.issued + life * SHARE
        chance = int.from_bytes(hashlib.blake2s(newest.digest + me, digest_size=4).digest(), "big") / 2**32
        return due if first.signer == me else max(due + life * TURNS * chance, seen + RETURNED * chance)

    def _again(self, first: Record, newest: Record, at: float) -> list[Record]:
        """The grant once more, where this node may say so and something is gained."""
        me = self.statements.identity.node_id
        life = first.expires - first.issued
        wanted = frozenset(first.body[1])
        passed = kinds.read(first)
        assert isinstance(passed, Grant)
        until = int(at) + life
        if first.item == first.signer == me and not given(first, self.book.grants.get):
            able = [g for g in self._mine(at) if rights.MEMBER in g.body[1] and g.name.covers(first.name) and g.name != first.name]
            via, renews = max(able, key=lambda g: (g.expires, g.digest), default=None), b""
        else:
            if not given(first, self.book.grants.get):
                return []
            granting = [
                g for g in self._mine(at)
                if rights.GRANT in g.body[1] and g.name.covers(first.name) and wanted <= rights.grantable(frozenset(g.body[1]))
                and g.digest not in (first.digest, newest.digest)
            ]
            via, renews = max(granting, key=lambda g: (g.expires, -len(g.name), g.digest), default=None), b""
            if via is None and first.item != me:
                via, renews = self._speaking(first), first.digest
        if via is None:
            return []
        giver = self.book.grants.get(first.via) if renews else via
        until = min(until, giver.expires if giver is not None else 0)
        if until < newest.expires + life * GAIN:
            return []
        body = Grant(rights=wanted, shadow=passed.shadow, renews=renews, since=since(first)).body()
        try:
            return [self.statements.sign(first.name, "grant", body, at, item=first.item, life=until - int(at), via=via, clip=not renews)]
        except UsageError:  # no room for what a renewal says beside the grant: its giver must give it anew
            return []

    def _mine(self, at: float) -> list[Record]:
        return self.book.grants_of(self.statements.identity.node_id, at)

    def _speaking(self, first: Record) -> Record | None:
        """The grant by which this node renews for others: `speak` above, as it was given."""
        me = self.statements.identity.node_id
        found = [
            g for g in self.book.grants.values()
            if g.item == me and rights.SPEAK in g.body[1] and g.name.covers(first.name) and g.digest not in self.book.trust.revoked
            and self._original(g) and not g.body.get(3)
        ]
        return max(found, key=lambda g: (g.expires, g.digest), default=None)


def newer_name(book: Book, leaf: Record, at: float) -> Record | None:
    """A grant of the same name to the same subject that lasts longer than the passport's leaf; None where there is none."""
    same = [g for g in book.grants_on(leaf.name, at) if g.item == leaf.item and g.body[1] == [rights.OWN] and given(g, book.grants.get)]
    best = max(same, key=lambda g: (g.expires, g.digest), default=None)
    return best if best is not None and best.expires > leaf.expires else None
