"""*In development* and *stable*: a table of who runs what for how long, and what a cluster makes of it (DESIGN 3.10)."""

from __future__ import annotations

import pytest

from overlay.records.observed import MAX_HOLDING, Observed, Running, Why
from overlay.release.standing import MEET, SOAK, Standing, Wanted, restless

ONE, TWO = b"1" * 32, b"2" * 32
NEWS = Wanted(revision=6, content=b"six", release=b"r" * 32)
ON, OFF = Running(revision=6, content=b"six", held=6), Running(revision=5, content=b"five", held=5)
NEVER = float("inf")


class Site:
    """A cluster of nodes that say what they run."""

    def __init__(self, **told: Running) -> None:
        self.told = {name.encode(): (name, said) for name, said in told.items()}
        self.alive = frozenset(self.told)
        self.standing = Standing(since=-1_000.0)

    def look(self, now: float, wanted: Wanted = NEWS) -> Observed:
        return self.standing.look(wanted, self.told, self.alive, now)

    def says(self, name: str, said: Running) -> None:
        self.told[name.encode()] = name, said


def test_stable_is_what_all_live_nodes_run_and_were_well_on_for_a_minute() -> None:
    site = Site(a=ON, b=OFF)
    assert site.look(0.0).holding == (("a", Why.SOAKING), ("b", Why.BEHIND))
    site.says("b", ON)
    assert site.look(10.0).holding == (("a", Why.SOAKING), ("b", Why.SOAKING))
    assert site.standing.wake_at() == SOAK
    assert site.look(SOAK).holding == (("b", Why.SOAKING),)
    seen = site.look(10.0 + SOAK)
    assert (seen.stable, seen.live, seen.installed, seen.restarted, seen.healthy, seen.holding) == (6, 2, 2, 2, 2, ())
    assert site.standing.wake_at() == NEVER


def test_one_node_alone_waits_for_its_own_minute_and_for_nobody_else() -> None:
    site = Site(a=ON)
    assert site.look(0.0).stable == 0
    assert site.look(SOAK - 0.1).stable == 0
    assert site.look(SOAK).stable == 6


def test_where_nobody_takes_the_channel_it_is_stable_at_once() -> None:
    assert Site().look(0.0).stable == 6


def test_a_dead_backup_does_not_block() -> None:
    site = Site(a=ON, b=OFF)
    site.look(0.0)
    site.alive = frozenset({b"a"})
    seen = site.look(SOAK)
    assert (seen.stable, seen.live) == (6, 1)


def test_after_a_start_who_is_known_and_not_met_yet_is_waited_for() -> None:
    site = Site(b=OFF)
    site.standing = Standing(since=0.0)
    site.alive = frozenset()
    assert site.look(1.0).stable == 0 and site.standing.wake_at() == MEET
    assert site.look(MEET).stable == 6


def test_who_changes_to_another_content_of_that_number_begins_its_minute_anew() -> None:
    site = Site(a=ON)
    site.look(0.0)
    site.says("a", Running(revision=6, content=b"other"))
    assert site.look(30.0).holding == (("a", Why.BEHIND),)
    site.says("a", ON)
    assert site.look(40.0).stable == 0
    assert site.look(SOAK).stable == 0
    assert site.look(40.0 + SOAK).stable == 6


@pytest.mark.parametrize(
    ("said", "why", "development"),
    [
        (OFF, Why.BEHIND, False), (Running(), Why.BEHIND, False), (Running(revision=5, content=b"five", failed=6), Why.FAILED, False),
        (ON, Why.SOAKING, True), (Running(revision=6, content=b"six", restless=True), Why.RESTLESS, True), (Running(revision=7), Why.AHEAD, True),
    ],
)
def test_who_holds_a_revision_back_is_named_with_the_reason(said: Running, why: Why, development: bool) -> None:
    seen = Site(a=said).look(0.0)
    assert seen.holding == (("a", why),) and seen.development == (("a",) if development else ())


def test_two_restarts_hold_back_however_long_it_has_run() -> None:
    site = Site(a=Running(revision=6, content=b"six", restless=True))
    site.look(0.0)
    assert site.look(500.0).stable == 0
    site.says("a", ON)
    assert site.look(600.0).stable == 6  # it was well all the time


def test_what_was_stable_stays_so_while_the_next_is_in_development() -> None:
    site = Site(a=ON)
    site.look(0.0)
    assert site.look(SOAK).stable == 6
    seven = Wanted(revision=7, content=b"seven")
    seen = site.look(70.0, seven)
    assert (seen.revision, seen.stable, seen.holding) == (7, 6, (("a", Why.BEHIND),))
    site.says("a", Running(revision=7, content=b"seven"))
    assert site.look(80.0, seven).stable == 6
    assert site.look(80.0 + SOAK, seven).stable == 7


def test_what_is_halted_never_becomes_stable() -> None:
    site = Site(a=ON)
    halted = Wanted(revision=6, content=b"six", barred=True)
    site.look(0.0, halted)
    assert site.look(SOAK, halted).stable == 0


def test_the_release_says_for_how_long() -> None:
    for soak in (0.0, 5.0):
        site, wanted = Site(a=ON), Wanted(revision=6, content=b"six", soak=soak)
        assert site.look(0.0, wanted).stable == (0 if soak else 6)
        assert site.look(soak, wanted).stable == 6


def test_more_names_than_a_record_has_room_for_are_left_out() -> None:
    site = Site(**{f"{number:02d}" + "x" * 40: OFF for number in range(20)})
    held = site.look(0.0).holding
    assert 1 <= len(held) <= MAX_HOLDING and held[0][0].startswith("00")
    assert len(Site(**{f"n{number}": OFF for number in range(20)}).look(0.0).holding) == MAX_HOLDING


@pytest.mark.parametrize(
    ("starts", "at", "until"),
    [
        ((), 1_000, 0), ((900, 950), 1_000, 0),  # the first start is no restart
        ((900, 950, 990), 1_000, 1_550), ((900, 950, 990), 1_550, 0), ((100, 350, 990), 1_000, 0), ((900, 9_000_000, 9_000_001), 1_000, 0),
    ],
)
def test_restless_is_who_restarted_twice_within_ten_minutes(starts: tuple[int, ...], at: float, until: float) -> None:
    assert restless(starts, at) == until
