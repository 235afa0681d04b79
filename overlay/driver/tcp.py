"""The overlay over TCP: the same datagrams behind a length, on the same port (DESIGN 3.4; research F4).

It decides what the first octet of a connection means (a frame's length begins with 0 to 4, 0x16 is TLS, all else HTTP), how
long a stranger may stay silent, and how much may wait to be sent. It refuses to know what a valid message is: the node
says so by :meth:`Tcp.accepted`. A connection is numbered by ``Way.link``; numbers are not used again.

    frame = u16 length (big endian, 1 to 1,232)  datagram
"""

from __future__ import annotations

import errno
import socket
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import trio

from overlay import limits
from overlay.driver.tls import Again, Around, peeled
from overlay.driver.udp import Batch, from_socket, socket_address
from overlay.errors import ReachError
from overlay.wire.address import Address, Way, source_of

_FIRST_ABOVE: Final = limits.WRAPPED >> 8  # 4: the highest first octet that a frame can have
_TLS: Final = 0x16  # RFC 8446 5.1: a handshake record
_READ: Final = 65_536
_ACCEPT_PAUSE: Final = 0.1  # seconds; out of descriptors: others must close first

Http = Callable[[trio.SocketStream, bytes, Address, str], Awaitable[None]]


@dataclass(slots=True, eq=False)
class _Link:
    """One connection of the overlay."""

    sock: socket.socket
    way: Way
    scope: trio.CancelScope
    inbound: bool
    accepted: bool = False
    reason: str = ""
    waiting: deque[bytes] = field(default_factory=deque)
    waiting_octets: int = 0
    more: trio.Event = field(default_factory=trio.Event)

    def end(self, reason: str) -> None:
        self.reason = self.reason or reason
        self.scope.cancel()


class Tcp:
    """All TCP connections of the overlay's listeners and those that the node opens.

    ``on_batch`` gets datagrams as :class:`~overlay.driver.udp.Udp` gives them; ``on_open(way)`` and
    ``on_close(way, reason)`` bracket them, and ``on_close`` also tells of an attempt that failed. ``http(stream, read,
    peer, local)`` takes over a connection that speaks HTTP, with the octets read so far; without it such connections are closed.
    """

    def __init__(
        self,
        on_batch: Callable[[Batch], None],
        on_open: Callable[[Way], None],
        on_close: Callable[[Way, str], None],
        counters: Counter[str],
        http: Http | None = None,
    ) -> None:
        self._on_batch = on_batch
        self._on_open = on_open
        self._on_close = on_close
        self._http = http
        self.counters = counters
        self._links: dict[int, _Link] = {}
        self._last = 0
        self._open = 0
        self._by_source: Counter[str] = Counter()
        self._strangers: dict[socket.socket, Callable[[], None]] = {}  # how to end those that said nothing valid yet, the oldest first
        self._nursery: trio.Nursery | None = None
        self._around = Around()

    async def run(
        self, listeners: Sequence[socket.socket] = (), *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Accept on the listeners and carry all connections, until cancelled. Started: :meth:`connect` works."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                for listener in listeners:
                    listener.setblocking(False)
                    nursery.start_soon(self._accept, nursery, listener)
                task_status.started()
                await trio.sleep_forever()
            finally:
                self._nursery = None

    def connect(self, address: Address, over: str = "tcp") -> Way:
        """Begin to open a connection (``limits.TCP_CONNECT``); ``on_open`` or ``on_close`` tells how it went.

        ``over``: plain ("tcp"), inside "tls", or behind an upgrade of "http".
        """
        self._last += 1
        way = Way("tcp", address, "", self._last)
        if self._nursery is None or self._open >= limits.TCP_CONNECTIONS:
            self.counters["drop:tcp-full"] += 1
            self._on_close(way, "full")
        else:
            self._open += 1
            self._nursery.start_soon(self._outbound, address, way, over)
        return way

    def send(self, way: Way, data: bytes) -> bool:
        """Send one datagram on its connection; False where it was dropped (counted)."""
        link = self._links.get(way.link)
        if link is None:
            self.counters["drop:tcp-gone"] += 1
            return False
        if not 0 < len(data) <= limits.WRAPPED:
            self.counters["drop:too-long"] += 1
            return False
        frame = len(data).to_bytes(2, "big") + data
        if link.waiting_octets + len(frame) > limits.TCP_QUEUE:
            self.counters["drop:tcp-queue-full"] += 1
            return False
        if not link.waiting:
            try:
                sent = link.sock.send(frame)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                link.end(_word(error))
                return False
            if sent == len(frame):
                return True
            frame = frame[sent:]
        link.waiting.append(frame)
        link.waiting_octets += len(frame)
        link.more.set()
        return True

    def accepted(self, way: Way) -> None:
        """The node has had a valid message on this connection: it may stay."""
        link = self._links.get(way.link)
        if link is not None and not link.accepted:
            link.accepted = True
            self._strangers.pop(link.sock, None)
            link.scope.deadline = trio.current_time() + limits.TCP_IDLE

    def close(self, way: Way) -> None:
        """Close the connection; ``on_close`` tells. Unknown ones are closed already."""
        link = self._links.get(way.link)
        if link is not None:
            link.end("closed-here")

    @property
    def connections(self) -> int:
        """Open connections and attempts, those that turned out to be HTTP included."""
        return self._open

    async def _accept(self, nursery: trio.Nursery, listener: socket.socket) -> None:
        while True:
            await trio.lowlevel.wait_readable(listener)
            try:
                sock, name = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                continue
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EPROTO, errno.EPERM):
                    raise
                self.counters[f"tcp_accept:{_word(error)}"] += 1
                await trio.sleep(_ACCEPT_PAUSE)
                continue
            remote = from_socket(name)
            source = source_of(remote.host)
            if not self._room():
                sock.close()
            elif source is not None and self._by_source[source] >= limits.TCP_PER_SOURCE:
                self.counters["drop:tcp-source-full"] += 1
                sock.close()
            else:
                self._open += 1
                nursery.start_soon(self._inbound, sock, remote, source)

    def _room(self) -> bool:
        """Whether one more may be open. Where all places are taken, who has been silent longest gives way to who comes."""
        if self._open < limits.TCP_CONNECTIONS:
            return True
        self.counters["drop:tcp-full"] += 1
        if not self._strangers:
            return False
        self._strangers.pop(next(iter(self._strangers)))()
        return True

    async def _inbound(self, sock: socket.socket, remote: Address, source: str | None) -> None:
        if source is not None:
            self._by_source[source] += 1
        try:
            with sock:
                sock.setblocking(False)
                await self._sorted(sock, remote, from_socket(sock.getsockname()).host)
        except OSError as error:
            self.counters[f"tcp_closed:{_word(error)}"] += 1
        finally:
            self._strangers.pop(sock, None)
            self._open -= 1
            if source is not None:
                self._by_source[source] -= 1
                if not self._by_source[source]:
                    del self._by_source[source]

    async def _sorted(self, sock: socket.socket, remote: Address, local: str, first: bytes = b"", *, inside: bool = False) -> None:
        """What a connection speaks, by its first octet. ``inside``: TLS was taken off already."""
        first = first or await self._first_octets(sock)
        if not first:
            return
        if first[0] > _FIRST_ABOVE:
            await self._foreign(sock, first, remote, local, inside=inside)
            return
        self._last += 1
        await self._carry(sock, Way("tcp", remote, local, self._last), first, inbound=True)

    async def upgraded(self, stream: trio.abc.Stream, first: bytes, remote: Address, local: str) -> None:
        """A connection that was HTTP speaks the overlay's frames from now on."""
        self.counters["tcp_upgraded"] += 1
        async with peeled(Again(stream, first)) as sock:
            await self._sorted(sock, remote, local, inside=True)

    async def _first_octets(self, sock: socket.socket) -> bytes:
        first = b""
        with trio.move_on_after(limits.TCP_FIRST) as scope:
            self._strangers[sock] = scope.cancel
            first = await _read(sock)
        if scope.cancelled_caught:
            self.counters["tcp_closed:no-valid-message"] += 1
            return b""
        return first

    async def _foreign(self, sock: socket.socket, first: bytes, remote: Address, local: str, *, inside: bool) -> None:
        if first[0] == _TLS and not inside:
            await self._secure(sock, first, remote, local)
            return
        self._strangers.pop(sock, None)  # from here on the bounds of HTTP hold
        if self._http is None:
            self.counters["drop:tcp-http"] += 1
        else:
            self.counters["tcp_http"] += 1
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
            async with stream:
                await self._http(stream, first, remote, local)

    async def _secure(self, sock: socket.socket, first: bytes, remote: Address, local: str) -> None:
        """TLS: what is inside is sorted as what is not."""
        raw = trio.SocketStream(trio.socket.from_stdlib_socket(sock.dup()))
        stream = trio.SSLStream(Again(raw, first), await self._around.server(), server_side=True, https_compatible=True)
        try:
            with trio.fail_after(limits.TCP_FIRST):
                await stream.do_handshake()
        except (trio.BrokenResourceError, trio.TooSlowError):
            self.counters["tcp_closed:tls"] += 1
            await trio.aclose_forcefully(raw)
            return
        finally:
            self._strangers.pop(sock, None)
        self.counters["tcp_tls"] += 1
        async with peeled(stream) as inner:
            try:
                await self._sorted(inner, remote, local, inside=True)
            finally:
                self._strangers.pop(inner, None)

    async def _around_it(self, address: Address, way: Way, over: str) -> None:
        """A connection of ours with something around it, or through a proxy."""
        try:
            with trio.fail_after(2 * limits.TCP_CONNECT):
                stream, first = await self._around.call(address, over)
        except (ReachError, trio.TooSlowError) as error:
            self.counters["tcp_closed:around"] += 1
            self._on_close(way, error.rule if isinstance(error, ReachError) else "timeout")
            return
        async with peeled(stream) as sock:
            await self._carry(sock, way, first, inbound=False)

    async def _outbound(self, address: Address, way: Way, over: str) -> None:
        try:
            if over != "tcp" or self._around.proxy(address.host):
                await self._around_it(address, way, over)
                return
            family = socket.AF_INET6 if address.family == 6 else socket.AF_INET
            with socket.socket(family, socket.SOCK_STREAM) as sock:
                sock.setblocking(False)
                reason = await _connected(sock, address)
                if reason:
                    self.counters[f"tcp_closed:{reason}"] += 1
                    self._on_close(way, reason)
                    return
                local = from_socket(sock.getsockname()).host
                await self._carry(sock, way._replace(local=local), b"", inbound=False)
        finally:
            self._open -= 1

    async def _carry(self, sock: socket.socket, way: Way, first: bytes, *, inbound: bool) -> None:
        """A connection's life between ``on_open`` and ``on_close``."""
        _tune(sock)
        life = limits.TCP_FIRST if inbound else limits.TCP_IDLE
        link = _Link(sock, way, trio.CancelScope(deadline=trio.current_time() + life), inbound)
        self._links[way.link] = link
        if inbound:
            self._strangers[sock] = partial(link.end, "full")
        try:
            self._on_open(way)
            with link.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write, link)
                    await self._receive(link, first)
                    nursery.cancel_scope.cancel()
        finally:
            del self._links[way.link]
            if not link.reason:
                late = link.scope.cancelled_caught and trio.current_time() >= link.scope.deadline
                link.reason = "shutdown" if not late else "idle" if link.accepted or not inbound else "no-valid-message"
            self.counters[f"tcp_closed:{link.reason}"] += 1
            self._on_close(way, link.reason)

    async def _receive(self, link: _Link, first: bytes) -> None:
        buffer = bytearray(first)
        while True:
            batch: Batch = []
            while len(buffer) >= 2:
                length = buffer[0] << 8 | buffer[1]
                if not 0 < length <= limits.WRAPPED:
                    self.counters["drop:tcp-frame-length"] += 1
                    link.end("frame-length")
                    break
                if len(buffer) < 2 + length:
                    break
                batch.append((bytes(buffer[2 : 2 + length]), link.way))
                del buffer[: 2 + length]
            if batch:
                if link.accepted or not link.inbound:
                    link.scope.deadline = trio.current_time() + limits.TCP_IDLE
                self._on_batch(batch)
            if link.reason:
                return
            try:
                data = await _read(link.sock)
            except OSError as error:
                link.end(_word(error))
                return
            if not data:
                link.end("closed-there")
                return
            buffer += data

    async def _write(self, link: _Link) -> None:
        while True:
            await link.more.wait()
            link.more = trio.Event()
            while link.waiting:
                await trio.lowlevel.wait_writable(link.sock)
                try:
                    sent = link.sock.send(link.waiting[0])
                except (BlockingIOError, InterruptedError):
                    continue
                except OSError as error:
                    link.end(_word(error))
                    return
                link.waiting_octets -= sent
                if sent == len(link.waiting[0]):
                    link.waiting.popleft()
                else:
                    link.waiting[0] = link.waiting[0][sent:]


async def _read(sock: socket.socket) -> bytes:
    while True:
        await trio.lowlevel.wait_readable(sock)
        try:
            return sock.recv(_READ)
        except (BlockingIOError, InterruptedError):
            continue


async def _connected(sock: socket.socket, address: Address) -> str:
    """Connect within the limit; "" or the reason why not."""
    with trio.move_on_after(limits.TCP_CONNECT):
        try:
            code = sock.connect_ex(socket_address(address))
        except OSError as error:
            code = error.errno or errno.ENODEV  # the scope names no interface
        if code in (errno.EINPROGRESS, errno.EAGAIN, errno.EINTR):
            await trio.lowlevel.wait_writable(sock)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return "" if code == 0 else errno.errorcode.get(code, "unknown").lower()
    return "timeout"


def _tune(sock: socket.socket) -> None:
    if sock.family == socket.AF_UNIX:
        return  # what was around it is peeled off
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a datagram must not wait for the next one
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # a peer that vanished is noticed in 30 s, not in 15 min
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000)


def _word(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "unknown").lower()
