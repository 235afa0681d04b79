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


def test_newcomers_whose_clocks_are_wrong_are_told_so_and_get_in_when_they_are_set(couple: tuple[Machine, Machine], village: Village) -> None:
    where = couple[0].listener
    bob, carol, dave = (village.machine() for _ in range(3))
    for machine, off in ((bob, -YEAR), (carol, YEAR), (dave, YEAR)):
        machine.set_clock(off)
    given_up = dave.start("join", where, "--name", "dave", "--timeout", "1.5")
    nodes = [machine.start("join", where, "--name", name) for machine, name in ((bob, "bob"), (carol, "carol"))]
    for node in nodes:
        until(lambda node=node: "does not let us in: this machine's clock is" in node.err, "it is told")  # type: ignore[misc]
        node.machine.set_clock(0.0)
    for node in nodes:
        assert node.line().startswith("joined as "), node.err
        node.machine.done("leave", "--yes")
    assert given_up.end() == 5
    assert re.search("this machine's clock is [0-9]+ days ahead of that node's", given_up.err.splitlines()[-2])


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
