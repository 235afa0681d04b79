"""Carries a virtual address on a host of the tests as a node does, leading from the start: ``python carry.py IP/PREFIX``.

Prints a line an event. ``yield`` and ``lead`` on stdin change who leads; ``ask WORDS`` asks the helper itself.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from functools import partial
from ipaddress import IPv4Interface

import trio

from overlay.cluster.virtual import Virtual
from overlay.driver.privileged_client import Root, start
from overlay.driver.virtual import Carrier
from overlay.machine import Log


async def main() -> None:
    address, leads = sys.argv[1], [True]
    say = partial(print, flush=True)

    def log(line: Log) -> None:
        say(line.event, *line.fields.values())

    helper = start(address)
    carrier = Carrier(Virtual(IPv4Interface(address).ip, bytes), helper.sock, leads=lambda: leads[0], write=log, counters=Counter())
    other = start(address)
    root = Root(other.sock, lambda frame: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(carrier.run)
        nursery.start_soon(root.run)
        say("pids", helper.process.pid, other.process.pid)
        async for chunk in trio.lowlevel.FdStream(os.dup(0)):
            for line in chunk.decode().splitlines():
                if line.startswith("ask "):
                    say("answer", await root.ask(line.removeprefix("ask ")) or "done")
                else:
                    leads[0] = line == "lead"
                    carrier.hurry()
        nursery.cancel_scope.cancel()
    helper.close()
    other.close()


if __name__ == "__main__":
    trio.run(main)
