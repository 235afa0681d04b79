"""`overlay zone serve`: a master file answered by the engine alone, or refused in two lines (CONTRACT, `zone serve`)."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from tests.process.machines import Machine, Village

ZONE = "$ORIGIN {origin}\n@ 300 IN SOA ns. root. 1 2 3 4 5\n@ 300 IN NS ns\nns 300 IN A 192.0.2.1\nwww 300 IN A 192.0.2.{number}\n"


@pytest.fixture
def machine(village: Village) -> Machine:
    return village.machine(configured=False)


def written(folder: Path, origin: str, number: int) -> Path:
    path = folder / f"{origin}{number}zone"
    path.write_text(ZONE.format(origin=origin, number=number))
    return path


def test_a_file_is_served_until_a_signal(machine: Machine, village: Village) -> None:
    path = written(village.folder, "example.net.", 7)
    server = machine.start("zone", "serve", str(path), "--listen", f"{machine.address}:5300")
    assert server.line() == "serving example.net."
    assert machine.ask("www.example.net") == ["192.0.2.7"]
    assert machine.ask("nothing.example.net") == ["NXDOMAIN"]
    assert machine.ask("www.example.org") == ["REFUSED"]
    server.signal(signal.SIGTERM)
    assert server.end() == 0
    assert server.err == ""
    assert not machine.home.exists()  # it joins nothing, and needs no home


def test_paths_on_stdin_replace_the_zone_and_mistakes_do_not(machine: Machine, village: Village) -> None:
    paths = [written(village.folder, "example.net.", 7), village.folder / "absent", written(village.folder, "example.org.", 8)]
    bad = village.folder / "bad"
    bad.write_text("$ORIGIN example.net.\n@ IN SOA nonsense\n")
    done = machine.overlay(
        "zone", "serve", "-", "--listen", f"{machine.address}:5300", stdin="\n".join(map(str, [*paths, bad, village.folder])) + "\n"
    )
    assert done.status == 0
    said = done.out.splitlines()
    assert [line.split()[0] for line in said] == ["serving", "failed", "serving", "failed", "failed"]
    assert said[1].startswith(f"failed {paths[1]}: ")
    assert said[3].startswith(f"failed {bad}: ")
    assert len(said[3]) > len(f"failed {bad}: ")


def test_what_cannot_be_served_is_refused_in_two_lines(machine: Machine, village: Village) -> None:
    good = str(written(village.folder, "example.net.", 7))
    binary = village.folder / "binary"
    binary.write_bytes(os.urandom(64) + b"\xff\n")
    listen = ("--listen", f"{machine.address}:5300")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind((machine.address, 5301))
        cases = [
            (["zone", "serve", "/nowhere/zone", *listen], 1), (["zone", "serve", str(binary), *listen], 1), (["zone", "serve", good], 2),
            (["zone", "serve", good, "--listen", "nonsense"], 2), (["zone", "serve", good, "--listen", "192.0.2.1:5300"], 1),
            (["zone", "serve", good, "--listen", f"{machine.address}:5301"], 1), (["zone", "serve", *listen], 2), (["zone"], 2),
        ]  # fmt: skip
        for words, status in cases:
            refused = machine.overlay(*words)
            assert refused.status == status, (words, refused)
            assert len(refused.err.splitlines()) == 2, (words, refused.err)
            assert refused.out == ""
