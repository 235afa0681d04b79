"""Hints on the disk: cut off behind what was signed, kept in a side file, found again by a machine that knows nobody (DESIGN 3.11).

It decides where they lie: beside the octets that they came with, ``rN.hint``. A hint that does not read is passed over:
it is no more than one way in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from overlay.driver.releases import FOLDER, READ
from overlay.errors import Malformed, UsageError
from overlay.release.hint import LONGEST, Hint, read, trailer_length
from overlay.release.merkle import Growing, root_of

MOST: Final = 32  # side files that are looked at


def measure(path: Path) -> tuple[int, bytes, bytes]:
    """(octets, root, trailer) of a file: what is in front of its trailer, where it has one. ``UsageError`` where it cannot be read."""
    growing = Growing()
    try:
        with path.open("rb") as file:
            whole = file.seek(0, 2)
            file.seek(max(0, whole - LONGEST))
            tail = file.read(LONGEST)
            try:
                trailing = trailer_length(tail)
            except Malformed:
                trailing = 0  # then it is a part of the file, and its root says what to think of that
            file.seek(0)
            left = whole - trailing
            while left and (data := file.read(min(READ, left))):
                growing.add(data)
                left -= len(data)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", "name a file that is there", rule="release-file") from None
    return growing.length, root_of(growing.hashes()), tail[len(tail) - trailing :] if trailing else b""


def strip(path: Path, to: Path, octets: int, trailer: bytes) -> None:
    """Write exactly the signed octets to ``to``, and the hint beside it. ``UsageError`` where that cannot be."""
    part = to.with_name(to.name + ".part")
    try:
        with path.open("rb") as file, part.open("wb") as out:
            left = octets
            while left and (data := file.read(min(READ, left))):
                out.write(data)
                left -= len(data)
        part.replace(to)
        if trailer:
            to.with_name(to.name + ".hint").write_bytes(trailer)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UsageError(f"{to} cannot be written: {error.strerror}", "choose another place", rule="release-file") from None


def kept(home: Path, at: float) -> Iterator[Hint]:
    """The hints of a home, the newest file first."""
    try:
        files = sorted((home / FOLDER).glob("*/*.hint"), key=lambda path: path.stat().st_mtime, reverse=True)
    except OSError:
        return
    for path in [home / "hint", *files][:MOST]:
        with suppress(OSError, Malformed):
            yield read(path.read_bytes()[:LONGEST], at)
