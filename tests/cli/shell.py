"""A command line run inside the test, its output and exit status kept."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from overlay.cli import main

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a person sees of a command."""

    status: int
    out: str
    err: str

    @property
    def complaint(self) -> list[str]:
        """The lines on stderr."""
        return self.err.splitlines()


Run = Callable[..., Outcome]


def runner(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """``run("status", "--json")``. The interpreter's hook for foreign errors is put back after the test."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)

    def run(*words: str) -> Outcome:
        capsys.readouterr()
        status = main(list(words))
        seen = capsys.readouterr()
        return Outcome(status, seen.out, seen.err)

    return run


def process(*words: str, env: dict[str, str] | None = None, program: tuple[str, ...] = ("-m", "overlay"), **kinds: object) -> subprocess.Popen[str]:
    """The same as a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
    ends = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **kinds}
    return subprocess.Popen([sys.executable, *program, *words], env=environment, text=True, cwd=ROOT, **ends)  # type: ignore[call-overload,no-any-return]
