"""One revision for machines of several kinds: each takes what is meant for it, and who published has them all."""

from __future__ import annotations

import importlib.util
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

from overlay.driver.releases import PLATFORMS
from tests.process.asking import status, subscribe
from tests.process.machines import Machine, Village, until

OTHER = "plan9-mips"
# A machine of another kind: what the program takes itself for is said before it starts.
ELSEWHERE = "import sys; import overlay.driver.releases as r; r.PLATFORMS = (sys.argv.pop(1), 'any'); from overlay.cli import main; sys.exit(main())"


@dataclass(slots=True)
class Elsewhere(Machine):
    """A machine of another kind."""

    def _command(self, words: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-P", "-c", ELSEWHERE, OTHER, "--home", str(self.home), *words]


@pytest.fixture(scope="module")
def publisher(shared: Village) -> Machine:
    machine = shared.founded()
    machine.up()
    machine.done("release", "init", "app")
    return machine


def elsewhere(shared: Village) -> Elsewhere:
    machine = shared.machine()
    return Elsewhere(machine.address, machine.home, machine.outputs, None, machine.running, machine.environment)


def file(machine: Machine, words: str) -> str:
    path = machine.home.with_name(f"{machine.home.name}-{words}.bin")
    path.write_bytes(words.encode() * 20_000)
    return str(path)


def got(machine: Machine, path: str) -> bytes:
    try:
        with urllib.request.urlopen(f"http://{machine.address}:8053{path}", timeout=10) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        return str(error.code).encode()


def publish(machine: Machine, number: int, *words: str) -> None:
    here, there = file(machine, f"here{number}"), file(machine, f"there{number}")
    machine.done("release", "publish", "app", here, "--platform", PLATFORMS[0], "--artifact", f"{OTHER}={there}", *words)


def test_each_machine_takes_what_is_for_it(publisher: Machine, shared: Village) -> None:
    alike, other = shared.machine(), elsewhere(shared)
    for machine, name in ((alike, "alike"), (other, "other")):
        machine.join(publisher, "--name", name, "--cluster", f"eu/{name}")
        subscribe(machine, "app")
    publish(publisher, 1)
    for machine, words in ((alike, b"here1"), (other, b"there1")):
        path = machine.home / "releases" / "app" / "r1"
        until(path.exists, "it is here")
        assert path.read_bytes() == words * 20_000
        until(lambda machine=machine: status(machine, "app")["revision"] == 1, "it runs")  # type: ignore[misc]
    artifacts = alike.done("release", "show", "app", "--json").json["artifacts"]
    assert [artifact["platform"] for artifact in artifacts] == sorted([PLATFORMS[0], OTHER])
    assert got(publisher, "/app/r1") == b"here1" * 20_000
    for platform, words in ((PLATFORMS[0], b"here1"), (OTHER, b"there1")):
        assert got(publisher, f"/app/r1.for-{platform}") == words * 20_000
        assert len(got(publisher, f"/app/r1.for-{platform}.leaves")) == 32 * (-(-len(words) * 20_000 // 16_384))
    assert got(other, f"/app/r1.for-{OTHER}") == got(other, "/app/r1") == b"there1" * 20_000
    assert got(other, f"/app/r1.for-{PLATFORMS[0]}") == got(publisher, "/app/r1.for-none") == b"404"
    for words in ("here1", "there1"):
        assert alike.done("release", "verify", file(alike, words), "--json").json["verified"] is True


@pytest.mark.skipif(importlib.util.find_spec("zstandard") is None, reason="zstandard is not installed: pip install -r requirements-dev.lock")
def test_patches_are_made_for_machines_like_the_publishers(publisher: Machine) -> None:
    publish(publisher, 2)
    artifacts = {one["platform"]: one for one in publisher.done("release", "show", "app", "2", "--json").json["artifacts"]}
    assert [delta["base"] for delta in artifacts[PLATFORMS[0]]["deltas"]] == [1] and not artifacts[OTHER]["deltas"]
    (size,) = [delta["length"] for delta in artifacts[PLATFORMS[0]]["deltas"]]
    assert len(got(publisher, f"/app/r2.for-{PLATFORMS[0]}.from-1")) == size


def test_who_is_outside_fetches_what_is_for_it(publisher: Machine, shared: Village) -> None:
    outside = elsewhere(shared)
    found = outside.done("release", "fetch", f"{publisher.address}:8053", "app").json
    assert Path(found["file"]).read_bytes() == f"there{found['revision']}".encode() * 20_000


def test_a_release_for_other_machines_alone_can_be_published(publisher: Machine, shared: Village) -> None:
    publisher.done("release", "init", "foreign")
    other = elsewhere(shared)
    other.join(publisher, "--name", "foreign", "--cluster", "eu/foreign")
    subscribe(other, "foreign")
    subscribe(publisher, "foreign")
    words = ("--platform", OTHER, "--artifact", f"vms={file(publisher, 'vms')}", "--soak", "0s")
    publisher.done("release", "publish", "foreign", file(publisher, "nine"), *words)
    path = other.home / "releases" / "foreign" / "r1"
    until(path.exists, "it is here")
    assert path.read_bytes() == b"nine" * 20_000
    until(lambda: status(other, "foreign")["revision"] == 1, "who has nothing to try holds nothing back")
    assert status(publisher, "foreign")["rule"] == "platform"
