"""Peers that this node remembers: where they were reached, for a start without DNS, and while nobody answers (DESIGN 3.7).

It decides whom to knock at when nobody is connected; dialling is the sessions' business. The last 32 that this node
reached itself are kept on disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from overlay.errors import Malformed
from overlay.machine import Store
from overlay.setup import PEERS
from overlay.wire.address import Address, routable, unpack_address
from overlay.wire.codec import decode, encode

KEPT: Final = 32  # peers dialled first at a later start
DIALLED: Final = 256  # keys whose last known addresses are kept in memory
AGAIN: Final = 5.0  # seconds between tries while nobody is connected

Way = tuple[bytes, tuple[Address, ...]]  # exchange key, addresses


class Remembered:
    """Ways to peers, by exchange key, the latest last."""

    def __init__(self, stored: Mapping[bytes, bytes], now: float) -> None:
        self.damaged = 0  # rows that did not read
        self.try_at = now
        self._ways: dict[bytes, tuple[Address, ...]] = {}
        self._dialled: dict[bytes, tuple[Address, ...]] = {}
        for key, value in stored.items():
            try:
                self._ways[key] = tuple(unpack_address(item) for item in decode(value))
            except (Malformed, TypeError):
                self.damaged += 1

    def __bool__(self) -> bool:
        return bool(self._ways)

    def __contains__(self, exchange: bytes) -> bool:
        return exchange in self._ways

    def wants_more(self) -> bool:
        """Whether there is room for those that came to us: who dialled nobody must not be alone when it starts again."""
        return len(self._ways) < KEPT

    def reached(self, exchange: bytes, addresses: tuple[Address, ...]) -> list[Store]:
        """A peer was reached there: what is to be stored."""
        addresses = tuple(address for address in addresses if routable(address.host))  # a link-local one means nothing after a start
        if not addresses or self._ways.get(exchange) == addresses:
            return []
        self._ways.pop(exchange, None)
        self._ways[exchange] = addresses
        stores = [Store(PEERS, exchange, encode([a.packed for a in addresses]))]
        while len(self._ways) > KEPT:
            oldest = next(iter(self._ways))
            del self._ways[oldest]
            stores.append(Store(PEERS, oldest, None))
        return stores

    def due(self, now: float) -> list[Way]:
        """Whom to knock at now, while nobody is connected."""
        if now < self.try_at:
            return []
        self.try_at = now + AGAIN
        return list(self._ways.items())

    def ways(self) -> list[Way]:
        """All of them, the latest first."""
        return list(reversed(self._ways.items()))

    def dialling(self, exchange: bytes, addresses: tuple[Address, ...]) -> None:
        """That key is being dialled there."""
        self._dialled[exchange] = addresses
        while len(self._dialled) > DIALLED:
            del self._dialled[next(iter(self._dialled))]

    def dialled(self, exchange: bytes) -> tuple[Address, ...]:
        """Where that key was last dialled."""
        return self._dialled.get(exchange, ())
