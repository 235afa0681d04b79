"""Calls of the other end: what its grade allows, and what anybody may ask how often (DESIGN 3.4).

A call above the session's grade is held, not refused: while passports cross, the other end may be ahead of us by a round
trip, and admission frees it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from overlay import limits
from overlay.errors import Malformed
from overlay.session import events
from overlay.session.relation import Session
from overlay.session.throttle import Throttle
from overlay.wire.messages import METHODS, Method

ASKS = (Method.ENROL, Method.REDEEM)  # what anybody may ask and what costs us checks of signatures
AT_ONCE = 20  # asks of one source, before its rate counts: an office that comes in together

_METHODS = {method.value: (method, rule.grade.value) for method, rule in METHODS.items()}


class Serving:
    """Of all sessions of one node."""

    def __init__(self, emit: Callable[[events.Called], None], counters: Counter[str]) -> None:
        self._emit = emit
        self._counters = counters
        self._asks = Throttle(limits.ASKS_PER_SOURCE, AT_ONCE, counters)

    def called(self, session: Session, frame: list[Any], now: float) -> None:
        """A CALL came: [2, ticket, method, body, floor]."""
        _, ticket, number, body, floor = frame
        method, grade = _METHODS.get(number, (None, 0))
        above = grade > session.grade
        if method in ASKS and not self._asks.lets(session.way.remote.host, now):
            self._counters["drop:ask-rate"] += 1  # it is asked again in a moment
            return
        if above and len(session.held) >= limits.CALLS_OUTSTANDING:
            raise Malformed("calls above the session's grade", rule="grade")
        if not session.calls.called(ticket, floor):
            return
        if method is None:
            session.calls.refuse(ticket, "unknown-method", now)
        elif above:
            self._counters["calls_held"] += 1
            session.held.append(events.Called(session.number, ticket, method, body))
        else:
            self._emit(events.Called(session.number, ticket, method, body))
