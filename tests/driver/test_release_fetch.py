"""Plain HTTP from strangers: garbage, stalls, lies, early ends; what was proved stays, and the next source goes on from there."""

from __future__ import annotations

import errno
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
import trio
import trio.testing

from overlay.driver import release_fetch
from overlay.driver.http import Request, Response, Site
from overlay.driver.release_fetch import Fetching, Source, url_sources
from overlay.driver.release_pages import Pages, Shown
from overlay.driver.releases import Part, Shelf
from overlay.errors import ReachError, StateError, UsageError
from overlay.identity.keys import digest
from overlay.records.releases import Artifact
from overlay.release.merkle import LEAF, leaf_hash
from overlay.wire.address import Address
from tests.records.actors import refused

DATA = Random(1).randbytes(5 * LEAF + 77)


def shelved(home: Path, data: bytes = DATA) -> tuple[Shelf, Artifact]:
    """A shelf that holds ``data`` as app r1."""
    home.mkdir(exist_ok=True)
    shelf = Shelf(home)
    put = shelf.put_in("app", data)
    shelf.adopt("app", put.name, 1, put.length, put.root)
    return shelf, Artifact(length=put.length, root=put.root)


def pages(shelf: Shelf, artifact: Artifact) -> Pages:
    shown = Shown("app", 1, artifact.length, artifact.root, list)
    return Pages(shelf, lambda channel: shown, lambda channel, revision, platform: shown if revision == 1 else None, Counter())


Answer = Callable[[Request], Response | None]


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[Source]:
    async def app(request: Request) -> Response:
        found = answer(request)
        if found is None:
            await trio.sleep_forever()
        assert found is not None
        return found

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Site(app).serve, [listener])
            yield Source(Address("127.0.0.1", listener.getsockname()[1]), "/app/r1")
            nursery.cancel_scope.cancel()


def fetching(home: Path, artifact: Artifact, *sources: Source) -> Fetching:
    home.mkdir(exist_ok=True)
    return Fetching(Shelf(home), "app", 1, artifact, lambda: sources, Counter())


def held(home: Path) -> bytes:
    return (home / "releases" / "app" / "r1").read_bytes()


async def test_a_release_comes_whole_and_proved(tmp_path: Path) -> None:
    shelf, artifact = shelved(tmp_path / "there")
    async with serving(pages(shelf, artifact).page) as source:
        fetch = fetching(tmp_path / "here", artifact, source)
        await fetch.run()
    assert held(tmp_path / "here") == DATA and fetch.counters["leaves_fetched"] == 6


def wrong_leaf(good: Pages, number: int) -> Answer:
    """Everything as it should be, but for one leaf."""
    bad = bytearray(DATA)
    bad[number * LEAF + 5] ^= 1

    def answer(request: Request) -> Response | None:
        if request.path.endswith(".leaves"):
            return good.page(request)
        return Response(200, bytes(bad))

    return answer


async def test_a_flipped_bit_bans_its_source_at_that_leaf_and_another_goes_on(tmp_path: Path) -> None:
    shelf, artifact = shelved(tmp_path / "there")
    good = pages(shelf, artifact)
    async with serving(wrong_leaf(good, 3)) as liar, serving(good.page) as honest:
        fetch = fetching(tmp_path / "here", artifact, liar, honest)
        await fetch.run()
    assert held(tmp_path / "here") == DATA
    assert fetch.banned == {liar.address} and fetch.counters["leaves_fetched"] == 6  # three of the liar's were good, and stayed


@pytest.mark.parametrize(
    "answer",
    [
        lambda request: Response(200, b"garbage"), lambda request: Response(200, bytes(32 * 6)), lambda request: Response(404, b""),
        lambda request: Response(503, b"", (("retry-after", "7"),)), lambda request: Response(200, bytes(10_000_000)),
    ],
    ids=["garbage", "other hashes", "nothing", "busy", "endless"],
)
async def test_who_gives_nothing_of_use_is_left_for_another(tmp_path: Path, answer: Answer) -> None:
    shelf, artifact = shelved(tmp_path / "there")
    async with serving(answer) as useless, serving(pages(shelf, artifact).page) as honest:
        await fetching(tmp_path / "here", artifact, useless, honest).run()
        assert held(tmp_path / "here") == DATA
        with pytest.raises(ReachError):
            await fetching(tmp_path / "alone", artifact, useless).run()


async def test_who_stalls_is_left_after_five_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release_fetch, "STALL", 0.2)
    shelf, artifact = shelved(tmp_path / "there")
    async with serving(lambda request: None) as silent, serving(pages(shelf, artifact).page) as honest:
        await fetching(tmp_path / "here", artifact, silent, honest).run()
    assert held(tmp_path / "here") == DATA


async def test_what_has_come_stays_and_the_next_run_goes_on(tmp_path: Path) -> None:
    shelf, artifact = shelved(tmp_path / "there")
    hashes = [leaf_hash(DATA[at : at + LEAF]) for at in range(0, len(DATA), LEAF)]
    (tmp_path / "here").mkdir()
    part = Part(Shelf(tmp_path / "here"), "app", 1, len(DATA), hashes)
    for number in (0, 1, 4):
        assert part.put(number, DATA[number * LEAF : (number + 1) * LEAF])
    assert not part.put(2, bytes(LEAF))
    part.close()
    async with serving(pages(shelf, artifact).page) as source:
        fetch = fetching(tmp_path / "here", artifact, source)
        await fetch.run()
    assert held(tmp_path / "here") == DATA and fetch.counters["leaves_fetched"] == 3


@pytest.mark.parametrize("call", ["pwrite", "fsync", "replace", "ftruncate", "mkdir"])
async def test_a_full_disk_at_any_write_is_told_and_leaves_nothing_under_the_final_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str,
) -> None:
    shelf, artifact = shelved(tmp_path / "there")
    here = tmp_path / "here"
    here.mkdir()

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async with serving(pages(shelf, artifact).page) as source:
        fetch = fetching(here, artifact, source)
        with monkeypatch.context() as patch:
            patch.setattr(os, call, full)
            with pytest.raises(StateError):
                await fetch.run()
        assert not (here / "releases" / "app" / "r1").exists()
        await fetch.run()  # there is room again
    assert held(here) == DATA


def test_only_addresses_are_asked_of_what_a_release_names() -> None:
    told = ["http://192.0.2.1/app/r1", "https://192.0.2.1/app/r1", "http://example.org/app/r1", "http://[2001:db8::1]:8053/app/r1", "http://", "x"]
    assert url_sources(told) == [Source(Address("192.0.2.1", 80), "/app/r1"), Source(Address("2001:db8::1", 8053), "/app/r1")]


def test_a_file_that_changes_while_it_is_copied_is_refused(tmp_path: Path) -> None:
    shelf, file = Shelf(tmp_path), tmp_path / "file"
    file.write_bytes(bytes(3_000_000))

    def grow(done: int, whole: int) -> None:
        with file.open("ab") as more:
            more.write(b"x")

    with refused("release-changed", UsageError):
        shelf.take_in(file, "app", grow)
    assert os.listdir(tmp_path / "releases" / "app") == []


def test_what_was_copied_in_and_touched_since_is_not_adopted(tmp_path: Path) -> None:
    shelf, file = Shelf(tmp_path), tmp_path / "file"
    file.write_bytes(DATA)
    copied = shelf.take_in(file, "app")
    (tmp_path / "releases" / "app" / copied.name).write_bytes(DATA[:-1] + b"!")
    with refused("release-changed", UsageError):
        shelf.adopt("app", copied.name, 1, copied.length, copied.root)
    with refused("release-file", UsageError):
        shelf.adopt("app", "../../identity", 1, copied.length, copied.root)
    assert digest(b"") and not shelf.holds("app", 1, copied.length)


def test_old_revisions_leave_the_shelf(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    for revision in range(1, 8):
        put = shelf.put_in("app", bytes([revision]))
        shelf.adopt("app", put.name, revision, put.length, put.root)
    shelf.keep_only("app", 7)
    assert sorted(os.listdir(tmp_path / "releases" / "app")) == sorted(
        name for revision in (4, 5, 6, 7) for name in (f"r{revision}", f"r{revision}.leaves")
    )
