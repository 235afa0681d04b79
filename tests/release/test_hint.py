"""Hints: read back, refused where anything about them is odd, and never a part of what is run."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from overlay.driver.release_hints import kept, measure, strip
from overlay.errors import Malformed
from overlay.release.hint import LONGEST, MAGIC, Hint, read, trailer_length
from overlay.release.merkle import Growing, root_of
from overlay.wire.address import Address
from tests.records.actors import AT, actor, refused, seed

ME = actor("who gives it away")
HINT = Hint(
    overlay_id=seed("overlay"), zone="cloud.example.org", tld="cloud", addresses=(Address("192.0.2.1", 7653),), exchange=ME.identity.exchange_public,
    node_id=ME.node_id, expires=AT + 100, root=seed("root"),
)
TRAILER = HINT.trailer(ME.signer)


def test_a_hint_reads_back() -> None:
    assert read(TRAILER, AT, seed("root")) == HINT
    assert trailer_length(b"some program" + TRAILER) == len(TRAILER) < 400
    assert trailer_length(b"some program") == 0


@pytest.mark.parametrize(
    ("trailer", "rule"),
    [
        (b"", "hint-form"), (TRAILER[:-1], "hint-form"), (TRAILER[1:], "hint-length"), (MAGIC, "hint-form"),
        (bytes(10) + b"\xff\xff\xff\xff" + MAGIC, "hint-length"), (b"\x01" + b"\x00\x00\x00\x01" + MAGIC, "hint-form"),
        (TRAILER.replace(b"cloud.example.org", b"cloud.example.net"), "hint-signature"),
        (replace(HINT, zone="Cloud.").trailer(ME.signer), "hint-zone"), (replace(HINT, addresses=()).trailer(ME.signer), "hint-form"),
        (HINT.trailer(actor("thief").signer), "hint-signature"), (replace(HINT, expires=AT).trailer(ME.signer), "hint-expired"),
        (replace(HINT, root=seed("other")).trailer(ME.signer), "hint-expired"),
        (replace(HINT, overlay_id=b"PK\x05\x06" + bytes(28)).trailer(ME.signer), "hint-foreign"),
    ],
)
def test_whatever_is_odd_is_refused(trailer: bytes, rule: str) -> None:
    with refused(rule, Malformed):
        read(trailer, AT, seed("root"))


def zipapp(words: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("__main__.py", f"print({words!r})")
    return made.getvalue()


def run(path: Path) -> str:
    return subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=60, check=True).stdout.strip()


def root(data: bytes) -> bytes:
    growing = Growing()
    growing.add(data)
    return root_of(growing.hashes())


def test_a_foreign_archive_behind_the_signed_octets_never_runs(tmp_path: Path) -> None:
    """The trap, and the way out: what is run is exactly as long as what was signed, whatever came behind it."""
    good, evil = zipapp("ours"), zipapp("foreign")
    hinted = tmp_path / "hinted.pyz"
    hinted.write_bytes(good + evil)
    assert run(hinted) == "foreign"  # this is why
    assert measure(hinted)[1] != root(good)  # without the shape of a hint it is a part of the file, which then nobody has signed
    trailer = evil + len(evil).to_bytes(4, "big") + MAGIC
    hinted.write_bytes(good + trailer)
    length, found, tail = measure(hinted)
    assert (length, found, tail) == (len(good), root(good), trailer)
    with refused("hint-foreign", Malformed):
        read(tail, AT)
    strip(hinted, tmp_path / "out.pyz", length, b"")
    assert (tmp_path / "out.pyz").read_bytes() == good and run(tmp_path / "out.pyz") == "ours"
    assert not (tmp_path / "out.pyz.hint").exists()


def test_hints_of_a_home_are_found_and_what_does_not_read_is_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "releases" / "kernel"
    folder.mkdir(parents=True)
    (folder / "r1.hint").write_bytes(TRAILER)
    (folder / "r2.hint").write_bytes(b"garbage")
    (folder / "r3.hint").write_bytes(bytes(2 * LONGEST))
    assert list(kept(tmp_path, AT)) == [HINT]
    assert list(kept(tmp_path, AT + 100)) == [] and list(kept(tmp_path / "nowhere", AT)) == []
