"""Asking on the LAN: the question goes out as ``lan.py`` says, answers by unicast and beacons by multicast come in.

It decides nothing. Its questions leave from a port of their own, for the node that will answer to them may not run yet.

Task tree: one nursery: a task for each pair of sockets, one for the questions, one that watches the machine's interfaces.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import trio

from bootstrap.lan import Seeking, Sender
from overlay.cluster.beacon import ANY, seek
from overlay.cluster.links import Link
from overlay.driver.interfaces import watch
from overlay.driver.lan import LanSockets
from overlay.driver.udp import Batch
from overlay.machine import Entropy


async def ask_lan(
    links: Callable[[], Sequence[Link]], on_sender: Callable[[Sender], None], *, entropy: Entropy, counters: Counter[str],
    notice: Callable[[str], None],
) -> None:
    """Ask until cancelled; ``on_sender`` hears of every beacon that counts. ``links`` lists the machine's links anew."""
    seeking = Seeking(entropy, counters)
    groups, own = LanSockets(counters, notice), LanSockets(counters, notice, port=0)
    changed = trio.Event()

    def heard(batch: Batch) -> None:
        for data, way in batch:
            sender = seeking.heard(data, way, trio.current_time())
            if sender is not None:
                on_sender(sender)

    def look() -> None:
        nonlocal changed
        found = tuple(links())
        groups.follow(found)
        own.follow(found)
        seeking.follow(found)
        changed.set()
        changed = trio.Event()

    async def question() -> None:
        while True:
            waiting, wake_at = changed, seeking.wake_at()
            with trio.move_on_at(float("inf") if wake_at is None else wake_at):
                await waiting.wait()
            ports = own.ports()
            for way in seeking.due(trio.current_time()):
                own.send(way, seek(ANY, ports.get(way.remote.family, 1)))

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch, look)
            nursery.start_soon(groups.run, heard)
            nursery.start_soon(own.run, heard)
            nursery.start_soon(question)
    finally:
        groups.close()
        own.close()
