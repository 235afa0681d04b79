"""What is put into ``publish/CHANNEL`` of the home is published by itself (`overlay release init CHANNEL --auto-publish`).

For machines that build: no person types a passphrase there, so the channel's keys lie in the home, in the clear. The node
takes a file once nobody writes into it any more, signs it as the next revision, and removes it once that is said and
durable. A file that is what the newest revision holds already is removed without a word, so a crash in between publishes
nothing twice. It decides when a file is done; all else is as for `overlay release publish`.
"""

from __future__ import annotations

import stat
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import trio

from overlay.cli.release_keys import PUBLISH, signers_of
from overlay.cli.release_known import Known
from overlay.driver.release_pages import Shown
from overlay.driver.releases import Proved, patches_from
from overlay.errors import OverlayError, TrustError
from overlay.machine import Log
from overlay.records.record import Record
from overlay.records.releases import ANY, MAX_DELTAS, Artifact, Delta, channel_path
from overlay.release.draft import ReleaseDraft

EVERY: Final = 2.0  # seconds between looks; a file that is the same at two of them is done (guess: who builds moves it in, or copies it in one go)
AGAIN: Final = 60.0  # seconds before a file that was refused is tried again
NOTE: Final = 50  # letters of its name that are told: fewer octets than a note may have

Drafted = Callable[..., ReleaseDraft]
Publish = Callable[[str, Mapping[str, Sequence[str]], Record], Awaitable[Shown]]


class Mark(NamedTuple):
    """A file as it was seen."""

    path: Path
    inode: int
    size: int
    changed_ns: int


class Spool:
    """The folders of one home. ``draft`` and ``publish`` are what `overlay release publish` asks of a node."""

    def __init__(self, home: Path, known: Known, draft: Drafted, publish: Publish) -> None:
        self.home = home
        self._known = known
        self._draft = draft
        self._publish = publish
        self._seen: dict[Path, Mark] = {}  # by folder: the oldest file in it, at the last look
        self._refused: dict[Mark, float] = {}  # not before (monotonic seconds)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            for folder in await trio.to_thread.run_sync(_folders, self.home / PUBLISH):
                await self.look(folder)
            await trio.sleep(EVERY)

    async def look(self, folder: Path) -> None:
        """Take the oldest file of a folder, where it is done."""
        engine = self._known.engine
        now = engine.clock.now()
        self._refused = {mark: until for mark, until in self._refused.items() if now < until}
        mark: Mark | None = None
        line = ""
        try:
            channel_path(folder.name)
            mark = await trio.to_thread.run_sync(_oldest, folder, frozenset(self._refused))
            if mark is not None and self._seen.get(folder) == mark:
                await self._take(folder.name, mark.path)
        except OverlayError as why:
            line = why.what
        except OSError as why:
            line = f"{folder}: {why.strerror}"
        if mark is not None and line:
            self._refused[mark] = now + AGAIN
        if mark is not None:
            self._seen[folder] = mark
        if line or all(one.path.parent != folder for one in self._refused):
            engine.problem(f"publish {folder.name}", line)

    async def _take(self, channel: str, path: Path) -> None:
        shelf = self._known.shelf
        copies = [await trio.to_thread.run_sync(shelf.take_in, path, channel)]
        copied = copies[0]
        try:
            newest = self._known.releases(channel)
            held = self._known.artifact(newest[0][1]) if newest else None
            if held is None or (held.length, held.root) != (copied.length, copied.root):
                draft = await self._signed(channel, path.name, copied, copies)
                shown = await self._publish(channel, {ANY: [copy.name for copy in copies]}, draft.record())
                self._known.engine.let_out(
                    (Log("info", "release-published", {"channel": channel, "revision": shown.revision, "file": path.name[:NOTE]}),)
                )
            await trio.to_thread.run_sync(path.unlink)
        finally:
            for copy in copies:
                shelf.discard(channel, copy.name)

    async def _signed(self, channel: str, name: str, copied: Proved, copies: list[Proved]) -> ReleaseDraft:
        known = self._known
        bases = [body.revision for _, body in known.releases(channel) if known.shown(channel, body.revision) is not None][:MAX_DELTAS]
        made = await trio.to_thread.run_sync(patches_from, known.shelf, channel, copied, bases, copies)
        deltas = tuple(Delta(base=base, length=patch.length, root=patch.root) for base, patch in made)
        note = "".join(letter for letter in name if letter.isprintable())[:NOTE]
        draft = self._draft(channel, (Artifact(length=copied.length, root=copied.root, deltas=deltas),), note=note)
        draft.sign(await trio.to_thread.run_sync(lambda: signers_of(self.home, channel, asks=False)))
        if draft.missing() > 0:
            raise TrustError(
                f"{draft.missing()} key(s) of {channel} are missing in the home", "put them there, or publish by hand: overlay release publish",
                rule="auto-publish",
            )
        return draft


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    except OSError:
        return []


def _oldest(folder: Path, refused: Collection[Mark]) -> Mark | None:
    """The file that was changed longest ago: a plain one whose name begins with no dot, in a folder where nobody else may write."""
    if folder.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise TrustError(f"others may write into {folder}", f"chmod 700 {folder}", rule="auto-publish")
    found = []
    for path in folder.iterdir():
        state = path.lstat()
        mark = Mark(path, state.st_ino, state.st_size, state.st_mtime_ns)
        if stat.S_ISREG(state.st_mode) and not path.name.startswith(".") and mark not in refused:
            found.append(mark)
    return min(found, key=lambda mark: (mark.changed_ns, mark.path), default=None)
