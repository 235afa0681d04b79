"""HTTP/1.1 for small resources: ``/?IP``, ``/.well-known/overlay``, ``/status`` and what follows (CONTRACT, "HTTP").

It decides how long a client may take, how much it may send, and which ``Host`` it may name: an IP literal, localhost, or
a name below the overlay's own domains (DESIGN 3.13; a web page elsewhere cannot then reach a node through a name of its
own that points here). It refuses to know the resources: one coroutine answers a request. h11 speaks the protocol.
"""

from __future__ import annotations

import email.utils
import ipaddress
import json
import os
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote

import h11
import trio

from overlay import limits
from overlay.driver.udp import from_socket
from overlay.wire.address import Address, source_of

Headers = tuple[tuple[str, str], ...]
METHODS: Final = ("GET", "HEAD")
UPGRADE: Final = "overlay"
SWITCHING: Final = [(b"connection", b"Upgrade"), (b"upgrade", UPGRADE.encode())]
_CHUNK: Final = 65_536
_FILE_CHUNK: Final = 262_144  # octets that one sendfile takes at most: other tasks wait 0.1 ms for its copy on a slow core
_READ: Final = 4_096  # h11 looks at its bound between reads: small ones keep a head near limits.HTTP_HEAD
_LINGER: Final = 2.0  # seconds for a client to read its refusal before the connection is reset


@dataclass(frozen=True, slots=True)
class Request:
    """One request for a resource; ``path`` is decoded, ``query`` the pairs in order (``/?IP`` has ``("IP", "")``)."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Headers  # names in lower case
    peer: Address
    local: Address

    def header(self, name: str) -> str | None:
        """The first header of that lower-case name."""
        return next((value for key, value in self.headers if key == name), None)

    def asks(self, name: str) -> str | None:
        """The first value of a query parameter: "" where it stands alone, None where it is absent."""
        return next((value for key, value in self.query if key == name), None)


@dataclass(frozen=True, slots=True)
class File:
    """Part of an open file as a body. The descriptor is closed when the answer is sent or given up."""

    descriptor: int
    offset: int
    length: int
    closed: Callable[[], None] | None = None  # called when it is
    trailer: bytes = b""  # what comes behind it


@dataclass(frozen=True, slots=True)
class _Passed:
    """Stands for octets that h11 counts and the kernel sends."""

    length: int

    def __len__(self) -> int:
        return self.length


@dataclass(frozen=True, slots=True)
class Response:
    """An answer. Length, date and connection headers are added."""

    status: int
    body: bytes | File = b""
    headers: Headers = ()


App = Callable[[Request], Awaitable[Response]]
Upgrade = Callable[[trio.SocketStream, bytes, Address, str], Awaitable[None]]


def text(body: str, status: int = 200, *headers: tuple[str, str]) -> Response:
    """A line of plain text; the line end is added."""
    return Response(status, body.encode() + b"\n", (("content-type", "text/plain; charset=utf-8"), *headers))


def as_json(value: object, status: int = 200, *headers: tuple[str, str]) -> Response:
    """A JSON document."""
    return Response(status, json.dumps(value).encode() + b"\n", (("content-type", "application/json"), *headers))


def host_allowed(host: str, suffixes: Iterable[str]) -> bool:
    """Whether a ``Host`` may be served: IP literal, localhost, or a name at or below one of ``suffixes``."""
    name, bracket, port = host.rpartition("]") if host.startswith("[") else host.partition(":")
    if bracket == "]":
        name, port = name[1:], port.removeprefix(":") if port.startswith(":") or not port else "x"
    if port and not (port.isascii() and port.isdigit()):
        return False
    name = name.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return any(name == below or name.endswith("." + below) for below in (suffix.strip(".").lower() for suffix in suffixes) if below)
    return True


@dataclass(slots=True)
class Site:
    """What is served: the app, the domains it answers for (asked anew for each request), and what it has counted."""

    app: App
    suffixes: Callable[[], Iterable[str]] = tuple
    upgrade: Upgrade | None = None  # takes over a connection that asks for ``Upgrade: overlay``
    counters: Counter[str] = field(default_factory=Counter)
    open: int = 0
    by_source: Counter[str] = field(default_factory=Counter)

    async def serve(self, listeners: Sequence[socket.socket]) -> None:
        """Accept on bound, listening sockets until cancelled; where there are none (``http = "off"``) there is nothing to do."""
        if not listeners:
            return

        async def one(stream: trio.SocketStream) -> None:
            try:
                peer = from_socket(stream.socket.getpeername())
            except OSError:
                await trio.aclose_forcefully(stream)  # it has left before we looked
                return
            await self.connection(stream, b"", peer)

        await trio.serve_listeners(one, [trio.SocketListener(trio.socket.from_stdlib_socket(sock)) for sock in listeners])

    async def connection(self, stream: trio.SocketStream, read: bytes, peer: Address, local: str = "") -> None:
        """Serve one connection to its end; ``read`` has been read from it already. Fits ``Tcp``'s ``http``.

        ``local`` is our address that was asked, where the stream's own name does not tell: TLS was around it.
        """
        source = source_of(peer.host)
        async with stream:
            if self.open >= limits.HTTP_CONNECTIONS:
                self.counters["drop:http-full"] += 1
                return
            if source is not None and self.by_source[source] >= limits.HTTP_PER_SOURCE:
                self.counters["drop:http-source-full"] += 1
                return
            self.open += 1
            if source is not None:
                self.by_source[source] += 1
            try:
                await _Connection(self, stream, peer, local).run(read)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self.counters["http_broken"] += 1  # the client has gone; nobody is left to tell
            finally:
                self.open -= 1
                if source is not None:
                    self.by_source[source] -= 1
                    self.by_source += Counter()  # forget those at zero


class _Refused(Exception):
    """A request that gets an error and ends the connection."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class _Connection:
    def __init__(self, site: Site, stream: trio.SocketStream, peer: Address, local: str) -> None:
        self.site = site
        self.stream = stream
        self.peer = peer
        self.local = Address(local, 443) if local else from_socket(stream.socket.getsockname())
        self.http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.HTTP_HEAD)
        self.head_only = False  # whether the request under way is a HEAD: no answer to it, a refusal neither, has a body

    async def run(self, read: bytes) -> None:
        if read:
            self.http.receive_data(read)
        first = True
        while True:
            try:
                head = await self._head(limits.HTTP_HEAD_TIME if first else limits.HTTP_IDLE)
                if head is None:
                    return
                self.head_only = head.method == b"HEAD"
                await self._body()
                request = self._request(head)
                if self.site.upgrade is not None and (request.header("upgrade") or "").lower() == UPGRADE:
                    await self._write(self.http.send(h11.InformationalResponse(status_code=101, headers=SWITCHING)) or b"")
                    await self.site.upgrade(self.stream, self.http.trailing_data[0], self.peer, self.local.host)
                    return
                response = await self._answer(request)
            except h11.RemoteProtocolError as error:
                self.site.counters["drop:http-head" if error.error_status_hint == 431 else "drop:http-malformed"] += 1
                await self._last(error.error_status_hint or 400, "malformed request")
                return
            except _Refused as refused:
                await self._last(refused.status, refused.reason)
                return
            await self._send(response)
            if self.http.our_state is not h11.DONE or self.http.their_state is not h11.DONE:
                return
            self.http.start_next_cycle()
            self.head_only = False
            first = False

    async def _event(self) -> object:
        while (event := self.http.next_event()) is h11.NEED_DATA:
            self.http.receive_data(await self.stream.receive_some(_READ))
        return event

    async def _head(self, patience: float) -> h11.Request | None:
        """The next request, or None where the client has no more to ask."""
        with trio.move_on_after(patience) as scope:
            event = await self._event()
        if scope.cancelled_caught:
            if not self.http.trailing_data[0]:
                self.site.counters["http_idle_closed"] += 1
                return None
            self.site.counters["http_timeouts"] += 1
            raise _Refused(408, "too slow")
        return event if isinstance(event, h11.Request) else None

    async def _body(self) -> None:
        """Read past a body: no resource takes one."""
        octets = 0
        if self.http.they_are_waiting_for_100_continue:
            raise _Refused(417, "send no body")
        with trio.move_on_after(limits.HTTP_HEAD_TIME) as scope:
            while not isinstance(event := await self._event(), h11.EndOfMessage):
                octets += len(event.data) if isinstance(event, h11.Data) else 0
                if octets > limits.HTTP_BODY:
                    self.site.counters["drop:http-body"] += 1
                    raise _Refused(413, "send no body")
        if scope.cancelled_caught:
            self.site.counters["http_timeouts"] += 1
            raise _Refused(408, "too slow")

    def _request(self, head: h11.Request) -> Request:
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers)
        target = head.target.decode("latin-1")
        hosts = [value for name, value in headers if name == "host"]
        if "://" in target:  # absolute form (RFC 9112 3.2.2): its authority takes the place of Host
            authority, slash, rest = target.partition("://")[2].partition("/")
            hosts, target = [authority], slash + rest or "/"
        if not target.startswith("/"):
            raise _Refused(400, "what resource is that")
        if hosts and not host_allowed(hosts[0], self.site.suffixes()):
            self.site.counters["drop:http-host"] += 1
            raise _Refused(421, "this node does not answer for that name")
        path, _, query = target.partition("#")[0].partition("?")
        try:
            pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=32)
        except ValueError:
            raise _Refused(400, "too many parameters") from None
        return Request(head.method.decode("latin-1"), unquote(path), tuple(pairs), headers, self.peer, self.local)

    async def _answer(self, request: Request) -> Response:
        self.site.counters["http_requests"] += 1
        if request.method not in METHODS:
            return text("method not allowed", 405, ("allow", ", ".join(METHODS)))
        with trio.move_on_after(limits.HTTP_APP):
            return await self.site.app(request)
        self.site.counters["http_app_timeouts"] += 1
        return text("busy", 503, ("retry-after", "5"))

    async def _send(self, response: Response) -> None:
        body = response.body
        length = len(body) if isinstance(body, bytes) else body.length + len(body.trailer)
        try:
            headers = [
                *((name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers),
                (b"date", email.utils.formatdate(time.time(), usegmt=True).encode()),
            ]
            if response.status >= 200 and response.status not in (204, 304):
                headers.append((b"content-length", str(length).encode()))
            out = self.http.send(h11.Response(status_code=response.status, headers=headers))
            assert out is not None
            empty = self.head_only or response.status in (204, 304)
            if isinstance(body, bytes):
                if not empty and body:
                    out += self.http.send(h11.Data(data=body)) or b""
                await self._write(out + (self.http.send(h11.EndOfMessage()) or b""))
                return
            await self._write(out)
            if not empty:
                await self._send_file(body)
            await self._write(self.http.send(h11.EndOfMessage()) or b"")
        finally:
            if isinstance(body, File):
                os.close(body.descriptor)
                if body.closed is not None:
                    body.closed()

    async def _send_file(self, part: File) -> None:
        """The kernel sends from the file to the socket; h11 only counts (its documentation, "sendfile")."""
        if part.length:
            self.http.send_with_data_passthrough(h11.Data(data=_Passed(part.length)))  # type: ignore[arg-type]
        offset, end = part.offset, part.offset + part.length
        sock = self.stream.socket
        while offset < end:
            try:
                sent = os.sendfile(sock.fileno(), part.descriptor, offset, min(_FILE_CHUNK, end - offset))
            except BlockingIOError:
                with trio.move_on_after(limits.HTTP_WRITE) as scope:
                    await trio.lowlevel.wait_writable(sock)
                if scope.cancelled_caught:
                    self.site.counters["http_timeouts"] += 1
                    raise trio.BrokenResourceError("the client reads too slowly") from None
                continue
            except OSError as error:
                raise trio.BrokenResourceError("the client is gone, or the file cannot be read") from error
            if not sent:
                raise trio.BrokenResourceError("the file became shorter")
            offset += sent
            await trio.lowlevel.checkpoint()
        if part.trailer:
            await self._write(self.http.send(h11.Data(data=part.trailer)) or b"")

    async def _write(self, data: bytes) -> None:
        for start in range(0, len(data), _CHUNK):
            with trio.move_on_after(limits.HTTP_WRITE) as scope:
                await self.stream.send_all(data[start : start + _CHUNK])
            if scope.cancelled_caught:
                self.site.counters["http_timeouts"] += 1
                raise trio.BrokenResourceError("the client reads too slowly")

    async def _last(self, status: int, reason: str) -> None:
        """Refuse, and let the client read why before the connection goes."""
        if self.http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        await self._send(text(reason, status, ("connection", "close")))
        await self.stream.send_eof()
        with trio.move_on_after(_LINGER):
            octets = 0
            while octets < 16 * limits.HTTP_BODY and (data := await self.stream.receive_some(_CHUNK)):
                octets += len(data)
