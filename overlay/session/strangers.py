"""Sessions that are not admitted yet: who makes room for whom (DESIGN 3.4).

Each source that dialled us has a share; beyond it, and where all places are taken, the oldest stranger goes first, so
strangers displace strangers and never a session that is admitted.
"""

from __future__ import annotations

from collections import Counter, OrderedDict

from overlay import limits
from overlay.session.relation import Session


class Strangers:
    """Oldest first, counted by source."""

    def __init__(self, counters: Counter[str]) -> None:
        self._keyed: OrderedDict[int, Session] = OrderedDict()
        self._by_source: Counter[str | None] = Counter()
        self._counters = counters

    def oldest(self) -> Session | None:
        """Who goes first."""
        return next(iter(self._keyed.values()), None)

    def beyond(self, source: str | None) -> Session | None:
        """Who must go before that source gets one more; None where it has room. Sessions that we dialled have no source."""
        if source is None or self._by_source[source] < limits.KEYED_PER_SOURCE:
            return None
        self._counters["drop:keyed-source-full"] += 1
        return next(session for session in self._keyed.values() if session.source == source)

    def came(self, session: Session) -> None:
        """One more."""
        self._keyed[session.number] = session
        self._by_source[session.source] += 1

    def known(self, session: Session) -> None:
        """It is no stranger's any more: admitted, or over."""
        if self._keyed.pop(session.number, None) is not None:
            self._by_source[session.source] -= 1
            if not self._by_source[session.source]:
                del self._by_source[session.source]
