"""Which second the node believes it is (DESIGN 3.13)."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from overlay import limits
from overlay.driver.clock import BUILT, Clock, correction, trusted

TODAY = BUILT + 1_000_000.0


@pytest.mark.parametrize(
    ("system", "floor", "moved", "expected"),
    [
        (TODAY, 0.0, 0.0, TODAY),
        (0.0, 0.0, 0.0, BUILT),  # a board without a battery
        (0.0, TODAY, 0.0, TODAY),  # it has been later before
        (TODAY, 0.0, -90.0, TODAY - 90),
        (TODAY + 1e9, 0.0, -1e9, TODAY),  # decades ahead, corrected by peers
        (BUILT, 0.0, -1e6, BUILT),  # peers cannot push it before the program was built
    ],
)
def test_the_believed_time(system: float, floor: float, moved: float, expected: float) -> None:
    assert trusted(system, BUILT, floor, moved) == expected


@pytest.mark.parametrize(
    ("offsets", "expected"),
    [
        ([], 0.0),
        ([500.0, 500.0], 0.0),  # two are too few
        ([500.0, 501.0, 1e9], 501.0),  # one liar of three changes nothing
        ([59.0, 60.0, 60.0], 0.0),  # within a minute: left alone
        ([-61.0, -61.0, 5.0], -61.0),
    ],
)
def test_the_median_of_three_peers_corrects_beyond_a_minute(offsets: list[float], expected: float) -> None:
    assert correction(offsets) == expected


def test_peers_correct_the_clock_and_let_go_again() -> None:
    clock = Clock(system=lambda: TODAY)
    clock.heard([TODAY + 100, TODAY + 101, TODAY + 102])
    assert clock.at() == TODAY + 101
    clock.heard([TODAY, TODAY, TODAY])
    assert clock.at() == TODAY


def test_a_signed_date_is_a_floor_for_the_next_run() -> None:
    clock = Clock(system=lambda: TODAY)
    assert clock.signed(TODAY)
    assert not clock.signed(TODAY - 1)
    assert Clock(clock.floor, system=lambda: 0.0).at() == TODAY - limits.FUTURE


def test_signers_cannot_walk_the_clock_forward() -> None:
    clock = Clock(system=lambda: TODAY)
    for _ in range(1_000):
        clock.signed(clock.at() + limits.FUTURE)
    assert clock.at() == TODAY
    assert not clock.signed(TODAY + 1e9)


async def test_now_is_the_runs_own_clock(mock_clock: trio.testing.MockClock) -> None:
    clock = Clock()
    before = clock.now()
    mock_clock.jump(7.5)
    assert clock.now() - before == 7.5
