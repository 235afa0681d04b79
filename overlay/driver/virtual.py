"""The virtual address of a running node: whether it leads goes in, ARP and the address of an interface come out.

It carries what ``overlay/cluster/virtual.py`` decides to the privileged helper, and the LAN's packets back. Whatever ends
this task lets go of the address: the helper sees its socket closed.

    Carrier.run
    |- Root.run             reads what the helper says
    `- _look                looks at who leads, wakes the machine, has done what it wants
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable
from typing import Final

import trio
from trio_util import RepeatedEvent

from overlay.cluster.virtual import Act, Virtual
from overlay.driver.privileged_client import GONE, Root
from overlay.errors import Malformed
from overlay.machine import Log

WORDS: Final = {Act.PROBE: "arp probe", Act.ANNOUNCE: "arp announce", Act.CARRY: "address add", Act.DROP: "address remove"}
LOOK: Final = 1.0  # seconds between looks at who leads, where nobody says that it changed


class Carrier:
    """Carries the address while ``leads`` says so. ``write`` puts a line into the log."""

    def __init__(
        self, machine: Virtual, sock: socket.socket, *, leads: Callable[[], bool], write: Callable[[Log], None], counters: Counter[str],
    ) -> None:
        self._machine = machine
        self._root = Root(sock, self._frame)
        self._leads = leads
        self._write = write
        self._counters = counters
        self._kick = RepeatedEvent()

    def hurry(self) -> None:
        """Who leads may have changed."""
        self._kick.set()

    def again(self) -> None:
        """The LAN may have changed: tell neighbours anew, if the address is here."""
        self._machine.again(trio.current_time())
        self._kick.set()

    async def run(self) -> None:
        """Until cancelled, or the helper ends; the address goes with it either way."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._root.run)
            while await self._look():
                with trio.move_on_at(min(self._machine.wake_at(), trio.current_time() + LOOK)):
                    await self._kick.wait()
            nursery.cancel_scope.cancel()

    async def _look(self) -> bool:
        """Have done what is due. False where the helper is gone."""
        why = ""
        self._machine.lead(self._leads(), trio.current_time())
        self._machine.wake(trio.current_time())
        while outputs := self._machine.take():
            for output in outputs:
                if isinstance(output, Log):
                    self._write(output)
                elif why != GONE and (why := await self._root.ask(WORDS[output])):
                    self._machine.refused(why, trio.current_time())
                    break  # what was to follow stood on it
        return why != GONE

    def _frame(self, frame: bytes) -> None:
        try:
            self._machine.heard(frame, trio.current_time())
        except Malformed as why:
            self._counters[f"drop:{why.rule}"] += 1
        self._kick.set()
