"""What a node holds and shows of the directory: the ring of public nodes, zones, views (DESIGN 3.5).

Functions of the book, remembered while the book stands still. It decides which zones are kept here; how records come
here and whom they are told to is the business of ``machine.py`` and ``pushing.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from typing import Final

from overlay import limits
from overlay.directory import neighbours, views
from overlay.directory.book import TABLE, Book, Unit
from overlay.directory.neighbours import Neighbour
from overlay.directory.replica import Replica
from overlay.directory.spread import CORE, Spread, core
from overlay.directory.view import ZoneView
from overlay.name import ROOT, Path, parse_path
from overlay.records.record import Record

WAYS: Final = 8  # cluster records that a newcomer is told: enough to knock elsewhere when a gateway is gone


class Holdings:
    """The book as this node uses it. ``watched`` says which zones it watches; up to ``small`` clusters it keeps all."""

    def __init__(
        self, *, me: bytes, cluster: Path, book: Book, small: int, watched: Callable[[], Collection[Path]], spread: Spread, counters: Counter[str],
    ) -> None:
        self.me = me
        self.cluster = cluster
        self.book = book
        self.small = small
        self.spread = spread
        self.shared_out = False  # whether there are more public nodes than one holds: see _measure
        self.own_keepers: frozenset[bytes] = frozenset()  # where a search found that our cluster's zone belongs
        self._core: tuple[bytes, Replica, dict[bytes, Record]] = (b"", Replica(), {})  # the table's digest, and CORE of that table
        self._counters = counters
        self._watched = watched
        self._views: dict[Path, ZoneView] = {}
        self._ring: list[Neighbour] = []
        self._listed: frozenset[bytes] = frozenset()
        self._points: list[int] = []  # of the ring, in its order
        self._wanted: list[Neighbour] = []
        self._ring_of = -1  # the version of the table's clusters that the ring was made of
        self._keepers: dict[Path, frozenset[bytes]] = {}  # custodians on this ring, as far as somebody asked
        self._kept: frozenset[Path] = frozenset()  # zones that this node is custodian of
        self._kept_of: tuple[list[Neighbour], int] = ([], -1)  # the ring and the cuts that this was found for

    def ring(self) -> list[Neighbour]:
        """The public nodes of the table."""
        if self._ring_of != self.book.outline.version:
            self._ring_of = self.book.outline.version
            ring = neighbours.neighbours(views.gateways(self.book), self._ring)
            if ring != self._ring:
                self._ring = ring
                self._keepers.clear()
                self._listed = frozenset(n.node_id for n in ring)
                self._points = [n.point for n in ring]
                self._wanted = neighbours.wanted(self.me, self.cluster, ring)
                self._measure()
        return self._ring

    def _measure(self) -> None:
        """Whether the table is shared out: there are too many nodes here, or our neighbourhood is too dense for how few are.

        The second is what a node sees that starts with its part of a table. It goes on until half as many are left.
        """
        whole, known = self.spread.whole, len(self._ring)
        me = int.from_bytes(self.me, "big")
        about = max(known, neighbours.population(me, self._ring, min(limits.NEAREST, self.spread.near)))
        before, self.shared_out = self.shared_out, known > whole or about > (whole / 2 if self.shared_out else max(whole, 2 * known))
        self._counters["tables_spread"] += self.shared_out and not before

    def listed(self) -> frozenset[bytes]:
        """The ids of the nodes on the ring."""
        self.ring()
        return self._listed

    def ways(self, start: int) -> list[Record]:
        """Ways in, for newcomers: some cluster records of the table, from the ``start``-th on."""
        table = [record for record in self.book.members(TABLE) if record.kind == "cluster"]
        start %= max(1, len(table))
        return [*table[start:], *table[:start]][:WAYS]

    def wanted(self) -> list[Neighbour]:
        """The public nodes to keep sessions with."""
        self.ring()
        return self._wanted

    def view(self, path: Path) -> ZoneView:
        """The zone at ``path``; look at :meth:`holds` first."""
        found = self._views.get(path)
        if found is None:
            found = self._views[path] = views.view(self.book, path)
        return found

    def replica(self, unit: Unit) -> Replica | None:
        """A unit of the book, or CORE."""
        return self._of_core()[0] if unit == CORE else self.book.units.get(unit)

    def by_key(self, unit: Unit, key: bytes) -> Record | None:
        """The record that stands under that key in the unit."""
        return self._of_core()[1].get(key) if unit == CORE else self.book.by_key(unit, key)

    def _of_core(self) -> tuple[Replica, dict[bytes, Record]]:
        table = self.book.units[TABLE].digest
        if self._core[0] != table:
            records = {record.key: record for record in self.book.members(TABLE) if core(record)}
            replica = Replica()
            for record in records.values():
                replica.put(record)
            self._core = (table, replica, records)
        return self._core[1:]

    def keepers(self, path: Path) -> list[Neighbour]:
        """The nodes that keep the zone at ``path``, as far as this one sees."""
        if self.shared_out:
            return neighbours.nearest(neighbours.point_of(path), self.ring(), self.spread.copies)
        return neighbours.custodians(path, self.ring())

    def zones(self) -> list[Path]:
        """The zones held here."""
        if self.everything():
            return [ROOT, *sorted(self.book.cuts)]
        held = {self.cluster, *self._watched(), *self.custody()} & self.book.cuts
        return [ROOT, *sorted(held)]

    def holds(self, path: Path) -> bool:
        """Whether this node keeps the zone at ``path``."""
        if path == ROOT or path == self.cluster or self.everything() or path in self._watched():
            return True
        return path in self.custody() if path in self.book.cuts else self._keeps(path)

    def custody(self) -> frozenset[Path]:
        """The zones that this node is custodian of: found once for a ring and the cuts of the tree."""
        found_for = (self.ring(), self.book.outline.shape)
        if self._kept_of[0] is not found_for[0] or self._kept_of[1] != found_for[1]:
            self._kept = frozenset(path for path in self.book.cuts if self._keeps(path))
            self._kept_of = found_for
        return self._kept

    def _keeps(self, path: Path) -> bool:
        ring = self.ring()
        if self.me not in self._listed or neighbours.far(self.me, path, self._points):
            return False
        if self.shared_out:  # who puts a zone here found us; what we know of the others near its key is less than it knew
            return any(n.node_id == self.me for n in neighbours.nearest(neighbours.point_of(path), ring, 2 * self.spread.copies))
        return any(n.node_id == self.me for n in neighbours.custodians(path, ring))

    def keeping(self, path: Path) -> frozenset[bytes]:
        """The ids of a zone's custodians."""
        ring = self.ring()
        found = self._keepers.get(path)
        if found is None:
            found = self._keepers[path] = frozenset(n.node_id for n in neighbours.custodians(path, ring))
        return found

    def everything(self) -> bool:
        """Whether the overlay is small enough that every node keeps every zone."""
        self.ring()
        return len(self.book.cuts) <= self.small and self.book.outline.nodes <= limits.SMALL_NODES and not self.shared_out

    def changed(self, units: Collection[Unit]) -> None:
        """These units changed: views of them are made anew."""
        for unit in units:
            if unit != TABLE:
                self._views.pop(parse_path(unit.removeprefix("zone:")), None)
