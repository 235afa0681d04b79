"""What sessions tell the node: frozen values, one a fact (DESIGN 3.4). The node reads them by a table event -> handler."""

from __future__ import annotations

from dataclasses import dataclass

from overlay.wire.address import Address, Way
from overlay.wire.codec import Value
from overlay.wire.messages import Method


@dataclass(frozen=True, slots=True)
class Opened:
    """A session is up, keyed: both ends hold the keys that they showed. ``session`` stays the same over re-handshakes."""

    session: int
    peer_key: bytes  # its exchange key
    way: Way
    initiator: bool
    passport_digest: bytes  # as it says; empty for a newcomer
    boot_nonce: bytes
    seen: Address | None  # our own address as the other end saw it (initiators learn it)
    handshake_hash: bytes  # binds proofs to this session


@dataclass(frozen=True, slots=True)
class Closed:
    """A session ended: ``silent``, ``replaced``, or the reason that an end gave."""

    session: int
    peer_key: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Called:
    """The other end calls; answer with ``reply`` or ``refuse``."""

    session: int
    ticket: int
    method: Method
    body: Value


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to a call of ours, all its pages together."""

    session: int
    ticket: int
    body: Value


@dataclass(frozen=True, slots=True)
class CallFailed:
    """A call of ours was refused, or got no answer."""

    session: int
    ticket: int
    reason: str


@dataclass(frozen=True, slots=True)
class Message:
    """A message, which may have been lost on another day."""

    session: int
    kind: int
    body: Value


@dataclass(frozen=True, slots=True)
class DialFailed:
    """No session came of a dial."""

    peer_key: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class PathChanged:
    """The session goes another way from now on."""

    session: int
    way: Way


@dataclass(frozen=True, slots=True)
class Probed:
    """The other end saw a probe of ours come from ``seen``; it was sent, and answered, over ``way``."""

    session: int
    way: Way
    seen: Address


@dataclass(frozen=True, slots=True)
class Stalled:
    """The way in use may carry no more: whoever knows other ways may have them tried. Told once, until something is heard."""

    session: int


@dataclass(frozen=True, slots=True)
class WayTried:
    """What came of trying a way: ``works`` (after ``rtt`` seconds) or ``failed``."""

    session: int
    peer_key: bytes
    way: Way
    outcome: str
    rtt: float | None


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The other end opened a stream of a kind that is served here."""

    session: int
    stream: int
    kind: int
    head: Value


@dataclass(frozen=True, slots=True)
class StreamData:
    """The next octets of a stream; credit for them goes back with ``consumed``."""

    session: int
    stream: int
    data: bytes


@dataclass(frozen=True, slots=True)
class StreamWritable:
    """There is room again for who wrote more than was taken."""

    session: int
    stream: int


@dataclass(frozen=True, slots=True)
class StreamFinished:
    """The other end has said all on this stream, and all of it was handed up."""

    session: int
    stream: int


@dataclass(frozen=True, slots=True)
class StreamReset:
    """The other end broke a stream off: nothing more comes, nothing more is taken."""

    session: int
    stream: int
    code: int


StreamEvent = StreamOpened | StreamData | StreamWritable | StreamFinished | StreamReset
Event = StreamEvent | Probed | Stalled | WayTried | Opened | Closed | Called | Answered | CallFailed | Message | DialFailed | PathChanged
