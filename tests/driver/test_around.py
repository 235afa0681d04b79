"""What may be around a connection of the overlay, on loopback: TLS, an upgrade of HTTP, a proxy; and those that are none of it."""

from __future__ import annotations

import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from overlay import limits
from overlay.driver.http import Request, Response, Site, text
from overlay.driver.tls import ALPN, Around
from overlay.wire.address import Address
from tests.driver.test_tcp import Node, running, to, until


async def hello(request: Request) -> Response:
    return text(f"hello from {request.path}")


def serving() -> Node:
    """A node whose port speaks HTTP as well, with upgrades."""
    site = Site(hello)
    node = Node(http=site.connection)
    site.upgrade = node.tcp.upgraded
    return node


@pytest.mark.parametrize("over", ["tls", "http"])
async def test_frames_go_both_ways_inside_tls_and_behind_an_upgrade(over: str) -> None:
    a, b = Node(), serving()
    async with running(a, b):
        there = a.tcp.connect(b.address, over)
        await until(lambda: a.opened)
        assert a.opened[0].link == there.link
        a.tcp.send(a.opened[0], b"x" * limits.WRAPPED)
        assert await b.hears(1) == [b"x" * limits.WRAPPED]
        assert b.heard[0][1].remote.host == "127.0.0.1"
        assert b.heard[0][1].local == "127.0.0.1"
        for n in range(60):
            b.tcp.send(b.heard[0][1], n.to_bytes(2, "big") + bytes(1_000))
        assert [int.from_bytes(data[:2], "big") for data in await a.hears(60)] == list(range(60))
        a.tcp.close(a.opened[0])
        assert await b.loses() == "closed-there"
        await until(lambda: a.tcp.connections == b.tcp.connections == 0)
        assert b.counters["tcp_tls" if over == "tls" else "tcp_upgraded"] == 1


async def test_http_is_served_inside_tls_as_outside() -> None:
    node = serving()
    async with running(node):
        secure = trio.SSLStream(await to(node), Around().client(), https_compatible=True)
        await secure.send_all(b"GET /in HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        got = b""
        while not got.endswith(b"hello from /in\n"):
            got += await secure.receive_some()
        assert got.startswith(b"HTTP/1.1 200")
        assert secure.selected_alpn_protocol() == ALPN[0]
        await trio.aclose_forcefully(secure)


async def test_old_tls_is_refused_and_a_silent_client_is_closed() -> None:
    node = serving()
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode, old.maximum_version = False, ssl.CERT_NONE, ssl.TLSVersion.TLSv1_2
    async with running(node):
        async with await to(node) as stream:
            with pytest.raises(trio.BrokenResourceError):
                await trio.SSLStream(stream, old).do_handshake()
        await until(lambda: node.tcp.connections == 0)
        assert node.counters["tcp_closed:tls"] == 1


@pytest.mark.parametrize(("answer", "reason"), [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "not-overlay"), (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "not-overlay"), (b"", "not-overlay"),
])  # fmt: skip
async def test_who_answers_an_upgrade_with_something_else_is_no_overlay(answer: bytes, reason: str) -> None:
    node = Node()
    async with running(node), stranger(answer) as address:
        node.tcp.connect(address, "http")
        await until(lambda: node.closed)
        assert node.closed[0][1] == reason
        assert node.tcp.connections == 0


@asynccontextmanager
async def stranger(answer: bytes) -> AsyncIterator[Address]:
    """A server that reads a little, says that, and leaves."""

    async def one(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some(4_096)
            await stream.send_all(answer)

    async with trio.open_nursery() as nursery:
        (listener, *_) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with listener:
            nursery.start_soon(trio.serve_listeners, one, [listener])
            yield Address("127.0.0.1", listener.socket.getsockname()[1])
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def proxy(login: bytes = b"", status: bytes = b"200 OK") -> AsyncIterator[tuple[Address, Counter[str]]]:
    """An HTTP proxy that knows CONNECT, may want a login, and counts."""
    counted: Counter[str] = Counter()

    async def one(stream: trio.SocketStream) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += await stream.receive_some()
        counted["asked"] += 1
        host, _, port = head.split()[1].decode().rpartition(":")
        if login and b"Basic " + login not in head:
            await stream.send_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            return
        await stream.send_all(b"HTTP/1.1 " + status + b"\r\n\r\n")
        if not status.startswith(b"200"):
            return
        try:
            there = await trio.open_tcp_stream(host, int(port))
        except OSError:
            return
        async with there, trio.open_nursery() as nursery:
            nursery.start_soon(pump, stream, there)
            nursery.start_soon(pump, there, stream)

    async def pump(source: trio.SocketStream, target: trio.SocketStream) -> None:
        try:
            async for data in source:
                await target.send_all(data)
            await target.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await trio.aclose_forcefully(target)

    async with trio.open_nursery() as nursery:
        (listener, *_) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with listener:
            nursery.start_soon(trio.serve_listeners, one, [listener])
            yield Address("127.0.0.1", listener.socket.getsockname()[1]), counted
            nursery.cancel_scope.cancel()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        return int(gone.getsockname()[1])


async def test_a_proxy_is_asked_where_the_straight_way_fails_and_not_before() -> None:
    a, b = Node(), serving()
    async with proxy(b"bWU6bXkga2V5") as (address, counted), running(a, b):
        a.tcp._around = Around({"HTTPS_PROXY": f"http://me:my%20key@{address}"})
        a.tcp.connect(b.address)
        await until(lambda: a.opened)
        assert counted["asked"] == 0
        a.tcp.connect(Address("127.0.0.1", closed_port()))  # refused: then by the proxy, which finds nobody either
        await until(lambda: counted["asked"] == 1)


@pytest.mark.parametrize("status", [b"403 Forbidden", b"502 Bad Gateway"])
async def test_a_proxy_that_refuses_is_a_reason_of_its_own(status: bytes) -> None:
    node = Node()
    async with proxy(status=status) as (address, _), running(node):
        node.tcp._around = Around({"https_proxy": f"http://{address}"})
        node.tcp.connect(Address("127.0.0.1", closed_port()), "tls")
        await until(lambda: node.closed)
        assert node.closed[0][1] == "proxy-refused"


@pytest.mark.parametrize(("named", "host", "wanted"), [
    ({"HTTPS_PROXY": "http://p:3128"}, "192.0.2.1", "http://p:3128"), ({"all_proxy": "http://p:1"}, "192.0.2.1", "http://p:1"),
    ({"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "192.0.2.1"}, "192.0.2.1", ""),
    ({"HTTPS_PROXY": "http://p:3128", "no_proxy": "*"}, "192.0.2.1", ""), ({"HTTPS_PROXY": "socks5://p:1080"}, "192.0.2.1", ""),
    ({}, "192.0.2.1", ""),
])  # fmt: skip
def test_proxies_are_taken_from_the_environment_as_other_programs_take_them(named: dict[str, str], host: str, wanted: str) -> None:
    assert Around(named).proxy(host) == wanted
