"""What is due when, in a world: the heap that makes virtual time pass (DESIGN 4).

Time is counted in whole ticks of a millisecond. What is due at one tick at one host is done in the order of who caused it
and how much that one had caused before: an order that does not depend on who else lives in the world, nor on what drives
it. So the same world can be driven by a heap or by tasks (``tests/lab/test_under_trio.py``), and both see the same.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Protocol

from overlay.lab.host import Host

TICKS = 1_000  # a second

Action = Callable[[], None]


class Agenda(Protocol):
    """Instants to come."""

    @property
    def ticks(self) -> int:
        """Now."""

    def put(self, tick: int, target: Host, source: Host, action: Action) -> None:
        """Do it at that tick, which is to come; ``source`` caused it, ``target`` is whom it befalls."""


class Heap:
    """The quick one: one heap for all hosts."""

    def __init__(self) -> None:
        self.ticks = 0
        self._heap: list[tuple[int, int, int, int, Action]] = []

    def put(self, tick: int, target: Host, source: Host, action: Action) -> None:
        """Do it then."""
        source.caused += 1
        heapq.heappush(self._heap, (tick, target.number, source.number, source.caused, action))

    def run(self, end: int) -> None:
        """Let time pass up to the end of that tick."""
        heap = self._heap
        while heap and heap[0][0] <= end:
            entry = heapq.heappop(heap)
            self.ticks = entry[0]
            entry[4]()
        self.ticks = end
