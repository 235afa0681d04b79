"""A machine whose clock is wrong: its node goes on where it left off, says so, and loses nothing (DESIGN 3.13; docs/decisions/0015-clock.md)."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator

import pytest

from overlay.driver.run import LAST
from tests.process.machines import Machine, Village, until

DAY = 86_400.0
YEAR = 365 * DAY


@pytest.fixture(scope="module")
def couple(shared: Village) -> tuple[Machine, Machine]:
    """A founder that runs, and alice, who has joined. Their clocks are right, and can be set."""
    founder, alice = shared.founded(), shared.machine()
    founder.set_clock(0.0)
    alice.set_clock(0.0)
    founder.up()
    alice.join(founder, "--name", "alice", "--cluster", "eu/home")
    return founder, alice


@pytest.fixture
def pair(couple: tuple[Machine, Machine]) -> Iterator[tuple[Machine, Machine]]:
    """Both again, alice stopped."""
    founder, alice = couple
    if alice.running[-1].process.poll() is None:
        alice.done("name", "set", "motd.home.eu", "TXT", "before")
        alice.done("down")
    yield couple
    founder.set_clock(0.0)
    alice.set_clock(0.0)


def problems(machine: Machine) -> list[str]:
    return list(machine.done("status", "--json").json["problems"])


def both_hear_each_other(founder: Machine, alice: Machine, word: str) -> None:
    until(lambda: alice.done("status", "--json").json["peers"] == 1, "they are connected")
    alice.done("name", "set", "motd.home.eu", "TXT", word)
    founder.done("name", "set", "motd.hq", "TXT", word)
    asked = [(machine, name) for machine in (founder, alice) for name in ("motd.home.eu.cloud", "motd.hq.cloud")]
    until(lambda: all(machine.ask(name, "TXT") == [f'"{word}"'] for machine, name in asked), f"both names are {word}")


@pytest.mark.parametrize("off", [-YEAR, YEAR])
def test_a_member_whose_clock_is_a_year_off_goes_on_where_it_left_off(pair: tuple[Machine, Machine], off: float) -> None:
    founder, alice = pair
    alice.set_clock(off)
    alice.up()
    assert alice.ask("founder.hq.cloud") == [founder.address]
    both_hear_each_other(founder, alice, "a year off")
    (problem,) = problems(alice)
    assert re.match(f"clock: this machine's clock is 36[0-9] days {'ahead' if off > 0 else 'behind'} of where this node left off", problem)
    alice.running[-1].kill()
    alice.set_clock(0.0)
    alice.up()
    both_hear_each_other(founder, alice, "right again")
    until(lambda: not problems(alice), "it is believed")


def test_a_founder_whose_clock_is_set_a_year_ahead_while_it_runs_loses_nothing(pair: tuple[Machine, Machine]) -> None:
    founder, alice = pair
    founder.done("name", "set", "motd.hq", "TXT", "before")
    founder.set_clock(YEAR)
    alice.up()
    both_hear_each_other(founder, alice, "a year ahead")
    founder.running[-1].kill()
    founder.up()
    both_hear_each_other(founder, alice, "and killed")
    founder.set_clock(0.0)
    both_hear_each_other(founder, alice, "right again")


@pytest.mark.parametrize("off", [-YEAR, YEAR])
def test_a_newcomer_whose_clock_is_wrong_is_told_so_and_gets_in_when_it_is_set(couple: tuple[Machine, Machine], village: Village, off: float) -> None:
    bob, carol = village.machine(), village.machine()
    bob.set_clock(off)
    carol.set_clock(off)
    given_up = carol.start("join", couple[0].listener, "--name", "carol", "--timeout", "1.5")
    node = bob.start("join", couple[0].listener, "--name", "bob")
    until(lambda: "does not let us in: this machine's clock is" in node.err, "it is told")
    bob.set_clock(0.0)
    assert node.line().startswith("joined as bob."), node.err
    bob.done("leave", "--yes")
    assert given_up.end() == 5
    assert re.search("this machine's clock is [0-9]+ days (ahead|behind) of that node's", given_up.err.splitlines()[-2])


def test_after_a_long_absence_one_peer_is_enough_to_believe_a_clock_that_is_right(pair: tuple[Machine, Machine]) -> None:
    founder, alice = pair
    founder.done("down")
    with contextlib.closing(sqlite3.connect(founder.home / "state.db")) as db:
        db.execute("DELETE FROM kv WHERE key = ?", (LAST,))
        db.commit()
    for machine in (founder, alice):
        machine.set_clock(10 * DAY)
    founder.up()  # ten days later, and it knows
    assert problems(founder) == []
    alice.up()
    both_hear_each_other(founder, alice, "back")
    until(lambda: not problems(alice), "it is believed")
