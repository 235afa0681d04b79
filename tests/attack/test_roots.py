"""Drafts that hide what one signs, keys that stay behind where a disk is full, files laid out beforehand (DESIGN 3.2; `overlay root`)."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from overlay.cli import rooting
from overlay.cli.grammar import Call, read
from overlay.cli.membership import private_file
from overlay.cli.table import COMMANDS
from overlay.errors import ConfigError
from overlay.identity.keys import Signer
from overlay.records import rights
from overlay.records.kinds import Root, version_item
from overlay.records.record import NEVER, Draft
from overlay.roots import SHOWN, RootDraft, key_file, next_version, renewal
from overlay.units import DAY, b64
from tests.records.actors import AT, Overlay, found, path, seed

NEW = sorted((Signer.from_seed(seed(f"new root key {number}")) for number in range(3)), key=lambda key: key.public)
EVIL = Signer.from_seed(seed("evil"))


@pytest.fixture
def overlay() -> Overlay:
    return found(keys=3, threshold=2)


# -- drafts


def test_a_draft_with_another_key_or_zone_reads_otherwise(overlay: Overlay) -> None:
    """Somebody with one of three keys changes the draft on its way to the second: who signs can see it."""
    honest = next_version([overlay.root], [key.public for key in NEW], 2, None, AT)
    swapped = next_version([overlay.root], [NEW[0].public, NEW[1].public, EVIL.public], 2, None, AT)
    body = Root(
        version=2, zone="evil.example.org", tld="evil", keys=tuple(key.public for key in NEW), threshold=2, admission="open",
        previous=overlay.root.digest,
    ).body()  # fmt: skip
    moved = Draft(name=path(""), kind="root", item=version_item(2), seq=2, issued=AT, expires=NEVER, body=body)
    elsewhere = RootDraft(overlay.overlay_id, moved.content(), honest.rulers)
    told = [RootDraft.read(draft.text(), "draft").describe() for draft in (honest, swapped, elsewhere)]
    assert len(set(told)) == 3
    assert all(b64(key.public)[:SHOWN] in told[0] for key in NEW)
    assert "evil.example.org" in told[2]


def test_a_grant_that_lasts_longer_than_was_agreed_reads_otherwise(overlay: Overlay) -> None:
    short = overlay.root_grant(overlay.stranger, "", {rights.GRANT}, life=7 * DAY)
    long = overlay.root_grant(overlay.stranger, "", {rights.GRANT}, life=366 * DAY)
    told = [renewal([overlay.root], grant, AT).describe() for grant in (short, long)]
    assert told[0] != told[1] and "until 2026-11-25" in told[0]


# -- keys on disks


def full(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """A disk that takes so many files and no more."""
    really, left = os.fsync, [after]

    def fsync(descriptor: int) -> None:
        if not os.path.isdir(f"/proc/self/fd/{descriptor}"):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        really(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


def keys_in(home: Path, overlay: Overlay) -> list[Path]:
    """Three root keys in a home."""
    home.mkdir()
    files = [home / f"root-{number}.key" for number in (1, 2, 3)]
    for number, file in enumerate(files):
        private_file(file, key_file(overlay.overlay_id, seed(f"root key {number}")))
    return files


def exported(home: Path, to: Path) -> None:
    call = read(["--home", str(home), "root", "export", str(to)], COMMANDS)
    assert isinstance(call, Call)
    rooting.export(call)


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_medium_that_is_full_in_the_middle_keeps_no_key_and_the_home_keeps_all(
    overlay: Overlay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    files = keys_in(tmp_path / "home", overlay)
    full(monkeypatch, after)
    with pytest.raises(ConfigError):
        exported(tmp_path / "home", tmp_path / "stick")
    assert list((tmp_path / "stick").iterdir()) == []
    assert all(file.exists() for file in files)
    monkeypatch.undo()
    exported(tmp_path / "home", tmp_path / "stick")
    assert sorted(p.name for p in (tmp_path / "stick").iterdir()) == [file.name for file in files]
    assert list((tmp_path / "home").iterdir()) == []


def test_a_key_is_not_written_into_a_file_that_somebody_laid_out_for_it(tmp_path: Path) -> None:
    """In a directory that others may write to: neither through their link, nor into their file."""
    others = tmp_path / "others"
    others.write_text("")
    (tmp_path / "root.key.new").symlink_to(others)
    private_file(tmp_path / "root.key", "secret")
    assert others.read_text() == "" and not (tmp_path / "root.key").is_symlink()
    (tmp_path / "root-2.key.new").write_text("")
    (tmp_path / "root-2.key.new").chmod(0o666)
    private_file(tmp_path / "root-2.key", "secret")
    assert (tmp_path / "root-2.key").stat().st_mode & 0o777 == 0o600
