"""Questions to a router that are under way: repeated after 250 ms, then ever later, and given up (RFC 6886, 3.1).

It refuses to know what an answer looks like. At most one question of a protocol about a port is under way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from overlay import limits
from overlay.nat.outputs import SendTo
from overlay.nat.speakers import Port

AGAIN: Final = 0.25  # seconds to the first repetition, then doubling

Key = tuple[str, Port]  # protocol, and what the question is about


@dataclass(slots=True)
class _Question:
    sends: tuple[SendTo, ...]
    at: float
    tries: int = 0


class Questions:
    """All of one router."""

    def __init__(self) -> None:
        self._open: dict[Key, _Question] = {}

    def __contains__(self, key: Key) -> bool:
        return key in self._open

    def __bool__(self) -> bool:
        return bool(self._open)

    def ask(self, key: Key, sends: tuple[SendTo, ...], now: float) -> None:
        """Send this when ``due`` is called next, and again until it is answered."""
        self._open[key] = _Question(sends, now)

    def answered(self, key: Key) -> bool:
        """That question is done with; False where there was none."""
        return self._open.pop(key, None) is not None

    def clear(self) -> None:
        self._open.clear()

    @property
    def wake_at(self) -> float | None:
        return min((question.at for question in self._open.values()), default=None)

    def due(self, now: float) -> tuple[list[SendTo], list[Key]]:
        """What is to be sent now, and which questions nobody answered."""
        sends: list[SendTo] = []
        given_up: list[Key] = []
        for key, question in list(self._open.items()):
            if now < question.at:
                continue
            if question.tries >= limits.PORTMAP_TRIES:
                del self._open[key]
                given_up.append(key)
                continue
            sends += question.sends
            question.at = now + AGAIN * 2**question.tries
            question.tries += 1
        return sends, given_up
