"""Where nobody reaches the publisher over HTTP a release goes from mate to mate over streams of sessions."""

from __future__ import annotations

import hashlib
import re
import urllib.request
from pathlib import Path
from random import Random

import pytest

from tests.process.machines import CONFIG, Machine, Village, until

SIZE = 3 * 1_048_576
PIECES = 48


def counted(machine: Machine, word: str) -> int:
    (address, *_) = machine.done("status", "--json").json["listen"]["http"]
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        found = re.search(rf"^overlay_{word}_total (\d+)", answer.read().decode(), re.MULTILINE)
    assert found is not None, word
    return int(found[1])


@pytest.fixture(scope="module")
def publisher(shared: Village) -> Machine:
    machine = shared.founded()
    machine.configure(CONFIG.replace('http = ["{address}:8053"]', 'http = ["127.0.0.1:0"]'))  # as behind a router: at no address of its own
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


def test_one_of_each_site_goes_for_it_and_the_others_come_to_that_one(publisher: Machine, takers: list[Machine]) -> None:
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
    assert sorted(taken)[-2:] == [PIECES, PIECES]  # one of each site went for it
    assert PIECES <= given <= 2.2 * PIECES, (taken, given)
    assert sum(taken) * 65_536 + sum(counted(taker, "leaves_fetched") for taker in takers) * 16_384 >= 3 * SIZE


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
