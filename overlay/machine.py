"""The vocabulary between machines and drivers: what a machine may ask of the world (DESIGN 3.13, 4).

A machine is a plain object. Bytes and intents go in with ``now`` (monotonic seconds) and ``at`` (trusted UTC seconds);
effects and the next wake-up come out. A step's effects come in two lots: ``first`` is made durable, and only after its
commit is ``then`` performed. Who performs them (Trio, or the lab's heap) is not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from overlay.wire.address import Address, Way

Entropy = Callable[[int], bytes]  # n -> n unpredictable octets


@dataclass(frozen=True, slots=True)
class Store:
    """Make durable: ``value`` under ``key`` in ``table`` (None deletes). Last write of a step wins."""

    table: str
    key: bytes
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Send:
    """Send one datagram (at most 1,232 octets) along a way."""

    way: Way
    data: bytes


@dataclass(frozen=True, slots=True)
class OpenTcp:
    """Open a TCP connection to that address; the driver reports ``opened(way)`` or ``closed(...)``.

    ``over`` is what is around the datagrams there: nothing ("tcp"), "tls", or an upgrade of "http".
    """

    address: Address
    over: str = "tcp"


@dataclass(frozen=True, slots=True)
class CloseTcp:
    """Close a TCP connection."""

    way: Way


@dataclass(frozen=True, slots=True)
class CloseUdp:
    """Close the extra UDP socket of that number: a ``Send`` over a UDP way with a ``link`` opens it where it is not open."""

    link: int


@dataclass(frozen=True, slots=True)
class Log:
    """One line for the node's log: level, event word, fixed fields."""

    level: str  # "debug", "info", "warning", "error"
    event: str
    fields: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Raise:
    """Tell whoever plugged in (names, control, bootstrap) that something happened."""

    event: object


Effect = Send | OpenTcp | CloseTcp | CloseUdp | Log | Raise


@dataclass(frozen=True, slots=True)
class Step:
    """What one step asks for: ``first`` durable, ``then`` visible."""

    first: tuple[Store, ...] = ()
    then: tuple[Effect, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.first or self.then)
