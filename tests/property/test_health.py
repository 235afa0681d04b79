"""Checks of carried services: whatever the service, or the text of the check, does, the outcome is alive or not, and the node goes on."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from overlay.cli.health import probe, target
from overlay.errors import UsageError
from overlay.name import parse_path
from overlay.statements import Service

Behaviour = Callable[[trio.SocketStream], Awaitable[None]]


async def _reset(stream: trio.SocketStream) -> None:
    await stream.receive_some(10)
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def _reset_at_once(stream: trio.SocketStream) -> None:
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def _close(stream: trio.SocketStream) -> None:
    await trio.lowlevel.checkpoint()


async def _flood(stream: trio.SocketStream) -> None:
    await stream.send_all(b"x" * 100_000)


def _say(octets: bytes) -> Behaviour:
    async def say(stream: trio.SocketStream) -> None:
        await stream.send_all(octets)

    return say


@asynccontextmanager
async def service(behaviour: Behaviour) -> AsyncIterator[int]:
    """The port of a server on loopback that behaves so."""

    async def serve(stream: trio.SocketStream) -> None:
        try:
            async with stream:
                await behaviour(stream)
        except trio.BrokenResourceError:
            pass  # the check has hung up

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("behaviour", "alive"),
    [
        (_reset, False), (_reset_at_once, False), (_close, False), (_flood, False), (_say(b"\r\n"), False), (_say(b"HTTP/1.1"), False),
        (_say(b"HTTP/1.1 " + b"9" * 4_000 + b"\r\n"), False), (_say(b"HTTP/1.1 -5\r\n"), False), (_say(b"HTTP/1.1 204 ok\r\n"), True),
        (_say(b"HTTP/1.1 404 no\r\n"), False), (_say(b"\xff\xfe \xb2 \r\n"), False),
    ],
)  # fmt: skip
async def test_a_service_that_misbehaves_is_down_and_ends_nothing(behaviour: Behaviour, alive: bool) -> None:
    """One that resets its connections once ended the node that carried it."""
    async with service(behaviour) as port:
        for _ in range(5):
            checked = Service(name=parse_path("hq/web"), proto="tcp", port=port, addresses=("127.0.0.1",), health="http:///")
            assert await probe(checked, "127.0.0.1") is alive


@given(st.one_of(st.text(max_size=60), st.text(st.sampled_from("http:/[]@?#.%0²a-:9 "), max_size=20)))
def test_the_place_of_a_check_is_host_port_and_path_or_misuse(rest: str) -> None:
    try:
        host, port, path = target(f"http://{rest}", "192.0.2.1", 8_000)
    except UsageError:
        return
    assert host.isascii() and 0 < port < 65_536 and path.startswith("/") and path.isascii() and path.isprintable() and " " not in path


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("http://", ("192.0.2.1", 8_000, "/")), ("http:///x?y=1", ("192.0.2.1", 8_000, "/x?y=1")), ("http://[::1]:81/", ("::1", 81, "/")),
        ("http://:8080/ok", ("192.0.2.1", 8_080, "/ok")), ("http://web.example.org/a", ("web.example.org", 8_000, "/a")),
    ],
)  # fmt: skip
def test_a_check_names_what_differs_from_the_service(text: str, place: tuple[str, int, str]) -> None:
    assert target(text, "192.0.2.1", 8_000) == place


@pytest.mark.parametrize("text", ["http://x:²/", "http://x:99999/", "http://a..b/", "http://" + "a" * 70 + "/", "http://x/ HTTP/1.0", "http://[::1/", "http://é/"])
def test_what_is_no_place_is_misuse(text: str) -> None:
    with pytest.raises(UsageError):
        target(text, "192.0.2.1", 8_000)


async def test_a_command_that_says_much_is_heard_by_nobody() -> None:
    loud = Service(name=parse_path("hq/web"), proto="tcp", port=80, health="cmd:head -c 50000000 /dev/zero; exit 3")
    assert await probe(loud, "127.0.0.1") is False
