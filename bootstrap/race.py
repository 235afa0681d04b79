"""Attempts started a little apart and left to race (RFC 8305, 5): the first to arrive wins, a failure starts the next at once.

It decides when which attempt begins. It refuses to know what an attempt is: dials and fetches race by the same rule.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

from overlay import limits

STAGGER = 0.25  # seconds between starts (RFC 8305, 5: Connection Attempt Delay)

T = TypeVar("T", bound=Hashable)


class Race(Generic[T]):
    """A queue of attempts, each made at most once until :meth:`again`."""

    def __init__(self, counters: Counter[str] | None = None) -> None:
        self.counters: Counter[str] = Counter() if counters is None else counters
        self._waiting: deque[T] = deque()
        self._running: set[T] = set()
        self._seen: set[T] = set()
        self._next = float("-inf")

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not self._waiting and not self._running

    def add(self, attempts: Iterable[T]) -> None:
        """Queue those not made yet, in this order."""
        for attempt in attempts:
            if attempt not in self._seen:
                self._seen.add(attempt)
                self._waiting.append(attempt)

    def start(self, now: float) -> list[T]:
        """Those to begin now."""
        begun = []
        while self._waiting and (not self._running or (now >= self._next and len(self._running) < limits.KNOCKS)):
            attempt = self._waiting.popleft()
            self._running.add(attempt)
            self._next = now + STAGGER
            begun.append(attempt)
        if self._waiting and len(self._running) >= limits.KNOCKS:
            self.counters["knocks_waiting"] += 1
        return begun

    def ended(self, attempt: T, now: float) -> bool:
        """An attempt failed, or was answered; False where it was not running."""
        if attempt not in self._running:
            return False
        self._running.remove(attempt)
        self._next = now
        return True

    def forget(self, which: Callable[[T], bool]) -> None:
        """Drop those that wait and are needed no more."""
        self._waiting = deque(attempt for attempt in self._waiting if not which(attempt))

    def again(self) -> None:
        """A new round: what was tried may be tried again."""
        self._seen.clear()

    def wake_at(self) -> float | None:
        """When the next attempt is due, or None where only an answer can start one."""
        return self._next if self._waiting and len(self._running) < limits.KNOCKS else None
