"""Calls of this node that wait for their answers: who gets which.

It decides nothing; sessions carry calls, and whoever called knows what an answer means.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from overlay.errors import Malformed
from overlay.peers import Peer
from overlay.raised import Pong
from overlay.session import events
from overlay.session.machine import Sessions
from overlay.wire.address import Address, unpack_address
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

    def ping(self, peer: Peer, back: Callable[[Pong, Address | None, Peer, float], None], now: float) -> int:
        """One PING: how long it takes, what time it is there, as whom we are seen there. The call's ticket."""

        def heard(body: Any, then: float, at: float) -> None:
            theirs = body.get(1) if isinstance(body, dict) else None
            told = theirs if isinstance(theirs, int) else 0
            if isinstance(theirs, int):
                peer.rtt, peer.offset = then - now, theirs - at
            seen = None
            with suppress(Malformed):
                seen = unpack_address(body.get(2)) if isinstance(body, dict) else None
            if seen is not None:
                peer.seen = seen
            back(Pong(ticket, then - now if body is not None else None, told, peer.exchange), seen, peer, then)

        ticket = self.call(peer.session, Method.PING, {}, heard, now)
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
