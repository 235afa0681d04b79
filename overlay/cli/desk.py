"""Who answers on the control socket of a run: from the first moment somebody does (CONTRACT, exit status 3).

It decides what is said while a node is still on its way in: `down` ends it, all else hears that it has not joined yet.
The handlers of a node that has its names come later, by :meth:`Desk.open`; what they do is their affair.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import trio

from overlay.driver.control import Args, Handler
from overlay.errors import NotRunning

LEAVES: Final = 0.1  # seconds for an answer to be read before the run ends


class Desk(Mapping[str, Handler]):
    """The table of commands of one run, small at first. ``end`` ends the run."""

    def __init__(self, nursery: trio.Nursery, end: Callable[[], None]) -> None:
        self._nursery = nursery
        self._end = end
        self._handlers: Mapping[str, Handler] | None = None
        self.counters: Counter[str] = Counter()  # of the control socket

    def open(self, handlers: Mapping[str, Handler]) -> None:
        """From now on these answer."""
        self._handlers = handlers

    def __getitem__(self, command: str) -> Handler:
        if self._handlers is not None:
            return self._handlers[command]
        return Handler(self._down) if command == "down" else Handler(_not_yet, reading=True)

    def __iter__(self) -> Iterator[str]:
        return iter(self._handlers or ("down",))

    def __len__(self) -> int:
        return len(self._handlers or ("down",))

    async def _down(self, args: Args) -> object:
        async def after() -> None:
            await trio.sleep(LEAVES)
            self._end()

        self._nursery.start_soon(after)
        return {"ok": True, "pid": os.getpid()}


async def _not_yet(args: Args) -> object:
    raise NotRunning(
        "the node is on its way in and has not joined yet", "wait until `overlay join` says so, or see `overlay log`", rule="not-joined"
    )
