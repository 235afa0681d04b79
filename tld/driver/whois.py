"""WHOIS over TCP (RFC 3912): one line in, one answer out, the connection closed (Trio).

It decides how many may ask at once and how long they may take; what is answered is ``tld/whois.py``.
"""

from __future__ import annotations

import errno
import socket
from collections import Counter
from collections.abc import Callable
from typing import Final

import trio

from overlay import limits
from overlay.wire.address import source_of

_TRANSIENT: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ECONNABORTED, errno.EPERM})


async def serve_whois(listener: socket.socket, answer: Callable[[bytes], bytes], counters: Counter[str]) -> None:
    """Answer on a bound, listening TCP socket until cancelled; the listening socket stays open."""
    accepting = trio.socket.from_stdlib_socket(listener)
    clients: Counter[str | None] = Counter()

    async def client(conn: trio.socket.SocketType, source: str | None) -> None:
        try:
            await _serve(trio.SocketStream(conn), answer, counters)
        finally:
            clients[source] -= 1
            if not clients[source]:
                del clients[source]

    async with trio.open_nursery() as nursery:
        while True:
            try:
                conn, (host, *_) = await accepting.accept()
            except OSError as fault:
                if fault.errno not in _TRANSIENT:
                    raise
                counters["drop:whois-accept"] += 1
                await trio.sleep(0.1)  # out of descriptors: let others finish
                continue
            source = source_of(host)
            if clients.total() >= limits.WHOIS_CONNECTIONS or (source is not None and clients[source] >= limits.WHOIS_PER_SOURCE):
                counters["drop:whois-full"] += 1
                conn.close()
                continue
            clients[source] += 1
            nursery.start_soon(client, conn, source)


async def _serve(stream: trio.SocketStream, answer: Callable[[bytes], bytes], counters: Counter[str]) -> None:
    with trio.move_on_after(limits.WHOIS_TIME) as scope:
        try:
            async with stream:
                query = await _line(stream)
                if query is None:
                    counters["drop:whois-too-long"] += 1
                    return
                counters["whois_requests"] += 1
                await stream.send_all(answer(query))
                await stream.send_eof()
                while await stream.receive_some(4_096):  # what it still sends must not turn our end into a reset
                    pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            counters["whois_broken"] += 1
    if scope.cancelled_caught:
        counters["whois_timeouts"] += 1


async def _line(stream: trio.SocketStream) -> bytes | None:
    """What stands before the first line end, or before its end; None where there is none in time."""
    read = b""
    while b"\n" not in read:
        more = await stream.receive_some(limits.WHOIS_QUERY)
        read += more
        if len(read) > limits.WHOIS_QUERY:
            return None
        if not more:
            break
    return read.partition(b"\n")[0]
