"""When to look at whom again: one heap for thousands of subjects, without an entry for each packet.

A subject has at most one entry that counts. A later date than the one it has is not noted: the subject is looked at
too early, says its new date, and is noted again. So the packet path touches the heap only where something is nearer.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Timers(Generic[T]):
    """Dates by subject; subjects must be hashable by identity."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._due: dict[T, float] = {}
        self._order = 0

    def __len__(self) -> int:
        return len(self._heap)

    def at(self, subject: T, due: float) -> None:
        """Look at ``subject`` at ``due`` or before."""
        if due < self._due.get(subject, float("inf")):
            self._due[subject] = due
            self._order += 1
            heapq.heappush(self._heap, (due, self._order, subject))

    def forget(self, subject: T) -> None:
        """It is over."""
        self._due.pop(subject, None)

    def next(self) -> float | None:
        """The nearest date."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Iterator[T]:
        """Whose date has come; each is forgotten as it is given."""
        while (date := self.next()) is not None and date <= now:
            subject = heapq.heappop(self._heap)[2]
            del self._due[subject]
            yield subject
