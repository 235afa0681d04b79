"""Mates over streams: honest ones bring it, liars are banned at their first leaf, the silent are left, a full disk is told."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio
import trio.testing

from overlay.driver import release_swarm
from overlay.driver.release_swarm import Sharing, Swarming
from overlay.driver.releases import Shelf
from overlay.errors import StateError
from overlay.release import speech
from overlay.release.merkle import LEAF, layer
from overlay.release.speech import Hearing, Say, pieces_of

DATA = Random(3).randbytes(11 * LEAF + 99)  # three pieces, the last short
Mate = Callable[[Any], Awaitable[None]]


def swarming(home: Path) -> Swarming:
    home.mkdir(exist_ok=True)
    return Swarming(Shelf(home), Counter(), now=trio.current_time, near=lambda node_id: False)


def published(home: Path) -> tuple[Swarming, int, bytes]:
    there = swarming(home)
    put = there.shelf.put_in("app", DATA)
    there.shelf.adopt("app", put.name, 1, put.length, put.root)
    return there, put.length, put.root


def honest(there: Swarming, length: int, root: bytes) -> Mate:
    async def serve(pipe: Any) -> None:
        await there.serve(pipe, b"m" * 32, there.find("app", 1, length, root))

    return serve


def liar(there: Swarming, length: int, root: bytes) -> Mate:
    """Has all, by its own word, and gives octets that nobody signed."""

    async def serve(pipe: Any) -> None:
        hearing = Hearing(length)
        await pipe.send_all(speech.bits(range(pieces_of(length)), pieces_of(length)))
        while data := await pipe.receive_some():
            for said in hearing.hear(data):
                if said.what is Say.ASK_LAYER:
                    await pipe.send_all(speech.tell_layer(layer(there.shelf.leaves("app", 1, length, root))))
                elif said.what is Say.WANT:
                    await pipe.send_all(speech.gives(said.numbers[0], said.numbers[0], bytes(4 * LEAF)))

    return serve


async def silent(pipe: Any) -> None:
    await trio.sleep_forever()


async def garbage(pipe: Any) -> None:
    await pipe.send_all(b"\xff" * 100)
    await trio.sleep_forever()


async def until_left(mate: Mate, pipe: Any) -> None:
    with suppress(trio.BrokenResourceError):
        await mate(pipe)


async def fetch(here: Swarming, length: int, root: bytes, **mates: Mate) -> bool:
    """Fetch with these mates, each at the end of a stream of its own; `later` joins once another was banned."""
    tried: set[str] = set()
    trouble: StateError | None = None
    found = False
    async with trio.open_nursery() as outside:

        def link(sharing: Sharing, nursery: trio.Nursery) -> None:
            for name, mate in mates.items():
                if name not in tried and (name != "later" or here.counters["sources_banned"]):
                    tried.add(name)
                    ours, theirs = trio.testing.memory_stream_pair()
                    outside.start_soon(until_left, mate, theirs)
                    nursery.start_soon(here.join, sharing, ours, name.encode().ljust(32))  # type: ignore[arg-type]

        try:
            found = await here.fetch("app", 1, length, root, link=link)
        except StateError as why:
            trouble = why
        outside.cancel_scope.cancel()
    if trouble is not None:
        raise trouble
    return found


def held(home: Path) -> bytes:
    return (home / "releases" / "app" / "r1").read_bytes()


async def test_a_release_comes_from_a_mate(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    there, length, root = published(tmp_path / "there")
    here = swarming(tmp_path / "here")
    assert await fetch(here, length, root, one=honest(there, length, root))
    assert held(tmp_path / "here") == DATA
    assert (here.counters["pieces_taken"], there.counters["pieces_given"]) == (3, 3)


async def test_a_liar_is_banned_at_its_first_leaf_and_another_brings_it(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    there, length, root = published(tmp_path / "there")
    here = swarming(tmp_path / "here")
    assert await fetch(here, length, root, bad=liar(there, length, root), later=honest(there, length, root))
    assert held(tmp_path / "here") == DATA
    assert here.counters["sources_banned"] == 1 and here.counters["drop:leaf"] == 1


@pytest.mark.parametrize("mate", [silent, garbage], ids=["silent", "garbage"])
async def test_where_nothing_comes_it_is_given_up_in_time(tmp_path: Path, autojump_clock: trio.testing.MockClock, mate: Mate) -> None:
    there, length, root = published(tmp_path / "there")
    here = swarming(tmp_path / "here")
    began = trio.current_time()
    assert not await fetch(here, length, root, one=mate)
    assert trio.current_time() - began <= release_swarm.LAYER_TIME + 1
    assert await fetch(here, length, root, one=mate, two=honest(there, length, root))


async def test_what_was_here_is_not_asked_for_again(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    there, length, root = published(tmp_path / "there")
    here = swarming(tmp_path / "here")
    part = here.shelf.place("app", 1, ".part")
    part.parent.mkdir(parents=True)
    part.write_bytes(DATA[: 4 * LEAF] + bytes(LEAF))
    assert await fetch(here, length, root, one=honest(there, length, root))
    assert held(tmp_path / "here") == DATA and here.counters["pieces_taken"] == 2


@pytest.mark.parametrize("call", ["pwrite", "fsync", "replace"])
async def test_a_full_disk_is_told(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, call: str,
) -> None:
    there, length, root = published(tmp_path / "there")
    here = swarming(tmp_path / "here")

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(StateError):
            await fetch(here, length, root, one=honest(there, length, root))
    assert await fetch(here, length, root, one=honest(there, length, root))
    assert held(tmp_path / "here") == DATA


async def test_more_mates_than_there_is_room_for_are_turned_away(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch,
) -> None:
    there, length, root = published(tmp_path / "there")
    monkeypatch.setattr("overlay.limits.MATES", 0)
    ours, theirs = trio.testing.memory_stream_pair()
    await there.serve(theirs, b"m" * 32, there.find("app", 1, length, root))  # type: ignore[arg-type]
    assert await ours.receive_some() == b"" and there.counters["drop:mates-full"] == 1
