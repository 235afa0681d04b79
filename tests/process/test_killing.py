"""A node killed at any moment starts again as the same node, with everything that it had acknowledged (DESIGN 3.13)."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from pathlib import Path

import pytest

from tests.process.machines import Foreground, Machine, Outcome, Village, until

KILLS = 10
SEEDS = (7,)
NAMES = 5  # names that are set again and again


class Writer:
    """Sets names one after another until the node is gone. ``last``: name -> the number acknowledged; ``doubt``: one that was not."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.last: dict[str, int] = {}
        self.doubt: tuple[str, int] | None = None
        self.refusals: list[Outcome] = []
        self._number = 0

    def write(self) -> None:
        for _ in range(1000):
            self._number += 1
            name = f"n{self._number % NAMES}.hq"
            outcome = self.machine.overlay("name", "set", name, "TXT", str(self._number))
            if outcome.status:
                self.doubt = (name, self._number)
                self.refusals.append(outcome)
                return
            self.last[name] = self._number
            self.doubt = None

    def check(self) -> None:
        """What stands now is what was acknowledged, or the one command that was cut off."""
        held = {row["name"].removesuffix(".cloud"): int(row["values"][0]) for row in self.machine.done("name", "list", "--json").json}
        if self.doubt is not None and held.get(self.doubt[0]) == self.doubt[1]:
            self.last[self.doubt[0]] = self.doubt[1]
        assert held == self.last


@pytest.mark.parametrize("seed", SEEDS)
def test_what_was_acknowledged_survives_kills_at_any_moment(village: Village, seed: int) -> None:
    dice = random.Random(seed)
    machine = village.founded()
    writer = Writer(machine)
    incarnation = 0
    for _ in range(KILLS):
        node = machine.start("up")
        if dice.random() < 0.3:  # while it starts
            time.sleep(dice.uniform(0.1, 0.8))
            node.kill()
            node = machine.start("up")
        assert node.line().startswith("up as founder.hq.cloud ")
        writer.check()
        status = machine.done("status", "--json").json
        assert status["incarnation"] > incarnation
        incarnation = status["incarnation"]
        thread = threading.Thread(target=writer.write)
        thread.start()
        time.sleep(dice.uniform(0.05, 0.7))
        node.kill()
        thread.join(30)
        assert not thread.is_alive()
    machine.up()
    writer.check()
    assert len(writer.last) == NAMES
    for name, number in writer.last.items():
        assert machine.ask(f"{name}.cloud", "TXT") == [f'"{number}"']
    for refused in writer.refusals:
        assert refused.status in (3, 5), refused
        assert len(refused.err.splitlines()) == 2


def test_a_member_killed_while_it_joins_gets_in_with_the_next_attempt(village: Village) -> None:
    founder, alice = village.founded(), village.machine()
    founder.up()
    dice = random.Random(3)
    words = ("join", founder.listener, "--name", "alice", "--cluster", "eu/home")
    for _ in range(3):
        node: Foreground = alice.start(*words)
        began = time.monotonic()
        with contextlib.suppress(AssertionError):  # in before its time
            until(lambda node=node: "knocking" in node.err, "it knocks", 0.6)
        time.sleep(dice.uniform(0.0, 0.25))
        node.kill()
        assert time.monotonic() - began < 10
    node = alice.start(*words)
    said = node.line()
    assert " alice.home.eu.cloud " in said, said  # "joined as", or "up as" where an earlier attempt had come that far
    until(lambda: alice.ask("alice.home.eu.cloud") == [alice.address], "it answers for itself")
    until(lambda: founder.ask("alice.home.eu.cloud") == [alice.address], "the founder knows it")
    assert Path(alice.home / "identity").exists()
