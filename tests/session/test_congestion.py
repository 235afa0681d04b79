"""The window and what it stands on: ranges are sets, slow start ends by delay, loss is answered once a round trip."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from overlay.session.congestion import BETA, BURST, FIRST, LEAST, SEGMENT, Pacer, Window
from overlay.session.ranges import Ranges, add, remove


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60), st.integers(1, 20))))
def test_ranges_are_sets_in_their_shortest_form(steps: list[tuple[bool, int, int]]) -> None:
    ranges: Ranges = []
    model: set[int] = set()
    for adds, low, size in steps:
        span = range(low, low + size)
        (add if adds else remove)(ranges, low, low + size)
        model = model | set(span) if adds else model - set(span)
        assert {n for first, last in ranges for n in range(first, last)} == model
        assert all(first < last for first, last in ranges)
        assert all(a[1] < b[0] for a, b in zip(ranges, ranges[1:], strict=False))


def round_trip(window: Window, first: int, rtt: float, now: float, *, limited: bool = True) -> int:
    """A window of packets arrives, each measured; the first number of the next round."""
    packets = max(1, int(window.size // SEGMENT))
    for number in range(first, first + packets):
        window.measured(rtt)
        window.acked(
            SEGMENT, sent_at=now, number=number, next_number=first + packets + number - first, srtt=rtt, now=now + rtt, limited=limited,
        )  # fmt: skip
    return first + packets


def test_slow_start_doubles_each_round_while_the_delay_stays() -> None:
    window, number = Window(), 0
    for turn in range(4):
        number = round_trip(window, number, 0.02, turn * 0.02)
    assert window.size == FIRST * 16 and window.starting


def test_a_growing_delay_ends_slow_start_before_anything_is_lost() -> None:
    window, number, now = Window(), 0, 0.0
    for turn in range(30):
        rtt = 0.02 + 0.004 * turn
        number = round_trip(window, number, rtt, now)
        now += rtt
        if not window.starting:
            break
    assert not window.starting and window.size < FIRST * 64


def test_loss_cuts_the_window_once_a_round_trip_and_never_below_two_packets() -> None:
    window = Window()
    window.lost(sent_at=1.0, now=1.1)
    window.lost(sent_at=1.05, now=1.1)
    assert window.size == FIRST * BETA and not window.starting
    for turn in range(20):
        window.lost(sent_at=2.0 + turn, now=2.1 + turn)
    assert window.size == LEAST


def test_a_window_that_nobody_fills_does_not_grow() -> None:
    window = Window()
    round_trip(window, 0, 0.02, 0.0, limited=False)
    assert window.size == FIRST
    window.lost(sent_at=1.0, now=1.1)
    cut = window.size
    for turn in range(50):
        round_trip(window, 100 * turn, 0.02, 2.0 + turn, limited=False)
    assert window.size == cut


def test_after_a_loss_the_window_comes_back_to_where_it_was_and_lingers_there() -> None:
    window, now, number = Window(), 0.0, 0
    for _ in range(3):
        number = round_trip(window, number, 0.1, now)
        now += 0.1
    peak = window.size
    window.lost(sent_at=now, now=now)
    now += 0.1
    sizes = []
    for _ in range(60):
        number = round_trip(window, number, 0.1, now)
        now += 0.1
        sizes.append(window.size)
    assert sizes == sorted(sizes) and sizes[0] < peak < sizes[-1]


def test_packets_are_spread_over_the_round_trip_but_for_a_burst() -> None:
    window, pacer = Window(), Pacer()
    window.lost(sent_at=0.0, now=0.0)  # no slow start
    sent, now, srtt = 0, 1.0, 0.1
    while pacer.next_at <= now:
        pacer.sent(SEGMENT, window, srtt, now)
        sent += SEGMENT
    assert BURST <= sent <= BURST + SEGMENT
    begin = sent
    while now < 2.0:
        now = pacer.next_at
        pacer.sent(SEGMENT, window, srtt, now)
        sent += SEGMENT
    assert abs((sent - begin) / (window.size * 1.25 / srtt) - 1) < 0.1
