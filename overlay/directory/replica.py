"""One unit of replication as two nodes compare it: buckets of short digests (DESIGN 3.5, "reconciled by digest").

It decides which records two nodes do not have in common, without sending them. A record's key is a hash of its
identity, its mark the first octets of its digest; 64 buckets each hold the sum of their marks, so a comparison costs
512 octets, and then only the buckets that differ. Sums are no proof of anything: records prove themselves.
"""

from __future__ import annotations

from collections.abc import Iterable

from overlay.records.record import MARK, Record

BUCKETS = 64
_WRAP = 2**64


class Replica:
    """The keys and marks of one unit."""

    __slots__ = ("_buckets", "_sums", "total")

    def __init__(self) -> None:
        self._buckets: dict[int, dict[bytes, bytes]] = {}  # those alone that hold something: most units are small, and many
        self._sums: dict[int, int] = {}
        self.total = 0  # sum of all marks mod 2**64

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))

    def put(self, record: Record) -> None:
        """Add a record, replacing what stood under its identity."""
        key, mark = record.key, record.mark
        number = key[0] % BUCKETS
        bucket = self._buckets.setdefault(number, {})
        self._change(number, bucket.get(key), mark)
        bucket[key] = mark

    def drop(self, record: Record) -> None:
        """Take a record out, where it is the one that stands there."""
        key = record.key
        number = key[0] % BUCKETS
        bucket = self._buckets.get(number, {})
        if bucket.get(key) == record.mark:
            self._change(number, bucket.pop(key), None)

    def _change(self, number: int, old: bytes | None, new: bytes | None) -> None:
        delta = (int.from_bytes(new, "big") if new else 0) - (int.from_bytes(old, "big") if old else 0)
        self._sums[number] = (self._sums.get(number, 0) + delta) % _WRAP
        self.total = (self.total + delta) % _WRAP

    @property
    def digest(self) -> bytes:
        """8 octets over the whole unit."""
        return self.total.to_bytes(MARK, "big")

    def sums(self) -> bytes:
        """512 octets: 8 a bucket."""
        return b"".join(self._sums.get(n, 0).to_bytes(MARK, "big") for n in range(BUCKETS))

    def differing(self, theirs: bytes) -> list[int]:
        """The buckets in which the other side's :meth:`sums` are not ours."""
        ours = self.sums()
        return [n for n in range(BUCKETS) if ours[n * MARK : n * MARK + MARK] != theirs[n * MARK : n * MARK + MARK]]

    def listing(self, buckets: Iterable[int]) -> list[bytes]:
        """Key and mark (16 octets) of each record in those buckets."""
        return [key + mark for n in buckets for key, mark in self._buckets.get(n, {}).items()]

    def lacking(self, listing: Iterable[bytes]) -> list[bytes]:
        """The keys in a listing that stand for something else here, or for nothing."""
        return [entry[:MARK] for entry in listing if self._buckets.get(entry[0] % BUCKETS, {}).get(entry[:MARK]) != entry[MARK:]]

    def compare(self, listing: Iterable[bytes], buckets: Iterable[int]) -> tuple[list[bytes], list[bytes]]:
        """(keys that they have otherwise or we lack, keys that we have otherwise or they lack) in those buckets."""
        theirs = {entry[:MARK]: entry[MARK:] for entry in listing}
        ours = {key: mark for n in buckets for key, mark in self._buckets.get(n, {}).items()}
        fetch = [key for key, mark in theirs.items() if ours.get(key) != mark]
        offer = [key for key, mark in ours.items() if theirs.get(key) != mark]
        return fetch, offer
