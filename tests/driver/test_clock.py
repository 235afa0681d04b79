"""Which second the node believes it is (DESIGN 3.13; docs/decisions/0015-clock.md)."""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing

from overlay import limits
from overlay.driver.clock import BACK, BUILT, HEARD, LEAP, STEP, Clock, clock_trouble
from overlay.units import DAY

YEAR = 365.0 * DAY
TODAY = BUILT + 3 * YEAR


class Machine:
    """A machine whose system clock is ``off`` by so many seconds while ``passed`` seconds have really passed."""

    def __init__(self, off: float = 0.0, *, floor: float = 0.0, last: float | None = None) -> None:
        self.off = off
        self.passed = 0.0
        self.clock = Clock(floor, last, system=self.system, elapsed=lambda: self.passed)

    @property
    def truth(self) -> float:
        return TODAY + self.passed

    def system(self) -> float:
        return TODAY + self.passed + self.off

    def hear(self, *errors: float) -> None:
        """Peers whose clocks are wrong by that much say what time it is, and their word is weighed."""
        for number, error in enumerate(errors):
            self.clock.said(bytes([number]), self.truth + error)
        self.clock.weigh()

    @property
    def error(self) -> float:
        return round(self.clock.at() - self.truth)


# -- alone


def test_a_first_run_believes_its_machine_but_never_a_time_before_the_program_was_built() -> None:
    assert Machine().error == 0
    assert Machine(500.0).error == 500
    board = Machine(-4 * YEAR)  # without a battery
    assert board.clock.at() == BUILT
    board.passed += 50
    assert board.clock.at() == BUILT + 50


@pytest.mark.parametrize("off", [-YEAR, -DAY, -2 * BACK, LEAP + 11, YEAR])
def test_a_clock_that_leaps_from_where_the_node_left_off_is_not_believed(off: float) -> None:
    machine = Machine(off, last=TODAY - 10)
    assert machine.error == -10  # time went on unseen for ten seconds
    assert round(machine.clock.doubt - off) == 10
    machine.passed += 100
    assert machine.error == -10  # and goes on


@pytest.mark.parametrize("away", [0.0, 3600.0, 6 * DAY])
def test_a_machine_that_was_off_for_less_than_a_week_is_believed(away: float) -> None:
    machine = Machine(last=TODAY - away)
    assert machine.error == 0
    assert machine.clock.doubt == 0


@pytest.mark.parametrize("off", [-YEAR, -2 * BACK, LEAP + 1, YEAR])
def test_a_clock_that_is_set_wrong_while_the_node_runs_is_not_followed_and_followed_again_when_it_is_set_right(off: float) -> None:
    machine = Machine()
    machine.passed += 100
    assert machine.error == 0
    machine.off = off
    machine.passed += 100
    assert machine.error == 0
    machine.off = 0.0
    assert (machine.error, machine.clock.doubt) == (0, 0)


def test_a_signed_date_is_a_floor_for_the_next_run_and_time_passes_above_it() -> None:
    machine = Machine()
    assert machine.clock.signed(TODAY)
    assert not machine.clock.signed(TODAY - 1)
    again = Machine(-YEAR, floor=machine.clock.floor)
    assert again.error == -limits.FUTURE
    again.passed += 50
    assert again.error == -limits.FUTURE


def test_signers_cannot_walk_the_clock_forward() -> None:
    machine = Machine()
    for _ in range(1_000):
        machine.clock.signed(machine.clock.at() + limits.FUTURE)
    assert machine.error == 0
    assert not machine.clock.signed(TODAY + 1e9)


# -- peers


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ((), 500),
        ((0.0, 500.0 + 61.0), 500),  # two are too few, and neither agrees with us
        ((0.0, 1.0, 1e9), 1),  # one liar of three changes nothing
        ((440.0, 441.0, 441.0), 500),  # within a minute of ours: left alone
        ((0.0, 0.0, 500.0), 0),
    ],
)
def test_the_median_of_three_peers_corrects_beyond_a_minute(errors: tuple[float, ...], expected: float) -> None:
    machine = Machine(500.0)
    machine.hear(*errors)
    assert machine.error == expected


def test_a_correction_stays_while_nobody_is_heard_and_goes_when_the_clock_is_set_right() -> None:
    machine = Machine(500.0)
    machine.hear(0.0, 0.0, 0.0)
    assert (machine.error, machine.clock.correction) == (0, -500)
    machine.passed += 10 * HEARD
    machine.clock.weigh()
    assert machine.error == 0
    machine.off = 0.0
    machine.hear(0.0)
    assert (machine.error, machine.clock.correction) == (0, 0)


def test_what_peers_say_is_never_written_down() -> None:
    machine = Machine(500.0)
    assert machine.clock.unaided
    machine.hear(0.0, 0.0, 0.0)
    assert not machine.clock.unaided
    assert not machine.clock.signed(machine.truth + 299)


@pytest.mark.parametrize("off", [LEAP + DAY, 40.0 * DAY, YEAR])
def test_after_a_long_absence_one_peer_is_enough_to_believe_a_clock_that_is_right(off: float) -> None:
    machine = Machine(last=TODAY - off)
    assert machine.error == -off
    machine.clock.said(b"stranger", machine.truth + 61)
    assert machine.error == -off
    machine.clock.said(b"peer", machine.truth + 2)  # at once, without waiting for a look
    assert (machine.error, machine.clock.doubt) == (0, 0)


def test_how_far_a_peers_clock_is_from_what_is_believed_is_known_for_a_minute() -> None:
    machine = Machine(YEAR)
    machine.clock.said(b"peer", machine.truth)
    machine.passed += HEARD
    assert machine.clock.apart(b"peer") == -YEAR
    assert machine.clock.apart(b"other") is None
    machine.passed += 1
    assert machine.clock.apart(b"peer") is None


def test_what_a_person_is_told_of_a_clock() -> None:
    assert clock_trouble(Machine(last=TODAY).clock) == ""
    doubtful, corrected, lonely = Machine(YEAR, last=TODAY), Machine(-3 * 3600.0), Machine(90.0)
    doubtful.clock.settle()
    corrected.hear(0.0, 0.0, 0.0)
    lonely.hear(0.0)
    told = [clock_trouble(machine.clock) for machine in (doubtful, corrected, lonely)]
    assert [line.split(" of ")[0] for line in told] == [
        "this machine's clock is 365 days ahead", "this machine's clock is 3 hours behind", "this machine's clock is 90 seconds ahead",
    ]


def test_a_peer_that_disagrees_does_not_end_a_doubt() -> None:
    machine = Machine(YEAR, last=TODAY)
    machine.hear(0.0, 1.0)
    assert machine.error == 0
    assert machine.clock.doubt > 0


@pytest.mark.parametrize("off", [-YEAR, YEAR])
def test_a_clock_a_year_off_is_corrected_by_three_peers_where_the_node_knows_no_better(off: float) -> None:
    machine = Machine(off)
    machine.off = off
    looks = 0
    while abs(machine.error) > 1:
        machine.passed += 20
        machine.hear(0.0, 0.1, -0.1)
        looks += 1
    assert looks <= 366


@pytest.mark.parametrize("lie", [-10 * YEAR, -DAY, DAY, 10 * YEAR])
def test_three_liars_move_it_by_steps_never_below_what_was_signed_and_leave_nothing_behind(lie: float) -> None:
    machine = Machine(last=TODAY)
    assert machine.clock.signed(TODAY)
    floor = machine.clock.floor
    for look in range(1, 40):
        machine.passed += 20
        before = machine.clock.at()
        machine.hear(lie, lie + 1, lie - 1)
        assert abs(machine.clock.at() - before) <= STEP
        assert machine.clock.at() >= floor + machine.passed
        assert abs(machine.error) <= look * STEP
    assert machine.clock.floor == floor
    assert not machine.clock.unaided
    machine.hear(0.0)  # replaces one liar: the two that are left outvote it still
    assert machine.error != 0
    machine.passed += HEARD + 1
    machine.hear(0.0)  # the liars are gone; one honest peer agrees with our own clock
    assert machine.error == 0


def test_whatever_peers_say_and_whatever_the_machine_does_time_keeps_to_its_bounds() -> None:
    for seed in range(200):
        dice = random.Random(seed)
        machine = Machine(dice.choice((0.0, dice.gauss(0, YEAR))), last=dice.choice((None, TODAY - dice.uniform(0, YEAR))))
        for _ in range(60):
            machine.passed += dice.uniform(0, 100)
            if dice.random() < 0.1:
                machine.off = dice.choice((0.0, dice.gauss(0, DAY), dice.gauss(0, YEAR)))
            machine.clock.signed(machine.truth + dice.gauss(0, 100))
            floor = machine.clock.floor
            machine.hear(*(dice.choice((0.0, dice.gauss(0, 30), dice.gauss(0, YEAR))) for _ in range(dice.randrange(6))))
            assert machine.clock.at() >= max(BUILT, floor)
            assert machine.clock.floor <= machine.truth + 1000  # what is durable follows signatures alone
            if machine.clock.unaided and not machine.clock.doubt and floor + LEAP < machine.system():
                assert machine.clock.at() == pytest.approx(machine.system())


async def test_now_is_the_runs_own_clock(mock_clock: trio.testing.MockClock) -> None:
    clock = Clock()
    before = clock.now()
    mock_clock.jump(7.5)
    assert clock.now() - before == 7.5
