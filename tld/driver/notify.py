"""Sends what ``tld/notify.py`` decides: one UDP socket a family, looked at once a second (Trio)."""

from __future__ import annotations

import os
from collections.abc import Callable

import trio

from overlay.wire.address import Address
from tld.notify import Notifier
from tld.zone import Held

EVERY = 1.0  # seconds between looks: no zone has more than one version a second (DESIGN 3.8)


async def notify(notifier: Notifier, zones: Held, at: Callable[[], float]) -> None:
    """Tell the secondaries, until cancelled. ``at`` gives UTC seconds."""
    families = {one.address.family for one in notifier.secondaries}
    sockets = {
        family: trio.socket.socket(trio.socket.AF_INET6 if family == 6 else trio.socket.AF_INET, trio.socket.SOCK_DGRAM) for family in families
    }
    async with trio.open_nursery() as nursery:
        for sock in sockets.values():
            await sock.bind(("", 0))
            nursery.start_soon(_hear, sock, notifier, at)
        while True:
            for address, message in notifier.due(zones, trio.current_time(), at(), os.urandom):
                try:
                    await sockets[address.family].sendto(message, (address.host, address.port))
                except OSError:
                    notifier.counters["drop:dns-notify-unsent"] += 1  # no way there now: it is said again
            await trio.sleep(EVERY)


async def _hear(sock: trio.socket.SocketType, notifier: Notifier, at: Callable[[], float]) -> None:
    with sock:
        while True:
            try:
                data, source = await sock.recvfrom(4_096)
            except OSError:
                continue  # the error of an earlier datagram: nobody listens there
            notifier.heard(data, Address(source[0], source[1]), at())
