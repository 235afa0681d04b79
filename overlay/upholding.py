"""Whether the passports of open sessions still hold: looked at by date, and when a grant is revoked (DESIGN 3.2).

It decides when peers are judged again; what a passport is worth is decided in ``records/``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from overlay.peers import Peers
from overlay.records.record import Record
from overlay.wire.codec import Value
from overlay.wire.messages import Method

TURNED_OUT = 1.0  # seconds that a peer has to hear why its session ends
AGAIN = 600.0  # seconds between looks: dates are in days

Back = Callable[[Any, float, float], None]


class Upholding:
    """The dates at which this node's peers are judged again."""

    def __init__(self, peers: Peers, call: Callable[[int, Method, Value, Back, float], object], now: float) -> None:
        self._peers = peers
        self._call = call
        self._at = now + AGAIN

    def revoked(self, revocation: Record, now: float) -> None:
        """End the sessions that stand on a revoked grant: when their peers have heard of it, or after a moment."""

        def heard(body: Any, now: float, at: float) -> None:
            self._peers.judge_again(at, revocation.item)

        for peer in self._peers.standing_on(revocation.item):
            self._call(peer.session, Method.PUSH, {1: [revocation.raw]}, heard, now)
            self._at = min(self._at, now + TURNED_OUT)

    def wake_at(self) -> float:
        """When :meth:`wake` wants to be called."""
        return self._at

    def wake(self, now: float, at: float) -> None:
        """Time passed."""
        if now >= self._at:
            self._at = now + AGAIN
            self._peers.judge_again(at)
