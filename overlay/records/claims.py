"""Which of two claims to one name counts, rule R20 of ``trust.py``: what was given stands above what was taken, then the earlier.

It decides among grants that were judged already; it knows them by their bytes, and asks for their chains by digest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from overlay import limits
from overlay.name import Path
from overlay.records import rights
from overlay.records.record import Record
from overlay.records.trust import Grants, renewal, since


def _dated(claim: Record, grants: Grants) -> int:
    """Since when (UTC seconds) a claim counts: no claim is older than the right to make it, whatever dates say."""
    first, current = since(claim), claim
    for _ in range(2 * limits.CHAIN):
        via = grants(current.via) if current.via else None
        above = grants(current.body[2]) if via is not None and renewal(current) else via
        if above is None:
            break
        first, current = max(first, since(above)), above
    return first


def _rank(claim: Record, grants: Grants) -> tuple[bool, int, bytes]:
    """R20: the lower one holds the name. What is renewed keeps its first date; whoever may give a name may say since when."""
    return (not given(claim, grants), _dated(claim, grants), claim.digest)


def holders(claims: Iterable[Record], grants: Grants) -> dict[Path, Record]:
    """R20: for each path, of all judged name grants (rights exactly `own`) the one that holds it; ``grants`` finds their chains."""
    held: dict[Path, Record] = {}
    for claim in claims:
        if frozenset(claim.body.get(1, ())) != {rights.OWN}:
            continue
        rival = held.get(claim.name)
        if rival is None or _rank(claim, grants) < _rank(rival, grants):
            held[claim.name] = claim
    return held


def owners(grants: Iterable[Record]) -> dict[Path, set[bytes]]:
    """Who owns which paths by judged grants of more than a name: the clusters and what lies between."""
    owned: dict[Path, set[bytes]] = {}
    for grant in grants:
        if grant.kind != "grant":
            continue  # the table holds other kinds, whose bodies read otherwise
        given = frozenset(grant.body.get(1, ()))
        if rights.OWN in given and given != {rights.OWN}:
            owned.setdefault(grant.name, set()).add(grant.item)
    return owned


def outranked(
    claim: Record, held: Mapping[Path, Record], issuer: Record | None, owned: Mapping[Path, Collection[bytes]] | None = None,
    *, name: Path | None = None, grants: Grants | None = None,
) -> bool:
    """R20: whether the name grant ``claim`` lost its name, or, taken by a member, lies below what another key owns.

    ``issuer`` is the grant by which it was given; a claim that a member took for itself has its own subject there.
    ``owned`` says who owns paths by more than a name (:func:`owners`). ``name`` is what is spoken of by that claim, at or
    below it: what another key held there before the claim stays that key's. Without ``grants`` a name above that is
    another's counts as the elder.
    """
    winner = held.get(claim.name)
    if winner is not None and winner.item != claim.item:
        return True
    if issuer is None or issuer.item != claim.item:
        return False
    owned = owned or {}
    for above in (claim.name, *claim.name.parent.ancestors()):
        if above == issuer.name or not issuer.name.covers(above):
            break
        if _elder(held.get(above), claim, grants) or (above in owned and claim.item not in owned[above]):
            return True
    for below in (name or claim.name).ancestors():
        if len(below) <= len(claim.name):
            return False
        if _elder(held.get(below), claim, grants) or (below in owned and claim.item not in owned[below]):
            return True
    return False


def _elder(other: Record | None, claim: Record, grants: Grants | None) -> bool:
    """Whether the name grant ``other`` is another key's, and stands above ``claim``."""
    if other is None or other.item == claim.item:
        return False
    return grants is None or _rank(other, grants) < _rank(claim, grants)


def given(claim: Record, grants: Grants) -> bool:
    """Whether a name was given by somebody with `grant` (and perhaps renewed), as names of nodes are, and not taken by a member."""
    via = grants(claim.via) if claim.via else None
    return not claim.via or (via is not None and (renewal(claim) or rights.GRANT in via.body.get(1, ())))
