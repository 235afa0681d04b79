"""One GET from a stranger's web server: bounded in time and size, no redirects, no proxies, no TLS (CONTRACT, HTTP).

It decides when an answer counts (status 200, at most 64 KiB, whole within 5 s). It refuses to know what it says. The
Host header is the IP literal that is asked, which every node takes (DESIGN 3.13).
"""

from __future__ import annotations

import os
import socket
from typing import Final

import h11
import trio

from overlay import __version__, limits
from overlay.errors import ReachError
from overlay.wire.address import Address

TIMEOUT: Final = 5.0  # seconds, connecting included; guess: one lost SYN and its repeat, as limits.TCP_CONNECT
_CHUNK: Final = 16_384


async def fetch(address: Address, path: str) -> bytes:
    """The body at ``http://ADDRESS/PATH``, or a ``ReachError`` whose ``what`` says in a few words why there is none."""
    try:
        with trio.fail_after(TIMEOUT), trio.socket.socket(socket.AF_INET6 if address.family == 6 else socket.AF_INET) as sock:
            await sock.connect(tuple(address))
            return await _get(trio.SocketStream(sock), address, path)
    except trio.TooSlowError:
        raise ReachError("no answer in time", rule="fetch-timeout") from None
    except (OSError, trio.BrokenResourceError) as why:
        number = getattr(why, "errno", None)  # trio's own text repeats the address
        raise ReachError(os.strerror(number) if number else "the connection broke", rule="fetch-connect") from None
    except h11.RemoteProtocolError as why:
        raise ReachError(f"it does not speak HTTP ({str(why)[:80]})", rule="fetch-http") from None


async def _get(stream: trio.SocketStream, address: Address, path: str) -> bytes:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=limits.HTTP_HEAD)
    host = str(address).rpartition(":")[0] if address.port == 80 else str(address)
    headers = [("Host", host), ("User-Agent", f"overlay/{__version__}"), ("Accept", "application/json"), ("Connection", "close")]
    await stream.send_all(connection.send(h11.Request(method="GET", target=path, headers=headers)) or b"")
    await stream.send_all(connection.send(h11.EndOfMessage()) or b"")
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some(_CHUNK))
        elif isinstance(event, h11.Response):
            if event.status_code != 200:
                raise ReachError(f"HTTP status {event.status_code}", rule="fetch-status")
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > limits.FETCH_BODY:
                raise ReachError(f"more than {limits.FETCH_BODY} octets", rule="fetch-too-long")
        elif isinstance(event, h11.EndOfMessage):
            return bytes(body)
        elif not isinstance(event, h11.InformationalResponse):
            raise ReachError("the connection ended early", rule="fetch-connect")
