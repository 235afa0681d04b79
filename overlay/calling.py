"""Calls of this node that wait for their answers: who gets which.

It decides nothing; sessions carry calls, and whoever called knows what an answer means.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from overlay.session import events
from overlay.session.machine import Sessions
from overlay.wire.codec import Value
from overlay.wire.messages import Method

Back = Callable[[Any, float, float], None]  # (answer or None where there is none, now, at)
CALL_FAILED: Final = frozenset(
    {"timeout", "closed", "no-answer", "queue-full", "too-long", "not-ready", "unknown-method", "expired"}
)  # counted by name


class Calling:
    """All calls under way, by ticket."""

    def __init__(self, sessions: Sessions, counters: Counter[str]) -> None:
        self.counters = counters
        self._sessions = sessions
        self._waiting: dict[int, Back] = {}

    def call(self, session: int, method: Method, body: Value, back: Back, now: float) -> int:
        """Call a peer; ``back`` hears the answer. The call's ticket."""
        ticket = self._sessions.call(session, method, body, now)
        self._waiting[ticket] = back
        return ticket

    def answered(self, event: events.Answered, now: float, at: float) -> None:
        """An answer came."""
        waiting = self._waiting.pop(event.ticket, None)
        if waiting is not None:
            waiting(event.body, now, at)

    def failed(self, event: events.CallFailed, now: float, at: float) -> None:
        """There will be none."""
        self.counters[f"call-failed:{event.reason if event.reason in CALL_FAILED else 'refused'}"] += 1  # a refusal's text is the peer's
        waiting = self._waiting.pop(event.ticket, None)
        if waiting is not None:
            waiting(None, now, at)
