"""The shelf of a home: the octets of releases under ``releases/CHANNEL/``, whole and proved, or on their way.

    rN          exactly the signed octets          rN.leaves   the hashes of their leaves
    rN.part     what has come so far               new-*       being published: moved to rN once it is signed
    rN.from-B   a patch that makes rN of rB, with leaves and parts of its own
    rN.for-P    what is for machines of another platform, on the shelf of who published it

It decides that nothing is there under its final name before it is whole, proved and on the disk. It refuses to know
who may publish. Errors of the disk are ``StateError``; files that are not there ``Absent``.
"""

from __future__ import annotations

import os
import platform
import re
import secrets
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from overlay.driver.release_patch import LARGEST, apply, make
from overlay.errors import Absent, Malformed, StateError, UsageError
from overlay.records.releases import ANY, Artifact, Delta
from overlay.release.merkle import LEAF, Growing, layer, leaf_hash, leaf_span, leaves_of, read_layer, root_of

FOLDER: Final = "releases"
PLATFORMS: Final = (f"{sys.platform}-{platform.machine().lower()}", sys.platform, ANY)  # of this machine, the nearest first
READ: Final = 1_048_576  # octets at once: 1 ms of hashing between looks at who waits
_NEW: Final = re.compile(r"new-[0-9a-f]{16}")
KEPT: Final = 3  # revisions of a channel kept beside the newest: bases of deltas (DESIGN 3.9: up to three)


@dataclass(frozen=True, slots=True)
class Proved:
    """What was read from a file, while it was copied."""

    name: str  # of the copy, in the channel's folder
    length: int
    root: bytes


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise Absent(f"{path} is not there", "overlay release list shows what is held", rule="no-file") from None
    except OSError as error:
        raise StateError(f"{path}: {error.strerror}", "make room, or mend that disk; nothing else was changed", rule="release-disk") from None


class Shelf:
    """All releases of one home."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder = home / FOLDER

    def place(self, channel: str, revision: int, kind: str = "") -> Path:
        """Where a revision, its leaves (``.leaves``) or a part of it (``.part``) lies."""
        return self.folder / channel / f"r{revision}{kind}"

    def put_in(self, channel: str, data: bytes) -> Proved:
        """Octets made here, such as a patch, as if they had been copied in."""
        name, growing = f"new-{secrets.token_hex(8)}", Growing()
        growing.add(data)
        path = self.folder / channel / name
        with _disk(path):
            self._make_folder(channel)
            self._write(path, data)
            self._hand_over(path)
        return Proved(name, growing.length, root_of(growing.hashes()))

    def take_in(self, source: Path, channel: str, told: Callable[[int, int], None] = lambda done, whole: None) -> Proved:
        """Copy a file in, hashing what is copied: whatever becomes of the file then, the copy is what its root says.

        ``UsageError`` where it is no file, is empty, or changes meanwhile.
        """
        try:
            with source.open("rb") as file:
                before = os.fstat(file.fileno())
                if not os.path.isfile(source) or not before.st_size:
                    raise UsageError(f"{source} is empty, or no file", "name a file with something in it", rule="release-file")
                name = f"new-{secrets.token_hex(8)}"
                growing = self._copy(file.fileno(), channel, name, before.st_size, told)
                after = os.fstat(file.fileno())
        except OSError as error:
            what = f"{source} cannot be read: {error.strerror}"
            raise UsageError(what, "name a file that is there, and ask as its owner", rule="release-file") from None
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or growing.length != after.st_size:
            self.discard(channel, name)
            raise UsageError(f"{source} changed while it was read", "publish it again, once nobody writes into it", rule="release-changed")
        hashes = growing.hashes()
        return Proved(name, growing.length, root_of(hashes))

    def _copy(self, source: int, channel: str, name: str, whole: int, told: Callable[[int, int], None]) -> Growing:
        path = self.folder / channel / name
        growing = Growing()
        with _disk(path):
            self._make_folder(channel)
            try:
                with path.open("xb") as copy:
                    while growing.length <= whole and (data := os.read(source, READ)):  # what grows as fast as it is read has no end
                        copy.write(data)
                        growing.add(data)
                        told(growing.length, whole)
                    copy.flush()
                    os.fsync(copy.fileno())
                self._hand_over(path)
            except OSError:
                path.unlink(missing_ok=True)
                raise
        return growing

    def _make_folder(self, channel: str) -> None:
        for folder in (self.folder, self.folder / channel):
            if not folder.is_dir():
                folder.mkdir(mode=0o755, exist_ok=True)
                self._hand_over(folder)

    def _hand_over(self, path: Path) -> None:
        """What root's command writes for a node that runs as somebody else belongs to that one: the owner of the home."""
        owner = self.home.stat()
        if os.geteuid() == 0 and owner.st_uid != 0:
            os.chown(path, owner.st_uid, owner.st_gid)

    def discard(self, channel: str, name: str) -> None:
        """Forget what was copied in."""
        if _NEW.fullmatch(name):
            with suppress(OSError):
                (self.folder / channel / name).unlink(missing_ok=True)

    def adopt(self, channel: str, name: str, revision: int, length: int, root: bytes, kind: str = "") -> None:
        """What was copied in is that revision from now on. It is hashed again: whoever may write in the home may have written in it."""
        path = self.folder / channel / name
        if not _NEW.fullmatch(name):
            raise UsageError(f"{name[:40]!r} is nothing that was copied in", "overlay release publish copies a file", rule="release-file")
        with _disk(path):
            hashes = self.hashes(path)
            if path.stat().st_size != length or root_of(hashes) != root:
                raise UsageError(f"{path} is not what was signed", "publish it again", rule="release-changed")
        self.finish(channel, revision, path, hashes, kind)

    def finish(self, channel: str, revision: int, path: Path, hashes: list[bytes], kind: str = "") -> None:
        """A file that is proved gets its name: its leaves first, then itself, each on the disk before it has its name."""
        with _disk(path):
            self._write(self.place(channel, revision, f"{kind}.leaves"), layer(hashes))
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(path, self.place(channel, revision, kind))
            self._sync(channel)

    def _write(self, path: Path, data: bytes) -> None:
        temporary = path.with_name(path.name + ".tmp")
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)

    def _sync(self, channel: str) -> None:
        directory = os.open(self.folder / channel, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    @staticmethod
    def hashes(path: Path) -> list[bytes]:
        """Of all leaves of a file. ``OSError`` where it cannot be read."""
        growing = Growing()
        with path.open("rb") as file:
            while data := file.read(READ):
                growing.add(data)
        return growing.hashes()

    def holds(self, channel: str, revision: int, length: int, kind: str = "") -> bool:
        """Whether a revision is here, whole. Files get that name only when proved; damage since then shows where leaves are asked for."""
        try:
            return self.place(channel, revision, kind).stat().st_size == length and self.place(channel, revision, f"{kind}.leaves").is_file()
        except OSError:
            return False

    def leaves(self, channel: str, revision: int, length: int, root: bytes, kind: str = "") -> list[bytes]:
        """The proved hashes of a revision's leaves; ``Malformed`` where the disk did not keep them."""
        path = self.place(channel, revision, f"{kind}.leaves")
        with _disk(path):
            return read_layer(path.read_bytes(), length, root)

    def keep_only(self, channel: str, newest: int, also: frozenset[int] = frozenset()) -> None:
        """Let go of old revisions, and of what was copied in and never signed."""
        try:
            names = os.listdir(self.folder / channel)
        except OSError:
            return
        held = sorted((int(found[1]) for name in names if (found := re.fullmatch(r"r([0-9]{1,10})", name))), reverse=True)
        kept = {newest, *also, *[number for number in held if number < newest][:KEPT]}
        for name in names:
            found = re.fullmatch(r"r([0-9]{1,10})(\..*)?", name)
            if found is not None and int(found[1]) < newest and int(found[1]) not in kept:
                with suppress(OSError):
                    (self.folder / channel / name).unlink()


class Part:
    """A file on its way: leaves are written where they belong, once each is proved. Survives a crash: what is there is hashed again."""

    def __init__(self, shelf: Shelf, channel: str, revision: int, length: int, hashes: list[bytes], kind: str = "") -> None:
        self.shelf, self.channel, self.revision, self.kind = shelf, channel, revision, kind
        self.length, self.hashes = length, hashes
        self.path = shelf.place(channel, revision, f"{kind}.part")
        self.have = bytearray(leaves_of(length))
        with _disk(self.path):
            shelf._make_folder(channel)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._look()

    def _look(self) -> None:
        with _disk(self.path):
            there = min(os.fstat(self._file).st_size, self.length)
            for number in range(leaves_of(self.length)):
                first, octets = leaf_span(number, self.length)
                if first + octets > there:
                    break
                self.have[number] = leaf_hash(os.pread(self._file, octets, first)) == self.hashes[number]

    def missing(self) -> list[int]:
        """The leaves that are not here."""
        return [number for number, here in enumerate(self.have) if not here]

    def put(self, number: int, leaf: bytes) -> bool:
        """A leaf from anywhere. False where it is not what was signed: then nothing is written."""
        if leaf_hash(leaf) != self.hashes[number]:
            return False
        if not self.have[number]:
            with _disk(self.path):
                written = os.pwrite(self._file, leaf, number * LEAF)
                if written != len(leaf):
                    raise OSError(28, os.strerror(28))
            self.have[number] = 1
        return True

    def read(self, first: int, octets: int) -> bytes:
        """What is here of it; ``OSError`` where the disk does not give it."""
        return os.pread(self._file, octets, first)

    def finish(self) -> None:
        """All is here: it gets its name."""
        if not all(self.have):
            raise Malformed("leaves are missing", rule="layer-length")
        with _disk(self.path):
            os.ftruncate(self._file, self.length)
            os.fsync(self._file)
        self.shelf.finish(self.channel, self.revision, self.path, self.hashes, self.kind)
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def main_of(platforms: Collection[str]) -> str:
    """The platform whose octets have the plain name rN here: this machine's own; for who merely publishes the first of all."""
    return next((one for one in PLATFORMS if one in platforms), min(platforms))


def patches_from(shelf: Shelf, channel: str, copied: Proved, bases: Sequence[int], made: list[Proved]) -> list[tuple[int, Proved]]:
    """Patches from these revisions to what was copied in, put beside it; each is noted in ``made`` as soon as it is there."""
    found = []
    if not bases or copied.length > LARGEST:
        return []
    new = (shelf.folder / channel / copied.name).read_bytes()
    for base in bases:
        path = shelf.place(channel, base)
        patch = make(path.read_bytes(), new) if path.is_file() and path.stat().st_size <= LARGEST else None
        if patch is not None:
            made.append(shelf.put_in(channel, patch))
            found.append((base, made[-1]))
    return found


def patched(shelf: Shelf, channel: str, delta: Delta, revision: int, artifact: Artifact) -> None:
    """Make a revision of one that is here and a patch that is here; ``Malformed`` where that is not what was signed."""
    base, patch = shelf.place(channel, delta.base), shelf.place(channel, revision, f".from-{delta.base}")
    with _disk(base):
        old, change = base.read_bytes(), patch.read_bytes()
    made = apply(old, change, artifact.length)
    growing = Growing()
    growing.add(made)
    hashes = growing.hashes()
    if root_of(hashes) != artifact.root:
        raise Malformed("a patch that does not make what was signed", rule="patch")
    path = shelf.place(channel, revision, ".made")
    with _disk(path):
        path.write_bytes(made)
    shelf.finish(channel, revision, path, hashes)
