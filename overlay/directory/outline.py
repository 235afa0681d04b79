"""The outline of the tree as the table shows it: zone cuts, gateways, who owns which paths; kept as records come and go.

It decides which zones a change touches, so that a node that knows of 10,000 clusters looks at one of them again and not
at all. Zone cuts stand where somebody holds `sign` (DESIGN 3.8). What a record says anew in the same words touches
nothing. It judges nothing: records in it are the book's.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterable

from overlay.directory.view import GatewayEntry
from overlay.name import ROOT, Path
from overlay.records import rights
from overlay.records.kinds import Cluster
from overlay.records.record import Identity, Record


class Outline:
    """Cuts, gateways and owners. ``named`` says whether a gateway may call itself what it does."""

    def __init__(self, named: Callable[[bytes, Path, Path], bool]) -> None:
        self.cuts: set[Path] = set()  # paths below the root where somebody holds `sign`
        self.version = 0  # counts what can be seen to change of the gateways
        self.shape = 0  # counts cuts that came or went
        self.owned: dict[Path, Counter[bytes]] = {}  # who owns paths by more than a name
        self.touched: set[Path] = set()  # zones that look otherwise, since last asked
        self.reshaped = False  # whether cuts came or went, since last asked
        self.nodes = 0  # so many as the gateways count in their clusters
        self._named = named
        self._at: dict[tuple[str, ...], Path] = {}
        self._below: dict[Path, set[Path]] = {ROOT: set()}
        self._deep: Counter[tuple[str, ...]] = Counter()  # labels -> cuts strictly below them
        self._signing: Counter[Path] = Counter()  # grants of `sign` on a path
        self._issued: dict[Path, int] = {}  # the newest of them, UTC seconds
        self._gates: dict[Identity, GatewayEntry] = {}
        self._said: dict[Path, set[Identity]] = {}  # what gateways call themselves -> their cluster records
        self._records: dict[Identity, tuple[Record, Cluster]] = {}
        self._order: list[tuple[tuple[str, ...], bytes]] = []
        self._sorted: dict[tuple[tuple[str, ...], bytes], GatewayEntry] = {}
        self._by_path: dict[Path, dict[bytes, GatewayEntry]] = {}
        self._marks: dict[tuple[tuple[str, ...], bytes], bytes] = {}  # what of each is in a zone's digest
        self._dates: dict[tuple[tuple[str, ...], bytes], int] = {}  # UTC seconds at which each was said
        self._heads: dict[Path, dict[bytes, int]] = {}  # zone -> builder -> when it vouched for it

    # -- cuts

    def zone_of(self, name: Path) -> Path:
        """The path of the zone that a name stands in: the nearest cut at or above it, else the root."""
        for end in range(len(name.labels), 0, -1):
            cut = self._at.get(name.labels[:end])
            if cut is not None:
                return cut
        return ROOT

    def below(self, zone: Path) -> set[Path]:
        """The cuts directly below a zone: no other between."""
        return self._below.get(zone, set())

    def issued(self, cuts: Iterable[Path]) -> int:
        """The newest date of the grants that make these cuts."""
        return max((self._issued[cut] for cut in cuts), default=0)

    def signs(self, grant: Record) -> bool:
        """A grant of `sign` came. True where it makes a cut that was none."""
        self._signing[grant.name] += 1
        self._issued[grant.name] = max(self._issued.get(grant.name, 0), grant.issued)
        if grant.name in self.cuts:
            return False
        cut, zone = grant.name, self.zone_of(grant.name)
        moved = self._cuts_under(cut, zone)
        self._below[zone] -= moved
        self._below[zone].add(cut)
        self._below[cut] = moved
        self.cuts.add(cut)
        self._deep.update(cut.labels[:end] for end in range(len(cut)))
        self._at[cut.labels] = cut
        self.touched |= {zone, cut}
        self._reshape()
        return True

    def signs_no_more(self, grant: Record) -> bool:
        """A grant of `sign` went. True where its cut goes with it."""
        cut = grant.name
        self._signing[cut] -= 1
        if self._signing[cut] > 0:
            return False
        del self._signing[cut], self._issued[cut], self._at[cut.labels]
        self.cuts.discard(cut)
        self._deep.subtract(cut.labels[:end] for end in range(len(cut)))
        zone = self.zone_of(cut)
        self._below[zone].discard(cut)
        self._below[zone] |= self._below.pop(cut)
        self.touched.add(zone)
        self.touched.discard(cut)
        self._reshape()
        return True

    def _cuts_under(self, name: Path, zone: Path) -> set[Path]:
        """The cuts directly below a zone that stand strictly below a name in it: most names have none."""
        if self._deep[name.labels] <= 0:
            return set()
        return {cut for cut in self._below.get(zone, ()) if cut != name and name.covers(cut)}

    def _reshape(self) -> None:
        self.reshaped = True
        self.shape += 1

    # -- owners

    def owns(self, grant: Record, held: int) -> None:
        """A grant of the table came (``held`` 1) or went (-1): whoever owns a path by it speaks for what lies below."""
        given = grant.body.get(1, ())
        if rights.OWN not in given:
            return
        items = self.owned.setdefault(grant.name, Counter())
        items[grant.item] += held
        if items[grant.item] <= 0:
            del items[grant.item]
        if not items:
            del self.owned[grant.name]
        self.touched |= {self.zone_of(grant.name), self.zone_of(grant.name.parent)}
        self.touched |= self._cuts_under(grant.name, self.zone_of(grant.name))

    # -- heads

    def vouched(self, record: Record, held: int) -> None:
        """A head came (``held`` 1) or went (-1)."""
        heads = self._heads.setdefault(record.name, {})
        if held > 0:
            heads[record.signer] = record.issued
        elif heads.get(record.signer) == record.issued:
            del heads[record.signer]
        if not heads:
            del self._heads[record.name]
        self.touched.add(record.name)

    def head_issued(self, zone: Path) -> int | None:
        """When somebody last vouched for a zone (UTC seconds)."""
        return max(self._heads.get(zone, {}).values(), default=None)

    # -- gateways

    def gateways(self) -> list[GatewayEntry]:
        """All that count, by path and node id."""
        return [self._sorted[key] for key in self._order]

    def shown(self, entries: Iterable[GatewayEntry]) -> tuple[int, bytes]:
        """(the newest date of those entries, what of them goes into a zone's digest)."""
        keys = [(entry.path.labels, entry.node_id) for entry in entries]
        return max((self._dates[key] for key in keys), default=0), b"".join(self._marks[key] for key in keys)

    def gateways_of(self, paths: Iterable[Path]) -> list[GatewayEntry]:
        """Those of these clusters, by path and node id."""
        return [entry for path in sorted(paths) for _, entry in sorted(self._by_path.get(path, {}).items())]

    def speaks(self, record: Record, body: Cluster) -> None:
        """A cluster record came, or came anew."""
        self._forget(record.identity)
        self._records[record.identity] = (record, body)
        self._said.setdefault(body.node, set()).add(record.identity)
        self._look(record, body)

    def speaks_no_more(self, record: Record) -> None:
        """A cluster record went."""
        self._forget(record.identity)
        self._take_out(record)

    def look_again(self, name: Path) -> None:
        """Whose that name is may have changed: gateways that call themselves so are looked at again."""
        for identity in self._said.get(name, ()):
            self._look(*self._records[identity])

    def _forget(self, identity: Identity) -> None:
        held = self._records.pop(identity, None)
        if held is not None:
            said = self._said[held[1].node]
            said.discard(identity)
            if not said:
                del self._said[held[1].node]

    def _look(self, record: Record, body: Cluster) -> None:
        if body.withdrawn or not self._named(record.signer, body.node, record.name):
            self._take_out(record)
            return
        old = self._gates.get(record.identity)
        entry = old if old is not None and old.cluster == body else GatewayEntry(path=record.name, node_id=record.signer, cluster=body)
        self._gates[record.identity] = entry
        key = (record.name.labels, record.signer)
        if old is None:
            insort(self._order, key)
        before = self._count(record.name)
        self._sorted[key] = self._by_path.setdefault(record.name, {})[record.signer] = entry
        self.nodes += self._count(record.name) - before
        self._dates[key] = record.issued
        if old is None or not same_to_zones(old.cluster, body):
            self._marks[key] = hashlib.blake2s(repr((key, body.addresses, str(body.node), body.dns)).encode(), digest_size=8).digest()
            self.reshaped = True
            self._shows(record.name)

    def _take_out(self, record: Record) -> None:
        if self._gates.pop(record.identity, None) is None:
            return
        key = (record.name.labels, record.signer)
        before = self._count(record.name)
        del self._order[bisect_left(self._order, key)]
        del self._sorted[key], self._by_path[record.name][record.signer], self._marks[key], self._dates[key]
        self.nodes += self._count(record.name) - before
        self.reshaped = True
        if not self._by_path[record.name]:
            del self._by_path[record.name]
        self._shows(record.name)

    def _count(self, path: Path) -> int:
        return max((entry.cluster.nodes for entry in self._by_path.get(path, {}).values()), default=0)

    def _shows(self, path: Path) -> None:
        self.version += 1
        self.touched |= {ROOT, self.zone_of(path), self.zone_of(path.parent)}


def same_to_zones(one: Cluster, other: Cluster) -> bool:
    """Whether two cluster records look the same in every zone."""
    return all(getattr(one, field) == getattr(other, field) for field in ("exchange", "addresses", "node", "dns", "withdrawn"))
