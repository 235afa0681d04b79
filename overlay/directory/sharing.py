"""A table that is shared out, being too large for one node: who keeps which of its records (DESIGN 3.5; decision 11).

It decides from names and ids alone. A cluster record is kept near its signer's id, where searches look for contacts, and
with its zone; heads and grants are kept with their zone; a zone, by the nodes nearest to the hash of its path. What else a
node holds are its contacts, which lead it anywhere, and what all hold (``spread.core``).
"""

from __future__ import annotations

from collections.abc import Container

from overlay.directory.book import TABLE, Book
from overlay.directory.holdings import Holdings
from overlay.directory.neighbours import nearest
from overlay.directory.spread import core
from overlay.name import ROOT, Path
from overlay.records import rights
from overlay.records.record import Identity, Record


def beside(book: Book, path: Path) -> list[Record]:
    """What the table says about the zone at ``path``: its gateways, heads and grants."""
    return [*book.grants_on(path), *(r for r in book.members(TABLE) if r.name == path and r.kind in ("cluster", "head", "ksk"))]


def begins(book: Book, path: Path) -> list[Record]:
    """The grants by which a zone begins at ``path``."""
    return [grant for grant in book.grants_on(path) if rights.SIGN in grant.body.get(1, ()) and not core(grant)]


def kept_with(record: Record, book: Book) -> Path:
    """The path of the zone that a record is kept with."""
    return record.name if book.unit_of(record) == TABLE else book.outline.zone_of(record.name)


def concerns(holdings: Holdings, node_id: bytes, record: Record) -> bool:
    """Whether that node is to keep ``record``, as one of the keepers of its zone or near its signer."""
    path = kept_with(record, holdings.book)
    if core(record) or path == ROOT:
        return True
    if any(n.node_id == node_id for n in holdings.keepers(path)) or (path == holdings.cluster and node_id in holdings.own_keepers):
        return True
    return record.kind == "cluster" and near(holdings, record.signer, node_id)


def near(holdings: Holdings, signer: bytes, node_id: bytes) -> bool:
    """Whether a node is among the nearest to ``signer``, as far as is known."""
    point, asked = int.from_bytes(signer, "big"), int.from_bytes(node_id, "big")
    found = nearest(point, holdings.ring(), holdings.spread.near)
    return len(found) < holdings.spread.near or asked ^ point <= found[-1].point ^ point


def to_shed(holdings: Holdings, contacts: Container[bytes]) -> list[Record]:
    """What others keep: all but what is near, known for far ways, of zones kept here, or of this node itself."""
    book, me = holdings.book, holdings.me
    stays = {n.node_id for n in (*holdings.wanted(), *nearest(int.from_bytes(me, "big"), holdings.ring(), holdings.spread.near))}
    kept: set[Identity] = set()
    chains: set[bytes] = set()
    for record in book.records.values():
        reaches = record.kind == "cluster" and (record.signer in stays or record.signer in contacts)
        if core(record) or reaches or me in (record.signer, record.item) or holdings.holds(kept_with(record, book)):
            kept.add(record.identity)
            chains.update(grant.digest for grant in book.chain_of(record))
    records = [record for record in book.records.values() if record.identity not in kept and record.digest not in chains]
    current = {record.digest for record in records}
    superseded = [g for g in book.grants.values() if g.digest not in chains and g.identity not in kept and g.digest not in current]
    return [*records, *superseded]
