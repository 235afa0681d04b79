"""Small disks of a test's own: one that can be filled, one that the kernel turns read-only. Both take root to mount.

It decides nothing about the program. Every disk is unmounted when its test ends, whatever still has files open there.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def unable() -> str | None:
    """Why no disks can be had here, or None."""
    if os.geteuid() != 0:
        return "NO DISKS: not root, and mounting takes it (sudo make test)"
    for program in ("mount", "umount", "mkfs.ext4"):
        if shutil.which(program) is None:
            return f"NO DISKS: {program} is not installed"
    return None


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=20)


@contextmanager
def mounted(place: Path, image: Path) -> Iterator[Path]:
    """An ext4 file system of 8 MiB at ``place``, in the file ``image``."""
    image.write_bytes(b"")
    os.truncate(image, 8 * 1_048_576)
    _run("mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", str(image))
    place.mkdir(parents=True)
    _run("mount", "-o", "loop", str(image), str(place))
    try:
        yield place
    finally:
        _run("umount", "--lazy", str(place))
        image.unlink()


def filled(place: Path) -> Path:
    """Fill the disk to its last block; the file to remove for room again."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1_048_576, 4_096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                assert error.errno == errno.ENOSPC
    return ballast


def broken(place: Path) -> None:
    """The kernel finds a fault and lets nobody write any more, as ``errors=remount-ro`` does."""
    _run("mount", "-o", "remount,abort", str(place))
    try:
        (place / "probe").write_bytes(b"x")
    except OSError as error:
        assert error.errno == errno.EROFS
    else:
        raise AssertionError("it still takes writes")


def read_only(place: Path) -> None:
    """Mounted read-only. Nobody may have a file open there for writing."""
    _run("mount", "-o", "remount,ro", str(place))


def writable(place: Path) -> None:
    """And writable again."""
    _run("mount", "-o", "remount,rw", str(place))
