"""Rights that last: whose grants this node says again, and when (DESIGN 3.2, trust rules R20 and R21).

A grant is renewed at two thirds of its life, unchanged, by any holder of `grant` or `speak` above who sees its subject
alive, so no single machine's loss ends the rest's rights. Those who may take turns by chance of their ids: the first
does it, the others see that it is done. Who gave it grants again; others say again what was given, and that ends with it
(R21). What was revoked, what a person dated, and what the root keys gave is left alone; what was said again because the
news of a revocation was still on its way is revoked as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from overlay import limits
from overlay.directory.book import Book
from overlay.errors import TrustError, UsageError
from overlay.name import Path
from overlay.records import kinds, rights
from overlay.records.claims import given
from overlay.records.kinds import Grant
from overlay.records.record import Record
from overlay.records.trust import renewal, since
from overlay.statements import Statements
from overlay.units import DAY

SHARE: Final = 2 / 3  # of a grant's life: then it is renewed (DESIGN 3.2)
TURNS: Final = 1 / 6  # of a grant's life: over this span those who may renew it take turns, so most see that it is done
RETURNED: Final = 60.0  # seconds: the same for a grant that was due while its subject was away
GAIN: Final = 1 / 12  # of a grant's life: a renewal that a giver's end would cut below this is not worth saying
SHORTEST: Final = DAY  # a grant of less life is left to who gave it: nobody makes others sign every minute
AT_ONCE: Final = 64  # renewals a look (guess): a thousand that are due together take a quarter of an hour
FOR_OTHERS: Final = 2  # one in so many of the records that this node may say: who has itself renewed silences nobody

Family = tuple[object, ...]  # what renewals leave as it is: name, subject, rights, shadow


@dataclass(slots=True)
class Renewals:
    """One node's part in keeping grants alive."""

    statements: Statements
    book: Book

    def due(self, at: float) -> list[Record]:
        """The renewals that are this node's to say now, and the revocations, signed."""
        me = self.statements.identity.node_id
        seen = self._seen(at)
        seen[me] = 0
        mine = self.book.grants_of(me, 0)  # lapsed ones too: neighbours renew each other while who let them in is away
        ended = self._ended()
        room = limits.PER_SIGNER // FOR_OTHERS - sum(r.signer == me for r in self.book.records.values())
        said: list[Record] = []
        for words, family in self._families(seen, ended).items():
            newest = max(family, key=lambda g: (g.expires, g.digest))
            first = max((g for g in family if not renewal(g)), key=lambda g: (g.issued, g.digest), default=None)
            revocations = ended.get(words, ())
            said += self._take_back(revocations, family, at)
            if newest.item not in seen or first is None or first.body.get(3) or first.expires - first.issued < SHORTEST:
                continue
            takes = (first.name, "grant", first.item, me) not in self.book.records and first.item != me
            if self._over(revocations, first) or (takes and room <= 0) or (len(said) >= AT_ONCE and first.item != me):
                continue
            if at >= self._turn(first, newest, me, seen[newest.item]):
                again = self._again(first, newest, mine, at)
                room -= takes * len(again)
                said += again
        return said

    def _seen(self, at: float) -> dict[bytes, int]:
        """The nodes that live: since when (UTC seconds) their newest host or cluster record says so."""
        seen: dict[bytes, int] = {}
        for record in self.book.records.values():
            if record.kind in ("host", "cluster") and at < record.expires and not record.body.get(7):
                seen[record.signer] = max(seen.get(record.signer, 0), record.issued)
        return seen

    def _families(self, alive: Container[bytes], ended: Container[Family]) -> dict[Family, list[Record]]:
        """What stands for those who live, or says what was revoked."""
        families: dict[Family, list[Record]] = {}
        for grant in self.book.standing():
            words = _family(grant)
            if grant.via and (grant.item in alive or words in ended):
                families.setdefault(words, []).append(grant)
        return families

    def _ended(self) -> dict[Family, list[Record]]:
        """The revocations, by what they ended."""
        ended: dict[Family, list[Record]] = {}
        for digest, revocation in self.book.trust.revoked.items():
            grant = self.book.grants.get(digest)
            if grant is not None:
                ended.setdefault(_family(grant), []).append(revocation)
        return ended

    def _over(self, revocations: Iterable[Record], grant: Record) -> bool:
        """Whether what ``grant`` says was revoked since its subject first got it, by somebody who may end this one as well."""
        for revocation in revocations:
            with suppress(TrustError):
                if since(grant) <= revocation.issued and self.book.trust.may_end(revocation, grant, self.book.grants.get):
                    return True
        return False

    def _take_back(self, revocations: Iterable[Record], family: list[Record], at: float) -> list[Record]:
        """Revocations of what was said again by who had not heard that it was revoked: by that node, or by who revoked it."""
        me, said = self.statements.identity.node_id, []
        for grant in family:
            known = [r for r in revocations if me in (grant.signer, r.signer)]
            if since(grant) < grant.issued and self._over(known, grant):
                said.append(self.statements.sign(grant.name, "revoke", {}, at, item=grant.digest))
        return said

    @staticmethod
    def _turn(first: Record, newest: Record, me: bytes, seen: int) -> float:
        """When it is this node's turn (UTC seconds). Who gave it comes first."""
        life = newest.expires - newest.issued
        due = newest.issued + life * SHARE
        chance = int.from_bytes(hashlib.blake2s(newest.digest + me, digest_size=4).digest(), "big") / 2**32
        return due if first.signer == me else max(due + life * TURNS * chance, seen + RETURNED * chance)

    def _again(self, first: Record, newest: Record, mine: list[Record], at: float) -> list[Record]:
        """The grant once more, where this node may say so and something is gained."""
        me = self.statements.identity.node_id
        passed = kinds.read(first)
        assert isinstance(passed, Grant)
        life, renews = first.expires - first.issued, b""
        until = int(at) + life
        if not given(first, self.book.grants.get):
            able = [g for g in mine if at < g.expires and rights.MEMBER in g.body[1] and g.name.covers(first.name) and g.name != first.name]
            via = max(able, key=lambda g: (g.expires, g.digest), default=None) if first.item == first.signer == me else None
        else:
            via = self._granting(first, newest, mine, at) if first.signer == me or not self._gives(first.signer, first.name, at) else None
            if via is None and first.item != me:
                via, renews = self._renewing(first, mine), first.digest
        if via is None:
            return []
        giver = self.book.grants.get(first.via) if renews else via
        until = min(until, giver.expires if giver is not None else 0)
        if until < newest.expires + life * GAIN:
            return []
        body = Grant(rights=passed.rights, shadow=passed.shadow, renews=renews, since=since(first)).body()
        try:
            return [self.statements.sign(first.name, "grant", body, at, item=first.item, life=until - int(at), via=via, clip=not renews)]
        except UsageError:  # no room for what a renewal says beside the grant: its giver must give it anew
            return []

    def _gives(self, giver: bytes, path: Path, at: float) -> bool:
        """Whether that key may still grant there: what hangs on its right is to end with it, so nobody else gives it."""
        above = (g for one in path.ancestors() for g in self.book.grants_on(one, at))
        return any(g.item == giver and rights.GRANT in g.body[1] for g in above)

    @staticmethod
    def _granting(first: Record, newest: Record, mine: list[Record], at: float) -> Record | None:
        """The grant by which this node gives it anew, the longest-lived."""
        wanted = frozenset(first.body[1])
        able = [
            g for g in mine
            if at < g.expires and rights.GRANT in g.body[1] and g.name.covers(first.name) and wanted <= rights.grantable(frozenset(g.body[1]))
            and g.digest not in (first.digest, newest.digest)
        ]
        return max(able, key=lambda g: (g.expires, -len(g.name), g.digest), default=None)

    def _renewing(self, first: Record, mine: list[Record]) -> Record | None:
        """The grant by which this node says again what others gave: `speak` or `grant` above, as it was given."""
        able = {rights.SPEAK, rights.GRANT}
        found = [g for g in mine if able & set(g.body[1]) and g.name.covers(first.name) and not renewal(g) and not g.body.get(3)]
        return max(found, key=lambda g: (g.expires, g.digest), default=None)


def _family(grant: Record) -> Family:
    return (grant.name, grant.item, tuple(grant.body[1]), grant.body.get(64))


def best_name(book: Book, leaf: Record, at: float) -> Record | None:
    """Of the grants of that name to that subject the one that lasts longest: what its passport should show. None where none stands."""
    held = book.grants_on(leaf.name, at - limits.LAPSED)
    same = [g for g in held if g.item == leaf.item and g.body[1] == [rights.OWN] and given(g, book.grants.get)]
    return max(same, key=lambda g: (g.expires, g.digest == leaf.digest, g.digest), default=None)
