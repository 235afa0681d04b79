"""A newcomer killed at any moment of its way in gets in with the next attempt (DESIGN 3.13)."""

from __future__ import annotations

import contextlib
import random
import time
from pathlib import Path

from tests.process.machines import Foreground, Village, until


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
