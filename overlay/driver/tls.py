"""What may be around a connection of the overlay: TLS, an HTTP upgrade, a proxy (DESIGN 3.7; CONTRACT, `[listen] tls`).

Networks that let nothing out but the web carry the same frames inside TLS 1.3, or behind ``Upgrade: overlay`` on the HTTP
port. TLS proves nothing here, and is not asked to: the certificate is made at the first call and not looked at, since who
is there is proved by the session inside. A layer is peeled off by a pump: the connection's frames come out of one end of a
pair of sockets, and whoever carries them need not know what was around them.
"""

from __future__ import annotations

import importlib
import os
import socket
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

import trio

from overlay import limits
from overlay.errors import ReachError
from overlay.wire.address import Address

ALPN: Final = ("overlay1", "http/1.1")  # the second for looks: what is inside is told apart by its first octet
UPGRADE: Final = "overlay"
_CHUNK: Final = 65_536
_HEAD: Final = 8_192  # octets of a proxy's or a server's answer


class Around:
    """The TLS of one node's listeners and calls; contexts are made when they are first needed."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment
        self._server: ssl.SSLContext | None = None
        self._client: ssl.SSLContext | None = None

    async def server(self) -> ssl.SSLContext:
        """For those who call us."""
        if self._server is None:
            self._server = await trio.to_thread.run_sync(_made)
        return self._server

    def client(self) -> ssl.SSLContext:
        """For those whom we call."""
        if self._client is None:
            self._client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self._client.check_hostname, self._client.verify_mode = False, ssl.CERT_NONE
            self._client.minimum_version = ssl.TLSVersion.TLSv1_3
            self._client.set_alpn_protocols(list(ALPN))
        return self._client

    def proxy(self, host: str) -> str:
        """The HTTP proxy that the environment names for that host; empty where there is none."""
        named = {key.lower(): value for key, value in self._environment.items() if key.lower() in ("https_proxy", "all_proxy", "no_proxy")}
        besides = [one.strip() for one in named.get("no_proxy", "").split(",")]
        if "*" in besides or any(one and (host == one or host.endswith("." + one.lstrip("."))) for one in besides):
            return ""
        found = named.get("https_proxy") or named.get("all_proxy") or ""
        return found if found.startswith("http://") else ""

    async def call(self, address: Address, over: str) -> tuple[trio.abc.Stream, bytes]:
        """A stream of frames to there, and what was read of it already; ``ReachError`` whose rule says why not, in a word."""
        stream: trio.abc.Stream = await _reached(address, self.proxy(address.host))
        try:
            if over == "tls":
                secure = trio.SSLStream(stream, self.client(), server_hostname=address.host, https_compatible=True)
                await secure.do_handshake()
                return secure, b""
            if over == "http":
                return stream, await _upgraded(stream, address)
            return stream, b""
        except (trio.BrokenResourceError, ssl.SSLError) as error:
            await trio.aclose_forcefully(stream)
            raise ReachError("what is there speaks something else", rule="not-overlay") from error
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise


def _made() -> ssl.SSLContext:
    module = importlib.import_module("overlay.driver.certificate")  # 20 ms and 3 MiB that only those pay whom somebody calls by TLS
    context: ssl.SSLContext = module.self_made(ALPN)
    return context


async def _reached(address: Address, proxy: str) -> trio.abc.Stream:
    """A TCP connection to there: straight, or, where that fails, through the proxy."""
    try:
        with trio.fail_after(limits.TCP_CONNECT / 2 if proxy else limits.TCP_CONNECT):
            return await _straight(address)
    except OSError:
        if not proxy:
            raise ReachError("no connection", rule="refused") from None
    except trio.TooSlowError:
        if not proxy:
            raise ReachError("no connection in time", rule="timeout") from None
    try:
        with trio.fail_after(limits.TCP_CONNECT):
            return await _through(urlsplit(proxy), address)
    except (OSError, trio.BrokenResourceError, ValueError):
        raise ReachError("the proxy does not answer", rule="proxy") from None
    except trio.TooSlowError:
        raise ReachError("the proxy does not answer in time", rule="proxy-timeout") from None


async def _through(proxy: SplitResult, address: Address) -> trio.SocketStream:
    stream = await trio.open_tcp_stream(proxy.hostname or "", proxy.port or 80)
    try:
        login = b""
        if proxy.username is not None:
            pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
            login = b"Proxy-Authorization: Basic " + b64encode(pair) + b"\r\n"
        await stream.send_all(f"CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n".encode() + login + b"\r\n")
        status, rest = await _answer(stream)
        if status != 200 or rest:
            raise ReachError(f"the proxy says {status}", rule="proxy-refused")
        return stream
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise


async def _straight(address: Address) -> trio.SocketStream:
    sock = trio.socket.socket(socket.AF_INET6 if address.family == 6 else socket.AF_INET)
    try:
        await sock.connect(tuple(address))
        return trio.SocketStream(sock)
    except BaseException:
        sock.close()
        raise


async def _upgraded(stream: trio.abc.Stream, address: Address) -> bytes:
    await stream.send_all(f"GET / HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: {UPGRADE}\r\n\r\n".encode())
    status, rest = await _answer(stream)
    if status != 101:
        raise ReachError(f"HTTP status {status}", rule="not-overlay")
    return rest


async def _answer(stream: trio.abc.ReceiveStream) -> tuple[int, bytes]:
    """(status of an HTTP answer's head, what came behind it)."""
    buffer = b""
    while b"\r\n\r\n" not in buffer:
        data = await stream.receive_some(_CHUNK)
        buffer += bytes(data)
        if not data or len(buffer) > _HEAD:
            raise ReachError("no answer of HTTP", rule="not-overlay")
    head, _, rest = buffer.partition(b"\r\n\r\n")
    words = head.split(b"\r\n", 1)[0].split()
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise ReachError("no answer of HTTP", rule="not-overlay")
    return int(words[1]), rest


class Again(trio.abc.Stream):
    """A stream whose first octets have been read already."""

    def __init__(self, stream: trio.abc.Stream, first: bytes) -> None:
        self._stream = stream
        self._first = first

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._first:
            first, self._first = self._first, b""
            return first
        return bytes(await self._stream.receive_some(max_bytes))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


@asynccontextmanager
async def peeled(stream: trio.abc.Stream) -> AsyncIterator[socket.socket]:
    """A socket whose octets are those inside the stream, both ways, as long as the block lasts."""
    inner, outer = socket.socketpair()
    with inner:
        inner.setblocking(False)
        pipe = trio.SocketStream(trio.socket.from_stdlib_socket(outer))
        broken: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_pump, stream, pipe)
            nursery.start_soon(_pump, pipe, stream)
            try:
                yield inner
            except (OSError, trio.BrokenResourceError) as error:  # as it came, and not in a group of the nursery's
                broken = error
            finally:
                nursery.cancel_scope.cancel()
                pipe.socket.close()
                with trio.CancelScope(shield=True):
                    await trio.aclose_forcefully(stream)
        if broken is not None:
            raise broken


async def _pump(source: trio.abc.Stream, target: trio.abc.Stream) -> None:
    try:
        while data := await source.receive_some(_CHUNK):
            await target.send_all(data)
        if isinstance(target, trio.abc.HalfCloseableStream):
            await target.send_eof()
        else:
            await target.aclose()
    except (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError):
        await trio.aclose_forcefully(target)
