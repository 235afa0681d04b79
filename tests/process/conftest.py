"""A village of machines for each test, taken down after it; and what holds for all of them: no traceback, ever."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.process.machines import Machine, Village

if not sys.platform.startswith("linux"):
    pytest.skip("these tests need the whole of 127.0.0.0/8 and /proc, as Linux has them", allow_module_level=True)


def _lived(village: Village) -> Iterator[Village]:
    try:
        yield village
    finally:
        village.clean()
    for text in village.outputs():
        assert "Traceback" not in text, text
        assert "a defect of this program" not in text, text
        assert "Warning:" not in text, text


@pytest.fixture
def village() -> Iterator[Village]:
    # Not pytest's tmp_path: that may be longer than a socket's name can be, and long homes have a test of their own.
    folder = Path(tempfile.mkdtemp(prefix="village-"))
    yield from _lived(Village(folder))
    shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Template:
    """The home of a founder (``founder.hq.cloud``) that has run, has set ``motd.hq`` to "kept" and was stopped."""

    home: Path
    node_id: str

    def lay(self, machine: Machine) -> None:
        """Make that machine's home a copy of it."""
        shutil.copytree(self.home, machine.home, dirs_exist_ok=True, ignore=shutil.ignore_patterns("overlay.toml", "run", "log"))
        (machine.home / "run").mkdir()


@pytest.fixture(scope="session")
def template() -> Iterator[Template]:
    folder = Path(tempfile.mkdtemp(prefix="village-"))
    village = Village(folder)
    for _ in _lived(village):
        machine = village.founded()
        machine.done("up", "--detach")
        node_id = machine.done("status", "--json").json["node_id"]
        machine.done("name", "set", "motd.hq", "TXT", "kept")
        machine.done("down")
        yield Template(machine.home, node_id)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def shared() -> Iterator[Village]:
    """One for all tests of a file that only look."""
    folder = Path(tempfile.mkdtemp(prefix="village-"))
    yield from _lived(Village(folder))
    shutil.rmtree(folder, ignore_errors=True)
