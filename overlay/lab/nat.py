"""NATs of the lab: every mapping and filtering of RFC 4787, ports kept, in a row or by chance, time-outs, hairpin. No clock, no dice of its own.

A datagram goes out by :meth:`Nat.out`, which gives the address that the world sees, and comes in by :meth:`Nat.into`, which
gives the inner address that it is for, or None. Carrier NATs stand in a row: the outer one's inside is the inner one's
outside. A firewall without translation is a NAT that keeps addresses, with filtering alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from typing import Final

from overlay.wire.address import Address

LOWEST: Final = 1_024  # ports that are given out begin here
WEB: Final = (80, 443)


class By(Enum):
    """What a mapping, or a filter, depends on (RFC 4787, 4.1 and 5)."""

    ENDPOINT = "endpoint-independent"
    ADDRESS = "address-dependent"
    PORT = "address-and-port-dependent"


class Ports(Enum):
    """Which port a mapping gets (RFC 4787, 4.2)."""

    KEPT = "kept where it is free"
    NEXT = "the next one"
    CHANCE = "one by chance"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of NAT. ``udp`` and ``tcp`` say what is let out: TCP to any port, to the web's alone, or none."""

    mapping: By = By.ENDPOINT
    filtering: By = By.PORT
    ports: Ports = Ports.KEPT
    hairpin: bool = False
    timeout: float = 120.0  # seconds without a datagram from inside (RFC 4787, REQ-5)
    udp: bool = True
    web_only: bool = False


KINDS: Final = {
    "full-cone": Kind(filtering=By.ENDPOINT),
    "restricted": Kind(filtering=By.ADDRESS),
    "port-restricted": Kind(),
    "symmetric": Kind(mapping=By.PORT, ports=Ports.CHANCE),
    "udp-blocked": Kind(udp=False),
    "tcp443-only": Kind(udp=False, web_only=True),
}


@dataclass(slots=True, eq=False)
class Mapping:
    """One port outside: whose it is, to whom it has written, when it last did."""

    inner: Address
    port: int
    used: float
    asked: dict[tuple[str, int], float] = field(default_factory=dict)  # far end -> when it was written to


def leave(nats: Sequence[Nat], source: Address, to: Address, now: float) -> Address | None:
    """A datagram goes out through routers in a row, the nearest first: as whom."""
    for nat in nats:
        seen = nat.out(source, to, now)
        if seen is None:
            return None
        source = seen
    return source


def enter(nats: Sequence[Nat], to: Address, source: Address, now: float) -> Address | None:
    """A datagram comes to the outermost of them: for whom inside."""
    for nat in reversed(nats):
        inner = nat.into(to.port, source, now)
        if inner is None:
            return None
        to = inner
    return to


class Nat:
    """One router. ``outside`` is its address as the world sees it; ``dice`` are the world's."""

    def __init__(self, kind: Kind, outside: str, dice: Random) -> None:
        self.kind = kind
        self.outside = outside
        self._dice = dice
        self._mappings: dict[tuple[object, ...], Mapping] = {}
        self._by_port: dict[int, Mapping] = {}
        self._last = LOWEST

    def reboot(self, outside: str) -> None:
        """It forgets everything, and comes back at another address."""
        self.outside = outside
        self._mappings.clear()
        self._by_port.clear()

    def _key(self, inner: Address, to: Address) -> tuple[object, ...]:
        by = self.kind.mapping
        return (inner,) if by is By.ENDPOINT else (inner, to.host) if by is By.ADDRESS else (inner, to)

    def out(self, inner: Address, to: Address, now: float) -> Address | None:
        """A datagram leaves: as whom; None where it does not."""
        if not self.kind.udp:
            return None
        key = self._key(inner, to)
        mapping = self._mappings.get(key)
        if mapping is not None and now - mapping.used > self.kind.timeout:
            self._forget(key, mapping)
            mapping = None
        if mapping is None:
            mapping = self._mappings[key] = Mapping(inner, self._port(inner.port, now), now)
            self._by_port[mapping.port] = mapping
        mapping.used = now
        mapping.asked[to.host, to.port] = now
        return Address(self.outside, mapping.port)

    def _forget(self, key: tuple[object, ...], mapping: Mapping) -> None:
        del self._mappings[key]
        if self._by_port.get(mapping.port) is mapping:
            del self._by_port[mapping.port]

    def _port(self, wanted: int, now: float) -> int:
        def free(port: int) -> bool:
            held = self._by_port.get(port)
            return held is None or now - held.used > self.kind.timeout

        if self.kind.ports is Ports.KEPT and free(wanted):
            return wanted
        while True:
            self._last = self._last + 1 if self._last < 65_535 else LOWEST
            port = self._dice.randrange(LOWEST, 65_536) if self.kind.ports is Ports.CHANCE else self._last
            if free(port):
                return port

    def into(self, port: int, source: Address, now: float) -> Address | None:
        """A datagram comes to a port outside: for whom; None where it is dropped. It keeps no mapping alive (RFC 4787, REQ-6)."""
        mapping = self._by_port.get(port)
        if mapping is None or now - mapping.used > self.kind.timeout:
            return None
        by = self.kind.filtering
        known = [
            far for far, at in mapping.asked.items()
            if now - at <= self.kind.timeout and far[0] == source.host and (by is By.ADDRESS or far[1] == source.port)
        ]  # fmt: skip
        return mapping.inner if by is By.ENDPOINT or known else None
