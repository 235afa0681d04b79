"""Passports: what entitles a node, known by digest (DESIGN 3.4). Built from records, judged by ``trust.py``.

A passport is the binding of the exchange key, the chain of the node's name grant (leaf first; at most 4, and 3 more where
the name was renewed by a neighbour, R21) and the root versions (newest first). Its leaf says the node's name; the name's
parent is its cluster. It travels as pages of raw records; its digest is taken over their digests, so it changes exactly
when something in it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from overlay import limits
from overlay.errors import Malformed, TrustError
from overlay.identity.keys import digest
from overlay.name import Path
from overlay.records import rights
from overlay.records.claims import given
from overlay.records.kinds import Bind, Grant
from overlay.records.record import Record, parse
from overlay.records.trust import Trust
from overlay.wire.codec import Value


@dataclass(frozen=True, slots=True)
class Passport:
    """Judged: who stands behind an exchange key, under which name, by which grants."""

    records: tuple[Record, ...]
    node_id: bytes
    exchange: bytes
    name: Path
    chain: tuple[Record, ...]  # the name grant first

    @property
    def digest(self) -> bytes:
        """32 octets."""
        return passport_digest(self.records)

    @property
    def cluster(self) -> Path:
        """The path of the node's cluster."""
        return self.name.parent


def passport_digest(records: Sequence[Record]) -> bytes:
    """The digest under which peers know a passport."""
    return digest(b"".join(record.seal for record in records))


def assemble(binding: Record, chain: Sequence[Record], roots: Sequence[Record]) -> tuple[Record, ...]:
    """The records of one's own passport, in the order in which they are sent."""
    return (binding, *chain, *list(reversed(roots))[: limits.ROOT_VERSIONS])


def check(raws: Value, exchange: bytes, at: float, trust: Trust) -> Passport:
    """Judge a peer's passport, its raw records as they came, for the exchange key that its session proved: R19 and all of ``trust.py``.

    It has one order and nothing but its chain, so one passport has one digest. Root versions in it that are news are
    adopted on the way (they carry their own proof).
    """
    if type(raws) is not list or not 3 <= len(raws) <= 1 + limits.PASSPORT_GRANTS + limits.ROOT_VERSIONS:
        raise Malformed(f"a passport has a binding, 1 to {limits.PASSPORT_GRANTS} grants and the root", rule="passport-form")
    records = [parse(raw) for raw in raws]
    binding, grants = records[0], [r for r in records if r.kind == "grant"]
    roots = records[1 + len(grants) :]
    form = ["bind", *["grant"] * len(grants), *["root"] * len(roots)]
    if [r.kind for r in records] != form or not 1 <= len(grants) <= limits.PASSPORT_GRANTS or not roots:
        raise Malformed("a passport is a binding, its grants, the root versions, in this order", rule="passport-form")
    if any(newer.seq != older.seq + 1 for newer, older in pairwise(roots)):
        raise Malformed("a passport's root versions are newest first, none left out", rule="passport-form")
    for root in reversed(roots):
        trust.judge(root, at, lambda _: None)
        trust.adopt_root(root)
    leaf = grants[0]
    body = trust.judge(binding, at, lambda _: None).body
    assert isinstance(body, Bind)
    shown = {grant.digest: grant for grant in grants}.get
    verdict = trust.judge(leaf, at, shown)
    assert isinstance(verdict.body, Grant)
    if (leaf, *verdict.chain) != tuple(grants):
        raise Malformed("a passport's grants are its chain, and nothing else", rule="passport-form")
    if body.exchange != exchange or binding.signer != leaf.item:
        raise TrustError("the passport is another node's (R19)", "do not trust who showed it", rule="R19")
    if at >= leaf.expires + limits.LAPSED:
        raise TrustError("the passport lapsed more than 30 days ago (R13)", "its owner must join again", rule="R13")
    if not given(leaf, shown):
        raise TrustError("the passport's name was taken, not given (R19)", "its owner must join again", rule="R19")
    if verdict.body.rights != {rights.OWN} or len(leaf.name) < 2 or leaf.name.leaf == "*":
        raise TrustError("the passport names no node (R07)", "its owner must join again", rule="R07")
    return Passport(tuple(records), leaf.item, exchange, leaf.name, (leaf, *verdict.chain))
