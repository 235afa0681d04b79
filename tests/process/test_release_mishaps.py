"""What goes wrong around a release, with real programs: disks that are full, clocks at 1970, sources that die, files that change."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.process import disks
from tests.process.asking import problems, status, subscribe, told
from tests.process.conftest import Template
from tests.process.machines import Machine, Village, until

MIB = 1_048_576


@pytest.fixture(scope="module")
def publisher(shared: Village) -> Machine:
    machine = shared.founded()
    machine.up()
    return machine


@pytest.fixture(scope="module")
def second(shared: Village, publisher: Machine) -> Machine:
    return joined(shared, publisher, "second")


@pytest.fixture(scope="module")
def third(shared: Village, publisher: Machine) -> Machine:
    return joined(shared, publisher, "third")


def joined(shared: Village, publisher: Machine, name: str) -> Machine:
    machine = shared.machine()
    machine.join(publisher, "--name", name, "--cluster", f"eu/{name}")
    return machine


def file(machine: Machine, name: str, data: bytes) -> Path:
    path = machine.home.with_name(f"{machine.home.name}-{name}.bin")
    path.write_bytes(data)
    return path


def left(machine: Machine, channel: str) -> list[str]:
    """What lies on the shelf beside whole releases."""
    folder = machine.home / "releases" / channel
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("new-") or path.suffix in (".part", ".tmp", ".made"))


# -- a file that changes while it is published


def test_a_file_that_goes_on_growing_is_not_published(publisher: Machine) -> None:
    publisher.done("release", "init", "grows")
    path = file(publisher, "grows", bytes(24 * MIB))
    writer = os.fork()
    if not writer:  # a download that is not done
        with path.open("ab", buffering=0) as more:
            while True:
                more.write(b"x" * 4_096)
                time.sleep(0.0005)
    try:
        refused = publisher.overlay("release", "publish", "grows", str(path))
    finally:
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
    assert refused.status == 2 and "changed while it was read" in refused.complaint[0]
    assert left(publisher, "grows") == [] and publisher.done("release", "list", "grows", "--json").json[0]["revision"] is None
    assert publisher.done("release", "publish", "grows", str(path)).json["revision"] == 1


def test_with_a_key_of_another_channel_nobody_publishes(publisher: Machine) -> None:
    publisher.done("release", "init", "one")
    publisher.done("release", "init", "two")
    path = file(publisher, "keys", b"keys")
    refused = publisher.overlay("release", "publish", "one", str(path), "--key", str(publisher.home / "release-two.key"))
    assert refused.status == 4 and len(refused.complaint) == 2 and left(publisher, "one") == []


# -- a source that dies halfway


def test_a_source_that_dies_halfway_is_left_and_what_has_come_stays(publisher: Machine, second: Machine, third: Machine) -> None:
    """Both hold it; one is ended while it is asked. Whatever had come then is not asked for again."""
    data = Random(5).randbytes(24 * MIB)
    publisher.done("release", "init", "large")
    subscribe(second, "large")
    publisher.done("release", "publish", "large", str(file(publisher, "large", data)))
    until(lambda: (second.home / "releases" / "large" / "r1").exists(), "the second has it", 60)
    part, whole = (third.home / "releases" / "large" / name for name in ("r1.part", "r1"))
    subscribe(third, "large")
    until(lambda: part.exists() or whole.exists(), "it has begun")
    second.running[-1].kill()
    until(whole.exists, "the other brings it", 90)
    assert whole.read_bytes() == data
    second.up()


# -- two publishers at once


def test_of_two_that_publish_one_revision_the_second_is_told_and_everybody_takes_the_first(publisher: Machine, second: Machine) -> None:
    """Two machines hold the channel's key, and neither has heard of the other's release when it makes its own."""
    publisher.done("release", "init", "twice")
    key = publisher.home / "release-twice.key"
    key = key.rename(publisher.home.with_name("release-twice.key"))
    until(lambda: status(second, "twice"), "the channel is known")
    subscribe(second, "twice")
    drafts = []
    for machine, words in ((publisher, b"one"), (second, b"two")):
        path, draft = file(machine, "twice", words * 5_000), machine.home.with_name(f"{machine.home.name}-twice.draft")
        assert machine.done("release", "publish", "twice", str(path), "--out", str(draft)).json["revision"] == 1
        machine.done("release", "sign", str(draft), "--key", str(key))
        drafts.append(("release", "publish", "twice", str(path), "--signed", str(draft)))
    publisher.done(*drafts[0])
    until(lambda: status(second, "twice")["newest"] == 1, "the other has heard of it")
    late = second.overlay(*drafts[1])
    assert late.status == 2 and "another r1" in late.complaint[0] and left(second, "twice") == []
    until(lambda: status(second, "twice")["revision"] == 1, "it is taken")
    assert (second.home / "releases" / "twice" / "r1").read_bytes() == b"one" * 5_000
    again = second.done("release", "publish", "twice", str(file(second, "twice", b"two" * 5_000)), "--key", str(key)).json
    assert again["revision"] == 2
    until(lambda: status(second, "twice")["revision"] == 2, "the next one goes on from there")


# -- a clock at 1970


def test_a_machine_whose_clock_says_1970_takes_and_publishes_releases(publisher: Machine, third: Machine) -> None:
    publisher.done("release", "init", "dated")
    publisher.done("grant", "/", "--to", "third.third.eu", "--rights", "release:seventies")
    subscribe(third, "dated")
    third.running[-1].kill()
    third.set_clock(-time.time())
    third.up()
    publisher.done("release", "publish", "dated", str(file(publisher, "dated", b"dated" * 5_000)))
    until(lambda: status(third, "dated")["revision"] == 1, "it is taken by who lives in 1970")
    subscribe(publisher, "seventies")
    third.done("release", "init", "seventies")
    third.done("release", "publish", "seventies", str(file(third, "seventies", b"disco" * 5_000)))
    until(lambda: status(publisher, "seventies")["revision"] == 1, "what it publishes is taken")


# -- a full disk


@pytest.fixture
def small(village: Village, template: Template) -> Iterator[Machine]:
    """A founder whose home is a disk of 8 MiB."""
    machine = village.machine("small", configured=False)
    with disks.mounted(machine.home, village.folder / "image"):
        machine.configure()
        template.lay(machine)
        machine.up()
        yield machine
        machine.clean()


@pytest.mark.skipif(disks.unable() is not None, reason=str(disks.unable()))
def test_what_does_not_fit_is_not_published_and_leaves_nothing_behind(small: Machine, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(12 * MIB))
    small.done("release", "init", "app")
    refused = small.overlay("release", "publish", "app", str(path))
    assert refused.status == 1 and "No space left" in refused.complaint[0] and "make room" in refused.complaint[1]
    assert left(small, "app") == []
    path.write_bytes(bytes(MIB))
    assert small.done("release", "publish", "app", str(path)).json["revision"] == 1


@pytest.mark.skipif(disks.unable() is not None, reason=str(disks.unable()))
def test_who_has_no_room_for_a_release_says_so_and_takes_it_once_there_is(small: Machine, village: Village, tmp_path: Path) -> None:
    big = village.machine()
    big.join(small, "--name", "big", "--cluster", "eu/big")
    small.done("grant", "/", "--to", "big.big.eu", "--rights", "release:app")
    until(lambda: big.overlay("release", "init", "app").status == 0, "the grant is known")
    path = tmp_path / "large"
    path.write_bytes(Random(1).randbytes(4 * MIB))
    ballast = small.home / "ballast"
    ballast.write_bytes(bytes(5 * MIB))
    subscribe(small, "app")
    big.done("release", "publish", "app", str(path))
    until(lambda: any("No space left" in line for line in problems(small)), "it says so")
    assert status(small, "app")["revision"] is None and not (small.home / "releases" / "app" / "r1").exists()
    ballast.unlink()
    told(small, "upgrade", channel="app")  # it would look again by itself within 20 s
    until(lambda: status(small, "app")["revision"] == 1, "it is taken", 40)
    assert (small.home / "releases" / "app" / "r1").read_bytes() == path.read_bytes()
    until(lambda: not problems(small), "and nothing is wrong any more")
