"""Questions to nodes with which there may be no session yet: opened for the question, closed when nobody needs it.

It decides when a session is worth opening and when one that was opened here may end. Searches and watches ask whom they
find; most of those a node never needs again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from overlay import limits
from overlay.directory.neighbours import Neighbour
from overlay.directory.outputs import Ask, Output, Part, Reach
from overlay.directory.pushing import Partner
from overlay.wire.codec import Value
from overlay.wire.messages import Method

LASTS: Final = 10.0  # seconds that a question waits for its session: what a call waits for its answer
IDLE: Final = 120.0  # seconds without a question before a session that was opened here is closed (guess)

Question = tuple[Method, Value, tuple[object, ...]]


@dataclass(slots=True)
class _Waiting:
    until: float
    questions: list[Question] = field(default_factory=list)


class Reaching:
    """Questions by node. ``partners`` are the admitted peers by session."""

    def __init__(self, *, partners: Mapping[int, Partner], out: Callable[[Output], None], counters: Counter[str]) -> None:
        self.partners = partners
        self._out = out
        self._counters = counters
        self._waiting: dict[bytes, _Waiting] = {}  # by node id, the oldest first
        self._opened: dict[bytes, float] = {}  # nodes reached for a question -> when it was asked last

    def ask(self, to: Neighbour, method: Method, body: Value, context: tuple[object, ...], now: float) -> bool:
        """Ask that node, now or when a session is up. False where too many wait for theirs."""
        partner = next((p for p in self.partners.values() if p.node_id == to.node_id), None)
        if to.node_id in self._opened:
            self._opened[to.node_id] = now
        if partner is not None:
            self._out(Ask(partner.session, method, body, context))
            return True
        waiting = self._waiting.get(to.node_id)
        if waiting is None:
            if len(self._waiting) >= limits.REACHING:
                self._counters["drop:reaching-full"] += 1
                return False
            waiting = self._waiting[to.node_id] = _Waiting(now + LASTS)
            self._opened[to.node_id] = now
            self._out(Reach(to))
        waiting.questions.append((method, body, context))
        return True

    def joined(self, partner: Partner) -> None:
        """A session was admitted: what waited for it goes out."""
        waiting = self._waiting.pop(partner.node_id, None)
        for method, body, context in waiting.questions if waiting is not None else ():
            self._out(Ask(partner.session, method, body, context))

    def gave_up(self, now: float) -> Iterator[tuple[object, ...]]:
        """The contexts of questions whose session did not come in time."""
        for node_id in [node_id for node_id, waiting in self._waiting.items() if waiting.until <= now]:
            del self._opened[node_id]
            for _, _, context in self._waiting.pop(node_id).questions:
                yield context

    def wake_at(self) -> float:
        """When the next question is given up."""
        return next((waiting.until for waiting in self._waiting.values()), float("inf"))

    def close_idle(self, now: float, needed: Collection[bytes]) -> None:
        """Close sessions that were opened for a question and are of no more use; ``needed`` are nodes to stay with."""
        for node_id in [node_id for node_id, asked in self._opened.items() if now - asked >= IDLE and node_id not in needed]:
            mine = [partner for partner in self.partners.values() if partner.node_id == node_id]
            if not any(partner.watching for partner in mine):
                del self._opened[node_id]
                for partner in mine:
                    self._out(Part(partner.session))
