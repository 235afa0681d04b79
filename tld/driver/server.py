"""DNS over UDP and TCP: sockets in, a backend asked, replies out (Trio).

Decides how sockets are drained, bounded and closed; knows nothing of what a query says. Rules: DESIGN 3.4 (drained
sockets), RFC 7766 (TCP: pipelining, answers out of order, idle close), ``overlay.limits``.

A backend is synchronous: it answers from memory within microseconds, or says that somebody must be waited for by giving
back a :class:`Forward`, whose ``run`` the server then runs as a task of its own, a bounded number at a time, sending
what it returns. So the authoritative path never leaves the drain loop, and the stub plugs into the same loop.
"""

from __future__ import annotations

import errno
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import trio

from overlay import limits
from overlay.wire.address import source_of
from tld.authority import Source
from tld.driver import batch
from tld.transfer import Parts

_TRANSIENT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ECONNABORTED, errno.EPERM})


@dataclass(frozen=True, slots=True)
class Forward:
    """An answer that takes time. ``run`` gives the reply's octets or None for silence, and ends by itself in bounded time.

    ``busy`` is sent instead where too many are under way already (None: the query is dropped). Both are counted.
    """

    run: Callable[[], Awaitable[bytes | None]]
    busy: bytes | None = None


class Backend(Protocol):
    """Whoever answers. ``counters`` is where the server counts ``dns_udp``, ``dns_tcp`` and its drops."""

    @property
    def counters(self) -> Counter[str]:
        """Shared with whoever publishes them."""
        ...

    def answer(self, data: bytes, source: Source, udp: bool) -> bytes | Forward | Parts | None:
        """The reply to ``data``, a :class:`Forward`, over TCP several messages, or None for silence. Must not raise on any octets, nor block."""
        ...


async def serve_udp(sock: socket.socket, backend: Backend) -> None:
    """Answer on a bound, non-blocking UDP socket until cancelled; the socket stays open.

    A socket bound to one address answers from it; wildcard addresses are the caller's business (one socket each).
    """
    async with trio.open_nursery() as nursery:
        forwards = _Forwards(sock, backend.counters, nursery)
        if batch.AVAILABLE:
            await _drain_batches(sock, backend, forwards)
        else:
            await _drain(sock, backend, forwards)


class _Forwards:
    """The answers of one UDP socket that take time: a bounded number of tasks."""

    def __init__(self, sock: socket.socket, counters: Counter[str], nursery: trio.Nursery) -> None:
        self.sock = sock
        self.counters = counters
        self.nursery = nursery
        self.flying = 0

    def start(self, job: Forward, source: Source) -> None:
        """Run ``job`` as a task, or say that too many run already."""
        if self.flying < limits.DNS_FORWARDS:
            self.flying += 1
            self.nursery.start_soon(self._run, job, source)
            return
        self.counters["drop:dns-forwards-full"] += 1
        if job.busy is not None:
            _send(self.sock, job.busy, source, self.counters)

    async def _run(self, job: Forward, source: Source) -> None:
        try:
            reply = await job.run()
        finally:
            self.flying -= 1
        if reply is not None:
            _send(self.sock, reply, source, self.counters)


async def _drain_batches(sock: socket.socket, backend: Backend, forwards: _Forwards) -> None:
    """The loop for machines with ``recvmmsg``: one call reads up to 64 datagrams, one sends their replies."""
    answer, counters = backend.answer, backend.counters
    box = batch.Batch()
    fd = sock.fileno()
    while True:
        await trio.lowlevel.wait_readable(sock)
        try:
            received = box.receive(fd)
        except OSError as fault:  # the error of an earlier datagram
            counters[f"drop:dns-udp-{errno.errorcode.get(fault.errno or 0, 'error').lower()}"] += 1
            continue
        replies: list[bytes | None] = []
        for data, source in received:
            reply = answer(data, source, True)
            if isinstance(reply, Forward):
                forwards.start(reply, source)
                reply = None
            elif not isinstance(reply, bytes):
                reply = None
            elif len(reply) > batch.SIZE:
                _send(sock, reply, source, counters)
                reply = None
            replies.append(reply)
        if lost := box.send(fd, replies):
            counters["drop:dns-udp-unsent"] += lost
        counters["dns_udp"] += len(received)
        if len(received) == limits.DRAIN:
            counters["udp_drained_full"] += 1


async def _drain(sock: socket.socket, backend: Backend, forwards: _Forwards) -> None:
    """The loop for every machine: non-blocking reads until nothing is left, 64 at most."""
    answer, counters = backend.answer, backend.counters
    recvfrom, sendto = sock.recvfrom, sock.sendto
    while True:
        await trio.lowlevel.wait_readable(sock)
        taken = 0
        try:
            while taken < limits.DRAIN:
                data, source = recvfrom(batch.SIZE)
                taken += 1
                reply = answer(data, source, True)
                if reply.__class__ is bytes:
                    sendto(reply, source)  # the hot path: no call of ours in between
                elif isinstance(reply, Forward):
                    forwards.start(reply, source)
        except BlockingIOError:
            pass  # drained; or, rarely, the send buffer is full and this reply is lost, as the network may lose it
        except OSError as fault:
            # The error of an earlier datagram (ECONNREFUSED), a source that cannot be answered (port 0, no route).
            counters[f"drop:dns-udp-{errno.errorcode.get(fault.errno or 0, 'error').lower()}"] += 1
        counters["dns_udp"] += taken
        if taken == limits.DRAIN:
            counters["udp_drained_full"] += 1


def _send(sock: socket.socket, reply: bytes, source: Source, counters: Counter[str]) -> None:
    try:
        sock.sendto(reply, source)
    except OSError as fault:
        counters[f"drop:dns-udp-{errno.errorcode.get(fault.errno or 0, 'error').lower()}"] += 1


async def serve_tcp(listener: socket.socket, backend: Backend) -> None:
    """Answer on a bound, listening TCP socket until cancelled; the listening socket stays open."""
    trio_listener = trio.socket.from_stdlib_socket(listener)
    counters = backend.counters
    clients: Counter[str] = Counter()

    async def client(stream: trio.SocketStream, source: Source, who: str) -> None:
        try:
            await _Connection(stream, source, backend).run()
        finally:
            clients[who] -= 1
            if not clients[who]:
                del clients[who]

    async with trio.open_nursery() as nursery:
        while True:
            try:
                conn, source = await trio_listener.accept()
                who = source_of(source[0]) or source[0]
            except OSError as fault:
                if fault.errno not in _TRANSIENT:
                    raise
                counters["drop:dns-tcp-accept"] += 1
                await trio.sleep(0.1)  # out of descriptors: let others finish
                continue
            if clients[who] >= limits.DNS_TCP or clients.total() >= limits.DNS_TCP_ALL:
                counters["drop:dns-tcp-full"] += 1
                conn.close()
                if not clients[who]:
                    del clients[who]
                continue
            clients[who] += 1
            nursery.start_soon(client, trio.SocketStream(conn), source, who)


class _Connection:
    """One TCP connection: queries are framed by a u16 length, many may be under way, replies come in any order."""

    def __init__(self, stream: trio.SocketStream, source: Source, backend: Backend) -> None:
        self.stream = stream
        self.source = source
        self.backend = backend
        self.sending = trio.Lock()
        self.room = trio.Semaphore(limits.DNS_PIPELINE)
        self.flying = 0

    async def run(self) -> None:
        """Serve until the client closes, brings no whole query for 10 s, or stops reading."""
        try:
            async with self.stream, trio.open_nursery() as nursery:
                await self._receive(nursery)
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            self.backend.counters["dns_tcp_broken"] += 1
        except* trio.TooSlowError:
            self.backend.counters["dns_tcp_idle_closed"] += 1

    async def _receive(self, nursery: trio.Nursery) -> None:
        buffer = bytearray()
        heard = trio.current_time()  # the last whole query: an octet now and then keeps no connection
        while True:
            with trio.move_on_at(heard + limits.DNS_TCP_IDLE) as idle:
                received = await self.stream.receive_some(65_536)
            if idle.cancelled_caught:
                if self.flying:
                    heard = trio.current_time()
                    continue  # not idle: a reply is still due
                raise trio.TooSlowError
            if not received:
                return  # what is under way is still answered: the nursery waits for it
            buffer += received
            replies = bytearray()
            position = 0
            while len(buffer) - position >= 2:
                end = position + 2 + int.from_bytes(buffer[position : position + 2], "big")
                if len(buffer) < end:
                    break
                data = bytes(buffer[position + 2 : end])
                position = end
                heard = trio.current_time()
                self.backend.counters["dns_tcp"] += 1
                reply = self.backend.answer(data, self.source, False)
                if isinstance(reply, (Forward, Parts)):
                    if not self.room.value:
                        self.backend.counters["dns_tcp_waits"] += 1
                    await self.room.acquire()
                    self.flying += 1
                    nursery.start_soon(self._later, reply)
                elif reply is not None:
                    replies += len(reply).to_bytes(2, "big") + reply
                    if len(replies) > 65_536:
                        await self._send(bytes(replies))
                        replies.clear()
            del buffer[:position]
            if replies:
                await self._send(bytes(replies))

    async def _later(self, job: Forward | Parts) -> None:
        try:
            if isinstance(job, Parts):
                for message in job.messages:
                    await self._send(len(message).to_bytes(2, "big") + message)
            elif (reply := await job.run()) is not None:
                await self._send(len(reply).to_bytes(2, "big") + reply)
        finally:
            self.flying -= 1
            self.room.release()

    async def _send(self, framed: bytes) -> None:
        with trio.fail_after(limits.DNS_TCP_IDLE):
            async with self.sending:
                await self.stream.send_all(framed)
