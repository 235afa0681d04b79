"""Why a bootstrap host is silent: the table, and its DNS and HTTP as small real servers."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from bootstrap.driver import silence
from bootstrap.silence import Web, told
from overlay.wire.address import Address

HERE = "127.0.0.1"


@pytest.mark.parametrize(("dns", "web", "word"), [
    (True, Web.MIRROR, "7653 blocked"), (True, Web.SILENT, "7653 blocked"), (False, Web.MIRROR, "UDP blocked"), (False, Web.SILENT, "down"),
    (False, Web.FOREIGN, "captive portal"), (True, Web.STALE, "caching proxy"), (None, Web.MIRROR, "7653 blocked, or UDP"), (None, None, ""),
])  # fmt: skip
def test_what_the_other_ports_say_of_why(dns: bool | None, web: Web | None, word: str) -> None:
    said = told(dns, web)
    assert said.startswith(word) or word in said
    assert bool(said) is bool(word)


@asynccontextmanager
async def host(monkeypatch: pytest.MonkeyPatch, *, dns: bool, page: bytes | None) -> AsyncIterator[Address]:
    """A host that answers DNS, HTTP, both or none; ``page`` has NONCE where the nonce goes."""
    name = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    name.bind((HERE, 0))
    web = await trio.open_tcp_listeners(0, host=HERE)

    async def answer_dns() -> None:
        sock = trio.socket.from_stdlib_socket(name)
        while True:
            data, where = await sock.recvfrom(600)
            await sock.sendto(data[:2] + b"\x80\x05" + bytes(8), where)

    async def answer_web(stream: trio.SocketStream) -> None:
        async with stream:
            asked = bytes(await stream.receive_some(4_096))
            nonce = asked.split(b"nonce=")[1].split()[0]
            await stream.send_all((page or b"").replace(b"NONCE", nonce))

    monkeypatch.setattr(silence, "PATIENCE", 0.2)
    monkeypatch.setattr(silence, "DNS_PORT", name.getsockname()[1])
    monkeypatch.setattr(silence, "WEB_PORTS", (web[0].socket.getsockname()[1],))
    async with web[0]:
        with name:
            async with trio.open_nursery() as nursery:
                if dns:
                    nursery.start_soon(answer_dns)
                if page is not None:
                    nursery.start_soon(trio.serve_listeners, answer_web, web)
                yield Address(HERE, 7653)
                nursery.cancel_scope.cancel()


def page(body: bytes, head: bytes = b"X-Nonce: NONCE\r\n") -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + head + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize(("dns", "answer", "word"), [
    (True, page(b"203.0.113.9\n"), "7653 blocked"), (False, page(b"203.0.113.9\n"), "UDP blocked"),
    (False, None, "down"), (True, None, "7653 blocked"),
    (False, page(b"203.0.113.9\n", b"X-Nonce: other\r\n"), "a caching proxy"), (False, page(b"203.0.113.9\n", b""), "a caching proxy"),
    (False, page(b"<html>Welcome! Please log in</html>"), "what answers there"), (False, b"SSH-2.0-OpenSSH_9.2\r\n", "what answers there"),
])  # fmt: skip
async def test_a_silent_hosts_dns_and_http_are_asked(monkeypatch: pytest.MonkeyPatch, dns: bool, answer: bytes | None, word: str) -> None:
    async with host(monkeypatch, dns=dns, page=answer) as address:
        assert (await silence.why_silent(address)).startswith(word)
