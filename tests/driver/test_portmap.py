"""The port mapper's requests over HTTP end within their bounds; on a machine without a router it waits in peace."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from random import Random

import pytest
import trio
import trio.testing

from overlay import limits
from overlay.driver import portmap
from overlay.driver.portmap import fetch, map_ports
from overlay.driver.routes import Default
from overlay.nat.outputs import Fetch, Mapped, Unmapped
from overlay.nat.portmap import PortMaps

Serve = Callable[[trio.SocketStream], Awaitable[None]]


async def asked(answer: Callable[[trio.SocketStream], Awaitable[None]], method: str = "GET", body: bytes = b"") -> tuple[int, bytes]:
    """What ``fetch`` makes of a server that does this with its connection."""
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]

        async def serve(stream: trio.SocketStream) -> None:
            with trio.move_on_after(60):
                try:
                    await answer(stream)
                except trio.BrokenResourceError:
                    return  # it has heard enough

        nursery.start_soon(trio.serve_listeners, serve, [listener])
        got = await fetch(Fetch(1, f"http://127.0.0.1:{port}/a?b", method, (("SOAPAction", '"x"'),), body), "127.0.0.1")
        nursery.cancel_scope.cancel()
    return got


def saying(*parts: bytes) -> Serve:
    async def answer(stream: trio.SocketStream) -> None:
        await stream.receive_some(4_096)
        for part in parts:
            await stream.send_all(part)
        await stream.aclose()

    return answer


async def test_a_whole_answer_is_given_with_its_status() -> None:
    assert await asked(saying(b"HTTP/1.1 500 x\r\nContent-Length: 3\r\n\r\n", b"abc")) == (500, b"abc")
    assert await asked(saying(b"HTTP/1.0 200 OK\r\n\r\nto the end")) == (200, b"to the end")
    assert await asked(saying(b"HTTP/1.1 302 x\r\nLocation: http://10.0.0.1/\r\nContent-Length: 0\r\n\r\n")) == (302, b""), "not followed"


async def test_the_request_has_its_headers_and_its_body() -> None:
    heard = bytearray()

    async def answer(stream: trio.SocketStream) -> None:
        while not heard.endswith(b"hello"):
            heard.extend(await stream.receive_some(4_096))
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    assert await asked(answer, "POST", b"hello") == (200, b"")
    head = bytes(heard).lower()
    assert head.startswith(b"post /a?b http/1.1\r\n") and b'soapaction: "x"' in head and b"content-length: 5" in head


@pytest.mark.parametrize(
    "parts",
    [
        (), (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",), (b"nonsense\r\n\r\n",), (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 9_000,),
        (b"HTTP/1.1 200 OK\r\n\r\n", *[b"x" * 8_192] * (limits.PORTMAP_BODY // 8_192 + 1)),
    ],
)  # fmt: skip
async def test_what_is_cut_too_long_or_not_http_is_no_answer(parts: tuple[bytes, ...]) -> None:
    assert await asked(saying(*parts)) == (0, b"")


@pytest.fixture
def clock() -> trio.testing.MockClock:
    """Time jumps once nothing has happened for 50 ms: what comes over loopback has come by then."""
    return trio.testing.MockClock(autojump_threshold=0.05)


async def test_a_server_that_says_nothing_is_given_up(clock: trio.testing.MockClock) -> None:
    with socket.socket() as listening:  # connections wait in the kernel's queue: nobody takes them
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        request = Fetch(1, f"http://127.0.0.1:{listening.getsockname()[1]}/", "GET")
        before = trio.current_time()
        assert await fetch(request, "127.0.0.1") == (0, b"")
        assert trio.current_time() - before == pytest.approx(portmap.HTTP_TIME, abs=0.5)
    assert await fetch(request, "127.0.0.1") == (0, b""), "nobody listens"


async def test_without_a_router_it_waits_and_leaves_at_once(clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portmap, "default_router", lambda family: None)
    told: list[Mapped | Unmapped] = []
    machine = PortMaps(Random(1).randbytes, 0.0)
    with trio.move_on_after(100):
        await map_ports(machine, [("udp", 7653)], told.append, now=trio.current_time)
    assert told == [] and machine.protocol is None and trio.current_time() < 102


async def test_a_silent_router_keeps_nobody_from_leaving(clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portmap, "default_router", lambda family: Default("127.0.0.1", "127.0.0.1", 1))
    monkeypatch.setattr(portmap, "GROUPS", {4: ()})
    told: list[Mapped | Unmapped] = []
    machine = PortMaps(Random(1).randbytes, 0.0)
    with trio.move_on_after(10):
        await map_ports(machine, [("udp", 7653)], told.append, now=trio.current_time)
    assert told == [Unmapped("udp", 7653, "no-answer"), Unmapped("udp", 7653, "dropped")]
    assert trio.current_time() < 11.5
