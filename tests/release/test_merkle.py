"""The tree by which octets prove themselves: RFC 6962's, over leaves of 16 KiB."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay.errors import Malformed
from overlay.release.merkle import LEAF, Growing, layer, leaf_hash, leaf_span, leaves_of, read_layer, root_of
from tests.records.actors import refused


def by_the_rfc(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, 2.1, word for word."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while 2 * split < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + by_the_rfc(leaves[:split]) + by_the_rfc(leaves[split:])).digest()


@given(st.integers(1, 40))
def test_the_root_is_that_of_the_rfc(count: int) -> None:
    leaves = [bytes([number]) * 3 for number in range(count)]
    assert root_of(map(leaf_hash, leaves)) == by_the_rfc(leaves)


@given(st.integers(0, 4 * LEAF), st.lists(st.integers(1, LEAF + 7), max_size=20))
def test_pieces_of_any_size_make_the_same_leaves(length: int, sizes: list[int]) -> None:
    data = bytes(range(256)) * (length // 256 + 1)
    data, growing, at = data[:length], Growing(), 0
    for size in [*sizes, length]:
        growing.add(data[at : at + size])
        at += size
    assert growing.length == length
    assert growing.hashes() == [leaf_hash(data[first : first + LEAF]) for first in range(0, max(1, length), LEAF)]
    assert len(growing.hashes()) == leaves_of(length)


def test_the_last_leaf_is_what_is_left() -> None:
    assert [leaf_span(number, 2 * LEAF + 5) for number in range(3)] == [(0, LEAF), (LEAF, LEAF), (2 * LEAF, 5)]


@pytest.mark.parametrize("change", ["short", "long", "flipped", "swapped"])
def test_hashes_that_do_not_lead_to_the_root_are_refused(change: str) -> None:
    hashes = [leaf_hash(bytes([number])) for number in range(5)]
    root = root_of(hashes)
    told = layer(hashes)
    assert read_layer(told, 4 * LEAF + 1, root) == hashes
    wrong = {
        "short": told[:-32], "long": told + bytes(32), "flipped": told[:-1] + bytes([told[-1] ^ 1]), "swapped": told[32:64] + told[:32] + told[64:],
    }[change]
    with refused("layer-length" if change in ("short", "long") else "layer-root", Malformed):
        read_layer(wrong, 4 * LEAF + 1, root)
