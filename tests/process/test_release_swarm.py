"""A large release goes from mate to mate: the source sends about one copy, of a cluster one goes far for it."""

from __future__ import annotations

import hashlib
import re
import urllib.request
from pathlib import Path
from random import Random

import pytest

from tests.process.machines import Machine, Village, until

SIZE = 3 * 1_048_576
PIECES = 48


def counted(machine: Machine, word: str) -> int:
    with urllib.request.urlopen(f"http://{machine.address}:8053/metrics", timeout=10) as answer:
        found = re.search(rf"^overlay_{word}_total (\d+)", answer.read().decode(), re.MULTILINE)
    assert found is not None, word
    return int(found[1])


@pytest.fixture(scope="module")
def publisher(shared: Village) -> Machine:
    machine = shared.founded()
    machine.up()
    return machine


@pytest.fixture(scope="module")
def takers(publisher: Machine, shared: Village) -> list[Machine]:
    machines = [shared.machine() for _ in range(3)]
    for number, machine in enumerate(machines):
        machine.join(publisher, "--name", f"taker{number}", "--cluster", f"eu/site{number // 2}")
        machine.done("subscribe", "big")
    return machines


def content(seed: int) -> bytes:
    return Random(seed).randbytes(SIZE)


def file(machine: Machine, data: bytes) -> Path:
    path = machine.home.with_name("big.bin")
    path.write_bytes(data)
    return path


def test_a_large_release_is_shared_and_the_source_sends_about_one_copy(publisher: Machine, takers: list[Machine]) -> None:
    data = content(1)
    publisher.done("release", "init", "big")
    publisher.done("release", "publish", "big", str(file(publisher, data)))
    digest = hashlib.sha256(data).hexdigest()
    for taker in takers:
        path = taker.home / "releases" / "big" / "r1"
        until(path.exists, "the release is here", 40)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    taken = [counted(taker, "pieces_taken") for taker in takers]
    given = counted(publisher, "pieces_given")
    assert sum(taken) >= 2 * PIECES, (taken, given)  # from mates, and not over plain HTTP
    assert given <= 2.5 * PIECES, (taken, given)


def test_who_died_halfway_goes_on_where_it_was(publisher: Machine, takers: list[Machine]) -> None:
    data = content(2)
    taker = takers[0]
    taker.running[-1].kill()
    part = taker.home / "releases" / "big" / "r2.part"
    publisher.done("release", "publish", "big", str(file(publisher, data)))
    part.write_bytes(data[: SIZE // 2] + bytes(16_384))  # what a crash left: half of it, and a leaf that the disk did not keep
    before = counted(publisher, "pieces_given") + sum(counted(other, "pieces_given") for other in takers[1:])
    taker.up()
    path = taker.home / "releases" / "big" / "r2"
    until(path.exists, "the release is here", 40)
    assert path.read_bytes() == data
    assert counted(taker, "pieces_taken") * 65_536 + counted(taker, "leaves_fetched") * 16_384 <= SIZE // 2 + 65_536
    assert before >= 0
