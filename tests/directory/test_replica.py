"""Replicas: what two nodes do not have in common, found without sending it (DESIGN 3.5)."""

from __future__ import annotations

from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from overlay.directory.replica import BUCKETS, Replica
from overlay.records.record import MARK, Record
from tests.records.actors import found


@cache
def records() -> tuple[Record, ...]:
    """Thirty names with two versions each: (0, 1), (2, 3) ... are the same identity."""
    overlay = found()
    return tuple(overlay.data(overlay.first, f"eu/home/n{number // 2}", "TXT", str(number)) for number in range(60))


def replica(numbers: set[int]) -> Replica:
    made = Replica()
    for number in sorted(numbers):
        made.put(records()[number])
    return made


numbers = st.sets(st.integers(0, 59))


@given(numbers, numbers)
def test_comparison_finds_exactly_what_differs(ours: set[int], theirs: set[int]) -> None:
    def newest(held: set[int]) -> set[int]:
        return {n for n in held if n % 2 or n + 1 not in held}

    ours, theirs = newest(ours), newest(theirs)
    a, b = replica(ours), replica(theirs)
    buckets = a.differing(b.sums())
    fetch, offer = a.compare(b.listing(buckets), buckets)
    assert set(fetch) == {records()[n].key for n in theirs - ours}
    assert set(offer) == {records()[n].key for n in ours - theirs}
    assert (a.digest == b.digest) == (ours == theirs)


@given(numbers, st.randoms(use_true_random=False))
def test_the_digest_does_not_depend_on_the_order_in_which_records_came_and_went(held: set[int], dice: object) -> None:
    order = sorted(held)
    dice.shuffle(order)  # type: ignore[attr-defined]
    other = Replica()
    for number in order:
        other.put(records()[number ^ 1])  # its other version first
        other.put(records()[number])
    gone = records()[0] if 0 not in held and 1 not in held else None
    if gone is not None:
        other.put(gone)
        other.drop(gone)
    survivors = {n for n in held if n ^ 1 not in held or order.index(n) > order.index(n ^ 1)}
    assert other.digest == replica(survivors).digest
    assert len(other) == len(survivors)


def test_dropping_what_does_not_stand_there_changes_nothing() -> None:
    made = replica({1})
    before = made.sums()
    made.drop(records()[0])  # an older version of it
    made.drop(records()[2])
    assert made.sums() == before


@given(st.binary(max_size=600))
def test_sums_from_outside_of_any_length_are_compared_without_harm(theirs: bytes) -> None:
    assert all(0 <= bucket < BUCKETS for bucket in replica({1, 5}).differing(theirs))


@given(st.lists(st.binary(max_size=40), max_size=20), st.lists(st.integers(0, BUCKETS - 1), max_size=64))
def test_listings_from_outside_ask_for_keys_that_we_lack_only(listing: list[bytes], buckets: list[int]) -> None:
    made = replica({1, 5, 9})
    fetch, offer = made.compare(listing, buckets)
    assert set(fetch) <= {entry[:MARK] for entry in listing}
    assert set(offer) <= {records()[n].key for n in (1, 5, 9)}


def test_a_listing_of_buckets_that_do_not_exist_is_empty() -> None:
    assert replica({1}).listing([-1, BUCKETS, 10**9]) == []
