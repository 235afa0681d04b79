"""From the outside: a release fetched without joining, and a machine that gets in by the hint that came with it."""

from __future__ import annotations

import time
import urllib.request
from pathlib import Path

import pytest

from tests.process.machines import CONFIG, Machine, Village


@pytest.fixture(scope="module")
def publisher(shared: Village) -> Machine:
    machine = shared.founded()
    machine.up()
    machine.done("release", "init", "app")
    path = machine.home.with_name("app.bin")
    path.write_bytes(b"a program" * 5_000)
    machine.done("release", "publish", "app", str(path))
    return machine


def test_a_fresh_machine_joins_by_the_hint_alone(publisher: Machine, shared: Village) -> None:
    overlay_id = publisher.done("status", "--json").json["overlay_id"]
    fresh = shared.machine(configured=False)
    found = fresh.done("release", "fetch", f"{publisher.address}:8053", "app", "--id", overlay_id).json
    assert found["verified"] and Path(found["file"]).read_bytes() == b"a program" * 5_000
    assert Path(found["file"] + ".hint").is_file()
    fresh.configure(CONFIG)
    began = time.monotonic()
    node = fresh.start("join", "--name", "fresh", "--cluster", "eu/home")  # no domain, no address; DNS answers nobody
    assert node.line().startswith("joined as fresh.home.eu.cloud")
    assert time.monotonic() - began < 10


def test_a_hinted_file_is_verified_and_stripped(publisher: Machine, tmp_path: Path) -> None:
    with urllib.request.urlopen(f"http://{publisher.address}:8053/app/r1.hinted", timeout=10) as answer:
        hinted = answer.read()
        assert answer.headers["Accept-Ranges"] == "none" and answer.headers["ETag"]
    with urllib.request.urlopen(f"http://{publisher.address}:8053/app/r1", timeout=10) as answer:
        plain = answer.read()
        assert answer.headers["X-Overlay-Hint"]
    assert hinted.startswith(plain) and len(hinted) > len(plain)
    file, out = tmp_path / "hinted", tmp_path / "plain"
    file.write_bytes(hinted)
    verified = publisher.done("release", "verify", str(file), "--strip", str(out), "--json")
    assert verified.json["hinted"] is True
    assert out.read_bytes() == plain and out.with_name("plain.hint").is_file()


def test_what_another_overlay_signed_is_refused(publisher: Machine, shared: Village) -> None:
    other = shared.founded()
    wrong = other.done("release", "list", "--json") if (other.home / "run" / "control.sock").exists() else None
    assert wrong is None
    fresh = shared.machine()
    refused = fresh.overlay("release", "fetch", f"{publisher.address}:8053", "app", "--id", "A" * 43)
    assert refused.status == 4 and len(refused.complaint) == 2
    assert not list((fresh.home / "releases").glob("app/r1"))
    nowhere = fresh.overlay("release", "fetch", f"{publisher.address}:8053", "nothing", "--timeout", "5")
    assert nowhere.status == 5
