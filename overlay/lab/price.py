"""What work costs in the lab: a processor for each host, so that a node that is asked too much falls behind (DESIGN 4).

A host handles one datagram after the other. What waits meanwhile stands in a receive queue of bounded length, as in a
kernel, and what comes then is lost and counted. Prices are those of one core of a small server, measured 2026-11 and
written into DESIGN 4; a phone pays five times as much.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from overlay.records.trust import Verifier
from overlay.session.suite import Keypair, Suite

_EXCHANGES = 4  # X25519 agreements of each side of a Noise IK handshake


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Seconds of CPU; datagrams that wait at most."""

    handshake: float = 0.22e-3  # one side of one handshake
    verify: float = 0.12e-3  # a signature not seen before
    message: float = 0.05e-3  # a datagram received, handled and answered
    queue: int = 200


class Meter:
    """The processor of one host: what its crypto has cost since last asked."""

    __slots__ = ("_price", "spent")

    def __init__(self, price: Price) -> None:
        self._price = price
        self.spent = 0.0  # seconds

    def suite(self, suite: Suite) -> Suite:
        """The same primitives, with every agreement on the bill."""
        each = self._price.handshake / _EXCHANGES

        def static(private: X25519PrivateKey) -> Keypair:
            return _Metered(suite.static(private), self, each)

        def ephemeral(seed: bytes) -> Keypair:
            return _Metered(suite.ephemeral(seed), self, each)

        return Suite(static, ephemeral, suite.cipher)

    def verifier(self, verifier: Verifier) -> Verifier:
        """The same verdicts, each on the bill."""

        def verify(public: bytes, signature: bytes, message: bytes) -> bool:
            self.spent += self._price.verify
            return verifier(public, signature, message)

        return verify


@dataclass(frozen=True, slots=True)
class _Metered:
    pair: Keypair
    meter: Meter
    each: float

    @property
    def public(self) -> bytes:
        return self.pair.public

    def exchange(self, other: bytes) -> bytes:
        self.meter.spent += self.each
        return self.pair.exchange(other)
