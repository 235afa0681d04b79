"""``overlay zone serve FILE|- --listen IP:PORT``: one master file on the ordinary engine, alone (CONTRACT).

With a file: serves it until SIGINT or SIGTERM. With ``-``: reads a path a line from standard input, each zone replacing
the one before, and writes one flushed line each, ``serving ORIGIN`` once that zone is answered or ``failed PATH: REASON``
(then the zone before stays); the end of the input ends the service. UDP and TCP, no rate limit. Knows nothing of nodes.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TextIO

import trio

from overlay import limits
from overlay.errors import ConfigError, OverlayError
from overlay.wire.address import Address, parse_address
from tld.authority import Authority
from tld.cookies import Cookies
from tld.driver.server import serve_tcp, serve_udp
from tld.label import to_text
from tld.manners import Polite
from tld.master import parse
from tld.zone import Zone, ZoneError, Zones

_TODO = "give the path of a readable master file"


def listen_on(address: Address) -> tuple[socket.socket, socket.socket]:
    """A UDP and a TCP socket on the same address, not blocking. ``ConfigError`` where it is taken or not ours."""
    family = socket.AF_INET6 if address.family == 6 else socket.AF_INET
    udp = socket.socket(family, socket.SOCK_DGRAM)
    tcp = socket.socket(family, socket.SOCK_STREAM)
    try:
        for sock in (udp, tcp):
            sock.setblocking(False)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)  # a burst of 64 x 16 queries while we are not scheduled
        udp.bind(address)
        tcp.bind(address)
        tcp.listen(128)
    except OSError as fault:
        udp.close()
        tcp.close()
        raise ConfigError(f"cannot listen on {address}: {fault.strerror or fault}", "choose another with --listen") from None
    return udp, tcp


def load(path: str) -> Zone:
    """The zone in that file; ``ZoneError`` where it cannot be read or understood."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(limits.MASTER_FILE + 1)
    except (OSError, ValueError) as fault:
        raise ZoneError(f"cannot be read: {getattr(fault, 'strerror', None) or fault}", _TODO, rule="file") from None
    try:
        return parse(data.decode())
    except UnicodeDecodeError:
        raise ZoneError("is not text in UTF-8", _TODO, rule="file") from None


async def serve(source: str, listen: Address, stdin: TextIO, stdout: TextIO) -> None:
    """Run the service. ``OverlayError`` where it cannot start; returns at the end of ``stdin`` (``-``) or on a signal."""
    zones = Zones()
    first: Zone | None = None
    if source != "-":
        try:
            first = load(source)
        except ZoneError as fault:
            raise ZoneError(f"{source}: {fault.what}", fault.todo, rule=fault.rule) from None
        zones.put(first)
    server = Polite(Authority(zones), Cookies(os.urandom(16)), now=time.monotonic, at=time.time, rated=False)
    udp, tcp = listen_on(listen)
    with udp, tcp:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_udp, udp, server)
            nursery.start_soon(serve_tcp, tcp, server)
            nursery.start_soon(_until_signal, nursery.cancel_scope)
            if first is not None:
                _say(stdout, f"serving {to_text(first.origin)}")
            else:
                await _follow(stdin, stdout, zones)
                nursery.cancel_scope.cancel()


async def _until_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()


async def _follow(stdin: TextIO, stdout: TextIO, zones: Zones) -> None:
    while line := await trio.to_thread.run_sync(stdin.readline, abandon_on_cancel=True):
        path = line.rstrip("\r\n")
        if not path:
            continue
        try:
            zone = load(path)
        except OverlayError as fault:
            _say(stdout, f"failed {path}: {' '.join(fault.what.split())}")
            continue
        for origin in [held.origin for held in zones]:
            if origin != zone.origin:
                zones.drop(origin)
        zones.put(zone)
        _say(stdout, f"serving {to_text(zone.origin)}")


def _say(stdout: TextIO, line: str) -> None:
    stdout.write(line + "\n")
    stdout.flush()


def main(source: str, listen: str) -> int:
    """What the command line calls: ``listen`` is ``IP:PORT``. 0 at the end; raises ``OverlayError`` where it cannot start."""
    trio.run(serve, source, parse_address(listen, 53), sys.stdin, sys.stdout)
    return 0
