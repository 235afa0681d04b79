"""``overlay log [-f] [-n N]``: the node's log, and with ``-f`` what is added to it, also after it was turned over.

It decides which lines are shown, and that none of them steers the terminal: lines of the node are safe as they are written,
but what a crash leaves in the same file (a traceback) may quote anybody. It reads the files of the home and asks no node.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import IO, Final

from overlay.cli.grammar import Call
from overlay.cli.home import asked, own
from overlay.cli.terminal import visible
from overlay.errors import Absent, ConfigError

LOOK: Final = 0.25  # seconds between looks at a growing log
RECENT: Final = 10  # lines that -f begins with, as tail(1) and journalctl(1)


def log(call: Call) -> None:
    """``overlay log``: of the nearest home that has one."""
    path = next((path for home in asked(call.home) if (path := Path(home) / "log").exists()), None)
    if path is None:
        raise Absent(f"there is no log in {own(call.home)}", "a node writes it once it runs: overlay up", rule="log-absent")
    follow, count = call.values["follow"], call.values["lines"]
    if follow and count is None:
        count = RECENT
    try:
        with Growing(path) as growing:
            lines = growing.lines()
            if growing.rest and not follow:
                lines.append(growing.rest)
            if count is None or len(lines) < count:
                lines = [*_before(path), *lines]
            _show(lines if count is None else lines[len(lines) - min(count, len(lines)) :])
            while follow:
                time.sleep(LOOK)
                _show(growing.lines())
    except BrokenPipeError:
        raise  # the reader has had enough: no fault of the log's
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", "ask as its owner or root", rule="log-file") from None


def _before(path: Path) -> list[bytes]:
    """The lines of the log's predecessor, if there is one."""
    try:
        return path.with_name(path.name + ".1").read_bytes().splitlines()
    except FileNotFoundError:
        return []


def _show(lines: list[bytes]) -> None:
    for line in lines:
        sys.stdout.write(visible(line.decode("utf-8", "replace")) + "\n")
    sys.stdout.flush()


class Growing:
    """A log that somebody else writes: whole lines as they come, through every turning over, each once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] = path.open("rb")
        self.rest = b""  # a line that has not ended yet

    def __enter__(self) -> Growing:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def lines(self) -> list[bytes]:
        """What was added since last asked, line by line."""
        later = self._turned_over()  # looked at first: what is in the old file by now is all that it will ever hold
        found = self._read()
        if later is not None:
            self._file.close()
            self._file = later
            found += [self.rest] if self.rest else []
            self.rest = b""
            found += self._read()
        return found

    def _turned_over(self) -> IO[bytes] | None:
        """The file that stands in the place of ours, opened; None where it is ours still."""
        try:
            there, ours = os.stat(self._path), os.fstat(self._file.fileno())
            if (there.st_ino, there.st_dev) != (ours.st_ino, ours.st_dev):
                return self._path.open("rb")
        except FileNotFoundError:
            return None  # between the two moves of turning it over
        if ours.st_size < self._file.tell():
            self._file.seek(0)  # cut short where it stands, by whoever
        return None

    def _read(self) -> list[bytes]:
        *whole, self.rest = (self.rest + self._file.read()).split(b"\n")
        return whole
