"""Run inside a host: keeps ports mapped with the real driver, answers datagrams on them, and tells each thing as a line of JSON.

mapping.py LIFE PORT... ; ended by SIGTERM, after which what was mapped has been removed.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time

import trio

from overlay.driver.clock import elapsed
from overlay.driver.portmap import map_ports
from overlay.nat.outputs import Mapped, Unmapped
from overlay.nat.portmap import PortMaps


def say(**fields: object) -> None:
    print(json.dumps({"at": time.monotonic(), **fields}), flush=True)


async def echo(port: int) -> None:
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        await sock.bind(("", port))
        while True:
            data, source = await sock.recvfrom(2_048)
            await sock.sendto(data, source)


async def main(life: int, ports: list[int]) -> None:
    machine = PortMaps(os.urandom, elapsed(), secret=b"one node's own, over its restarts", life=life)

    def told(out: Mapped | Unmapped) -> None:
        if isinstance(out, Mapped):
            say(port=out.internal, host=out.external_host, external=out.external_port, by=out.protocol, life=out.expires - elapsed())
        else:
            say(port=out.internal, reason=out.reason)

    async with trio.open_nursery() as nursery:
        for port in ports:
            nursery.start_soon(echo, port)
        with trio.open_signal_receiver(signal.SIGTERM) as signals:

            async def ended() -> None:
                async for _ in signals:
                    nursery.cancel_scope.cancel()

            nursery.start_soon(ended)
            say(started=True)
            await map_ports(machine, [("udp", port) for port in ports], told, now=elapsed)
    say(counters=dict(machine.counters))


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), [int(port) for port in sys.argv[2:]])
