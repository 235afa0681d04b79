"""Asking a silent bootstrap host's other ports: a DNS question over UDP, our own address over HTTP with a nonce (DESIGN 3.7)."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from typing import Final

import h11
import trio

from bootstrap import dnsmessage
from bootstrap.silence import Web, told
from overlay import __version__, limits
from overlay.wire.address import Address

PATIENCE: Final = 2.0  # seconds for each: the host has been silent for ten already
DNS_PORT: Final = 53
WEB_PORTS: Final = (80, 8053)


async def why_silent(address: Address) -> str:
    """What its other ports say of why it was silent; empty where they say nothing either way."""
    dns, web = False, Web.SILENT

    async def ask_dns() -> None:
        nonlocal dns
        dns = await _dns(address)

    async def ask_web() -> None:
        nonlocal web
        for port in WEB_PORTS:
            web = await _web(Address(address.host, port))
            if web is not Web.SILENT:
                return

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_dns)
        nursery.start_soon(ask_web)
    return told(dns, web)


async def _dns(address: Address) -> bool:
    """Whether anything that answers our question comes from there, be it a refusal."""
    ident = secrets.token_bytes(2)
    asked = dnsmessage.question("overlay.invalid", "A")
    family = socket.AF_INET6 if address.family == 6 else socket.AF_INET
    with trio.socket.socket(family, socket.SOCK_DGRAM) as sock, trio.move_on_after(PATIENCE):
        try:
            await sock.connect((address.host, DNS_PORT))
            for _ in range(2):
                await sock.send(dnsmessage.query(ident, asked, edns=False))
                with trio.move_on_after(PATIENCE / 2):
                    return (await sock.recv(limits.EDNS))[:2] == ident
        except OSError:
            return False
    return False


async def _web(address: Address) -> Web:
    nonce = secrets.token_urlsafe(12)
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=limits.HTTP_HEAD)
    body, echoed = b"", None
    try:
        with trio.fail_after(PATIENCE):
            async with await trio.open_tcp_stream(address.host, address.port) as stream:
                headers = [("Host", address.host if address.family == 4 else f"[{address.host}]"), ("User-Agent", f"overlay/{__version__}")]
                request = h11.Request(method="GET", target=f"/?IP&nonce={nonce}", headers=[*headers, ("Connection", "close")])
                await stream.send_all((connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b""))
                while not isinstance(event := connection.next_event(), h11.EndOfMessage | h11.ConnectionClosed):
                    if event is h11.NEED_DATA:
                        connection.receive_data(await stream.receive_some(limits.HTTP_HEAD))
                    elif isinstance(event, h11.Response):
                        echoed = next((value.decode("latin-1") for name, value in event.headers if name == b"x-nonce"), "")
                    elif isinstance(event, h11.Data):
                        body += bytes(event.data)[: limits.HTTP_HEAD]
    except (OSError, trio.TooSlowError, trio.BrokenResourceError):
        return Web.SILENT
    except h11.RemoteProtocolError:
        return Web.FOREIGN
    try:
        ipaddress.ip_address(body.decode("ascii", "replace").strip())
    except ValueError:
        return Web.FOREIGN
    return Web.MIRROR if echoed == nonce else Web.STALE
