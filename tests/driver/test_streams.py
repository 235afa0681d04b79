"""Streams of sessions as Trio streams: they keep the contract that Trio tests its own streams by."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest
import trio
import trio.testing

from overlay import limits
from overlay.driver.streams import Pipe, Streams
from overlay.machine import Send
from overlay.session import events
from overlay.session.machine import Sessions
from overlay.wire.address import Address, Way
from tests.session.wire_pair import OVERLAY, private

KIND = 7


class Node:
    """Sessions that hand their datagrams to each other at once, under Trio's clock."""

    def __init__(self, seed: int) -> None:
        self.key = private(seed)
        self.address = Address(f"203.0.113.{seed}", 7653)
        self.sessions = Sessions(
            exchange=self.key, overlay_id=OVERLAY, passport_digest=bytes(32), boot_nonce=bytes([seed]) * 8, entropy=Random(seed).randbytes,
        )
        self.sessions.streams.kinds.add(KIND)
        self.peer: Node
        self.session = 0
        self.accepted: list[Pipe] = []
        self.inbox: list[bytes] = []
        self.streams = Streams(self.sessions.streams, now=trio.current_time, step=self.step, accept=self.accepted.append)
        self.kick = trio.Event()

    def step(self) -> None:
        """Let out what the sessions want."""
        while outputs := self.sessions.take():
            for output in outputs:
                if isinstance(output, Send):
                    self.peer.inbox.append(output.data)
                    self.peer.kick.set()
                elif isinstance(output, events.StreamEvent | events.Closed):
                    self.streams.told(output)
                elif isinstance(output, events.Opened):
                    self.session = output.session
                    self.sessions.admit(output.session)
        self.kick.set()

    async def run(self) -> None:
        """Receive and wake, until cancelled."""
        while True:
            inbox, self.inbox = self.inbox, []
            now = trio.current_time()
            for data in inbox:
                self.sessions.receive(data, Way("udp", self.peer.address, self.address.host), now, now)
            due = self.sessions.wake_at()
            if due is not None and due <= now:
                self.sessions.wake(now, now)
            self.step()
            due = self.sessions.wake_at()
            if self.inbox or due is not None and due <= trio.current_time():
                await trio.lowlevel.checkpoint()
                continue
            self.kick = trio.Event()
            with trio.move_on_at(trio.current_time() + 1 if due is None else due):
                await self.kick.wait()


@asynccontextmanager
async def nodes() -> AsyncIterator[tuple[Node, Node]]:
    """Two, with a session between them."""
    a, b = Node(1), Node(2)
    a.peer, b.peer = b, a
    a.sessions.dial(b.key.public_key().public_bytes_raw(), [b.address], trio.current_time(), 1.8e9, tcp=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(a.run)
        nursery.start_soon(b.run)
        a.step()
        while not (a.session and b.session):
            await trio.testing.wait_all_tasks_blocked()
            await trio.sleep(0.01)
        yield a, b
        nursery.cancel_scope.cancel()


async def joined(a: Node, b: Node) -> tuple[Pipe, Pipe]:
    """Both ends of a new stream."""
    pipe, before = a.streams.open(a.session, KIND, {1: "head"}), len(b.accepted)
    with trio.fail_after(5):
        while len(b.accepted) == before:
            await trio.sleep(0.001)
    return pipe, b.accepted[-1]


async def test_pipes_keep_trios_contract_of_streams(autojump_clock: trio.testing.MockClock) -> None:
    async with nodes() as (a, b):
        async def make() -> tuple[Pipe, Pipe]:
            return await joined(a, b)

        await trio.testing.check_half_closeable_stream(make, None)


async def test_a_pipe_that_nobody_reads_blocks_its_writer_and_reading_frees_it(autojump_clock: trio.testing.MockClock) -> None:
    async with nodes() as (a, b):
        mine, theirs = await joined(a, b)
        data = bytes(range(256)) * 4_000
        with trio.move_on_after(5) as stuck:
            await mine.send_all(data)
        assert stuck.cancelled_caught
        got = bytearray()
        with trio.move_on_after(5):
            while True:
                got += await theirs.receive_some()
        assert limits.STREAM_BUFFER <= len(got) < len(data) and data.startswith(got)


async def test_a_closed_pipe_breaks_off_who_goes_on_talking_to_it(autojump_clock: trio.testing.MockClock) -> None:
    async with nodes() as (a, b):
        mine, theirs = await joined(a, b)
        await mine.send_all(b"last words")
        await mine.aclose()
        with trio.fail_after(5):
            assert await theirs.receive_some() == b"last words"
            assert await theirs.receive_some() == b""
        with pytest.raises(trio.BrokenResourceError), trio.fail_after(20):
            for _ in range(100):
                await theirs.send_all(bytes(limits.STREAM_WINDOW))
        assert not a.streams._pipes


async def test_a_session_that_ends_breaks_its_pipes(autojump_clock: trio.testing.MockClock) -> None:
    async with nodes() as (a, b):
        mine, theirs = await joined(a, b)
        b.sessions.close(b.session, "leaving", trio.current_time())
        b.step()
        for pipe in (mine, theirs):
            with pytest.raises(trio.BrokenResourceError), trio.fail_after(5):
                await pipe.receive_some()
        with pytest.raises(trio.BrokenResourceError):
            a.streams.open(a.session, KIND)
