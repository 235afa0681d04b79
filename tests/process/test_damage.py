"""Damaged files, wrong settings, wrong commands: two lines that say what happened and what to do (issue "Bad input")."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import time
from collections import Counter
from pathlib import Path

import pytest

from overlay.cli.membership import load_identity, membership
from overlay.driver.store import Store
from overlay.errors import OverlayError
from overlay.node import Node
from overlay.setup import PASSPORT, Setup
from tests.process.machines import Machine, Village

MISTAKES = """\
[listen]
overlay = "nowhere"
htpp = ["0.0.0.0:80"]
[names]
policy = "exklusive"
[lan]
discovery = "yes"
[relase]
kernel = "no"
"""


@pytest.fixture(scope="module")
def founder(shared: Village) -> Machine:
    machine = shared.founded()
    machine.up()
    return machine


@pytest.fixture(scope="module")
def member(founder: Machine, shared: Village) -> Path:
    """The home of a member that was stopped; tests damage copies of it."""
    machine = shared.machine()
    node = machine.join(founder, "--name", "alice", "--cluster", "eu/home")
    node.signal(signal.SIGTERM)
    assert node.end() == 0
    return machine.home


def garbled(path: Path) -> None:
    path.write_bytes(b"\x00\xffgarbage" * 1000)


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def rotten(path: Path) -> None:
    """A whole database whose passport is no longer what was written."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        (value,) = db.execute("SELECT value FROM kv WHERE tbl = 'own' AND key = ?", (PASSPORT,)).fetchone()
        db.execute("UPDATE kv SET value = ? WHERE tbl = 'own' AND key = ?", (value[:40], PASSPORT))
        db.commit()


def removed(path: Path) -> None:
    path.unlink()


def replaced(path: Path) -> None:
    path.unlink()
    path.mkdir()


def refused_to_start(village: Village, home: Path, name: str, damage: object) -> tuple[Machine, list[str]]:
    machine = village.machine()
    shutil.copytree(home, machine.home, dirs_exist_ok=True, ignore=shutil.ignore_patterns("overlay.toml", "run"))
    assert callable(damage)
    damage(machine.home / name)
    up = machine.overlay("up")
    assert up.status == 1, up
    assert up.out == ""
    assert len(up.err.splitlines()) == 2, up.err
    return machine, up.complaint


@pytest.mark.parametrize("damage", [garbled, truncated, removed])
def test_a_damaged_identity_is_named_and_left_alone(shared: Village, member: Path, damage: object) -> None:
    machine, complaint = refused_to_start(shared, member, "identity", damage)
    assert str(machine.home / "identity") in complaint[0]
    assert (machine.home / "identity").exists() is (damage is not removed)  # nothing is made in its place


@pytest.mark.parametrize("damage", [truncated, rotten, replaced])
def test_a_damaged_state_is_named_with_the_way_out(shared: Village, member: Path, damage: object) -> None:
    machine, complaint = refused_to_start(shared, member, "state.db", damage)
    assert str(machine.home / "state.db") in complaint[0]


def test_whatever_value_of_the_state_rots_the_node_starts_or_says_that_it_is_damaged(member: Path) -> None:
    """In this process, since there are many: what a start reads, each value damaged in turn."""
    with Store.open(member / "state.db") as store:
        tables = store.load()
    identity = load_identity(member, make=False)
    dice = random.Random(5)
    outcomes: Counter[str] = Counter()
    for table, rows in tables.items():
        for key, value in rows.items():
            at = dice.randrange(max(1, len(value)))
            flipped = value[:at] + bytes([value[at] ^ 1 << dice.randrange(8)]) + value[at + 1 :] if value else b"x"
            for wrong in (b"", value[:at], flipped, b"\xff" * 9):
                damaged = {**tables, table: {**rows, key: wrong}}
                try:
                    held = membership(damaged)
                    assert held is None or held.overlay_id or not wrong
                    overlay_id = held.overlay_id if held is not None else bytes(32)
                    setup = Setup(identity=identity, overlay_id=overlay_id, entropy=dice.randbytes, port=7653, stored=damaged)
                    Node(setup, 0.0, time.time())
                    outcomes["starts"] += 1
                except OverlayError as error:
                    assert error.what
                    outcomes[f"{table}: {type(error).__name__}"] += 1
    assert outcomes["starts"] > 10
    assert len(outcomes) > 1


def test_the_way_out_of_a_damaged_state_leads_back_to_the_same_name(shared: Village, founder: Machine, member: Path) -> None:
    machine, complaint = refused_to_start(shared, member, "state.db", garbled)
    assert f"mv {machine.home}/state.db {machine.home}/state.db.damaged" in complaint[1]
    (machine.home / "state.db").rename(machine.home / "state.db.damaged")
    assert machine.overlay("up").status == 1  # it belongs to no overlay now
    node = machine.join(founder, "--name", "alice", "--cluster", "eu/home")
    assert machine.ask("alice.home.eu.cloud") == [machine.address]
    node.signal(signal.SIGTERM)
    assert node.end() == 0


def test_all_mistakes_of_the_configuration_are_told_with_their_lines(village: Village) -> None:
    machine = village.machine()
    (machine.home / "overlay.toml").write_text(MISTAKES)
    for words in (["up"], ["init", "cloud.example.net"]):
        refused = machine.overlay(*words)
        assert refused.status == 1, refused
        assert len(refused.err.splitlines()) == 2
        for line in (2, 3, 5, 7, 8):
            assert f"line {line}: " in refused.complaint[0], (line, refused.err)
        assert "did you mean http?" in refused.complaint[0]
    check = machine.overlay("config", "check")
    assert check.status == 1
    assert [line.rpartition("overlay.toml:")[2].split(":")[0] for line in check.out.splitlines()] == ["2", "3", "5", "7", "8"]
    (machine.home / "overlay.toml").write_text("[listen\n")
    assert "line 1: is not valid TOML" in machine.overlay("up").complaint[0]


@pytest.mark.parametrize(
    "words, told",
    [(["statsu"], "status"), (["name", "sett", "a", "A", "b"], "name set"), (["up", "--detatch"], "--detach")],
)
def test_a_mistyped_command_is_told_the_nearest(shared: Village, words: list[str], told: str) -> None:
    refused = shared.machine(configured=False).overlay(*words)
    assert refused.status == 2
    assert len(refused.err.splitlines()) == 2
    assert told in refused.complaint[1]


def test_a_home_may_have_a_path_longer_than_a_sockets_name(village: Village) -> None:
    machine = village.machine("/".join(["a-long-way-down"] * 10))
    assert len(str(machine.home)) > 150
    machine.done("init", "cloud.example.net", "--address", machine.address)
    machine.done("up", "--detach")
    assert machine.pid() > 1
    assert machine.overlay("up").complaint[0].startswith("overlay: a node (pid ")
    machine.done("down")
    assert machine.overlay("status").status == 3


def test_a_home_that_cannot_be_is_told_so(village: Village) -> None:
    machine = village.machine(configured=False)
    machine.home.write_text("a file")
    file = machine.home
    commands = [["init", "cloud.example.net"], ["join", "127.0.78.252", "--timeout", "2"], ["join", "127.0.78.252", "--detach"], ["up"]]
    for place, words in zip([file, file / "below", Path("/proc/nowhere"), Path("/proc/nowhere")], commands, strict=True):
        machine.home = place
        refused = machine.overlay(*words)
        assert refused.status == 1, (place, words, refused)
        assert len(refused.err.splitlines()) == 2
        assert str(place) in refused.complaint[0]
        assert machine.overlay("status").status == 3
    machine.home = file


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_home_that_may_not_be_written_is_told_so(village: Village) -> None:
    machine = village.founded()
    machine.home.chmod(0o500)
    try:
        refused = machine.overlay("up")
    finally:
        machine.home.chmod(0o700)
    assert refused.status == 1
    assert len(refused.err.splitlines()) == 2
