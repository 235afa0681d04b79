"""A disk that is full or read-only: a node serves names on, promises nothing, and goes on as before when there is room (GOALS, "Reliability")."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.process import disks
from tests.process.conftest import Template
from tests.process.machines import Machine, Outcome, Village, until

if reason := disks.unable():
    pytest.skip(reason, allow_module_level=True)


@pytest.fixture
def bare(village: Village) -> Iterator[Machine]:
    """A machine whose home is a small disk of its own."""
    machine = village.machine("small", configured=False)
    with disks.mounted(machine.home, village.folder / "image"):
        machine.configure()
        yield machine
        machine.clean()


@pytest.fixture
def small(bare: Machine, template: Template) -> Machine:
    """A founder on such a disk; it has set a name and was stopped."""
    template.lay(bare)
    return bare


def refuses(outcome: Outcome, what: str) -> None:
    assert outcome.status == 1, outcome
    assert outcome.out == ""
    assert len(outcome.err.splitlines()) == 2
    assert what in outcome.complaint[0]
    assert "make room or mend that disk" in outcome.complaint[1]


def problems(machine: Machine) -> list[str]:
    return list(machine.done("status", "--json").json["problems"])


def test_a_node_whose_disk_fills_up_serves_on_and_refuses_changes_until_there_is_room(bare: Machine, village: Village) -> None:
    small = bare
    small.done("init", "cloud.example.net", "--name", "founder", "--cluster", "hq", "--address", small.address)
    small.up()
    small.done("name", "set", "motd.hq", "TXT", "kept")
    token = small.done("invite", "hq", "--uses", "1").out.strip()
    alice = village.machine()
    alice.join(small, "--name", "alice", "--invite", small.done("invite", "eu/home").out.strip())
    ballast = disks.filled(small.home)
    found = small.overlay("name", "set", "found.hq", "TXT", "x" * 250)  # the change that finds it out
    refuses(found, "the change holds, but is not kept yet: ")
    refuses(small.overlay("name", "set", "other.hq", "TXT", "lost"), "no change is taken: ")
    refuses(small.overlay("service", "add", "www.hq", "--port", "80"), "no change is taken: ")
    assert problems(small) == [
        f"disk: {small.home}/state.db cannot be written: the disk is full; names are served on from memory, changes are refused"
    ]
    assert "PROBLEM" in small.done("status").out
    assert small.ask("motd.hq.cloud", "TXT") == ['"kept"']
    assert small.ask("alice.home.eu.cloud") == [alice.address]
    # What others say still arrives, and peers stay (or come back).
    alice.done("name", "set", "motd.home.eu", "TXT", "while the founder's disk is full")
    until(lambda: small.ask("motd.home.eu.cloud", "TXT") == ['"while the founder\'s disk is full"'], "the founder has heard")
    # A promise that must outlive a crash is not made: the count of a token's uses.
    bob = village.machine()
    joining = bob.start("join", "--invite", token, "--name", "bob")
    with pytest.raises(AssertionError):
        joining.line(1.5)

    ballast.unlink()
    until(lambda: not problems(small), "there is room again")
    assert joining.line().startswith("joined as bob.hq.cloud ")
    small.done("name", "set", "motd.hq", "TXT", "room again")
    small.running[-1].kill()
    small.up()
    assert small.ask("motd.hq.cloud", "TXT") == ['"room again"']
    assert small.ask("other.hq.cloud", "TXT") == ["NXDOMAIN"]
    assert small.ask("motd.home.eu.cloud", "TXT") == ['"while the founder\'s disk is full"']
    again = village.machine().overlay("join", "--invite", token, "--name", "carol", "--timeout", "20")
    assert again.status == 4  # spent by bob, once
    log = (small.home / "log").read_text()
    assert " info mended about=disk " in log


def test_a_node_starts_on_a_full_disk_and_serves_what_it_knows(small: Machine) -> None:
    ballast = disks.filled(small.home)
    small.up()
    assert small.ask("motd.hq.cloud", "TXT") == ['"kept"']
    until(lambda: problems(small), "it has noticed")
    refuses(small.overlay("name", "set", "motd.hq", "TXT", "lost"), "no change is taken: ")
    small.running[-1].kill()
    small.up()
    assert small.ask("motd.hq.cloud", "TXT") == ['"kept"']
    ballast.unlink()
    until(lambda: not problems(small), "there is room again")
    small.done("name", "set", "motd.hq", "TXT", "room again")
    small.running[-1].kill()
    small.up()
    assert small.ask("motd.hq.cloud", "TXT") == ['"room again"']


def test_founding_and_joining_on_a_full_disk_are_refused_in_two_lines(small: Machine, village: Village) -> None:
    small.up()
    machine = village.machine("full", configured=False)
    with disks.mounted(machine.home, village.folder / "other"):
        ballast = disks.filled(machine.home)
        for words in (["init", "cloud.example.net"], ["join", small.listener, "--timeout", "10"], ["join", small.listener, "--detach"]):
            refused = machine.overlay(*words)
            assert refused.status == 1, (words, refused)
            assert refused.out == ""
            assert str(machine.home) in refused.complaint[0]
        ballast.unlink()
        machine.configure()
        machine.join(small, "--name", "late")
        machine.clean()


def test_a_node_whose_disk_turns_read_only_serves_on_and_stops_cleanly(small: Machine) -> None:
    node = small.up()
    disks.broken(small.home)
    refuses(small.overlay("name", "set", "found.hq", "TXT", "x"), "cannot be written: read-only file system")
    refuses(small.overlay("name", "set", "motd.hq", "TXT", "lost"), "no change is taken: ")
    assert "disk: " in problems(small)[0]
    assert small.ask("motd.hq.cloud", "TXT") == ['"kept"']
    assert "disk: " in node.err
    small.done("down")
    assert node.end() == 0


def test_a_read_only_home_is_told_in_two_lines_and_starts_when_it_is_writable(small: Machine) -> None:
    disks.read_only(small.home)
    for words in (["up"], ["up", "--detach"]):
        refused = small.overlay(*words)
        assert refused.status == 1
        assert len(refused.err.splitlines()) == 2
        assert str(small.home) in refused.complaint[0]
        assert "Read-only file system" in refused.complaint[0]
        assert refused.complaint[1].startswith("make that disk writable")
    disks.writable(small.home)
    small.up()
    assert small.ask("motd.hq.cloud", "TXT") == ['"kept"']
