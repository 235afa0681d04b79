"""Every command line of these tests: no home of the caller's, no environment of his."""

from __future__ import annotations

from pathlib import Path

import pytest

from overlay.cli import home
from tests.cli.shell import Run, runner


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine of these tests has no system node, and its user an empty home."""
    for name in ("OVERLAY_HOME", "XDG_STATE_HOME", "OVERLAY_READY_FD", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setattr(home, "SYSTEM", str(tmp_path / "system"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command line."""
    return runner(capsys, monkeypatch)
