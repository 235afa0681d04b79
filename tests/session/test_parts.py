"""The replay window, timers and frames by themselves, each against the plainest model of it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from overlay import limits
from overlay.session.frames import MOST, decoded, packets
from overlay.session.packet import FRAMES_ROOM
from overlay.session.replay import ReplayWindow
from overlay.session.timers import Timers
from overlay.wire.codec import decode, encode

NEAR = st.one_of(st.integers(0, 60), st.integers(limits.REPLAY_WINDOW - 40, limits.REPLAY_WINDOW + 40), st.integers(0, 2**64 - 1))


@settings(max_examples=200, deadline=500)
@given(numbers=st.lists(NEAR, max_size=60))
def test_each_number_is_taken_once_and_none_from_behind_the_window(numbers: list[int]) -> None:
    window, taken = ReplayWindow(), set[int]()
    for number in numbers:
        highest = max(taken, default=-1)
        wanted = number not in taken and number > highest - limits.REPLAY_WINDOW
        assert window.fresh(number) == wanted
        if wanted:
            window.mark(number)
            taken.add(number)
            assert window.highest == max(taken)


def test_the_window_is_8128_packets() -> None:
    window = ReplayWindow()
    window.mark(10_000)
    assert window.fresh(10_000 - 8_127)
    assert not window.fresh(10_000 - 8_128)


def test_a_far_jump_forgets_all_that_was_seen_and_takes_none_of_it() -> None:
    window = ReplayWindow()
    window.mark(5)
    window.mark(2**63)
    assert not window.fresh(5)
    assert not window.fresh(2**63)
    assert window.fresh(2**63 - 1)


@settings(max_examples=200, deadline=500)
@given(acts=st.lists(st.tuples(st.sampled_from("abcd"), st.floats(0, 100)), max_size=40))
def test_no_subject_is_looked_at_later_than_its_earliest_date(acts: list[tuple[str, float]]) -> None:
    timers: Timers[str] = Timers()
    earliest: dict[str, float] = {}
    for subject, due in acts:
        timers.at(subject, due)
        earliest[subject] = min(due, earliest.get(subject, due))
    seen = []
    while (now := timers.next()) is not None:
        for subject in timers.due(now):
            assert earliest.pop(subject) == now
            seen.append(now)
    assert not earliest
    assert seen == sorted(seen)


def test_later_dates_cost_no_entry_and_forgotten_subjects_are_not_given() -> None:
    timers: Timers[str] = Timers()
    for n in range(100):
        timers.at("a", 5.0 + n)
    timers.at("b", 1.0)
    assert len(timers) == 2
    timers.forget("b")
    assert timers.next() == 5.0
    assert list(timers.due(10.0)) == ["a"]
    assert timers.next() is None


@settings(max_examples=100, deadline=500)
@given(sizes=st.lists(st.integers(0, FRAMES_ROOM - 10), max_size=60))
def test_frames_arrive_in_order_in_packets_that_fit_and_are_canonical(sizes: list[int]) -> None:
    frames = [[1, n, bytes(size)] for n, size in enumerate(sizes)]
    plaintexts = list(packets([encode(frame) for frame in frames]))
    assert all(len(plaintext) <= FRAMES_ROOM + 1 for plaintext in plaintexts)
    assert [frame for plaintext in plaintexts for frame in decoded(plaintext)] == frames
    assert all(len(decode(plaintext)) <= MOST for plaintext in plaintexts)
