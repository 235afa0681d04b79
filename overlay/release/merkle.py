"""The tree of hashes by which the octets of a release prove themselves, leaf by leaf (DESIGN 3.9).

Leaves of 16 KiB and the tree of RFC 6962, 2.1: SHA-256 over a zero octet and the leaf, over a one octet and two nodes, an
odd node going up as it is. The root and the length are what is signed. Who has the hashes of all leaves (the *layer*, 32
octets each) checks them against the root once, and then each leaf on arrival: a flipped bit is found within 16 KiB.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from overlay.errors import Malformed
from overlay.identity.keys import DIGEST

LEAF: Final = 16_384  # octets: BEP 52 has the same, and 64 MiB then have a layer of 128 KiB


def leaf_hash(leaf: bytes | memoryview) -> bytes:
    """Of one leaf; all but the last have LEAF octets."""
    hashed = hashlib.sha256(b"\x00")
    hashed.update(leaf)
    return hashed.digest()


def leaves_of(length: int) -> int:
    """How many leaves so many octets have: one at least."""
    return max(1, -(-length // LEAF))


def leaf_span(number: int, length: int) -> tuple[int, int]:
    """(first octet, octets) of a leaf."""
    first = number * LEAF
    return first, min(LEAF, length - first)


def root_of(hashes: Iterable[bytes]) -> bytes:
    """The root over the hashes of all leaves, in order."""
    level = list(hashes)
    assert level, "a tree has a leaf"
    while len(level) > 1:
        above = [hashlib.sha256(b"\x01" + level[at] + level[at + 1]).digest() for at in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            above.append(level[-1])
        level = above
    return level[0]


def layer(hashes: Iterable[bytes]) -> bytes:
    """The hashes of all leaves as they travel."""
    return b"".join(hashes)


def read_layer(data: bytes, length: int, root: bytes) -> list[bytes]:
    """A layer from anywhere -> the hashes of the leaves of so many octets, proved by the root; ``Malformed`` else."""
    if len(data) != DIGEST * leaves_of(length):
        raise Malformed(f"{len(data)} octets of hashes for {leaves_of(length)} leaves", rule="layer-length")
    hashes = [data[at : at + DIGEST] for at in range(0, len(data), DIGEST)]
    if root_of(hashes) != root:
        raise Malformed("the hashes of the leaves do not lead to the signed root", rule="layer-root")
    return hashes


class Growing:
    """The leaves of octets that come in pieces of any size: what is written while it is hashed."""

    def __init__(self) -> None:
        self.length = 0
        self._part = bytearray()
        self._hashes: list[bytes] = []

    def add(self, data: bytes) -> None:
        """The next octets."""
        self.length += len(data)
        self._part += data
        whole = len(self._part) - len(self._part) % LEAF
        if whole:
            with memoryview(self._part) as part:
                self._hashes += [leaf_hash(part[at : at + LEAF]) for at in range(0, whole, LEAF)]
            del self._part[:whole]

    def hashes(self) -> list[bytes]:
        """Of all leaves, once nothing more comes."""
        return [*self._hashes, leaf_hash(bytes(self._part))] if self._part or not self._hashes else list(self._hashes)

