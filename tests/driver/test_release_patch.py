"""Patches between revisions: what they make is what was signed, and what is none costs no more than it may."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from overlay.driver import release_patch
from overlay.driver.releases import Shelf, patched
from overlay.errors import Malformed
from overlay.records.releases import Artifact, Delta
from tests.records.actors import refused

pytest.importorskip("zstandard", reason="zstandard is not installed: pip install -r requirements-dev.lock")

import zstandard


def lines(seed: int, count: int = 4_000) -> bytes:
    dice = Random(seed)
    return b"\n".join(b"def f%d(x): return x * %d" % (number, dice.randrange(2**40)) for number in range(count))


def test_a_small_change_makes_a_small_patch_that_makes_the_new_one() -> None:
    old = lines(1)
    new = old.replace(b"f17(x)", b"f17(x, y)") + b"\nmore\n"
    patch = release_patch.make(old, new)
    assert patch is not None and len(patch) < 200
    assert release_patch.apply(old, patch, len(new)) == new


def test_what_shares_nothing_gets_no_patch() -> None:
    assert release_patch.make(Random(1).randbytes(50_000), Random(2).randbytes(50_000)) is None


@pytest.mark.parametrize("kind", ["short", "long", "flipped", "bomb", "nothing", "other base"])
def test_a_patch_that_is_none_is_refused(kind: str) -> None:
    old = lines(1)
    new = old + b"x"
    patch = release_patch.make(old, new)
    assert patch is not None
    bomb = zstandard.ZstdCompressor().compress(bytes(50_000_000))
    base, told, length = {
        "short": (old, patch[:-3], len(new)), "long": (old, patch, len(new) - 1), "flipped": (old, patch[:6] + b"\xff" + patch[7:], len(new)),
        "bomb": (old, bomb, len(new)), "nothing": (old, b"", len(new)), "other base": (old[:100], patch, len(new)),
    }[kind]
    with refused("patch", Malformed):
        made = release_patch.apply(base, told, length)
        if made != new:
            raise Malformed("it makes something else, which its root shows", rule="patch")


def test_what_a_patch_makes_is_proved_by_the_root_of_the_release(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    old, new = lines(1), lines(1) + b"\nmore\n"
    patch = release_patch.make(old, new)
    assert patch is not None
    for number, (data, kind) in enumerate(((old, ""), (patch, ".from-1")), 1):
        put = shelf.put_in("app", data)
        shelf.adopt("app", put.name, number, put.length, put.root, kind)
    whole = shelf.put_in("app", new)
    delta = Delta(base=1, length=len(patch), root=bytes(32))
    with refused("patch", Malformed):
        patched(shelf, "app", delta, 2, Artifact(length=len(new), root=bytes(32)))
    assert not shelf.holds("app", 2, len(new))
    patched(shelf, "app", delta, 2, Artifact(length=len(new), root=whole.root))
    assert shelf.place("app", 2).read_bytes() == new
