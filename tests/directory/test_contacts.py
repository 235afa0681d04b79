"""Contacts: who is remembered of a large overlay, and that a crowd of strangers displaces nobody who lives (DESIGN 3.5)."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.lookup import member
from overlay import limits
from overlay.directory.contacts import DEEPEST, QUIET, WAITING, Contacts
from overlay.directory.neighbours import Neighbour
from overlay.name import parse_path

ME = bytes(32)
HOME = parse_path("eu/home")


def far(number: int, *, network: int | None = None) -> Neighbour:
    """A node in the other half of the ring: the same bucket for all of them."""
    one = member(Random(number), network=number if network is None else network)
    point = 1 << 255 | one.point >> 1
    return Neighbour(point.to_bytes(32, "big"), b"", one.addresses, one.cluster, point)


def full(*, heard: bool) -> tuple[Contacts, list[Neighbour]]:
    contacts, nodes = Contacts(ME, HOME), [far(n) for n in range(limits.BUCKET)]
    for node in nodes:
        if heard:
            contacts.heard(node, 0.0, crowded=True)
        else:
            contacts.told(node, crowded=True)
    return contacts, nodes


def test_strangers_displace_nobody_who_answers() -> None:
    contacts, nodes = full(heard=True)
    for number in range(100, 1_100):
        contacts.heard(far(number), 1.0, crowded=True)
    assert list(contacts) == nodes
    assert contacts.counters["contacts_waiting"] == 1_000


def test_who_has_answered_takes_the_place_of_hearsay_and_hearsay_of_nobody() -> None:
    contacts, nodes = full(heard=False)
    contacts.told(far(100), crowded=True)
    assert far(100).node_id not in contacts
    contacts.heard(far(101), 1.0, crowded=True)
    assert far(101).node_id in contacts and nodes[0].node_id not in contacts


def test_a_stranger_comes_in_when_the_longest_silent_contact_does_not_answer_its_ping() -> None:
    contacts, nodes = full(heard=True)
    contacts.heard(nodes[0], 50.0, crowded=True)
    contacts.heard(far(100), 60.0, crowded=True)
    assert contacts.to_ping(QUIET - 1) is None, "heard of a moment ago"
    assert contacts.to_ping(QUIET) == nodes[1]
    assert contacts.to_ping(QUIET) is None, "one at a time"
    contacts.failed(nodes[1].node_id)
    assert nodes[1].node_id not in contacts and far(100).node_id in contacts


def test_a_ping_that_is_answered_keeps_the_place() -> None:
    contacts, nodes = full(heard=True)
    contacts.heard(far(100), 60.0, crowded=True)
    pinged = contacts.to_ping(QUIET)
    assert pinged is not None
    contacts.heard(pinged, QUIET, crowded=True)
    assert list(contacts) == nodes
    assert contacts.to_ping(QUIET) == nodes[1]


def test_while_nobody_waits_a_silent_contact_is_kept() -> None:
    contacts, nodes = full(heard=True)
    contacts.failed(nodes[3].node_id)
    assert nodes[3].node_id in contacts


def test_one_network_has_two_places_of_a_bucket_unless_there_are_few_nodes_or_it_is_the_own_cluster() -> None:
    contacts = Contacts(ME, HOME)
    for number in range(5):
        contacts.heard(far(number, network=7), 0.0, crowded=True)
    assert len(contacts) == limits.SAME_NETWORK
    assert contacts.counters["contacts_same_network"] == 3
    few = Contacts(ME, HOME)
    for number in range(5):
        few.heard(far(number, network=7), 0.0, crowded=False)
    assert len(few) == 5
    own = Contacts(ME, HOME)
    for number in range(5):
        one = far(number, network=7)
        own.heard(Neighbour(one.node_id, b"", one.addresses, HOME, one.point), 0.0, crowded=True)
    assert len(own) == 5


def test_a_newer_record_takes_the_place_of_the_older_and_what_is_over_goes() -> None:
    contacts, nodes = full(heard=True)
    moved = Neighbour(nodes[0].node_id, b"", far(50).addresses, nodes[0].cluster, nodes[0].point)
    contacts.told(moved, crowded=True)
    assert moved in list(contacts) and nodes[0] not in list(contacts)
    contacts.drop(nodes[0].node_id)
    assert nodes[0].node_id not in contacts


@settings(max_examples=50)
@given(st.lists(st.tuples(st.binary(min_size=32, max_size=32), st.integers(0, 3)), max_size=80))
@pytest.mark.parametrize("crowded", [False, True])
def test_memory_is_bounded_and_nobody_stands_twice(crowded: bool, heard: list[tuple[bytes, int]]) -> None:
    contacts = Contacts(ME, HOME, size=2)
    now = 0.0
    for node_id, act in heard:
        now += QUIET / 2
        node = Neighbour(node_id, b"", (), HOME, int.from_bytes(node_id, "big"))
        match act:
            case 0:
                contacts.heard(node, now, crowded=crowded)
            case 1:
                contacts.told(node, crowded=crowded)
            case 2:
                contacts.failed(node_id)
            case _:
                pinged = contacts.to_ping(now)
                if pinged is not None:
                    contacts.failed(pinged.node_id)
    known = [node.node_id for node in contacts]
    assert len(known) == len(set(known)) == len(contacts)
    assert ME not in known
    assert len(contacts._buckets) <= DEEPEST + 1
    assert all(len(bucket.live) <= 2 and len(bucket.waiting) <= WAITING for bucket in contacts._buckets.values())
