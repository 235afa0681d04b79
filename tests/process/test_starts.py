"""A start that goes wrong, or is cut short: the node starts again as the same, or two lines say why not (GOALS, "Reliability")."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.kills import Kills
from overlay.driver.store import MIGRATIONS, lock_home
from tests.process.conftest import Template
from tests.process.machines import COMMAND, Machine, Village, until

KILLS = 30
ENDED = {0, -signal.SIGTERM}  # by itself, or so early that nothing of ours had begun


@pytest.fixture
def stopped(village: Village, template: Template) -> Machine:
    """A founder that has run, has set a name and was stopped."""
    machine = village.machine()
    template.lay(machine)
    return machine


@pytest.fixture
def same(template: Template) -> Callable[[Machine], None]:
    """Asserts that a machine runs as the node that it was, with all that it knew."""

    def check(machine: Machine) -> None:
        status = machine.done("status", "--json").json
        assert (status["name"], status["node_id"]) == ("founder.hq.cloud", template.node_id)
        assert machine.ask("motd.hq.cloud", "TXT") == ['"kept"']

    return check


def test_what_was_acknowledged_survives_kills_at_any_moment(village: Village) -> None:
    """Two nodes at a time: there are two cores."""
    machines = [village.founded() for _ in range(2)]
    runs = [Kills(one.home, one._command(())[:-2], one._environment(), random.Random(seed)) for seed, one in enumerate(machines, 7)]

    def killed(kills: Kills) -> None:
        for _ in range(KILLS // len(runs)):
            kills.round()

    with ThreadPoolExecutor() as threads:
        for run in [threads.submit(killed, kills) for kills in runs]:
            run.result()
    assert sum(kills.counts["kills"] for kills in runs) == KILLS
    assert sum(kills.counts["kills while starting"] for kills in runs) >= KILLS / 5
    assert sum(kills.counts["acknowledged"] for kills in runs) > KILLS
    for machine, kills in zip(machines, runs, strict=True):
        machine.up()
        kills.check()
        for name, value in kills.ledger.said.items():
            assert machine.ask(name, "TXT") == (["NXDOMAIN"] if value is None else [f'"{value}"'])


def test_a_start_is_ended_by_signals_at_any_moment_and_begins_again(stopped: Machine, same: Callable[[Machine], None]) -> None:
    dice = random.Random(11)
    for turn in range(12):
        node = stopped.start("up")
        if turn % 3 == 0:
            time.sleep(dice.uniform(0.02, 0.5))
        else:  # from where it has taken its home to some time after it is ready
            until((stopped.home / "run" / "lock").read_text, "it has begun")
            time.sleep(dice.uniform(0.0, 0.4))
        node.signal(signal.SIGINT if turn % 3 == 1 else signal.SIGTERM)
        if turn % 2:
            node.signal(signal.SIGINT if turn % 3 == 1 else signal.SIGTERM)  # impatiently
        assert node.end() in (ENDED if turn % 3 == 0 else {0}), (turn, node.err)
        assert node.err == ""
        (stopped.home / "run" / "lock").write_text("")
    stopped.up()
    same(stopped)


def test_down_waits_for_a_node_whose_start_has_only_begun(stopped: Machine, same: Callable[[Machine], None]) -> None:
    lock = lock_home(stopped.home)
    down = stopped.start("down")
    with pytest.raises(AssertionError):
        until(lambda: down.process.poll() is not None, "it gives up", 0.7)
    lock.release()
    assert down.end() == 3
    mark = stopped.home / "run" / "lock"
    mark.write_text("")
    node = stopped.start("up")
    until(mark.read_text, "the home is taken")
    assert stopped.overlay("down").status == 0
    assert node.end(5) == 0
    stopped.up()
    same(stopped)


def test_a_state_of_a_later_format_is_refused_and_left_as_it_is(stopped: Machine, same: Callable[[Machine], None]) -> None:
    path = stopped.home / "state.db"

    def version(number: int) -> None:
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.execute(f"PRAGMA user_version = {number}")

    version(99)
    before = path.read_bytes()
    for words in (["up"], ["up", "--detach"], ["join", "127.0.78.252", "--timeout", "2"]):
        refused = stopped.overlay(*words)
        assert refused.status == 1, refused
        assert len(refused.err.splitlines()) == 2
        assert refused.complaint[0] == f"overlay: {path} was written by a later revision of this program (format 9, version 99)"
        assert refused.complaint[1].startswith("start that revision again")
    assert path.read_bytes() == before
    version(len(MIGRATIONS) + 1)  # a later revision that has only added: a node that was rolled back goes on
    stopped.up()
    same(stopped)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def halved(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def garbage(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 40)


def directory(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("")


def dangling(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/nowhere/at/all")


DAMAGES: list[tuple[str, Callable[[Path], None], str]] = [
    ("state.db", emptied, "holds no enrolled node"),
    ("state.db", halved, "is damaged"),
    ("state.db", garbage, "is damaged"),
    ("state.db", directory, "cannot be opened"),
    ("state.db", dangling, "cannot be opened"),
    ("identity", emptied, "identity"),
    ("identity", halved, "identity"),
    ("identity", garbage, "identity"),
    ("identity", directory, "identity"),
    ("overlay.toml", garbage, "overlay.toml"),
    ("overlay.toml", directory, "overlay.toml"),
    ("run", file, "run"),
    ("run/lock", directory, "lock"),
    ("run/control.sock", directory, "control.sock"),
]


def test_whatever_lies_in_a_home_instead_is_named_and_left_alone(village: Village, template: Template) -> None:
    started = []
    for name, damage, told in DAMAGES:
        machine = village.machine()
        template.lay(machine)
        damage(machine.home / name)
        started.append((machine.start("up"), set(machine.home.rglob("*")), told, (name, damage.__name__)))
    for node, there, told, what in started:
        assert node.end(COMMAND) == 1, what
        lines = node.err.splitlines()
        assert len(lines) == 2, (what, lines)
        assert told in lines[0] and str(node.machine.home) in lines[0], (what, lines)
        assert there <= set(node.machine.home.rglob("*")), what


def test_what_a_crash_may_leave_behind_is_no_hindrance(village: Village, template: Template, same: Callable[[Machine], None]) -> None:
    nodes = []
    for name in ("run/control.sock", "log", "state.db-wal", "state.db-shm", "identity.new"):
        machine = village.machine()
        template.lay(machine)
        path = machine.home / name
        if path.suffix == ".sock":
            with socket.socket(socket.AF_UNIX) as left:
                left.bind(str(path))
        else:
            garbage(path)
        nodes.append(machine.start("up"))
    for node in nodes:
        assert node.line().startswith("up as founder.hq.cloud "), node.err
        same(node.machine)
