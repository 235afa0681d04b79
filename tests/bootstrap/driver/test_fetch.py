"""One GET from a stranger: what counts, and in how few words a failure is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import trio
from trio.testing import MockClock

from bootstrap.driver.fetch import TIMEOUT, fetch
from overlay import limits
from overlay.errors import ReachError
from overlay.wire.address import Address


@asynccontextmanager
async def serving(answer: bytes | None, host: str = "127.0.0.1") -> AsyncIterator[tuple[Address, list[bytes]]]:
    """A server that answers every request with these octets and closes (None: stays silent)."""
    asked: list[bytes] = []

    async def serve(stream: trio.SocketStream) -> None:
        asked.append(await stream.receive_some(4_096))
        if answer is None:
            await trio.sleep_forever()
        with suppress(trio.BrokenResourceError):  # the client had enough
            await stream.send_all(answer)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host=host)
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield Address(host, listener.socket.getsockname()[1]), asked
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_body_comes_whole_and_the_host_is_the_literal_asked(host: str) -> None:
    async with serving(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", host) as (address, asked):
        assert await fetch(address, "/.well-known/overlay") == b"hello"
        assert asked[0].startswith(b"GET /.well-known/overlay HTTP/1.1\r\n")
        assert f"host: {address}\r\n".encode() in asked[0].lower()


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.0 200 OK\r\n\r\nhello", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"],
)
async def test_bodies_without_a_length_are_taken(answer: bytes) -> None:
    async with serving(answer) as (address, _):
        assert await fetch(address, "/") == b"hello"


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "fetch-status"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\n\r\n", "fetch-status"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n", "fetch-http"), (b"\x00\x20" + bytes(32), "fetch-http"), (b"", "fetch-http"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", "fetch-http"), (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000, "fetch-http"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (limits.FETCH_BODY + 1), "fetch-too-long"),
    ],
)
async def test_what_is_no_answer_is_told_with_its_rule(answer: bytes, rule: str) -> None:
    async with serving(answer) as (address, _):
        with pytest.raises(ReachError) as caught:
            await fetch(address, "/")
        assert caught.value.rule == rule and len(caught.value.what) < 130


async def test_nobody_there_is_told() -> None:
    async with serving(b"") as (address, _):
        pass
    with pytest.raises(ReachError, match="refused"):
        await fetch(address, "/")


async def test_silence_ends_after_five_seconds(autojump_clock: MockClock) -> None:
    async with serving(None) as (address, _):
        with pytest.raises(ReachError, match="no answer in time"):
            await fetch(address, "/")
        assert trio.current_time() == pytest.approx(TIMEOUT, abs=0.5)
