"""Which ways to a node were tried, when, and what came of them: what ``overlay why`` prints (DESIGN 3.7).

Kept in memory, the last few of each node. It decides nothing.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Final

from overlay.wire.address import Address

EACH: Final = 24  # attempts remembered of a node: two dials of 8 addresses, with TCP and relays
NODES: Final = 256


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of one way; ``outcome`` is ``tried``, ``works``, ``used``, ``left`` or ``failed``."""

    path: str
    address: Address
    at: float
    outcome: str
    reason: str


class Tried:
    """Attempts by exchange key."""

    def __init__(self) -> None:
        self._of: OrderedDict[bytes, deque[Attempt]] = OrderedDict()

    def note(self, exchange: bytes, attempt: Attempt) -> None:
        """Remember one; the same said again only moves its date."""
        kept = self._of.setdefault(exchange, deque(maxlen=EACH))
        self._of.move_to_end(exchange)
        if kept and (kept[-1].path, kept[-1].address, kept[-1].outcome, kept[-1].reason) == (
            attempt.path, attempt.address, attempt.outcome, attempt.reason,
        ):  # fmt: skip
            kept.pop()
        kept.append(attempt)
        while len(self._of) > NODES:
            self._of.popitem(last=False)

    def nodes(self) -> list[bytes]:
        """The exchange keys of those that were tried, the latest first."""
        return list(reversed(self._of))

    def of(self, exchange: bytes) -> list[Attempt]:
        """What is remembered of that node, the oldest first."""
        return list(self._of.get(exchange, ()))
