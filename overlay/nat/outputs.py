"""What the port mapper wants done, and what it tells: plain values for its driver and for the node."""

from __future__ import annotations

from dataclasses import dataclass

from overlay.wire.address import Address


@dataclass(frozen=True, slots=True)
class SendTo:
    """Send one datagram from our address towards the router; to a group it goes out of that address's interface."""

    address: Address
    data: bytes


@dataclass(frozen=True, slots=True)
class Fetch:
    """One HTTP request to the router: no redirect, no proxy. The driver answers with ``http_done(ticket, ...)``."""

    ticket: int
    url: str
    method: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Mapped:
    """The router says that it passes on what arrives there. Only a candidate until a dial-back proved it."""

    proto: str  # "udp" or "tcp"
    internal: int  # port of ours
    external_host: str
    external_port: int
    expires: float  # monotonic seconds; a renewal tells a later one
    protocol: str  # "pcp", "nat-pmp" or "upnp"
    proved: bool = False


@dataclass(frozen=True, slots=True)
class Unmapped:
    """Nothing of that port may be told to others (any more).

    ``reason``: ``router-changed``, ``no-router``, ``lapsed``, ``refused``, ``dropped``, ``double-nat`` (the router has no
    public address itself), ``no-external`` (it has none at all).
    """

    proto: str
    internal: int
    reason: str


Output = SendTo | Fetch | Mapped | Unmapped
