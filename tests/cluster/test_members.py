"""Membership: SWIM with Lifeguard among honest members, in virtual time, and what a lying one can do (DESIGN 3.6; GOALS, "Cluster")."""

from __future__ import annotations

import statistics
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay import limits
from overlay.cluster.member import COUNT, Card, Kind, News, Word, read
from overlay.cluster.members import CLEARED, Membership
from overlay.cluster.outputs import Life, Tell
from overlay.cluster.suspicion import lasts, shortest
from overlay.errors import Malformed
from overlay.session.packet import FRAMES_ROOM
from overlay.wire.address import Address
from overlay.wire.codec import decode, encode
from tests.cluster.swarm import Swarm, node_id

FIT = 16  # octets of a message's frame around a word


def met(members: int, seed: int = 1, **net: float) -> Swarm:
    """So many that know each other and are quiet."""
    swarm = Swarm(members, seed, **net)  # type: ignore[arg-type]
    swarm.meet()
    swarm.run(3.0)
    return swarm


def lie(swarm: Swarm, liar: int, *news: News, to: range | None = None) -> None:
    """One member tells others what it likes."""
    for number in to or range(len(swarm.ones)):
        if number != liar:
            word = Word(kind=Kind.GOSSIP, order=(1, 0), news=news).body()
            swarm.do(number, lambda machine, word=word: machine.receive(node_id(liar), decode(encode(word)), swarm.now))  # type: ignore[misc]


def card(number: int, incarnation: int = 1, version: int = 0) -> Card:
    return Card(node_id=node_id(number), exchange=node_id(number), incarnation=incarnation, version=version)


# -- among honest members


def test_a_join_is_known_to_twenty_within_four_tenths_of_a_second() -> None:
    took = []
    for seed in range(5):
        swarm = met(20, seed)
        swarm.crash(19)
        swarm.run(20.0)
        swarm.restart(19, 2)
        took.append(swarm.run_until(lambda swarm=swarm: swarm.all_say(19, Life.ALIVE), 30.0))  # type: ignore[misc]
    assert None not in took and max(took) <= 0.4  # type: ignore[type-var]


def test_a_crash_is_known_to_twenty_within_four_seconds_as_a_rule_and_nobody_else_is_blamed() -> None:
    took = []
    for seed in range(7):
        swarm = met(20, seed)
        swarm.crash(7)
        took.append(swarm.run_until(lambda swarm=swarm: swarm.all_say(7, Life.DEAD), 30.0) or 99.0)  # type: ignore[misc]
        assert swarm.alarms() == 0
    assert statistics.median(took) <= 4.1 and max(took) <= 6.0


def test_a_crash_is_known_to_a_hundred_within_ten_seconds() -> None:
    swarm = met(100)
    swarm.crash(50)
    took = swarm.run_until(lambda: swarm.all_say(50, Life.DEAD), 30.0)
    assert took is not None and took <= 10.0


def test_two_are_enough_and_one_is_quiet() -> None:
    swarm = met(2)
    swarm.crash(1)
    assert swarm.run_until(lambda: swarm.all_say(1, Life.DEAD), 10.0) is not None
    alone = Membership(node_id(0), card(0), lambda n: bytes(n), 0.0)
    assert alone.wake_at() == float("inf") and alone.alive() == {node_id(0)}


def test_a_farewell_is_believed_of_who_says_it() -> None:
    swarm = met(20)
    swarm.do(3, lambda machine: machine.leave(swarm.now))
    swarm.run(0.01)
    for number in range(20):
        swarm.do(number, lambda machine: machine.lost(node_id(3), True, swarm.now))
    swarm.crash(3)
    assert swarm.all_say(3, Life.LEFT)
    swarm.run(30.0)
    assert swarm.all_say(3, Life.LEFT)


def test_who_restarts_is_alive_at_once_though_it_counts_as_dead() -> None:
    swarm = met(10)
    swarm.crash(4)
    assert swarm.run_until(lambda: swarm.all_say(4, Life.DEAD), 30.0) is not None
    swarm.restart(4, 2)
    assert swarm.run_until(lambda: swarm.all_say(4, Life.ALIVE), 1.0) is not None


def test_a_disk_that_was_put_back_leaves_its_node_a_member() -> None:
    swarm = Swarm(10, 1)
    swarm.ones[4].machine = swarm.machine(4, incarnation=9)
    swarm.meet()
    swarm.run(3.0)
    swarm.restart(4, 2)
    swarm.run(5.0)
    lie(swarm, 0, News(card(4, 9), Life.SUSPECT, node_id(0)))
    swarm.run(30.0)
    assert swarm.all_say(4, Life.ALIVE)


@pytest.mark.parametrize("seconds", [2.0, 10.0])
def test_a_sleeper_that_wakes_blames_nobody(seconds: float) -> None:
    swarm = met(20)
    swarm.stall(5, seconds)
    swarm.run(seconds + 10.0)
    assert not [who for _, who, about, life in swarm.heard if who == 5 and life is Life.DEAD]
    assert swarm.all_say(5, Life.ALIVE)


def test_stalls_of_two_seconds_and_loss_raise_no_alarm() -> None:
    swarm = met(10, 3, loss=0.05)
    for _ in range(40):
        swarm.stall(swarm.dice.randrange(10), 2.0)
        swarm.run(4.0)
    assert swarm.alarms() == 0


def test_the_parts_of_a_split_find_each_other_again() -> None:
    swarm = met(8)
    swarm.parts = dict.fromkeys(range(4), 1)
    swarm.run(30.0)
    assert swarm.ones[0].machine.alive() == {node_id(number) for number in range(4)}
    swarm.parts = {}
    assert swarm.run_until(lambda: all(len(one.machine.alive()) == 8 for one in swarm.ones), 60.0) is not None


@settings(max_examples=12)  # 0.3 s each
@given(st.integers(0, 2**32), st.floats(0.0, 0.2), st.floats(0.0, 0.2))
def test_once_it_is_quiet_all_agree_whatever_was_lost_or_doubled(seed: int, loss: float, duplicate: float) -> None:
    swarm = met(5, seed, loss=loss, duplicate=duplicate)
    goes, back = swarm.dice.sample(range(1, 5), 2)
    swarm.crash(goes)
    swarm.crash(back)
    swarm.run(swarm.dice.uniform(0.0, 8.0))
    swarm.restart(back, 2)
    swarm.run(5.0)
    swarm.loss = swarm.duplicate = 0.0
    swarm.run(40.0)
    assert set(swarm.lives(goes)) <= {Life.DEAD, None}  # None: who came back has never met it
    assert all(swarm.all_say(number, Life.ALIVE) for number in range(5) if number != goes)


def test_idle_traffic_is_well_below_a_kilobyte_a_second() -> None:
    swarm = met(20)
    swarm.run(20.0)
    before = swarm.octets
    swarm.run(20.0)
    assert (swarm.octets - before) / 20 / 20 <= 500


def test_new_addresses_are_known_to_all_also_where_a_word_without_them_came_first() -> None:
    swarm = met(20)
    swarm.run(20.0)
    moved = (Address("10.9.9.9", 7653),)
    mover = swarm.ones[3].machine
    mover.change(moved, swarm.now)
    order = mover._card.order
    for one in swarm.ones[4:]:
        one.machine.receive(node_id(3), Word(kind=Kind.ACK, number=1, order=order).body(), swarm.now)  # its news is still on the way
    swarm.run(5.0)
    known = [one.machine.card(node_id(3)) for number, one in enumerate(swarm.ones) if number != 3]
    assert [one.addresses for one in known if one is not None] == [moved] * 19


# -- among members of whom one lies


@pytest.mark.parametrize("life", [Life.SUSPECT, Life.DEAD, Life.LEFT])
def test_what_one_says_of_another_ends_nobody(life: Life) -> None:
    swarm = met(10)
    for _ in range(20):
        lie(swarm, 0, *(News(card(number, 1, 5), life, node_id(number + 1)) for number in range(2, 8)))
        swarm.run(1.0)
    swarm.run(10.0)
    assert swarm.alarms() == 0
    for number in range(1, 10):
        assert swarm.all_say(number, Life.ALIVE), number


def test_nobody_is_a_member_because_it_was_named_and_few_are_asked() -> None:
    swarm = met(5)
    asked = []
    for n in range(100):
        word = Word(kind=Kind.GOSSIP, order=(1, 0), news=tuple(News(card(1_000 + 8 * n + m), Life.ALIVE) for m in range(8))).body()
        machine = swarm.ones[1].machine
        machine.receive(node_id(0), word, swarm.now)
        asked += [tell for tell in machine.take() if isinstance(tell, Tell) and tell.to not in swarm.numbers]
    assert len(swarm.ones[1].machine.alive()) == 5
    assert len(asked) <= limits.MEMBER_HINTS
    assert swarm.ones[1].machine.counters["drop:members-hints"]


def test_the_dead_are_not_revived_by_hearsay() -> None:
    swarm = met(10)
    swarm.crash(5)
    for n in range(40):
        swarm.run(2.0)
        lie(swarm, 0, News(card(5, 1, n + 1), Life.ALIVE), to=range(1, 5))
    assert all(one.machine.members()[node_id(5)].life is Life.DEAD for one in swarm.ones[1:5])
    assert CLEARED <= 2  # so much longer a liar can keep a dead one up: a suspicion each


def test_who_gossips_and_never_answers_is_found_dead() -> None:
    swarm = met(6)
    mute = swarm.ones[5]
    mute.up = False
    for _ in range(60):
        lie(swarm, 5, News(card(1), Life.ALIVE), to=range(5))
        swarm.run(0.5)
    assert swarm.all_say(5, Life.DEAD)


def test_absurd_counts_said_of_another_are_ignored_and_said_of_us_do_not_overflow() -> None:
    swarm = met(4)
    lie(swarm, 0, News(card(2, COUNT, COUNT), Life.SUSPECT, node_id(0)), News(card(3, 10**9), Life.ALIVE))
    swarm.run(10.0)
    assert swarm.all_say(2, Life.ALIVE) and swarm.all_say(3, Life.ALIVE)


def test_a_full_cluster_takes_nobody_and_says_so() -> None:
    machine = Membership(node_id(0), card(0), lambda n: bytes(n), 0.0)
    for number in range(1, limits.MEMBERS + 10):
        machine.greet(node_id(number), node_id(number), 0.0)
    assert len(machine.alive()) == limits.MEMBERS + 1
    assert machine.counters["drop:members-full"] == 9


# -- words


def test_every_word_fits_a_datagram() -> None:
    addresses = tuple(Address(f"2001:db8::{n}", 65_535) for n in range(4))
    machine = Membership(node_id(0), card(0), lambda n: bytes(n), 0.0)
    for number in range(1, 30):
        machine.greet(node_id(number), node_id(number), 0.0)
        word = Word(kind=Kind.PING, number=2**32 - 1, order=(COUNT, COUNT), news=(
            News(Card(node_id=node_id(100 + number), exchange=node_id(1), addresses=addresses, incarnation=COUNT, version=COUNT), Life.ALIVE),
        ))  # fmt: skip
        machine.receive(node_id(number), word.body(), 0.0)
    machine.leave(0.1)
    machine.wake(1.0)
    told = [tell for tell in machine.take() if isinstance(tell, Tell)]
    assert len(told) > 60
    assert max(len(encode(tell.body)) for tell in told) + FIT <= FRAMES_ROOM


def test_what_is_said_reads_as_it_was_meant() -> None:
    word = Word(kind=Kind.ASK, number=7, order=(3, 4), target=node_id(1), news=(News(card(2), Life.SUSPECT, node_id(3)),))
    assert read(decode(encode(word.body()))) == word


PLAIN = st.none() | st.booleans() | st.integers(-1, 2**50) | st.binary(max_size=40)
BODIES = st.recursive(PLAIN, lambda part: st.lists(part, max_size=7) | st.dictionaries(st.integers(0, 6), part, max_size=6), max_leaves=20)


@given(BODIES)
def test_of_anything_else_only_malformed_is_raised(body: object) -> None:
    machine = Membership(node_id(0), card(0), lambda n: bytes(n), 0.0)
    for take in (machine.receive, machine.merge):
        with suppress(Malformed):
            take(node_id(1), body, 0.0)


def test_suspicion_is_shorter_the_more_agree_and_never_shorter_than_a_stall() -> None:
    for members in (2, 3, 5, 20, 100, 500):
        durations = [lasts(agreed, members) for agreed in range(6)]
        assert durations == sorted(durations, reverse=True)
        assert durations[-1] == shortest(members) >= 2.4
