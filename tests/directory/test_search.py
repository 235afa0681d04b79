"""Searching for the nodes nearest to a key: by disjoint paths, within bounds, against liars (DESIGN 3.5; decision 11)."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.lookup import Crowd, Rules, by_search, in_table, member
from overlay import limits
from overlay.directory.neighbours import Neighbour, diverse, nearest, places
from overlay.directory.search import ALPHA, CLOSE, LASTS, PATHS, PATIENCE, Search
from overlay.wire.address import Address

ME = bytes(32)


def crowd(count: int, seed: int = 1, networks: int = 10_000) -> list[Neighbour]:
    dice = Random(seed)
    return sorted((member(dice, network=dice.randrange(networks)) for _ in range(count)), key=lambda n: n.point)


def near(target: int, number: int) -> Neighbour:
    """A node as near as nobody else, in a network of its own."""
    point = target ^ number
    one = member(Random(number), network=number)
    return Neighbour(point.to_bytes(32, "big"), b"", one.addresses, one.cluster, point)


def ids(nodes: Sequence[Neighbour]) -> list[bytes]:
    return [node.node_id for node in nodes]


def carry(search: Search, ring: Sequence[Neighbour], silent: frozenset[bytes] = frozenset()) -> float:
    """Everybody knows everybody and answers at once, but for those who are silent: when the search was over."""
    now = 0.0
    while not search.over:
        asked = search.take()
        for node in asked:
            if node.node_id not in silent:
                search.answered(node.node_id, nearest(search.target, ring, limits.NEAREST), now)
        if not asked:
            now = search.wake_at()
            search.wake(now)
    return now


def test_the_nearest_are_found_from_any_beginning() -> None:
    ring = crowd(500)
    target = 1 << 200
    search = Search(target, ring[-3:], me=ME, now=0.0)
    carry(search, ring)
    assert ids(search.found(CLOSE)) == ids(nearest(target, ring, CLOSE))
    assert search.asked <= 3 + 4 * CLOSE


def test_at_most_three_questions_wait_on_a_path_and_no_node_is_asked_twice() -> None:
    ring = crowd(500)
    search = Search(5, nearest(5, ring, 16), me=ME, now=0.0)
    first = search.take()
    assert len(first) == PATHS * ALPHA
    for node in first:
        search.answered(node.node_id, nearest(5, ring, 16), 0.1)
        search.answered(node.node_id, nearest(5, ring, 16), 0.1)
    every = ids([*first, *search.take()])
    assert len(every) == len(set(every)) == search.asked


def test_whom_a_liar_shows_is_asked_on_its_own_path_alone() -> None:
    ring = crowd(400)
    *seeds, liar = nearest(9, ring, 64)[:15:-1]
    colluders = [near(9, number) for number in range(1, 17)]
    search = Search(9, [liar, *seeds], me=ME, now=0.0)
    asked: list[Neighbour] = []
    while more := search.take():
        asked += more
        for node in more:  # honest nodes do not know the colluders
            search.answered(node.node_id, colluders if node in (liar, *colluders) else nearest(9, ring, 16), 0.0)
    assert len([n for n in asked if n in colluders]) == CLOSE
    honest = [n for n in search.found(limits.QUESTIONS) if n not in colluders]
    assert honest[:CLOSE] == nearest(9, ring, CLOSE), "the other paths do not see where it led"


def test_the_silent_lose_their_place_and_their_late_answers_count() -> None:
    ring = crowd(300)
    near = nearest(7, ring, 16)
    silent = frozenset(ids(near[:2]))
    search = Search(7, near[8:], me=ME, now=0.0)
    assert carry(search, ring, silent) == PATIENCE
    assert search.found(1)[0].node_id == near[2].node_id
    search.answered(near[1].node_id, [], 1.5)
    assert search.found(1)[0].node_id == near[1].node_id


def test_a_search_among_the_silent_is_over_in_bounded_time_and_questions() -> None:
    ring = crowd(3_000)
    search = Search(3, nearest(3, ring, 16), me=ME, now=0.0)
    assert carry(search, ring, frozenset(ids(ring))) <= LASTS
    assert search.found() == []
    assert search.asked <= 16


def test_a_search_led_astray_for_ever_ends_at_its_bound() -> None:
    dice = Random(4)
    search = Search(0, [member(dice, network=n) for n in range(16)], me=ME, now=0.0)
    distance = 1 << 250
    while asked := search.take():
        for node in asked:
            offers = []
            for _ in range(40):  # each nearer than everything before; more than an answer may hold
                distance -= 1 << 200
                point = distance
                offers.append(Neighbour(point.to_bytes(32, "big"), b"", (), node.cluster, point))
            search.answered(node.node_id, offers, 0.0)
    assert search.asked == limits.QUESTIONS
    assert search.counters["searches_cut"] > 0
    assert sum(len(path.known) for path in search._paths) <= PATHS * limits.NEAREST + limits.QUESTIONS


def test_what_was_found_of_no_use_widens_the_search_until_sixteen() -> None:
    ring = crowd(2_000)
    search = Search(11, ring[:4], me=ME, now=0.0)
    sizes = []
    while True:
        carry(search, ring)
        sizes.append(search.asked)
        if not search.widen(LASTS):
            break
    assert sizes == sorted(set(sizes))
    assert ids(search.found(16)) == ids(nearest(11, ring, 16))


def test_a_node_does_not_find_itself() -> None:
    ring = crowd(100)
    me = ring[50]
    search = Search(me.point, ring[:5], me=me.node_id, now=0.0)
    carry(search, ring)
    assert me.node_id not in ids(search.found())


def test_who_keeps_what_is_sought_is_named_in_the_order_of_answers() -> None:
    ring = crowd(50)
    search = Search(2, ring[:6], me=ME, now=0.0)
    first, second, *_ = search.take()
    search.answered(second.node_id, [], 0.0, holds=True)
    search.answered(first.node_id, [], 0.0, holds=True)
    assert list(search.holders) == ids([second, first])


@settings(max_examples=25)
@given(st.data())
def test_whatever_is_answered_bounds_hold(data: st.DataObject) -> None:
    ring = crowd(60)
    search = Search(data.draw(st.integers(0, 2**256 - 1)), data.draw(st.lists(st.sampled_from(ring), max_size=20)), me=ME, now=0.0)
    now = 0.0
    for _ in range(200):
        if search.over:
            break
        now += data.draw(st.floats(0, 0.5))
        for node in search.take():
            match data.draw(st.integers(0, 2)):
                case 0:
                    search.failed(node.node_id, now)
                case 1:
                    search.answered(node.node_id, data.draw(st.lists(st.sampled_from(ring), max_size=30)), now)
        search.wake(now)
    search.wake(LASTS)
    assert search.over and search.asked <= limits.QUESTIONS
    assert len(set(ids(search.found()))) == len(search.found()) <= limits.NEAREST


# -- networks


def test_no_more_than_two_of_a_network_stand_near_a_key_while_there_are_others() -> None:
    dice = Random(1)
    ground = [member(dice, network=7) for _ in range(10)]
    others = [member(dice, network=100 + n) for n in range(5)]
    chosen = diverse([*ground, *others], 4)
    assert chosen == [*ground[:2], *others[:2]]
    assert diverse(ground, 4) == ground[:4], "a LAN of its own loses nothing"


def test_loopback_is_everybodys_and_no_network() -> None:
    assert places((Address("16.0.1.9", 1), Address("16.0.1.10", 1))) == ("16.0.1.0/24",)
    assert places((Address("2001:db8:1:2::3", 1),)) == ("2001:db8:1::/48",)
    assert places((Address("127.0.0.1", 1), Address("::1", 1))) == ()


# -- the simulation, small (benchmarks/lookup.py runs it with 10,000 and 100,000 members)


@pytest.fixture(scope="module")
def thousand() -> Crowd:
    return Crowd.of(1_000, 0.2, 1)


def share(outcomes: Sequence[bool]) -> float:
    return sum(outcomes) / len(outcomes)


def test_with_a_fifth_hostile_99_of_100_look_ups_in_the_table_are_right_and_quick(thousand: Crowd) -> None:
    outcomes = [in_table(thousand, Rules()) for _ in range(300)]
    assert share([o.right for o in outcomes]) >= 0.99
    times = sorted(o.seconds for o in outcomes)
    assert times[150] <= 0.12 and times[285] <= 0.4


def test_with_a_fifth_hostile_99_of_100_searches_are_right(thousand: Crowd) -> None:
    outcomes = [by_search(thousand, Rules()) for _ in range(100)]
    assert share([o.right for o in outcomes]) >= 0.99
    assert sum(o.questions for o in outcomes) / 100 <= 40


def test_ids_ground_towards_a_key_in_one_network_take_nothing_away(thousand: Crowd) -> None:
    assert share([by_search(thousand, Rules(), (1_000, 1)).right for _ in range(50)]) >= 0.98


def test_without_signatures_most_searches_are_lost(thousand: Crowd) -> None:
    assert share([by_search(thousand, Rules(signed=False)).right for _ in range(10)]) < 0.7
